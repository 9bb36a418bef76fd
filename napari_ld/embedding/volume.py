"""Features of a whole volume, seen along its three axes, for the search of a point in space.

A volume is brought to the common order of axes, cut into slices along each of the three axes, and the slices are
embedded as pictures are. The embeddings are then pooled along the slices' own axis too, in millimetres, so that a
vector of each view belongs to a point in space whatever the shape of the voxels is.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Embedding, Image
from napari_ld.embedding.orientation import Orientation
from napari_ld.embedding.source import FeatureSource
from napari_ld.embedding.tiling import check_cancelled
from napari_ld.errors import ImageError
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.similarity import bell, level_norms, pooled_vector, window_size
from napari_ld.storage import Store

__all__ = ["VIEWS", "VOLUME_SIZE", "View", "VolumeSource", "across", "check_volume", "pool_slices"]

VIEWS = 3
VOLUME_SIZE = 256  # longest side of a volume in pixels of the model input: 2.2 times fewer than a picture's 384
STEP = 8.0  # distance of embedded slices in pixels of the model input: that of the cells of the coarse index
Points = npt.NDArray[np.float64]
Cancelled = Callable[[], bool] | None


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A volume cut along one axis of the common order.

    Attributes
    ----------
    axis : int
        0, 1 or 2 of the common order.
    source : FeatureSource
        The embedded slices, every ``step``-th from ``first``.
    first, step : int
        In voxels along ``axis``.
    """

    axis: int
    source: FeatureSource
    first: int
    step: int


def across(axis: int) -> tuple[int, int]:
    """Axes of the common order along the rows and columns of the slices that are cut along ``axis``."""
    rows, columns = (other for other in range(VIEWS) if other != axis)
    return rows, columns


