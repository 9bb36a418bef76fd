"""Refinement in space: look more closely, from three sides, around what the coarse search found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Embedding
from napari_ld.embedding.volume import VIEWS, VolumeSource, across, pool_slices
from napari_ld.localization.field import Grid, on_grid, summits
from napari_ld.similarity import LevelWeights, blur, cosine_rows, window_size

__all__ = ["VolumeStage", "refine_point", "stage_vectors"]

Points = npt.NDArray[np.float64]
Cancelled = Callable[[], bool] | None


@dataclass(frozen=True, slots=True)
class VolumeStage:
    """How closely the surroundings of a point are looked at; lengths in pixels of the model input at volume scale.

    All numbers were chosen on three pairs of mouse skulls, with every second landmark.

    Attributes
    ----------
    size : int
        Side of the crops, in pixels of the zoomed model input.
    zoom : float
        Scale as a multiple of that of the volume.
    slices : int
        Crops along each axis; an odd number.
    step : float
        Distance of the crops; never less than that of the voxels.
    sigma : float
        Of the bell within a crop, in pixels of the zoomed model input.
    along : float
        Of the bell along the crops' axis.
    reach : float
        The point moves at most this far along each axis.
    prior : float
        Sigma of the bell around the point found so far by which the similarity is multiplied.
    cell : float
        Distance of the grid points on which the views are joined.
    """

    size: int = 96
    zoom: float = 3.0
    slices: int = 3
    step: float = 3.2
    sigma: float = 4.0
    along: float = 3.2
    reach: float = 13.0
    prior: float = 36.0
    cell: float = 0.9


def stage_vectors(volume: VolumeSource, point: Points, stage: VolumeStage, cancelled: Cancelled = None) -> list[Tensor]:
    """Closely seen vectors (D,) of a template's point (3,) in millimetres, one per view."""
    cells = stage.sigma / volume.model.header.config.output_stride
    vectors = []
    for axis in range(VIEWS):
        slab, position = _slab(volume, axis, point, stage, cancelled)
        sigma = stage.along / volume.scale
        slices = [((at - float(point[axis])) / sigma, embedding) for at, embedding in slab]
        vectors.append(pool_slices(slices, position, cells))
    return vectors


def refine_point(
    volume: VolumeSource,
    start: Points,
    templates: Sequence[Sequence[Tensor]],
    levels: LevelWeights,
    stage: VolumeStage,
    cancelled: Cancelled = None,
) -> tuple[Points, float]:
    """Move a point to where its surroundings are most like the templates'.

    Parameters
    ----------
    start : (3,) float64 array
        Millimetres.
    templates : sequence of three (D,) tensors
        :func:`stage_vectors` of each template.

    Returns
    -------
    (3,) float64 array, float
        The place in millimetres, and the mean cosine there.
    """
    grid = _local_grid(volume, start, stage)
    total = torch.zeros(*grid.shape)
    for axis in range(VIEWS):
        slab, _ = _slab(volume, axis, start, stage, cancelled)
        wanted = torch.stack([template[axis] for template in templates])
        maps = _similarity(volume, slab, wanted, levels, stage)
        first = slab[0][1]
        others = list(across(axis))
        spacing = volume.spacing[others]
        origin = np.array([slab[0][0], *(np.array(first.origin) * spacing)])
        between = slab[1][0] - slab[0][0] if len(slab) > 1 else 1.0
        step = np.array([between, *(np.array(first.step) * spacing)])
        total += on_grid(maps, [axis, *others], origin, step, grid).mean(dim=0) / VIEWS
    prior = np.exp(-grid.squared_distances(start) / (2 * (stage.prior / volume.scale) ** 2))
    weighted = total.clamp_min(0) * torch.from_numpy(prior).float()
    places, _ = summits(weighted[None], grid)
    best = np.unravel_index(int(weighted.argmax()), grid.shape)
    return places[0], float(np.clip(float(total[best]), -1.0, 1.0))


def _local_grid(volume: VolumeSource, centre: Points, stage: VolumeStage) -> Grid:
    """Grid points around a point, inside the volume."""
    count = round(stage.reach / stage.cell)
    offsets = np.arange(-count, count + 1) * stage.cell / volume.scale
    last = volume.extent - volume.spacing
    lines = [
        line[(line >= -1e-9) & (line <= end + 1e-9)] for line, end in zip(centre[:, None] + offsets, last, strict=True)
    ]
    z, y, x = (
        line if len(line) else np.clip(at, 0, end)[None] for line, at, end in zip(lines, centre, last, strict=True)
    )
    return Grid((z, y, x))


def _slab(
    volume: VolumeSource, axis: int, point: Points, stage: VolumeStage, cancelled: Cancelled
) -> tuple[list[tuple[float, Embedding]], tuple[float, float]]:
    """Crops of evenly spaced slices around a point with their places in millimetres; and the point within them."""
    source, spacing = volume.whole[axis], float(volume.spacing[axis])
    step = max(1, round(stage.step / (volume.scale * spacing)))
    middle = int(np.clip(round(float(point[axis]) / spacing), 0, source.n_planes - 1))
    half = stage.slices // 2
    planes = [i for i in range(middle - half * step, middle + half * step + 1, step) if 0 <= i < source.n_planes]
    row, column = (float(point[other] / volume.spacing[other]) for other in across(axis))
    crops = [source.crops(i, [(row, column)], stage.size, stage.zoom, cancelled=cancelled)[0] for i in planes]
    return [(i * spacing, crop) for i, crop in zip(planes, crops, strict=True)], (row, column)


def _similarity(
    volume: VolumeSource,
    slab: Sequence[tuple[float, Embedding]],
    templates: Tensor,
    levels: LevelWeights,
    stage: VolumeStage,
) -> Tensor:
    """Similarity of every cell of the crops, pooled along all axes, with every template: (slices, h, w, T)."""
    cells = stage.sigma / volume.model.header.config.output_stride
    size = window_size(cells)
    pooled = torch.stack([blur(torch.from_numpy(crop.vectors), size, cells) for _, crop in slab])
    places = np.array([at for at, _ in slab])
    line = np.exp(-(((places[:, None] - places[None]) * volume.scale / stage.along) ** 2) / 2)
    line /= line.sum(axis=1, keepdims=True)
    pooled = torch.tensordot(torch.from_numpy(line).float(), pooled, dims=([1], [0]))
    n, dims, height, width = pooled.shape
    rows = pooled.permute(0, 2, 3, 1).reshape(-1, dims)
    return cosine_rows(rows, templates, levels).view(n, height, width, -1)
