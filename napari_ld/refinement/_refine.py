"""Refine a rough segmentation: the table of refiners, what they have in common, and when a mask is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.refinement.boundary_snap import SnapParams, refine_by_snapping
from napari_ld.refinement.embedding_walker import WalkerParams, refine_by_walking
from napari_ld.refinement.problem import Array, Problem, pose
from napari_ld.refinement.prototype import PrototypeParams, refine_by_prototype
from napari_ld.refinement.watershed import WatershedParams, refine_by_flooding

__all__ = ["DEFAULT_REFINER", "REFINERS", "Change", "Refined", "Refiner", "refine"]

DEFAULT_REFINER = "prototype"
"""The one that wins ``benchmarks/refinement.py``."""

_LEAST_OVERLAP = 0.5  # Dice of old and new, below which the new one is not believed
_LEAST_MARGIN = 0.1  # mean lead of the new label over the old one among changed pixels


@dataclass(frozen=True, slots=True)
class Refiner:
    """A row of the table.

    Attributes
    ----------
    title : str
        For people.
    refine : callable
        Takes a :class:`~napari_ld.refinement.problem.Problem` and returns the probabilities of background and labels.
    params : type
        Frozen dataclass of its parameters.
    embeds : bool
        Whether it looks at an embedding.
    """

    title: str
    refine: Callable[[Problem], Array]
    params: type[Any]
    embeds: bool = False


REFINERS: dict[str, Refiner] = {
    "boundary_snap": Refiner("Snap to the nearest edge", refine_by_snapping, SnapParams),
    "embedding_walker": Refiner("Random walker on the embedding", refine_by_walking, WalkerParams, embeds=True),
    "prototype": Refiner("What looks like its core", refine_by_prototype, PrototypeParams, embeds=True),
    "watershed": Refiner("Watershed of the gradient", refine_by_flooding, WatershedParams),
}
"""Name to refiner."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one label.

    Attributes
    ----------
    label : int
        Its value in the mask.
    before, after : int
        Pixels.
    changed : int
        Pixels that joined or left it.
    overlap : float
        Dice of the old and the new one that the refiner found.
    confidence : float
        Mean lead, from 0 to 1, of the new label's probability over the old one's where pixels changed; 1 where none
        did. It orders results by trust and is not calibrated.
    kept : bool
        Whether the refiner was unsure and the old one was left as it was, but for seeds.
    """

    label: int
    before: int
    after: int
    changed: int
    overlap: float
    confidence: float
    kept: bool

    @property
    def text(self) -> str:
        """What became of it, in words."""
        if self.kept and self.overlap < _LEAST_OVERLAP:
            return f"left as it was: what was found overlaps it too little ({self.overlap:.2f})"
        if self.kept:
            return f"left as it was: not sure enough (confidence {self.confidence:.2f})"
        return f"{self.changed:,} px changed, confidence {self.confidence:.2f}" if self.changed else "nothing to change"


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """A refined mask.

    Attributes
    ----------
    mask : integer array
        Shape, type and label values of the mask that was given.
    changes : tuple of Change
        One for each label, ascending.
    """

    mask: npt.NDArray[Any]
    changes: tuple[Change, ...]


def refine(
    name: str,
    image: Image | ArrayLike,
    mask: ArrayLike,
    *,
    seeds: ArrayLike | None = None,
    source: FeatureSource | None = None,
    params: Any = None,
    spacing: tuple[float, ...] | None = None,
    first: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Refined:
    """Refine the labels of a mask by the image; inputs are never modified.

    Labels do not overlap and are refined at once. In a volume they stay on the planes from the first to the last
    labelled one; nothing farther from the labels than 0.6 of their extent changes.

    Parameters
    ----------
    name : str
        A name of :data:`REFINERS`.
    image : Image or array
        (rows, columns) or (planes, rows, columns), with or without channels last. The planes of a bare array are the
        slices of one body; of an :class:`~napari_ld._types.Image` the axes tell.
    mask : integer array
        On the image's grid without channels; 0 is background.
    seeds : integer array, optional
        Of the mask's shape: a label where that is known, 0 where nothing is, negative where there is no label.
    source : FeatureSource, optional
        Of the same image; by default one of the bundled encoder for the refiners that need it.
    params : object, optional
        The refiner's parameters, such as :class:`PrototypeParams`.
    spacing : tuple of float, optional
        Millimetres per (plane,) row and column, in place of the image's; equal steps where neither is known.
    first : int, optional
        Plane of ``source`` that is the image's first, where the image is a part of a longer stack.
    cancelled : callable, optional
        Asked often.

    Raises
    ------
    ConfigError
        Unknown refiner, or parameters of another one.
    RegionError
        A mask that is empty, of another shape or holds negative or fractional values; seeds of another shape or with
        a label that the mask does not have.
    ImageError
        An image or a feature source that does not fit, a spacing that is not positive.
    Cancelled
        On request.
    """
    if name not in REFINERS:
        raise ConfigError(f"unknown refiner {name!r}; there are {', '.join(REFINERS)}")
    refiner = REFINERS[name]
    params = refiner.params() if params is None else params
    if not isinstance(params, refiner.params):
        raise ConfigError(f"{type(params).__name__} do not fit {name!r}; expected {refiner.params.__name__}")
    problem = pose(image, mask, seeds, source, spacing, params, first, cancelled)
    if refiner.embeds and source is None:
        problem = replace(problem, source=_bundled(image, np.asarray(mask).ndim))
    shares = refiner.refine(problem)
    found, changes = _decide(problem, shares)
    given = np.asarray(mask)
    refined = given.copy()
    whole = refined if refined.ndim == 3 else refined[None]
    whole[problem.box] = np.concatenate([[0], problem.values])[found].astype(given.dtype)
    return Refined(refined, changes)


def _bundled(image: Image | ArrayLike, ndim: int) -> FeatureSource:
    """Features of the bundled encoder."""
    from napari_ld.model.zoo import load_encoder
    from napari_ld.refinement.problem import as_image

    picture = image if isinstance(image, Image) else as_image(image, ndim)
    return FeatureSource(picture, load_encoder(), shared_limits=picture.axes.startswith("z"))


def _decide(problem: Problem, shares: Array) -> tuple[npt.NDArray[np.int32], tuple[Change, ...]]:
    """The most probable labels, but the old ones of those that the refiner is not sure of."""
    old, new = problem.labels, shares.argmax(axis=0).astype(np.int32)
    lead = shares.max(axis=0) - np.take_along_axis(shares, old[None], axis=0)[0]
    verdicts = [_verdict(old == k, new == k, lead) for k in range(1, problem.count + 1)]
    unsure = [k for k, (_, _, kept) in enumerate(verdicts, start=1) if kept]
    # a pixel changes only when both its old and its new label may
    frozen = np.isin(old, unsure) | np.isin(new, unsure)
    found = np.where(frozen, old, new)
    found = np.where(problem.seeds >= 0, problem.seeds, found)
    changes = []
    for k, (overlap, confidence, kept) in enumerate(verdicts, start=1):
        was, became = old == k, found == k
        sizes = int(was.sum()), int(became.sum()), int((was != became).sum())
        changes.append(Change(int(problem.values[k - 1]), *sizes, overlap, confidence, kept))
    return found, tuple(changes)


def _verdict(old: npt.NDArray[np.bool_], new: npt.NDArray[np.bool_], lead: Array) -> tuple[float, float, bool]:
    """Overlap, confidence, and whether the old one is kept."""
    overlap = 2 * int((old & new).sum()) / max(1, int(old.sum()) + int(new.sum()))
    changed = old != new
    confidence = float(lead[changed].mean()) if changed.any() else 1.0
    return overlap, confidence, overlap < _LEAST_OVERLAP or confidence < _LEAST_MARGIN
