"""How one volume lies to another, from places that the search finds in both by itself.

One click says where one point is; the volumes themselves say much more. Places with strong edges are taken from the
template's volume, found in the other one by the same search as a landmark, and kept where the way back leads to where
they came from. An affine map through them, fitted robustly, and the mean of what is left over near a point predict
where that point lies; the search then needs to look there only. (Our own choice; automatic fiducials are those of
feature-based registration.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.embedding.volume import VIEWS, VolumeSource
from napari_ld.localization.field import grid_of, similarity_field, summits
from napari_ld.similarity import LevelWeights

__all__ = ["Alignment", "align", "fit_affine"]

Points = npt.NDArray[np.float64]

_COUNT = 300  # places taken from the template's volume
_FEWEST = 24  # kept pairs below which nothing is predicted
_CELL = 8.0  # all lengths below in pixels of the model input
_CYCLE = 9.0  # way back must lead this near
_REACH = 13.0  # sigma of the neighbourhood whose deviations are averaged
_OUTLIER = 13.0  # deviation from the affine map beyond which a pair is no neighbour
_SHRINK = 0.5  # weight, in neighbours, of no deviation at all


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Places in the template's volume and where they are in the other one, in millimetres of each.

    Attributes
    ----------
    here, there : (N, 3) float64 array
    matrix : (4, 3) float64 array
        Affine map from here to there: ``[z, y, x, 1] @ matrix``.
    pixel : float
        Millimetres per pixel of the model input.
    """

    here: Points
    there: Points
    matrix: Points
    pixel: float

    @property
    def deviations(self) -> Points:
        """What the affine map leaves over, (N, 3) millimetres."""
        return self.there - _homogeneous(self.here) @ self.matrix

    @property
    def spread(self) -> float:
        """Median length of the deviations in millimetres."""
        return float(np.median(np.linalg.norm(self.deviations, axis=1)))

    def predict(self, points: Points) -> Points:
        """Where points (N, 3) of the template's volume lie in the other one."""
        deviations = self.deviations
        near = np.linalg.norm(deviations, axis=1) < _OUTLIER * self.pixel
        distances = ((points[:, None] - self.here[None]) ** 2).sum(-1)
        weights = np.exp(-distances / (2 * (_REACH * self.pixel) ** 2)) * near
        local = weights @ deviations / (weights.sum(axis=1, keepdims=True) + _SHRINK)
        return np.asarray(_homogeneous(points) @ self.matrix + local, np.float64)


def align(template: VolumeSource, target: VolumeSource, levels: LevelWeights) -> Alignment | None:
    """Find how ``target`` lies to ``template``; None where too few places agree. Found once and kept."""
    key = ("alignment", id(template), levels)
    if key not in target.kept:
        # the template is kept too, so that its number is not given to another
        target.kept[key] = _align(template, target, levels), template
    found: Alignment | None = target.kept[key][0]
    return found


def _align(template: VolumeSource, target: VolumeSource, levels: LevelWeights) -> Alignment | None:
    pixel = 1.0 / template.scale
    here = edges(template)
    if len(here) < _FEWEST:
        return None
    there = _found(template, here, target, levels)
    back = _found(target, there, template, levels)
    kept = np.linalg.norm(back - here, axis=1) < _CYCLE * pixel
    if kept.sum() < _FEWEST:
        return None
    here, there = here[kept], there[kept]
    return Alignment(here, there, fit_affine(here, there, _CYCLE * pixel), pixel)


def edges(volume: VolumeSource) -> Points:
    """Places (N, 3) in millimetres with the strongest edges of their surroundings, strongest first."""
    step = [max(1, round(_CELL / 2 / (volume.scale * float(s)))) for s in volume.spacing]
    pixels = volume.pixels if volume.pixels.ndim == 3 else volume.pixels[..., :3].mean(-1)
    coarse = pixels[:: step[0], :: step[1], :: step[2]].astype(np.float32)
    strength = ndimage.gaussian_gradient_magnitude(coarse, 1.0)
    highest = (ndimage.maximum_filter(strength, 3) == strength) & (strength > 1e-6 * max(float(strength.max()), 1e-30))
    cells = np.argwhere(highest)
    best = np.argsort(-strength[highest], kind="stable")[:_COUNT]
    return np.asarray(cells[best] * np.array(step) * volume.spacing, np.float64)


def _found(source: VolumeSource, points: Points, target: VolumeSource, levels: LevelWeights) -> Points:
    vectors = [source.vectors_at(axis, points) for axis in range(VIEWS)]
    grid, places = grid_of(target, _CELL), []
    for first in range(0, len(points), 64):
        part = [rows[first : first + 64] for rows in vectors]
        places.append(summits(similarity_field(target, part, levels, grid), grid)[0])
    return np.concatenate(places)


def fit_affine(here: Points, there: Points, scale: float, rounds: int = 10) -> Points:
    """Affine map (4, 3) by least squares, re-weighted so that pairs farther off than ``scale`` lose their say."""
    known, weights = _homogeneous(here), np.ones(len(here))
    matrix: Points = np.zeros((4, 3))
    for _ in range(rounds):
        root = np.sqrt(weights)[:, None]
        matrix = np.asarray(np.linalg.lstsq(known * root, there * root, rcond=None)[0], np.float64)
        away: Points = np.linalg.norm(known @ matrix - there, axis=1)
        weights = 1 / (1 + (away / max(scale, float(np.median(away)))) ** 2) ** 2
    return np.asarray(matrix, np.float64)


def _homogeneous(points: Points) -> Points:
    return np.concatenate([points, np.ones((len(points), 1))], axis=1)
