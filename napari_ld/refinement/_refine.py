"""Refine a rough segmentation: the table of refiners, what they have in common, and when a mask is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.refinement.boundary_snap import SnapParams, refine_by_snapping
from napari_ld.refinement.embedding_walker import WalkerParams, refine_by_walking
from napari_ld.refinement.learnt import LearntParams, refine_by_learning
from napari_ld.refinement.problem import Array, Problem, Survey, survey
from napari_ld.refinement.prototype import PrototypeParams, refine_by_prototype
from napari_ld.refinement.slabs import slabs
from napari_ld.refinement.watershed import WatershedParams, refine_by_flooding

__all__ = ["DEFAULT_REFINER", "REFINERS", "Change", "Refined", "Refiner", "refine"]

DEFAULT_REFINER = "prototype"
"""The one that wins ``benchmarks/refinement.py``."""

_LEAST_OVERLAP = 0.5  # Dice of old and new, below which the new one is not believed


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
    least_lead : float
        Mean lead of the new label over the old one among changed pixels, below which the old one is kept.
    """

    title: str
    refine: Callable[[Problem], Array]
    params: type[Any]
    embeds: bool = False
    least_lead: float = 0.1


# The leads of 0.25 are chosen on the tuning images of ``benchmarks/refinement.py``: with them no case of `prototype`
# there loses more than 0.01, at the same gain.
REFINERS: dict[str, Refiner] = {
    "boundary_snap": Refiner("Snap to the nearest edge", refine_by_snapping, SnapParams),
    "embedding_walker": Refiner("Random walker on the embedding", refine_by_walking, WalkerParams, embeds=True),
    "learnt": Refiner("What a network learned", refine_by_learning, LearntParams, embeds=True, least_lead=0.25),
    "prototype": Refiner(
        "What looks like its core", refine_by_prototype, PrototypeParams, embeds=True, least_lead=0.25
    ),
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
    labelled one; nothing farther from the labels than 0.6 of their extent changes. A volume that would take more than
    4 GB is refined in slabs of planes that overlap by three on either side.

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
        a label that the mask does not have; labels on one plane that would take more than 4 GB.
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
    given = survey(image, mask, seeds, source, spacing, first)
    parts = slabs(given)
    if refiner.embeds and source is None:
        source = _bundled(given.image)
    refined = np.array(mask)
    whole = refined if refined.ndim == 3 else refined[None]
    found, lead = np.zeros(whole.shape, refined.dtype), np.zeros(whole.shape, np.float16)
    found[:] = whole
    for part in parts:
        if not (given.labels[part.seen] != 0).any():
            continue  # far from all labels
        problem = given.problem(part.seen, params, source, first or 0, cancelled)
        shares = refiner.refine(problem)
        own = slice(part.changed.start - part.seen.start, part.changed.stop - part.seen.start)
        place = (part.changed, *problem.box[1:])
        found[place] = np.concatenate([[0], problem.values])[shares.argmax(axis=0)[own]].astype(refined.dtype)
        lead[place] = _lead(problem, shares)[own]
    return Refined(refined, _decide(given, whole, found, lead, refiner.least_lead))


def _bundled(image: Image) -> FeatureSource:
    """Features of the bundled encoder."""
    from napari_ld.model.zoo import load_encoder

    return FeatureSource(image, load_encoder(), shared_limits=image.axes.startswith("z"))


def _lead(problem: Problem, shares: Array) -> Array:
    """By how much (planes, rows, columns) the most probable label leads the old one."""
    return np.asarray(shares.max(axis=0) - np.take_along_axis(shares, problem.labels[None], axis=0)[0])


def _decide(
    given: Survey, mask: npt.NDArray[Any], found: npt.NDArray[Any], lead: npt.NDArray[np.float16], least: float
) -> tuple[Change, ...]:
    """Bring what was found into the mask, but for labels that the refiner is not sure of; in place."""
    labels = [int(value) for value in given.values]
    verdicts = [_verdict(mask == label, found == label, lead, least) for label in labels]
    unsure = [label for label, (_, _, kept) in zip(labels, verdicts, strict=True) if kept]
    # a pixel changes only when both its old and its new label may
    new = np.where(np.isin(mask, unsure) | np.isin(found, unsure), mask, found)
    if given.seeds is not None:
        new = np.where(given.seeds != 0, np.maximum(given.seeds, 0), new)
    changes = []
    for label, (overlap, confidence, kept) in zip(labels, verdicts, strict=True):
        was, became = mask == label, new == label
        sizes = int(was.sum()), int(became.sum()), int((was != became).sum())
        changes.append(Change(label, *sizes, overlap, confidence, kept))
    mask[:] = new.astype(mask.dtype)
    return tuple(changes)


def _verdict(
    old: npt.NDArray[np.bool_], new: npt.NDArray[np.bool_], lead: npt.NDArray[np.float16], least: float
) -> tuple[float, float, bool]:
    """Overlap, confidence, and whether the old one is kept."""
    overlap = 2 * int((old & new).sum()) / max(1, int(old.sum()) + int(new.sum()))
    changed = old != new
    confidence = float(lead[changed].mean(dtype=np.float64)) if changed.any() else 1.0
    return overlap, confidence, overlap < _LEAST_OVERLAP or confidence < least
