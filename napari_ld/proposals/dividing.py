"""What of a plane is the structure: one level of its map of log-odds, and the parts above it that stand out.

Levels are judged by how steep the map is along the contour, how well the two sides are apart (Otsu, IEEE Trans. SMC
9:62, 1979), how much of the plane's border is taken, and how far the level and the area are from those of the example
(reconstruction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.logistic import fit_logistic

__all__ = ["Division", "Expected", "border_of", "divided", "fitted_to"]

Array = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]

_LEVELS = 32
_QUANTILES = (0.05, 0.998)  # of the map: levels beyond them are not tried
_AREAS = (0.002, 0.97)  # part of the plane; what is smaller or larger is not taken
_AREA_SPREAD = 4.0  # in natural logarithms: an area e times that of the example is a quarter of a unit away
_HALF = 0.5  # an example of more than half its plane says little of the size of others
_BORDER = 2.0  # quality lost by a mask that holds the whole border of the plane
_TOUCHING = 4.0  # border pixels per perimeter of an equal disc: how fast parts at the border lose their value
_RING = 2  # times as large when its holes are filled: such a mask is a ring, and stays one
_FAINT = 0.1  # log-odds, either side of the level, given to pixels that are filled in or left out
_RIDGE = 1.0
_FEWEST = 8  # pixels on either side that a rule can be learned from


@dataclass(frozen=True, slots=True)
class Expected:
    """What the example leads one to expect.

    Attributes
    ----------
    level : float
        Log-odds at which the example is cut best.
    level_spread : float
        In log-odds.
    share : float
        Part of the plane that is covered.
    least_part : float
        Value of a part, relative to the most valuable one, from which on it is kept.
    border : float
        Part of the plane's border that the example takes. Masks that take some of it are judged worse, unless the
        example takes nearly all.
    """

    level: float
    level_spread: float
    share: float
    least_part: float
    border: float = 0.0

    @property
    def inward(self) -> float:
        """How much what lies along the border is avoided, in [0, 1]."""
        return 1 - self.border**4


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """A plane in two.

    Attributes
    ----------
    mask : (rows, columns) bool array
    level : float
        Of the map that was divided.
    """

    mask: BoolMask
    level: float

    def centred(self, odds: Array) -> Array:
        """The map (rows, columns) with its level at 0, above 0 inside the mask alone."""
        above = odds - np.float32(self.level)
        found = np.where(self.mask, np.maximum(above, _FAINT), np.minimum(above, -_FAINT))
        return np.asarray(found, np.float32)


def divided(odds: Array, expected: Expected, within: BoolMask) -> Division | None:
    """Divide a plane at the level of best quality.

    Parameters
    ----------
    odds : (rows, columns) float32 array
        Smooth map of log-odds.
    expected : Expected
    within : (rows, columns) bool array
        Pixels that count.

    Returns
    -------
    Division or None
        None where the map is flat.
    """
    known = odds[within]
    if not known.size or not known.var() > 0:
        return None
    low, high = np.quantile(known, _QUANTILES)
    slope = np.hypot(*np.gradient(odds))
    slope /= max(float(np.quantile(slope[within], 0.98)), 1e-9)
    best, best_quality = None, -np.inf
    for level in np.linspace(low, high, _LEVELS).tolist():
        mask = _parts((odds > level) & within, odds - level, expected) & within
        quality = _quality(mask, known, within, slope, expected)
        quality -= ((level - expected.level) / expected.level_spread) ** 2 / 2
        if quality > best_quality:
            best, best_quality = Division(mask, level), quality
    return best


def fitted_to(features: Array, mask: BoolMask, within: BoolMask) -> Array | None:
    """Log-odds of a rule that tells the inside of a mask from its outside on this very plane.

    Parameters
    ----------
    features : (rows, columns, F) float32 array
    mask, within : (rows, columns) bool arrays

    Returns
    -------
    (rows, columns) float32 array or None
        None where one side has too few pixels.
    """
    truth, rows = mask[within], features[within]
    inside = int(truth.sum())
    if min(inside, len(truth) - inside) < _FEWEST:
        return None
    weights = np.where(truth, 0.5 / inside, 0.5 / (len(truth) - inside))
    rule = fit_logistic(rows, truth, weights, _RIDGE)
    return rule(features)


def _parts(mask: BoolMask, above: Array, expected: Expected) -> BoolMask:
    """The parts of a mask that are worth most, without holes; those along the border are worth less."""
    filled = ndimage.binary_fill_holes(mask)
    if filled.sum() > _RING * mask.sum():
        filled = mask
    labels, count = ndimage.label(filled)
    if not count:
        return mask
    flat = labels.reshape(-1)
    value = np.bincount(flat, np.maximum(above, 0).reshape(-1), count + 1)
    perimeter = 2 * np.sqrt(np.pi * np.maximum(np.bincount(flat, minlength=count + 1), 1))
    touching = np.bincount(border_of(labels), minlength=count + 1) / perimeter
    value *= np.exp(-_TOUCHING * expected.inward * touching)
    kept = value >= expected.least_part * value[1:].max()
    kept[0] = False
    return np.asarray(kept[labels])


def _quality(mask: BoolMask, known: Array, within: BoolMask, slope: Array, expected: Expected) -> float:
    """Quality of a mask, apart from its level."""
    inside = mask[within]
    part = float(inside.mean())
    if not _AREAS[0] < part < _AREAS[1]:
        return -np.inf
    apart = float(known[inside].mean() - known[~inside].mean())
    separation = part * (1 - part) * apart**2 / float(known.var())
    edge = mask & ~ndimage.binary_erosion(mask, border_value=1)
    steep = float(slope[edge].mean()) if edge.any() else 0.0
    border = _BORDER * expected.inward * float(border_of(mask).mean())
    area = float(np.log(part / min(expected.share, _HALF)) / _AREA_SPREAD)
    return float(np.log(steep + 1e-3) + np.log(separation + 1e-6) - border - area**2 / 2)


def border_of(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pixels (N,) of the four sides of a plane (rows, columns); corners twice."""
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
