"""Contours move, within a band, to where the image changes most along their normal, to a fraction of a pixel.

Reconstruction: the signed distance to the old contour is corrected by a smooth field of shifts. Each point of the
contour looks along its normal for the steepest change, weighted by how far it is; shifts are averaged along the
contour, each by how clear its edge is, so that a stretch without an edge follows its neighbours or stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_ld.errors import ConfigError
from napari_ld.refinement.problem import Array, Problem
from napari_ld.refinement.shape import depth, pinned, scaled_distances, softmax

__all__ = ["SnapParams", "refine_by_snapping"]

_SAMPLES = 41  # places along a normal


@dataclass(frozen=True, slots=True)
class SnapParams:
    """Settings.

    Attributes
    ----------
    band : float
        How far a contour may move, in depths of its label.
    sigma : float
        Of the profile across the contour, in tenths of a depth.
    smoothing : float
        Length along the contour over which shifts are averaged, in depths.
    """

    band: float = 1.0
    sigma: float = 1.0
    smoothing: float = 0.6

    def __post_init__(self) -> None:
        if min(self.band, self.sigma, self.smoothing) <= 0:
            raise ConfigError(f"{self}: expected numbers above 0")


def refine_by_snapping(problem: Problem) -> Array:
    """Soft maps (K + 1, planes, rows, columns) of background and labels; 0.5 where the new contours run."""
    params = problem.params
    distances = scaled_distances(problem)
    moved = np.empty_like(distances)
    for k, own in enumerate(distances):
        size = depth(problem, k + 1)
        for plane in range(len(own)):
            problem.check()
            present = (problem.labels[plane] == k + 1).any()
            shift = _shifts(problem.channels[plane], own[plane], size, problem.step, params) if present else 0.0
            moved[k, plane] = own[plane] + shift
    slope = 4 * np.array([depth(problem, k + 1) for k in range(problem.count)])[:, None, None, None]
    odds = np.concatenate([np.zeros_like(moved[:1]), np.clip(moved * slope, -30, 30)])
    return pinned(softmax(odds), problem)


def _shifts(
    channels: Array, distance: Array, size: float, step: tuple[float, float, float], params: SnapParams
) -> Array:
    """How far, in depths, the contour moves outwards at each pixel (rows, columns)."""
    smooth = ndimage.gaussian_filter(distance, 1.0)
    slopes = [slope / width for slope, width in zip(np.gradient(smooth), step[1:], strict=True)]
    length = np.sqrt(sum(slope**2 for slope in slopes)) + 1e-6
    inside = distance > 0
    near = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)
    places = np.argwhere(near).astype(np.float64)
    # outwards is down the signed distance
    normal = np.stack([-(slope / length)[near] / width for slope, width in zip(slopes, step[1:], strict=True)], axis=1)
    start = distance[near] * size
    along = np.linspace(-params.band, params.band, _SAMPLES) * size
    sigma = max(0.7, 0.1 * params.sigma * size)
    profile = 0.0
    for channel in channels:
        blurred = ndimage.gaussian_filter(channel, (sigma / step[1], sigma))
        lines = places[:, None] + (along[None, :] + start[:, None])[..., None] * normal[:, None]
        values = ndimage.map_coordinates(blurred, lines.transpose(2, 0, 1), order=1, mode="nearest")
        profile = profile + np.gradient(values, along, axis=1)
    # the usual direction of the change, dark to bright or the other way, is that of the whole contour
    sign = np.sign(np.sum(profile)) or 1.0
    strength = np.clip(sign * profile, 0, None) * np.exp(-np.square(along / (params.band * size)) * 2)
    best = strength.argmax(axis=1)
    clear = np.take_along_axis(strength, best[:, None], axis=1)[:, 0]
    offset = _peak(strength, best, along) / size
    return _spread(near, offset, clear**2, params.smoothing * size, step)


def _peak(strength: Array, best: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Place of each row's peak between samples, by a parabola."""
    inner = np.clip(best, 1, strength.shape[1] - 2)
    left, middle, right = (np.take_along_axis(strength, (inner + by)[:, None], axis=1)[:, 0] for by in (-1, 0, 1))
    bend = left - 2 * middle + right
    part = np.where(np.abs(bend) > 1e-12, 0.5 * (left - right) / np.where(np.abs(bend) > 1e-12, bend, 1), 0)
    return np.asarray(along[inner] + np.clip(part, -1, 1) * (along[1] - along[0]))


def _spread(
    near: np.ndarray, offset: np.ndarray, clear: np.ndarray, sigma: float, step: tuple[float, float, float]
) -> Array:
    """Shifts of contour pixels, averaged around each pixel (rows, columns)."""
    weight, total = np.zeros(near.shape), np.zeros(near.shape)
    weight[near], total[near] = clear, clear * offset
    sigmas = (max(1.0, sigma / step[1]), max(1.0, sigma))
    weight, total = (ndimage.gaussian_filter(x, sigmas, truncate=6.0) for x in (weight, total))
    usual = float(clear.mean()) * 1e-4 + 1e-20
    return np.asarray(total / (weight + usual), np.float32)
