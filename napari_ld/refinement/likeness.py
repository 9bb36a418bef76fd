"""Which label a pixel looks like: rules learned from the sure parts of a rough mask."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from napari_ld.logistic import fit_logistic
from napari_ld.refinement.problem import Array, Problem
from napari_ld.refinement.shape import depth

__all__ = ["features", "likeness"]

_SCALES = (0.0, 0.1, 0.25, 0.6)  # sigmas in depths of the mean label
_PIXELS = 12_000  # of each label that the rule is learned from


def features(problem: Problem, components: int) -> Array:
    """Colours at some scales, what they lack at finer ones, and the embedding: (planes, rows, columns, F) float32."""
    size = float(np.mean([depth(problem, k) for k in range(1, problem.count + 1)]))
    parts = []
    for channels in problem.channels:
        blurred = [_blurred(channels, max(0.6, size * scale), problem.step) for scale in _SCALES]
        parts.append(np.concatenate([*blurred, *(abs(a - b) for a, b in itertools.pairwise(blurred))]))
    picture = np.stack(parts)
    both = np.concatenate([picture, problem.embedding(components)], axis=1)
    return np.ascontiguousarray(np.moveaxis(both, 1, -1), np.float32)


def likeness(problem: Problem, samples: Array, weights: Array, ridge: float, seed_weight: float = 3.0) -> Array:
    """Log-odds of background and every label against the others, by what pixels look like.

    Parameters
    ----------
    problem : Problem
    samples : (planes, rows, columns, F) float32 array
        As :func:`features`.
    weights : (K + 1, planes, rows, columns) float32 array
        How surely a pixel belongs to each.
    ridge : float
        Penalty of the logistic regression.
    seed_weight : float
        Weight of a seed against a sure pixel.

    Returns
    -------
    (K + 1, planes, rows, columns) float32 array
    """
    flat = samples.reshape(-1, samples.shape[-1])
    sure = weights.reshape(len(weights), -1)
    step = max(1, flat.shape[0] // (_PIXELS * len(weights)))
    seeds = problem.seeds.reshape(-1)
    chosen = np.unique(np.concatenate([np.arange(0, len(flat), step), np.flatnonzero(seeds >= 0)]))
    found = np.zeros((len(weights), len(flat)), np.float32)
    known = seeds[chosen] >= 0
    for k in range(len(weights)):
        if k == 1 and len(weights) == 2:
            found[1] = -found[0]
            break
        problem.check()
        own = sure[k, chosen].astype(np.float64)
        rest = sure[:, chosen].sum(axis=0).astype(np.float64) - own
        own = np.where(known, seed_weight * (seeds[chosen] == k), own)
        rest = np.where(known, seed_weight * (seeds[chosen] != k), rest)
        x = np.concatenate([flat[chosen], flat[chosen]])
        truth = np.arange(len(x)) < len(chosen)
        share = np.concatenate([own / max(own.sum(), 1e-9), rest / max(rest.sum(), 1e-9)]) / 2
        keep = share > 0
        found[k] = fit_logistic(x[keep], truth[keep], share[keep], ridge)(flat)
    return found.reshape(weights.shape)


def _blurred(channels: Array, sigma: float, step: tuple[float, float, float]) -> Array:
    blurred = ndimage.gaussian_filter(channels, (0, sigma / step[1], sigma), mode="nearest", truncate=3.0)
    return np.asarray(blurred, np.float32)
