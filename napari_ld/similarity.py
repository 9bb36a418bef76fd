"""Centre-sensitive pooling, cosine maps and their peaks.

One-shot localisation compares the embedding around a clicked point with the embedding around every pixel of another
image. The average around a point is weighted with a bell, highest in the middle, so that the answer is not only the
right structure but its right centre. The data flow is that of Local Discrimination; the bell's formula and all
constants here are a reconstruction, not the authors' values.

Shapes: ``v`` is ``(D, h, w)``; *rows* are ``(N, D)``, one row per grid cell in row-major order. Positions are
``(row, column)`` in grid cells, may be fractional, and the centre of the first cell is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_ld.errors import ConfigError

__all__ = [
    "LevelWeights",
    "Peaks",
    "band_matrix",
    "bell",
    "blur",
    "centre_weights",
    "comparable_rows",
    "cosine_rows",
    "fast_similarity_map",
    "find_peaks",
    "highest_peak",
    "level_norms",
    "plateau_centre",
    "pooled_vector",
    "sample",
    "similarity_map",
    "window_size",
]

Position = tuple[float, float]
Array = npt.NDArray[Any]

EPSILON = 1e-10
PLATEAU = 0.005  # cells this close to the maximum, and connected to it, are one plateau (reconstruction)
_FLAT = 1e-6  # bends below this are rounding, not a summit
_REACH = 2.5  # half a window in units of sigma: the bell has fallen to 0.04 there (reconstruction)


# --- the bell ---------------------------------------------------------------------------------------------------------


def bell(size: int, sigma: float | None = None) -> npt.NDArray[np.float64]:
    """One axis of the bell: ``size`` weights that sum to 1; ``sigma=inf`` gives the plain average.

    Parameters
    ----------
    size : int
        Odd window side P.
    sigma : float, optional
        In cells; P / 5 when absent (reconstruction, not the authors' value).
    """
    if size < 1 or size % 2 == 0:
        raise ConfigError(f"window of {size} cells: expected an odd number of at least 1")
    sigma = size / 5 if sigma is None else sigma
    if not sigma > 0:
        raise ConfigError(f"sigma of {sigma}: expected a number above 0")
    offset = np.arange(size) - size // 2
    weights = np.exp(-((offset / sigma) ** 2) / 2)
    return np.asarray(weights / weights.sum(), np.float64)


def centre_weights(size: int, sigma: float | None = None) -> npt.NDArray[np.float64]:
    """The centre-sensitive window W_c: ``(size, size)`` weights that sum to 1."""
    line = bell(size, sigma)
    return np.outer(line, line)


def window_size(sigma: float) -> int:
    """Odd side of the window that holds a bell of ``sigma`` cells."""
    return 2 * max(1, math.ceil(_REACH * sigma)) + 1


def blur(v: Tensor, size: int, sigma: float | None = None, stride: int = 1) -> Tensor:
    """Centre-sensitive average at every cell, with zeros beyond the border.

    Zeros need no renormalisation: dividing by the length afterwards does it.

    Parameters
    ----------
    v : (..., h, w) float tensor
    size, sigma
        See :func:`bell`.
    stride : int
        Keep only every ``stride``-th row and column, starting with the first.

    Returns
    -------
    (..., ceil(h / stride), ceil(w / stride)) float32 tensor
    """
    line = bell(size, sigma)
    down, right = (band_matrix(line, side, stride).to(v.device) for side in v.shape[-2:])
    return down @ (v.float() @ right.T)


def band_matrix(line: npt.NDArray[np.float64], side: int, stride: int = 1) -> Tensor:
    """One axis of a weighted sum as a matrix, (ceil(side / stride), side): its products are faster than convolutions.

    Parameters
    ----------
    line : (n,) array
        Weights of an odd number of neighbours; beyond the border are zeros.
    side : int
        Length of the axis.
    stride : int
        Keep every n-th place.
    """
    offset = np.arange(side)[None] - np.arange(0, side, stride)[:, None] + len(line) // 2
    inside = (offset >= 0) & (offset < len(line))
    return torch.from_numpy(np.where(inside, line[offset.clip(0, len(line) - 1)], 0.0)).float()


def pooled_vector(v: Tensor, cell: Position, size: int, sigma: float | None = None) -> Tensor:
    """Centre-sensitive average around one point, which may lie between cells; not normalised.

    At a whole cell this is ``blur(v)[:, row, column]``. Between cells the bell is centred on the point itself.

    Parameters
    ----------
    v : (D, h, w) float tensor
    cell : (row, column)

    Returns
    -------
    (D,) float32 tensor
    """
    sigma = size / 5 if sigma is None else sigma
    weights, spans = [], []
    for position, length in zip(cell, v.shape[-2:], strict=True):
        nearest = round(position)
        first, last = max(0, nearest - size // 2), min(length, nearest + size // 2 + 1)
        offset = torch.arange(first, last, dtype=torch.float32) - position
        weights.append(torch.exp(-((offset / sigma) ** 2) / 2).to(v.device))
        spans.append(slice(first, last))
    window = v[:, spans[0], spans[1]].float()
    return torch.einsum("dhw,h,w->d", window, *(line / line.sum().clamp_min(EPSILON) for line in weights))


def sample(v: Tensor, cell: Position) -> Tensor:
    """Value of ``v`` (..., h, w) at a fractional cell, bilinear, held at the border: (...) float32."""
    height, width = v.shape[-2:]
    row, column = min(max(cell[0], 0.0), height - 1.0), min(max(cell[1], 0.0), width - 1.0)
    top, left = min(int(row), max(height - 2, 0)), min(int(column), max(width - 2, 0))
    down, right = row - top, column - left
    bottom, east = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = v[..., top, left].float() * (1 - right) + v[..., top, east].float() * right
    lower = v[..., bottom, left].float() * (1 - right) + v[..., bottom, east].float() * right
    return upper * (1 - down) + lower * down


# --- cosines ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LevelWeights:
    """How the parts of an embedding, one per scale of the network, are weighed against each other.

    Attributes
    ----------
    dims : tuple of int
        Lengths of the parts; they sum to D.
    weights : tuple of float
        One non-negative weight per part; only their ratio matters.
    separate : bool
        True: the weighted mean of the cosines of the parts. False: the cosine of the whole (pooled parts that agree
        with their surroundings are longer and count more), which with one part is the formula of the specification.
    """

    dims: tuple[int, ...]
    weights: tuple[float, ...]
    separate: bool = False

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.dims) or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ConfigError(
                f"level weights {self.weights}: expected {len(self.dims)} numbers of at least 0, not all 0, "
                "one per scale of the encoder"
            )

    @classmethod
    def equal(cls, dims: tuple[int, ...]) -> LevelWeights:
        """Every part counts the same."""
        return cls(dims, (1.0,) * len(dims))

    @property
    def slices(self) -> list[slice]:
        """Where each part lies in D."""
        ends = np.cumsum(self.dims)
        return [slice(int(end) - dim, int(end)) for end, dim in zip(ends, self.dims, strict=True)]


def level_norms(rows: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Length of every part of every row: ``(N, D)`` to ``(N, L)`` float32."""
    return torch.stack([part.float().norm(dim=1) for part in torch.split(rows, list(dims), dim=1)], dim=1)


def cosine_rows(rows: Tensor, templates: Tensor, levels: LevelWeights, norms: Tensor | None = None) -> Tensor:
    """Similarity of each row with each template, in [-1, 1].

    Parameters
    ----------
    rows : (N, D) float tensor
        Pooled vectors of any length.
    templates : (T, D) float tensor
        Pooled template vectors of any length.
    levels : LevelWeights
    norms : (N, L) tensor, optional
        :func:`level_norms` of ``rows``, when they are at hand.

    Returns
    -------
    (N, T) float32 tensor
    """
    rows, templates = rows.float(), templates.float()
    norms = level_norms(rows, levels.dims) if norms is None else norms
    lengths = level_norms(templates, levels.dims)
    weights = torch.tensor(levels.weights, dtype=torch.float32, device=rows.device)
    weights = weights / weights.sum()
    if levels.separate:
        total = torch.zeros(len(rows), len(templates), device=rows.device)
        for index, part in enumerate(levels.slices):
            scaled = templates[:, part] * (weights[index] / (lengths[:, index : index + 1] + EPSILON))
            total += (rows[:, part] @ scaled.T) / (norms[:, index : index + 1] + EPSILON)
        return total
    spread = weights.repeat_interleave(torch.tensor(levels.dims, device=rows.device))
    unit = templates * spread / ((lengths.square() @ weights).sqrt() + EPSILON)[:, None]
    return (rows @ unit.T) / ((norms.square() @ weights).sqrt() + EPSILON)[:, None]


def comparable_rows(rows: Tensor, levels: LevelWeights) -> Tensor:
    """Rows (N, D) scaled so that the plain product of two of them is their :func:`cosine_rows`; (N, D) float32.

    Worth its pass over the rows where they are compared many times.
    """
    weights = torch.tensor(levels.weights, dtype=torch.float32, device=rows.device)
    weights = weights / weights.sum()
    norms = level_norms(rows, levels.dims)
    if not levels.separate:
        norms = (norms.square() @ weights).sqrt()[:, None].expand_as(norms)
    scale = weights.sqrt() / (norms + EPSILON)
    return rows.float() * scale.repeat_interleave(torch.tensor(levels.dims, device=rows.device), dim=1)


def similarity_map(
    template: Tensor, v: Tensor, size: int, sigma: float | None = None, levels: LevelWeights | None = None
) -> Tensor:
    """M_sim of one template on one image, the direct form: blur every channel, then take cosines.

    Parameters
    ----------
    template : (D,) float tensor
        Usually :func:`pooled_vector` of the clicked point.
    v : (D, h, w) float tensor

    Returns
    -------
    (h, w) float32 tensor in [-1, 1]
    """
    levels = LevelWeights.equal((v.shape[0],)) if levels is None else levels
    rows = blur(v, size, sigma).flatten(1).T
    return cosine_rows(rows, template[None], levels)[:, 0].view(*v.shape[-2:])


def fast_similarity_map(
    template: Tensor, v: Tensor, size: int, sigma: float | None = None, norm: Tensor | None = None
) -> Tensor:
    """M_sim as the blur of one scalar map, divided by the length of the blurred image.

    Equal to :func:`similarity_map` up to rounding. ``norm`` (h, w), the length of ``blur(v)``, does not depend on the
    template and may be kept per image.
    """
    norm = blur(v, size, sigma).norm(dim=0) if norm is None else norm
    unit = template.float() / (template.float().norm() + EPSILON)
    return blur(torch.einsum("dhw,d->hw", v.float(), unit), size, sigma) / (norm + EPSILON)


# --- peaks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The best peaks of n maps.

    Attributes
    ----------
    cells : (n, K, 2) float64 array
        Sub-cell positions, best first; NaN where a map has fewer peaks.
    scores : (n, K) float64 array
        Values at the peaks; -inf where a map has fewer peaks.
    margins : (n,) float64 array
        Best value minus the value of the best other peak; minus the lowest value where there is no other peak.
    """

    cells: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    margins: npt.NDArray[np.float64]


def find_peaks(maps: Tensor, radius: float, count: int = 1) -> Peaks:
    """The ``count`` best local maxima of each map that are more than ``radius`` cells apart.

    Ties go to the first row, then the first column. The place of a peak is that of a parabola through its 3 x 3
    neighbourhood; on a plateau it is the plateau's centre (:func:`plateau_centre`).

    Parameters
    ----------
    maps : (n, h, w) float tensor
    radius : float
        Closer maxima belong to the same peak.
    count : int
    """
    n, height, width = maps.shape
    is_peak = torch.nn.functional.max_pool2d(maps[:, None], 3, 1, 1)[:, 0] == maps
    values = maps.cpu().numpy().astype(np.float64)
    left = np.where(is_peak.cpu().numpy(), values, -np.inf)
    grid_rows, grid_columns = np.mgrid[:height, :width]
    cells, scores = np.full((n, count, 2), np.nan), np.full((n, count), -np.inf)
    first = second = np.empty(0)
    for k in range(max(count, 2)):
        flat = left.reshape(n, -1).argmax(axis=1)
        best = left.reshape(n, -1)[np.arange(n), flat]
        first, second = (best, second) if k == 0 else (first, best if k == 1 else second)
        rows, columns = np.divmod(flat, width)
        near = (grid_rows - rows[:, None, None]) ** 2 + (grid_columns - columns[:, None, None]) ** 2 <= radius**2
        left[near] = -np.inf
        if k < count:
            found = np.isfinite(best)
            scores[found, k] = best[found]
            cells[found, k] = _refine(values[found], rows[found], columns[found])
    lowest = values.reshape(n, -1).min(axis=1)
    return Peaks(cells, scores, first - np.where(np.isfinite(second), second, lowest))


def highest_peak(values: Array) -> Position:
    """Sub-cell place of the highest value of a map (h, w): the first that :func:`find_peaks` finds."""
    place = _refine(values[None], *np.divmod([int(values.argmax())], values.shape[1]))[0]
    return float(place[0]), float(place[1])


def plateau_centre(values: Array, cell: tuple[int, int], tolerance: float = PLATEAU) -> Position:
    """Mean position of the cells within ``tolerance`` of the value at ``cell`` and connected to it.

    Parameters
    ----------
    values : (h, w) array
    cell : (row, column)
        A cell of the plateau, usually the maximum.
    """
    labels, _ = ndimage.label(values >= values[cell] - tolerance, structure=np.ones((3, 3), int))
    rows, columns = np.nonzero(labels == labels[cell])
    return float(rows.mean()), float(columns.mean())


def _refine(values: Array, rows: Array, columns: Array) -> Array:
    """Sub-cell positions (n, 2) of the maxima of n maps (n, h, w) at ``rows``, ``columns`` (n,)."""
    offset, fits = _parabola(values, rows, columns)
    cells = np.stack([rows, columns], axis=1) + offset
    for index in np.nonzero(~fits)[0]:
        cells[index] = plateau_centre(values[index], (int(rows[index]), int(columns[index])))
    return np.asarray(cells, np.float64)


def _parabola(values: Array, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Least-squares parabola through 3 x 3 cells: offset of its summit (n, 2), and whether it has one nearby (n,)."""
    _, height, width = values.shape
    index = np.arange(len(values))[:, None, None]
    step = np.arange(-1, 2)
    around_rows = np.clip(rows[:, None] + step, 0, height - 1)[:, :, None]
    around_columns = np.clip(columns[:, None] + step, 0, width - 1)[:, None, :]
    p = values[index, around_rows, around_columns]
    slope_r, slope_c = (p[:, 2] - p[:, 0]).mean(1) / 2, (p[:, :, 2] - p[:, :, 0]).mean(1) / 2
    bend_r = (p[:, 2] - 2 * p[:, 1] + p[:, 0]).mean(1)
    bend_c = (p[:, :, 2] - 2 * p[:, :, 1] + p[:, :, 0]).mean(1)
    twist = (p[:, 2, 2] - p[:, 2, 0] - p[:, 0, 2] + p[:, 0, 0]) / 4
    # A peak on the border has neighbours on one side only: it stays on the border, and only the other axis is fitted.
    edge_r, edge_c = (rows == 0) | (rows == height - 1), (columns == 0) | (columns == width - 1)
    slope_r, bend_r = np.where(edge_r, 0.0, slope_r), np.where(edge_r & (bend_r < -_FLAT), -1.0, bend_r)
    slope_c, bend_c = np.where(edge_c, 0.0, slope_c), np.where(edge_c & (bend_c < -_FLAT), -1.0, bend_c)
    twist = np.where(edge_r | edge_c, 0.0, twist)
    determinant = bend_r * bend_c - twist**2
    summit = (determinant > _FLAT**2) & (bend_r < -_FLAT)
    safe = np.where(summit, determinant, 1.0)
    offset = np.stack([twist * slope_c - bend_c * slope_r, twist * slope_r - bend_r * slope_c], axis=1) / safe[:, None]
    fits = summit & (np.abs(offset) <= 1).all(axis=1)
    return np.where(fits[:, None], offset, 0.0), fits
