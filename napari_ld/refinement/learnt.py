"""A small network corrects what labels look like, by what it learned of labels that had been made worse.

Our own design. Around each label it sees distances from its boundary, how much pixels look like its core, edges of the
image and of the embedding (:data:`napari_ld.refinement.evidence.MAPS`), on a grid as coarse as the label is deep. It
adds a correction to the log-odds of :mod:`napari_ld.refinement.prototype`, and the guided filter brings the sum back to
the image's own resolution. Trained by ``benchmarks/train_refiner.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_ld.errors import ConfigError
from napari_ld.refinement.evidence import MAPS, evidence
from napari_ld.refinement.problem import Array, Problem
from napari_ld.refinement.prototype import PrototypeParams, guided
from napari_ld.refinement.shape import depth, pinned

if TYPE_CHECKING:
    from napari_ld.model.refiner_head import RefinerHead

__all__ = ["LearntParams", "grid_shape", "on_grid", "refine_by_learning"]

_DEPTH = 6.0  # cells, that a label is deep on the grid
_LONGEST = 224  # cells of a side


@dataclass(frozen=True, slots=True)
class LearntParams:
    """Settings.

    Attributes
    ----------
    weights : str
        File of the network; ``""``: the one that ships.
    smoothing : float
        Radius of the guided filter in depths.
    looks : PrototypeParams
        How what labels look like is found; those of the training.
    """

    weights: str = ""
    smoothing: float = 0.15
    looks: PrototypeParams = field(default_factory=PrototypeParams)

    def __post_init__(self) -> None:
        if self.smoothing <= 0:
            raise ConfigError(f"{self}: expected smoothing above 0")


def refine_by_learning(problem: Problem) -> Array:
    """Probabilities (K + 1, planes, rows, columns) of background and labels.

    Raises
    ------
    ModelFileError
        When the weights cannot be used.
    """
    params = problem.params
    network = _network(params.weights)
    maps, leads = evidence(problem, params.looks)
    odds = np.empty_like(leads)
    for k in range(problem.count):
        shape, size = grid_shape(problem, k + 1), depth(problem, k + 1)
        for plane in range(leads.shape[1]):
            problem.check()
            odds[k, plane] = _corrected(network, maps[k, plane], leads[k, plane], shape)
            share = 1 / (1 + np.exp(-odds[k, plane]))
            radius = max(1.0, params.smoothing * size)
            odds[k, plane] = guided(share[None], problem.channels[plane], radius, problem.step)[0]
    shares = np.clip(odds, 0, 1)
    # each label was judged by itself: where several claim a pixel they share it
    found = np.concatenate([np.clip(1 - shares.max(axis=0), 0, 1)[None], shares])
    return pinned(np.asarray(found / (found.sum(axis=0) + 1e-6), np.float32), problem)


def grid_shape(problem: Problem, k: int) -> tuple[int, int]:
    """Rows and columns of the grid on which the network sees the k-th label; none finer than the image."""
    rows, columns = problem.labels.shape[1:]
    factor = min(1.0, _DEPTH / depth(problem, k), _LONGEST / max(rows * problem.step[1], columns))
    tall, wide = round(rows * problem.step[1] * factor), round(columns * factor)
    return max(8, min(rows, tall)), max(8, min(columns, wide))


def on_grid(maps: Array, shape: tuple[int, int]) -> Array:
    """Maps (C, rows, columns) on another grid, averaged where it is coarser."""
    import torch
    from torch.nn import functional as F

    x = torch.from_numpy(np.ascontiguousarray(maps))[None]
    return np.asarray(F.interpolate(x, size=shape, mode="bilinear", align_corners=False, antialias=True)[0].numpy())


def _corrected(network: RefinerHead, maps: Array, lead: Array, shape: tuple[int, int]) -> Array:
    """Log-odds (rows, columns) of a label with the network's correction."""
    import torch

    with torch.inference_mode():
        correction = network(torch.from_numpy(on_grid(maps, shape))[None])[0].numpy()
    rows, columns = lead.shape
    return np.asarray(lead / 2 + on_grid(correction, (rows, columns))[0], np.float32)


def _network(weights: str) -> RefinerHead:
    from napari_ld.model.checkpoint import load_refiner
    from napari_ld.model.zoo import REFINER, WEIGHTS

    return load_refiner(weights or WEIGHTS / REFINER.file, len(MAPS))
