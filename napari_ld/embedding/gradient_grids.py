"""Gradient descriptors of a regular grid, of which only products with a few vectors are wanted.

A search compares all places of a window with some templates and detectors; it need not write the descriptors down. On a
grid, rows and columns separate: bins are gathered along one axis by running sums and read there, then along the other.
What is done to a descriptor afterwards is, but for the clip, linear up to its length: it can be done to the products.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld.embedding.gradients import (
    BIN,
    BIN_CENTRES,
    BIN_WEIGHTS,
    CELL,
    CLIP,
    FAINT,
    LENGTH,
    ORIENTATIONS,
    common_part,
    orientation_cells,
)

__all__ = ["GridDescriptors"]

Array = npt.NDArray[np.float64]
_EPSILON = 1e-6
_HALF = BIN // CELL  # cells of half a triangular bin


class GridDescriptors:
    """What :func:`napari_ld.embedding.gradients.descriptors` says of a grid, as products with vectors.

    Parameters
    ----------
    grey : (height, width) float tensor
        Contrast of the order of 1.
    rows, columns : (h,) and (w,) arrays
        Rows and columns of the grid in pixels of ``grey``; bins outside it are empty.
    """

    def __init__(self, grey: Tensor, rows: Array, columns: Array) -> None:
        bins = len(BIN_CENTRES)
        down = _read(orientation_cells(grey), rows)  # (8, 4 * h, width / 2)
        found = _read(down.transpose(1, 2).contiguous(), columns).view(ORIENTATIONS, bins, len(columns), bins, -1)
        lengths = found.square().sum(0).sum((0, 2)).sqrt_()  # (w, h)
        clipped = torch.empty(bins, bins, ORIENTATIONS, len(columns), len(rows))
        torch.mul(found.permute(3, 1, 0, 2, 4), (lengths + _EPSILON).reciprocal_()[None, None, None], out=clipped)
        self._clipped = clipped.view(LENGTH, -1).clamp_max_(CLIP)
        total = self._clipped.sum(0)
        self._clipped.sqrt_()
        self._shape = len(columns), len(rows)
        self._scale = (total + _EPSILON).rsqrt_()
        self._common = (common_part() @ self._clipped) * self._scale
        rest = (total * self._scale.square() - self._common.square()).clamp_min_(0).sqrt_()
        self._visible = lengths.view(-1) / ((lengths.view(-1) + FAINT) * (rest + _EPSILON))

    def products(self, vectors: Tensor) -> Tensor:
        """Products (h * w, K), row by row of the grid, of the descriptors with vectors (K, 128)."""
        plain = (vectors @ self._clipped) * self._scale - (vectors @ common_part())[:, None] * self._common
        return (plain * self._visible).view(-1, *self._shape).permute(2, 1, 0).flatten(0, 1)


def _read(x: Tensor, places: Array) -> Tensor:
    """Weighted bins around places (n,), read between cells along the middle axis: (C, cells, m) to (C, 4 * n, m)."""
    cells = x.shape[1]
    held = torch.zeros(x.shape[0], cells + 2 * _HALF, x.shape[2])
    held[:, _HALF:-_HALF] = x
    bins = _box(_box(held))  # the first and the last lie just outside, where bins count as empty
    bins[:, 0] = bins[:, -1] = 0.0
    at = ((np.add.outer(np.array(BIN_CENTRES) * BIN, places) + 0.5) / CELL - 0.5).ravel()
    low = np.floor(at)
    share = torch.from_numpy(at - low).float()[None, :, None]
    weights = torch.from_numpy(np.repeat(BIN_WEIGHTS, len(places)) / _HALF**2).float()[None, :, None]
    first, second = (torch.from_numpy(np.clip(low + k, 0, cells + 1).astype(np.int64)) for k in (1, 2))
    found = bins.index_select(1, first).mul_((1 - share) * weights)
    return found.addcmul_(bins.index_select(1, second), share * weights)


def _box(x: Tensor) -> Tensor:
    """Sums of six neighbours along the middle axis, five fewer."""
    pairs = x[:, 1:] + x[:, :-1]
    return (pairs[:, :-4] + pairs[:, 2:-2]).add_(pairs[:, 4:])
