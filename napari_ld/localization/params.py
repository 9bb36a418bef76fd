"""Settings of the search. All numbers are a reconstruction or our own choice, not the authors' values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_ld.adaptation import AdaptParams
from napari_ld.embedding.index import DEFAULT_POOLING_SIGMA
from napari_ld.errors import ConfigError

__all__ = ["COMBINATIONS", "NATIVE", "FineStage", "LocateParams"]

COMBINATIONS = ("mean", "max")
NATIVE = math.inf


@dataclass(frozen=True, slots=True)
class FineStage:
    """One step of the refinement: a window around the position found so far, looked at more closely.

    The score of a place is the weighted mean of what the three kinds of evidence say.

    Attributes
    ----------
    size : int
        Side of the window in pixels of the model input.
    zoom : float
        Scale of the window as a multiple of the working scale; 0 takes the zoom that the encoder was trained for,
        ``NATIVE`` the resolution of the stored image.
    sigma : float
        Of the centre-sensitive bell, in pixels of the model input.
    prior_sigma : float
        Of the bell around the position found so far by which the score is multiplied, in pixels at the *working*
        scale.
    coarse_weight : float
        Weight of the similarity of the whole plane's embedding.
    encoder_weight : float
        Weight of the similarity of the embedding of the window; 0: the window is not embedded.
    gradient_weight : float
        Weight of the gradient descriptors.
    gradient_zooms : tuple of float
        Scales at which they are taken, as multiples of the working scale; those at which the stored image shows
        nothing new are left out.
    """

    size: int = 128
    zoom: float = 4.0
    sigma: float = 4.0
    prior_sigma: float = 16.0
    coarse_weight: float = 0.5
    encoder_weight: float = 0.0
    gradient_weight: float = 4.0
    gradient_zooms: tuple[float, ...] = (16 / 3, 8 / 3, 4 / 3)

    def __post_init__(self) -> None:
        weights = self.coarse_weight, self.encoder_weight, self.gradient_weight
        if min(self.size - 1, self.zoom, *weights) < 0 or not self.sigma > 0 or not self.prior_sigma > 0:
            raise ConfigError(
                f"{self}: expected size of at least 1, sigma and prior_sigma above 0, and no negative number"
            )
        if not sum(weights) > 0 or (self.gradient_weight > 0 and not self.gradient_zooms):
            raise ConfigError(f"{self}: expected a weight above 0, and zooms where gradients count")


@dataclass(frozen=True, slots=True)
class LocateParams:
    """One setting for all kinds of images.

    Attributes
    ----------
    coarse_sigma : float
        Of the centre-sensitive bell of the coarse search, in pixels of the model input. A value other than the
        source's ``pooling_sigma`` makes a further index on first use.
    level_weights : tuple of float, optional
        Weight of each scale of the encoder, finest first; equal by default.
    separate_levels : bool
        Weigh the cosines of the scales, instead of one cosine of all; see
        :class:`napari_ld.similarity.LevelWeights`.
    combine : {"mean", "max"}
        How the similarity maps of several templates become one.
    mirror : bool
        ``images``: each plane is also searched with mirrored templates, and as a whole counts as mirrored when all
        landmarks together fit better so: left and right eyes or hands in one stack. Where the planes fall into two
        mirrored groups by themselves, the groups decide; see :func:`napari_ld.localization.laterality.judged_together`.
    mirror_margin : float
        By how much the mean score must be higher for that.
    mirror_together : bool
        Let the groups decide; otherwise each plane is judged by itself.
    layout : bool
        ``images``: learn from all answers how the landmarks of a set lie to each other, and look again for one that the
        others on its plane expect elsewhere; see :mod:`napari_ld.localization.layout`.
    exclusion : float
        Peaks closer than this share of the longest side are one and the same.
    candidates : int
        Peaks per plane among which the cycle check chooses.
    cycle_weight : float
        0: no cycle check. Otherwise the score of a candidate is lowered by this times the distance, as a share of the
        working size, between the template's point and the place that the candidate finds in the template's plane.
    gradient_weight : float
        Weight of the gradient descriptors, against 1 for the embedding, when the plane is searched again before the
        refinement; 0: embedding only.
    gradient_zooms : tuple of float
        Scales at which they are taken then.
    search_sigma : float
        ``images``: of the bell around the coarse position by which the score is multiplied then, in pixels at the
        working scale.
    path_sigma : float
        The same where a position follows from its neighbours in space or time.
    fine : tuple of FineStage
        Steps of the refinement, in order.
    confident_level : float
        A score is ``confident`` from this share of the way up from the background level (see
        :mod:`napari_ld.localization.confidence`).
    confident_margin : float
        Smallest lead over the best other peak for ``confident``.
    absent_level : float
        ``images``: at or below this share of the way up from the background level the landmark counts as absent.
    slice_absent_level : float
        ``volume``: the same, on the way from the background to the score one slice away from the template.
    slice_candidates : int
        ``volume``: peaks per slice among which the path chooses.
    slice_drift : float
        ``volume``: millimetres that a structure typically moves per millimetre between slices.
    slice_drift_pixels : float
        ``volume``: movement per slice in pixels at the working scale, where the spacing is unknown, and the least
        that is allowed for otherwise.
    slice_continuity : float
        ``volume``: what a typical movement costs, in units of the score.
    slice_switch : float
        ``volume``: what a change between present and absent costs, in units of the score.
    adapt : AdaptParams, optional
        ``images``: learn from the templates what tells each landmark from its surroundings, and use it in the
        refinement, unless ``mirror`` is on and they are of both sides; see :mod:`napari_ld.adaptation`. None: only
        compare.
    """

    coarse_sigma: float = DEFAULT_POOLING_SIGMA
    level_weights: tuple[float, ...] | None = None
    separate_levels: bool = True
    combine: str = "mean"
    mirror: bool = True
    mirror_margin: float = 0.02
    mirror_together: bool = True
    layout: bool = True
    exclusion: float = 0.08
    candidates: int = 5
    cycle_weight: float = 1.0
    gradient_weight: float = 4.0
    gradient_zooms: tuple[float, ...] = (4 / 3, 2 / 3, 1 / 3)
    search_sigma: float = 40.0
    path_sigma: float = 16.0
    fine: tuple[FineStage, ...] = (FineStage(),)
    confident_level: float = 0.7
    confident_margin: float = 0.05
    absent_level: float = 0.0
    slice_absent_level: float = 0.65
    slice_candidates: int = 8
    slice_drift: float = 1.0
    slice_drift_pixels: float = 8.0
    slice_continuity: float = 0.05
    slice_switch: float = 0.05
    adapt: AdaptParams | None = None

    def __post_init__(self) -> None:
        if self.combine not in COMBINATIONS:
            raise ConfigError(f"unknown combination {self.combine!r}: expected one of {', '.join(COMBINATIONS)}")
        if not self.coarse_sigma > 0 or not 0 <= self.exclusion < 1 or min(self.candidates, self.slice_candidates) < 1:
            raise ConfigError(
                f"coarse_sigma {self.coarse_sigma}, exclusion {self.exclusion}, candidates {self.candidates} and "
                f"{self.slice_candidates}: expected a sigma above 0, an exclusion from 0 to 1 and at least 1 candidate"
            )
