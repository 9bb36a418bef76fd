"""Similarity in space: the maps of a volume's three views on one grid, and the summits of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld.embedding.volume import VIEWS, VolumeSource, across
from napari_ld.similarity import LevelWeights, cosine_rows

__all__ = ["Grid", "grid_of", "interpolation", "similarity_field", "summits", "top_summits"]

Points = npt.NDArray[np.float64]
_CHUNK = 32  # templates whose fields are computed together


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Points in millimetres: one increasing line of coordinates per axis of the common order."""

    lines: tuple[Points, Points, Points]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points along each axis."""
        return len(self.lines[0]), len(self.lines[1]), len(self.lines[2])

    def squared_distances(self, point: Points) -> Points:
        """Square millimetres of every grid point from one point (3,): an array of the grid's shape."""
        z, y, x = ((line - centre) ** 2 for line, centre in zip(self.lines, point, strict=True))
        return np.asarray(z[:, None, None] + y[None, :, None] + x[None, None, :], np.float64)


def grid_of(volume: VolumeSource, pixels: float) -> Grid:
    """Points that fill a volume, ``pixels`` of the model input apart."""
    step = pixels / volume.scale
    last = volume.extent - volume.spacing
    z, y, x = (np.arange(0, max(float(end), 0.0) + step / 2, step) for end in last)
    return Grid((z, y, x))


def interpolation(count: int, origin: float, step: float, line: Points) -> Tensor:
    """Matrix (len(line), count) that interpolates linearly from ``count`` regular samples, held at the ends."""
    cells = np.clip((line - origin) / step, 0, count - 1)
    lower = np.minimum(cells.astype(int), max(count - 2, 0))
    share = cells - lower
    matrix = np.zeros((len(line), count), np.float32)
    np.add.at(matrix, (np.arange(len(line)), lower), 1 - share)
    np.add.at(matrix, (np.arange(len(line)), np.minimum(lower + 1, count - 1)), share)
    return torch.from_numpy(matrix)


def similarity_field(volume: VolumeSource, templates: Sequence[Tensor], levels: LevelWeights, grid: Grid) -> Tensor:
    """Mean over the views of the cosine with each template: (T, planes, rows, columns) of the grid, in [-1, 1].

    Parameters
    ----------
    templates : sequence of (T, D) tensor
        Vectors of each view.
    """
    total = torch.zeros(len(templates[0]), *grid.shape)
    for axis in range(VIEWS):
        shape, origin, step = volume.grid(axis)
        rows, norms = volume.pooled(axis)
        order = [axis, *across(axis)]
        for first in range(0, len(total), _CHUNK):
            chunk = templates[axis][first : first + _CHUNK]
            maps = cosine_rows(rows, chunk, levels, norms).view(*shape, len(chunk))
            total[first : first + _CHUNK] += on_grid(maps, order, origin, step, grid) / VIEWS
    return total


def on_grid(maps: Tensor, order: Sequence[int], origin: Points, step: Points, grid: Grid) -> Tensor:
    """Maps (n, rows, columns, T) of one view, whose axes are ``order`` of the common one, on a grid: (T, z, y, x)."""
    for k, axis in enumerate(order):
        matrix = interpolation(maps.shape[k], float(origin[k]), float(step[k]), grid.lines[axis])
        maps = torch.tensordot(matrix, maps, dims=([1], [k])).movedim(0, k)
    return maps.permute(3, *(list(order).index(axis) for axis in range(VIEWS)))


def summits(fields: Tensor, grid: Grid) -> tuple[Points, Points]:
    """Places (T, 3) in millimetres and values (T,) of the highest points of fields (T, z, y, x).

    Between grid points the place is that of a parabola along each axis; ties go to the first plane, row and column.
    """
    flat = fields.flatten(1).argmax(dim=1).numpy()
    cells = np.stack(np.unravel_index(flat, grid.shape), axis=1)
    values = fields.numpy()
    index = np.arange(len(values))
    best = values[index, *cells.T].astype(np.float64)
    places = np.empty((len(values), 3))
    for axis in range(3):
        last = grid.shape[axis] - 1
        before, after = cells.copy(), cells.copy()
        before[:, axis], after[:, axis] = np.maximum(cells[:, axis] - 1, 0), np.minimum(cells[:, axis] + 1, last)
        low, high = values[index, *before.T].astype(np.float64), values[index, *after.T].astype(np.float64)
        bend = low - 2 * best + high
        inside = (cells[:, axis] > 0) & (cells[:, axis] < last) & (bend < -1e-9)
        offset = np.where(inside, 0.5 * (low - high) / np.where(inside, bend, -1.0), 0.0)
        places[:, axis] = np.interp(cells[:, axis] + np.clip(offset, -0.5, 0.5), np.arange(last + 1), grid.lines[axis])
    return places, best


def top_summits(field: Tensor, grid: Grid, radius: float, count: int) -> tuple[Points, Points]:
    """Places (K, 3) and values (K,) of the best local maxima of one field that are ``radius`` mm apart, best first."""
    peak = torch.nn.functional.max_pool3d(field[None, None], 3, 1, 1)[0, 0] == field
    cells = torch.nonzero(peak).numpy()
    values = field[peak].numpy().astype(np.float64)
    order = np.argsort(-values, kind="stable")
    places = np.stack([line[cells[:, k]] for k, line in enumerate(grid.lines)], axis=1)
    kept: list[int] = []
    for k in order:
        if all(((places[k] - places[j]) ** 2).sum() > radius**2 for j in kept):
            kept.append(int(k))
            if len(kept) == count:
                break
    return places[kept], values[kept]