class VolumeSource:
    """Features of one volume.

    Parameters
    ----------
    image : Image
        ``(plane, row, column[, channel])``; its pixels are held in memory as long as the source.
    model : LoadedModel
    scale : float, optional
        Pixels of the model input per millimetre; by default such that the longest side has 256.
    device, precision, store
        As :class:`FeatureSource` takes them.
    sigma : float
        Of the bell of the coarse search, in pixels of the model input, along all three axes.

    Attributes
    ----------
    orientation : Orientation
    spacing, extent : (3,) float64 array
        Millimetres per voxel, and of the whole volume, along the axes of the common order.
    scale : float
        Pixels of the model input per millimetre.
    kept : dict
        What a search wants to find again as long as the source lives.

    Raises
    ------
    ImageError
        When the image is no stack or has no spacing.
    """

    def __init__(
        self,
        image: Image,
        model: LoadedModel,
        *,
        scale: float | None = None,
        device: str = "auto",
        precision: str = "auto",
        store: Store | None = None,
        sigma: float = 4.0,
    ) -> None:
        check_volume(image)
        self.image = image
        self.model = model
        self.sigma = sigma
        self.orientation = Orientation.of(image)
        spacing = np.array(image.spacing, np.float64)
        self.spacing = spacing[list(self.orientation.order)]
        self.extent = self.spacing * np.array(self.orientation.common_shape)
        self.scale = scale or VOLUME_SIZE / float(self.extent.max())
        self._options: dict[str, Any] = {"device": device, "precision": precision, "store": store}
        self._pooled: dict[int, tuple[Tensor, Tensor]] = {}
        self._grids: dict[int, tuple[tuple[int, int, int], Points, Points]] = {}
        self.kept: dict[Any, Any] = {}

    @cached_property
    def pixels(self) -> npt.NDArray[Any]:
        """The volume in the common order of axes."""
        return self.orientation.apply(np.asarray(self.image.array))

    @cached_property
    def views(self) -> tuple[View, View, View]:
        """The volume cut along each axis."""
        first, second, third = (self._view(axis) for axis in range(VIEWS))
        return first, second, third

    def _view(self, axis: int) -> View:
        first, step = self._cut(axis)
        return View(axis, self.open(np.moveaxis(self.pixels, axis, 0)[first::step], axis, step), first, step)

    def _cut(self, axis: int) -> tuple[int, int]:
        """First slice and step of a view, in voxels: evenly to both ends."""
        length = self.orientation.common_shape[axis]
        step = min(length, max(1, round(STEP / (self.scale * float(self.spacing[axis])))))
        return (length - 1) % step // 2, step

    def release(self) -> None:
        """Let go of pixels that were read from a file; what is pooled stays, and they are read again when needed."""
        if isinstance(self.image.array, np.ndarray):
            return
        for name in ("pixels", "views", "whole"):
            self.__dict__.pop(name, None)

    @cached_property
    def whole(self) -> tuple[FeatureSource, FeatureSource, FeatureSource]:
        """All slices along each axis, for crops."""
        first, second, third = (self.open(np.moveaxis(self.pixels, axis, 0), axis) for axis in range(VIEWS))
        return first, second, third

    def open(self, slices: npt.NDArray[Any], axis: int, step: int = 1) -> FeatureSource:
        """Features of slices (n, rows, columns[, channels]) along one axis, at the scale of the volume."""
        rows, columns = across(axis)
        spacing = float(self.spacing[axis] * step), float(self.spacing[rows]), float(self.spacing[columns])
        longest = float(max(self.extent[rows], self.extent[columns]))
        axes = "zyxc" if slices.ndim == 4 else "zyx"
        image = replace(self.image, array=slices, axes=axes, affine=None, spacing=spacing)
        size = max(1, round(self.scale * longest))
        return FeatureSource(image, self.model, shared_limits=True, working_size=size, **self._options)

    # --- places -------------------------------------------------------------------------------------------------------

    def millimetres(self, points: Points) -> Points:
        """Stored voxels (N, 3) to millimetres along the axes of the common order; the first voxel's centre is 0."""
        return self.orientation.common(points) * self.spacing

    def stored(self, millimetres: Points) -> Points:
        """Millimetres (N, 3) to stored voxels, kept inside the volume."""
        voxels = self.orientation.stored(millimetres / self.spacing)
        return np.asarray(np.clip(voxels, 0.0, np.array(self.orientation.shape) - 1.0), np.float64)

    # --- features -----------------------------------------------------------------------------------------------------

    @property
    def n_slices(self) -> int:
        """Slices of all views together that are embedded for the coarse search."""
        cuts = (self._cut(axis) for axis in range(VIEWS))
        return sum(
            len(range(first, length, step))
            for (first, step), length in zip(cuts, self.orientation.common_shape, strict=True)
        )

    def embed_all(self, *, progress: Callable[[int, int], None] | None = None, cancelled: Cancelled = None) -> None:
        """Embed the slices of all views.

        Raises
        ------
        Cancelled
            What is done by then is kept.
        """
        done = 0
        for axis in range(VIEWS):
            check_cancelled(cancelled)
            if axis in self._pooled:
                done += self.grid(axis)[0][0]
                continue
            view = self.views[axis]
            for i in range(view.source.n_planes):
                check_cancelled(cancelled)
                if not view.source.is_ready(i):
                    view.source.plane(i, cancelled)
                done += 1
                if progress is not None:
                    progress(done, self.n_slices)
            self.pooled(axis, cancelled)

    def grid(self, axis: int) -> tuple[tuple[int, int, int], Points, Points]:
        """Coarse cells of a view: their number, and origin and step in millimetres, along (slices, rows, columns)."""
        if axis not in self._grids:
            view = self.views[axis]
            rows, columns = view.source.index(self.sigma).grid(0)
            origin, step = view.source.index_geometry(0)
            spacing = self.spacing[[axis, *across(axis)]]
            starts, steps = np.array([view.first, *origin]) * spacing, np.array([view.step, *step]) * spacing
            self._grids[axis] = (view.source.n_planes, rows, columns), starts, steps
        return self._grids[axis]

    def pooled(self, axis: int, cancelled: Cancelled = None) -> tuple[Tensor, Tensor]:
        """Vectors of one view pooled along all three axes, (cells, D) float16, and the lengths of their parts.

        They lie in a temporary file that is mapped into memory.
        """
        if axis not in self._pooled:
            source = self.views[axis].source
            (n, rows, columns), _, step = self.grid(axis)
            sigma = self.sigma / self.scale / float(step[0])
            size = window_size(sigma)
            line = bell(size, sigma)
            dims = source.model.header.config.level_dims
            vectors = self._scratch((n * rows * columns, sum(dims)))
            for i in range(n):
                near = range(max(0, i - size // 2), min(n, i + size // 2 + 1))
                mean = torch.zeros(rows * columns, sum(dims))
                for j in near:
                    mean += float(line[j - i + size // 2]) * source.indexed(j, self.sigma, cancelled).rows(j).float()
                vectors[i * rows * columns : (i + 1) * rows * columns] = mean.numpy()
            kept = torch.from_numpy(vectors)
            self._pooled[axis] = kept, level_norms(kept, dims)
        return self._pooled[axis]

    def _scratch(self, shape: tuple[int, int]) -> npt.NDArray[np.float16]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the source
        weakref.finalize(self, file.close)
        return np.memmap(file, np.float16, "w+", shape=shape)

    def vector(self, axis: int, point: Points, cancelled: Cancelled = None) -> Tensor:
        """Vector (D,) of one view pooled around a point (3,) in millimetres, which may lie between slices and cells."""
        view = self.views[axis]
        place = (point[axis] / self.spacing[axis] - view.first) / view.step
        sigma = self.sigma / self.scale / (view.step * float(self.spacing[axis]))
        nearest = int(np.clip(round(float(place)), 0, view.source.n_planes - 1))
        reach = max(1, int(np.ceil(2.5 * sigma)))
        near = range(max(0, nearest - reach), min(view.source.n_planes, nearest + reach + 1))
        slices = [(float((i - place) / sigma), view.source.plane(i, cancelled)) for i in near]
        row, column = (float(point[other] / self.spacing[other]) for other in across(axis))
        return pool_slices(slices, (row, column), self.sigma / self.model.header.config.output_stride)

    def vectors_at(self, axis: int, points: Points, cancelled: Cancelled = None) -> Tensor:
        """Pooled vectors (N, D) of one view at points (N, 3) in millimetres, linear between the coarse cells."""
        (n, rows, columns), origin, step = self.grid(axis)
        kept, _ = self.pooled(axis, cancelled)
        last = np.array([n, rows, columns]) - 1
        cells = np.clip((points[:, [axis, *across(axis)]] - origin) / step, 0, last)
        corner = np.minimum(cells.astype(int), np.maximum(last - 1, 0))
        share = cells - corner
        total = torch.zeros(len(points), kept.shape[1])
        for offset in np.ndindex(2, 2, 2):
            at = np.minimum(corner + offset, last)
            weight = np.where(offset, share, 1 - share).prod(axis=1)
            flat = torch.from_numpy((at[:, 0] * rows + at[:, 1]) * columns + at[:, 2])
            total += kept[flat].float() * torch.from_numpy(weight).float()[:, None]
        return total


def pool_slices(slices: Sequence[tuple[float, Embedding]], position: tuple[float, float], sigma: float) -> Tensor:
    """Centre-sensitive average around a point of a volume, (D,).

    Parameters
    ----------
    slices : sequence of (distance, Embedding)
        Neighbouring slices with their distance from the point, in units of the bell's sigma along the slices.
    position : (row, column)
        Of the point, in stored pixels of the slices.
    sigma : float
        Of the bell within a slice, in cells of the embeddings.
    """
    size = window_size(sigma)
    weights = np.exp(-(np.array([distance for distance, _ in slices]) ** 2) / 2) + 1e-12
    weights /= weights.sum()
    total = torch.zeros(slices[0][1].vectors.shape[0])
    for (_, embedding), weight in zip(slices, weights, strict=True):
        row, column = embedding.to_cell(position)
        top, left = max(0, int(row) - size), max(0, int(column) - size)
        window = np.array(embedding.vectors[:, top : top + 2 * size + 1, left : left + 2 * size + 1], np.float32)
        total += float(weight) * pooled_vector(torch.from_numpy(window), (row - top, column - left), size, sigma)
    return total


def check_volume(image: Image) -> None:
    """Refuse what is no volume of known shape.

    Raises
    ------
    ImageError
        Names the image and the remedy.
    """
    name = image.source or "the image"
    if len(image.axes.removesuffix("c")) > 3:
        raise ImageError(f"{name} holds a series of volumes (axes {image.axes!r}); expected one: choose a time point")
    if not image.is_stack:
        raise ImageError(f"{name} is a single plane; expected a volume of several slices: give one file a volume")
    if image.spacing is None or len(image.spacing) != 3 or not all(0 < float(s) < np.inf for s in image.spacing):
        raise ImageError(
            f"{name}: its spacing is {image.spacing}; a point in space needs the distance of planes, rows and "
            "columns in mm: give --spacing PLANE,ROW,COLUMN, or save the file with it"
        )
