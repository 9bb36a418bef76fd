"""Labels flood a band around their boundary and meet on the ridges of the image's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import segmentation as _segmentation

from napari_ld.errors import ConfigError
from napari_ld.refinement.problem import Array, Problem
from napari_ld.refinement.shape import pinned, scaled_distances

__all__ = ["WatershedParams", "gradient", "one_hot", "refine_by_flooding"]


segmentation: Any = _segmentation  # scikit-image annotates only some of its functions


@dataclass(frozen=True, slots=True)
class WatershedParams:
    """Settings.

    Attributes
    ----------
    band : float
        Half width of the band in which boundaries may move, in depths of the label.
    sigma : float
        Of the gradient, in pixels.
    """

    band: float = 0.8
    sigma: float = 1.5

    def __post_init__(self) -> None:
        if min(self.band, self.sigma) <= 0:
            raise ConfigError(f"{self}: expected numbers above 0")


def refine_by_flooding(problem: Problem) -> Array:
    """Background and labels as 0 and 1, ``(K + 1, planes, rows, columns)``."""
    params = problem.params
    distances = scaled_distances(problem)
    own = np.take_along_axis(distances, np.maximum(problem.labels - 1, 0)[None], axis=0)[0]
    # background is marked by number K + 1: the flood takes 0 for unmarked
    sure = np.where(own > params.band, problem.labels, 0)
    sure = np.where((problem.labels == 0) & (distances.max(axis=0) < -params.band), problem.count + 1, sure)
    sure = np.where(problem.seeds >= 0, np.where(problem.seeds == 0, problem.count + 1, problem.seeds), sure)
    relief = np.stack([gradient(plane, params.sigma, problem.step) for plane in problem.channels])
    problem.check()
    solid = np.isfinite(problem.step[0])
    parts = [slice(None)] if solid else [slice(plane, plane + 1) for plane in range(len(relief))]
    found = np.concatenate([segmentation.watershed(relief[part], sure[part].astype(np.int32)) for part in parts])
    return pinned(one_hot(np.where(found > problem.count, 0, found), problem.count), problem)


def gradient(channels: Array, sigma: float, step: tuple[float, float, float]) -> Array:
    """Length of the gradient over channels (C, rows, columns), Gaussian derivatives of ``sigma`` columns."""
    sigmas = (sigma / step[1], sigma)
    squares = [
        np.square(ndimage.gaussian_filter(channel, sigmas, order=order, mode="nearest"))
        for channel in channels
        for order in ((0, 1), (1, 0))
    ]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)), np.float32)


def one_hot(labels: np.ndarray, count: int) -> Array:
    """Labels 0 to ``count`` as maps of 0 and 1, ``(count + 1, …)``."""
    return np.asarray(np.stack([labels == k for k in range(count + 1)]), np.float32)
