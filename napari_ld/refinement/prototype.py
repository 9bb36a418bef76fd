"""Labels grow and shrink to what looks like their sure core, sharpened by the image at full resolution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.errors import ConfigError
from napari_ld.refinement.boundary_snap import SnapParams, refine_by_snapping
from napari_ld.refinement.likeness import features, likeness
from napari_ld.refinement.problem import Array, Problem
from napari_ld.refinement.shape import depth, pinned, scaled_distances, shape_prior, softmax

__all__ = ["PrototypeParams", "Sight", "guided", "refine_by_prototype", "sight"]


_FLATNESS = 1e-3  # variance of the guide below which it is followed no more


@dataclass(frozen=True, slots=True)
class PrototypeParams:
    """Settings.

    Attributes
    ----------
    components : int
        Principal components of the embedding.
    ridge : float
        Penalty of the rule that tells labels apart.
    shape : float
        How much the rough mask's shape counts: log-odds per :func:`~napari_ld.refinement.shape.depth`.
    snap : float
        How much of that shape is the one snapped to the nearest edges, from 0 to 1.
    looks : float
        How much it counts what a pixel looks like.
    rounds : int
        How often the rule is learned again from what it found.
    smoothing : float
        Radius of the guided filter in depths.
    """

    components: int = 16
    ridge: float = 0.05
    shape: float = 2.5
    snap: float = 0.5
    looks: float = 1.0
    rounds: int = 2
    smoothing: float = 0.3

    def __post_init__(self) -> None:
        if (
            not 0 <= self.snap <= 1
            or self.components < 0
            or self.rounds < 1
            or min(self.ridge, self.shape, self.looks, self.smoothing) <= 0
        ):
            raise ConfigError(f"{self}: expected at least 1 round, a share from 0 to 1, and numbers above 0")


def refine_by_prototype(problem: Problem) -> Array:
    """Probabilities (K + 1, planes, rows, columns) of background and labels."""
    params = problem.params
    size = float(np.mean([depth(problem, k) for k in range(1, problem.count + 1)]))
    odds = sight(problem, params).total
    shares = []
    for plane in range(odds.shape[1]):
        problem.check()
        share = guided(
            softmax(odds[:, plane] / 2), problem.channels[plane], max(1.0, params.smoothing * size), problem.step
        )
        shares.append(np.clip(share, 0, 1))
    found = np.stack(shares, axis=1)
    return pinned(found / (found.sum(axis=0) + 1e-6), problem)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What speaks for each label.

    Attributes
    ----------
    total : (K + 1, planes, rows, columns) float32 array
        Log-weights of background and labels by looks and shape.
    looks : (K + 1, planes, rows, columns) float32 array
        Log-odds of each against the others by looks alone.
    distances : (K, planes, rows, columns) float32 array
        Scaled, from the boundaries of the shape that counted.
    """

    total: Array
    looks: Array
    distances: Array


def sight(problem: Problem, params: PrototypeParams) -> Sight:
    """Learn what labels look like, and weigh it against their shape."""
    distances = _distances(problem, params.snap)
    prior = shape_prior(distances, params.shape)
    samples = features(problem, params.components)
    outside = np.clip(-distances.max(axis=0), 0, 1)[None]
    weights = np.concatenate([outside, np.clip(distances, 0, 1)]) + 0.05 * (
        np.arange(problem.count + 1)[:, None, None, None] == problem.labels[None]
    )
    for _ in range(params.rounds):
        odds = np.clip(likeness(problem, samples, weights.astype(np.float32), params.ridge), -6, 6)
        total = params.looks * odds + np.log(prior + 1e-6)
        weights = softmax(total) ** 2
    return Sight(np.asarray(total, np.float32), odds, distances)


def _distances(problem: Problem, snap: float) -> Array:
    """Scaled distances from the rough boundaries, and by a share from those snapped to edges."""
    rough = scaled_distances(problem)
    if snap == 0:
        return rough
    shares = refine_by_snapping(replace(problem, params=SnapParams()))
    snapped = replace(problem, labels=shares.argmax(axis=0).astype(np.int32))
    if any(not (snapped.labels == k).any() for k in range(1, problem.count + 1)):
        return rough
    return np.asarray((1 - snap) * rough + snap * scaled_distances(snapped), np.float32)


def guided(maps: Array, channels: Array, radius: float, step: tuple[float, float, float]) -> Array:
    """Guided filter of maps (N, rows, columns) by the mean of channels (C, rows, columns), with Gaussian windows.

    He, Sun & Tang, "Guided image filtering", ECCV 2010, eq. 5, 6 and 8.
    """
    sigma = (radius / step[1], radius)

    def mean(x: npt.NDArray[np.floating[Any]]) -> Array:
        return np.asarray(ndimage.gaussian_filter(x, sigma, mode="nearest", truncate=2.5))

    guide = channels.mean(axis=0)
    middle = mean(guide)
    variance = mean(guide * guide) - middle * middle
    out = []
    for one in maps:
        level = mean(one)
        slope = (mean(guide * one) - middle * level) / (variance + _FLATNESS)
        out.append(mean(slope) * guide + mean(level - slope * middle))
    return np.asarray(np.stack(out), np.float32)
