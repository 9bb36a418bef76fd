"""Masks made worse in known ways, as strongly as a wanted Dice asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import draw as _draw
from skimage import measure as _measure

from napari_ld.evaluation.overlap import dice

draw: Any = _draw  # scikit-image annotates only some of its functions
measure: Any = _measure

__all__ = ["DEGRADATIONS", "degraded", "mean_dice"]

Labels = npt.NDArray[np.integer[Any]]
Degradation = Callable[[Labels, float, np.random.Generator], Labels]


def degraded(truth: Labels, kind: str, wanted: float, seed: int) -> Labels:
    """A mask (rows, columns) made worse until its mean Dice over labels is as close to ``wanted`` as it gets.

    Parameters
    ----------
    truth : (rows, columns) integer array
    kind : str
        A name of :data:`DEGRADATIONS`.
    wanted : float
    seed : int
        Equal seeds give equal masks.
    """
    best, low, high = truth, 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        found = DEGRADATIONS[kind](truth, middle, np.random.default_rng(seed))
        reached = mean_dice(found, truth)
        if best is truth or abs(reached - wanted) < abs(mean_dice(best, truth) - wanted):
            best = found
        low, high = (middle, high) if reached > wanted else (low, middle)
    return best


def mean_dice(found: Labels, truth: Labels) -> float:
    """Mean Dice over the labels of the truth."""
    return float(np.mean([dice(found == value, truth == value) for value in np.unique(truth[truth > 0])]))


def _size(truth: Labels) -> float:
    return float(np.sqrt((truth > 0).sum()))


def _shift(truth: Labels, strength: float, random: np.random.Generator) -> Labels:
    angle = random.uniform(0, 2 * np.pi)
    far = strength * _size(truth)
    offset = round(far * np.sin(angle)), round(far * np.cos(angle))
    return np.asarray(ndimage.shift(truth, offset, order=0))


def _erosion(truth: Labels, strength: float, random: np.random.Generator) -> Labels:
    """What is closer to another value than a distance becomes background."""
    far = strength * _size(truth) / 2
    kept = np.zeros_like(truth)
    for value in np.unique(truth[truth > 0]):
        kept[ndimage.distance_transform_edt(truth == value) > far] = value
    return kept


def _dilation(truth: Labels, strength: float, random: np.random.Generator) -> Labels:
    away, nearest = ndimage.distance_transform_edt(truth == 0, return_indices=True)
    return np.asarray(np.where(away <= strength * _size(truth), truth[tuple(nearest)], 0))


def _holes(truth: Labels, strength: float, random: np.random.Generator) -> Labels:
    """Twelve round holes, as large as ``strength`` says, anywhere inside and across the boundary."""
    inside = np.argwhere(truth > 0)
    places = inside[random.integers(len(inside), size=12)]
    apart = np.ones(truth.shape, bool)
    apart[tuple(places.T)] = False
    return np.asarray(np.where(ndimage.distance_transform_edt(apart) < 0.5 * strength * _size(truth), 0, truth))


def _polygon(truth: Labels, strength: float, random: np.random.Generator) -> Labels:
    """Few corners on the contour of every part, moved by up to a fifth of the part's size."""
    found = np.zeros_like(truth)
    for value in np.unique(truth[truth > 0]):
        for region in measure.regionprops(measure.label(np.pad(truth == value, 1))):
            contour = max(measure.find_contours(np.pad(region.image_filled, 1), 0.5), key=len)
            corners = max(3, round(16 * (1 - strength)))
            chosen = contour[np.linspace(0, len(contour) - 1, corners, endpoint=False).astype(int)]
            chosen = chosen + random.normal(size=chosen.shape) * 0.2 * strength * np.sqrt(region.area)
            corner = np.array(region.bbox[:2]) - 2
            inside = draw.polygon(*(chosen + corner).T, truth.shape)
            found[inside] = value
    return found


def _low_resolution(truth: Labels, strength: float, random: np.random.Generator) -> Labels:
    """Blocks of pixels, of which one chosen at random speaks for all."""
    block = max(1, round(strength * _size(truth)))
    offset = random.integers(block, size=2)
    rows, columns = (
        np.clip((np.arange(side) // block) * block + shift, 0, side - 1)
        for side, shift in zip(truth.shape, offset, strict=True)
    )
    return truth[np.ix_(rows, columns)]


DEGRADATIONS: dict[str, Degradation] = {
    "dilation": _dilation,
    "erosion": _erosion,
    "holes": _holes,
    "low resolution": _low_resolution,
    "polygon": _polygon,
    "shift": _shift,
}
"""Name to function of a mask, a strength from 0 to 1, and a generator."""
