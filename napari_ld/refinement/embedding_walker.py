"""Random walks that cross neither edges of the image nor of its embedding, from what each label looks like."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_ld.errors import ConfigError
from napari_ld.refinement.problem import Array, Problem
from napari_ld.refinement.prototype import PrototypeParams, sight
from napari_ld.refinement.shape import softmax
from napari_ld.refinement.walker import affinities, walk

__all__ = ["WalkerParams", "refine_by_walking"]


@dataclass(frozen=True, slots=True)
class WalkerParams:
    """Settings.

    Attributes
    ----------
    contrast : float
        How strongly edges hold walkers back.
    embedding : float
        Share of the embedding's differences among all, from 0 (intensities only) to 1.
    trust : float
        How much the label that a pixel looks like counts against its neighbours.
    looks : PrototypeParams
        How it is found.
    """

    contrast: float = 0.7
    embedding: float = 0.5
    trust: float = 0.02
    looks: PrototypeParams = field(default_factory=PrototypeParams)

    def __post_init__(self) -> None:
        if not 0 <= self.embedding <= 1 or min(self.contrast, self.trust) <= 0:
            raise ConfigError(f"{self}: expected a share from 0 to 1, and numbers above 0")


def refine_by_walking(problem: Problem) -> Array:
    """Probabilities (K + 1, planes, rows, columns) of background and labels."""
    params = problem.params
    beforehand = softmax(sight(problem, params.looks).total / 2)
    embedded = problem.embedding(params.looks.components)
    share = params.embedding if embedded.shape[1] else 0.0
    maps = np.concatenate([_even(problem.channels, 1 - share), _even(embedded, share)], axis=1)
    problem.check()
    trust = np.full(problem.labels.shape, params.trust, np.float32)
    return walk(affinities(maps, problem.step, params.contrast), beforehand, trust, problem.seeds)


def _even(maps: Array, share: float) -> Array:
    """Maps whose squared differences between neighbours are ``share`` on average."""
    usual = sum(float(np.square(np.diff(maps, axis=axis)).sum(axis=1).mean()) for axis in (2, 3) if maps.shape[1]) / 2
    return maps * np.float32(np.sqrt(share / (usual + 1e-9)))
