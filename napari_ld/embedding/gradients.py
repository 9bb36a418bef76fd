"""Gradient descriptors: what the surroundings of a point look like, measured instead of learnt.

A descriptor holds histograms of gradient orientations in 4 x 4 bins around a point [1]_, square-rooted [2]_ and without
the part that all places share. It needs no training and keeps its precision on images of a kind that the encoder has
never seen; the encoder knows better which of several similar places is meant. The search adds the two.

References
----------
.. [1] Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60:91, 2004.
.. [2] Arandjelovic & Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from napari_ld.similarity import band_matrix

__all__ = [
    "BIN",
    "BIN_CENTRES",
    "BIN_WEIGHTS",
    "CELL",
    "CLIP",
    "FAINT",
    "LENGTH",
    "ORIENTATIONS",
    "REACH",
    "common_part",
    "descriptors",
    "orientation_cells",
    "orientation_maps",
    "triangles",
]

BIN = 12  # pixels of one of the 4 x 4 bins
REACH = 3 * BIN  # how far a descriptor sees, in pixels, at most: half of the bins, their ramps and the filters
CELL = 2  # pixels of a cell of the maps
ORIENTATIONS = 8
BIN_CENTRES = (-1.5, -0.5, 0.5, 1.5)  # in bins
BIN_WEIGHTS = (0.55, 0.9, 0.9, 0.55)  # Gaussian window of sigma = 2 bins at these centres [1]
LENGTH = len(BIN_CENTRES) ** 2 * ORIENTATIONS  # of a descriptor
CLIP = 0.2  # of the normalised histogram [1]
FAINT = 0.02  # length of a histogram, of contrasts from 0 to 1, below which it is mostly noise

_SMOOTHING = (0.0215, 0.2286, 0.4999)  # Gaussian of sigma 0.8 pixels, from its end to its centre
_KEPT = 32  # matrices and grids of the last sizes: windows of one kind differ by a pixel or two


def orientation_maps(grey: Tensor) -> Tensor:
    """:func:`orientation_cells`, gathered in triangular bins."""
    maps = orientation_cells(grey)
    return triangles(maps.shape[1]) @ (maps @ triangles(maps.shape[2]).T)


def orientation_cells(grey: Tensor) -> Tensor:
    """Gradient magnitude by orientation.

    Parameters
    ----------
    grey : (h, w) float tensor
        Contrast of the order of 1.

    Returns
    -------
    (8, ceil(h / 2), ceil(w / 2)) float32 tensor
        A cell is the mean of 2 x 2 pixels.
    """
    height, width = grey.shape
    x = functional.pad(grey[None, None].float(), (3, 3 + width % 2, 3, 3 + height % 2), mode="replicate")[0, 0]
    x = _smoothed(_smoothed(x).T).T
    down, right = (x[2:, 1:-1] - x[:-2, 1:-1]).div_(2), (x[1:-1, 2:] - x[1:-1, :-2]).div_(2)
    return _by_orientation(down.contiguous(), right.contiguous())


@functools.lru_cache(_KEPT)
def triangles(side: int) -> Tensor:
    """Triangular bins along one axis as a matrix."""
    half = BIN // CELL
    return band_matrix((half - np.abs(np.arange(1 - half, half))) / half**2, side)


def descriptors(maps: Tensor, positions: npt.NDArray[np.float64]) -> Tensor:
    """Unit descriptors at positions of the image that :func:`orientation_maps` was made of.

    Parameters
    ----------
    maps : (8, h, w) tensor
    positions : (N, 2) array
        Row and column in pixels; bins outside the image are empty.

    Returns
    -------
    (N, 128) float32 tensor
        Length near 1, and shorter where there is little contrast: what is hardly visible counts less.
    """
    offsets, weights = _layout()
    cells = (positions[:, None] + offsets + 0.5) / CELL - 0.5  # (N, 16, 2)
    found = _sampled(maps, cells.reshape(-1, 2)).view(len(positions), 16, ORIENTATIONS)
    return _rooted((found * weights[:, None]).flatten(1))


@functools.cache
def common_part() -> Tensor:
    """What the descriptor of a patch without structure is, (128,), of length 1."""
    common = _layout()[1].sqrt().repeat_interleave(ORIENTATIONS)
    unit: Tensor = common / common.norm()
    return unit


@functools.cache
def _layout() -> tuple[npt.NDArray[np.float64], Tensor]:
    """Offsets (16, 2) of the bins in pixels, and their weights (16,)."""
    offsets = np.stack(np.meshgrid(BIN_CENTRES, BIN_CENTRES, indexing="ij"), axis=-1).reshape(-1, 2) * BIN
    return offsets, torch.from_numpy(np.outer(BIN_WEIGHTS, BIN_WEIGHTS).reshape(-1)).float()


def _sampled(maps: Tensor, cells: npt.NDArray[np.float64]) -> Tensor:
    """Bilinear values (M, C) of maps (C, h, w) at fractional cells (M, 2); 0 beyond the border."""
    height, width = maps.shape[1:]
    x = torch.from_numpy(2 * (cells[:, ::-1] + 0.5) / np.array([width, height]) - 1).float()
    found = functional.grid_sample(maps[None], x[None, None], mode="bilinear", align_corners=False)
    return found[0, :, 0].T


def _smoothed(x: Tensor) -> Tensor:
    """Gaussian along the first axis, two rows shorter at either end; sums are faster here than a convolution."""
    outer, inner, centre = _SMOOTHING
    smooth = centre * x[2:-2]
    smooth += (x[1:-3] + x[3:-1]).mul_(inner)
    smooth += (x[:-4] + x[4:]).mul_(outer)
    return smooth


def _by_orientation(down: Tensor, right: Tensor) -> Tensor:
    """Magnitude shared between the two nearest of eight orientations: (h, w) twice, even, to (8, h / 2, w / 2)."""
    height, width = down.shape[0] // CELL, down.shape[1] // CELL
    angle = torch.atan2(down, right).mul_(ORIENTATIONS / (2 * math.pi))
    lower = angle.floor()
    magnitude = torch.hypot(down, right).div_(CELL**2)
    upper_part = angle.sub_(lower).mul_(magnitude)
    which, cell = lower.long(), _cells(down.shape[0], down.shape[1])
    maps = torch.zeros(ORIENTATIONS * height * width)
    # Work goes into as few new arrays as possible: making them takes as long as the sums.
    for orientation, part in ((which, magnitude.sub_(upper_part)), (which + 1, upper_part)):
        at = (orientation & (ORIENTATIONS - 1)).mul_(height * width).add_(cell)  # eight are a power of two
        maps.scatter_add_(0, at.view(-1), part.view(-1))
    return maps.view(ORIENTATIONS, height, width)


@functools.lru_cache(_KEPT)
def _cells(height: int, width: int) -> Tensor:
    """Number of the cell of each pixel, (height, width)."""
    rows, columns = torch.arange(height) // CELL, torch.arange(width) // CELL
    return rows[:, None] * (width // CELL) + columns


def _rooted(histograms: Tensor) -> Tensor:
    """Clip, take the root, take out what a patch without any structure would have, and shorten faint ones: (N, 128)."""
    length = histograms.norm(dim=1, keepdim=True)
    found = (histograms / (length + 1e-6)).clamp_max_(CLIP)
    found = found.div_(found.sum(dim=1, keepdim=True) + 1e-6).sqrt_()
    found -= (found @ common_part())[:, None] * common_part()
    seen: Tensor = found.div_(found.norm(dim=1, keepdim=True) + 1e-6).mul_(length / (length + FAINT))
    return seen
