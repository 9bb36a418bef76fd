"""What a refiner is given: the part of the image around the labels, checked and brought to one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.embedding import FeatureSource
from napari_ld.embedding.resampling import resampled
from napari_ld.errors import Cancelled, ImageError, RegionError

__all__ = ["Array", "Problem", "Survey", "as_image", "pose", "survey"]

Array = npt.NDArray[np.float32]

_MARGIN = 0.6  # of the labelled box's longer side, kept around it on every side
_LEAST_MARGIN = 12  # pixels
_CONTRAST = (0.5, 99.5)  # percentiles that become 0 and 1


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The labelled planes of one image or volume, cropped around the labels.

    Attributes
    ----------
    box : (planes, rows, columns)
        Slices of the whole mask that were cut out.
    channels : (planes, C, rows, columns) float32 array
        0.5 and 99.5 percentiles of the image are 0 and 1.
    labels : (planes, rows, columns) int32 array
        0 is background, ``k`` the k-th of ``values``.
    values : (K,) int64 array
        Values of the labels in the mask, ascending.
    seeds : (planes, rows, columns) int32 array
        -1 where nothing is known, 0 where there is no label for sure, ``k`` where the k-th is.
    step : (plane, row, column)
        Distances between neighbours, of columns 1; infinite between planes that are no slices of one body.
    params : object
        Of the refiner.
    source : FeatureSource or None
    first : int
        Plane of the source that is the image's first.
    cancelled : callable or None
    depths : dict of int to float
        Depths of labels that were measured already, see :func:`napari_ld.refinement.shape.depth`.
    """

    box: tuple[slice, slice, slice]
    channels: Array
    labels: npt.NDArray[np.int32]
    values: npt.NDArray[np.int64]
    seeds: npt.NDArray[np.int32]
    step: tuple[float, float, float]
    params: Any = None
    source: FeatureSource | None = None
    first: int = 0
    cancelled: Callable[[], bool] | None = None
    _maps: dict[int, Array] = field(default_factory=dict)
    depths: dict[int, float] = field(default_factory=dict, init=False)

    @property
    def count(self) -> int:
        """Number of labels without the background."""
        return len(self.values)

    def embedding(self, components: int) -> Array:
        """Embedding in its first principal axes, ``(planes, components, rows, columns)``; none without an encoder.

        The axes are those of the cut-out planes together, and the sum of their variances is 1.
        """
        if self.source is None or components == 0:
            shape = self.labels.shape
            return np.zeros((shape[0], 0, *shape[1:]), np.float32)
        if components not in self._maps:
            self._maps[components] = self._embed(components)
        return self._maps[components]

    def check(self) -> None:
        """Stop when the work was cancelled.

        Raises
        ------
        Cancelled
        """
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("refining was cancelled")

    def _embed(self, components: int) -> Array:
        assert self.source is not None
        planes, rows, columns = self.box
        found, samples = [], []
        for plane in range(planes.start, planes.stop):
            self.check()
            embedding = self.source.plane(self.first + plane, self.cancelled)
            vectors = np.asarray(embedding.vectors, np.float32)
            samples.append(_cells_within(vectors, embedding.origin, embedding.step, (rows, columns)))
            found.append((embedding, vectors))
        mean, axes = _principal(np.concatenate(samples), components)
        maps = []
        for embedding, vectors in found:
            flat = axes.T @ (vectors.reshape(len(vectors), -1) - mean[:, None])
            cells = flat.reshape(-1, *vectors.shape[1:])
            shape, corner = (rows.stop - rows.start, columns.stop - columns.start), (rows.start, columns.start)
            maps.append(resampled(cells, embedding, shape, corner=corner))
        return np.ascontiguousarray(np.stack(maps), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What was given, checked; nothing of the image was read.

    Attributes
    ----------
    image : Image
    labels : (planes, rows, columns) integer array
    seeds : (planes, rows, columns) integer array or None
    values : (K,) int64 array
        Values of the labels, ascending.
    step : (plane, row, column)
        As :class:`Problem` has it.
    """

    image: Image
    labels: npt.NDArray[np.integer[Any]]
    seeds: npt.NDArray[np.integer[Any]] | None
    values: npt.NDArray[np.int64]
    step: tuple[float, float, float]

    @property
    def planes(self) -> slice:
        """From the first to the last plane with labels or seeds of one."""
        there = [plane for plane in range(len(self.labels)) if self.marked(slice(plane, plane + 1)).any()]
        return slice(there[0], there[-1] + 1)

    def marked(self, planes: slice) -> npt.NDArray[np.bool_]:
        """Where labels and seeds of one are on some planes."""
        found = np.asarray(self.labels[planes] != 0)
        return found if self.seeds is None else np.asarray(found | (self.seeds[planes] > 0))

    def box(self, planes: slice) -> tuple[slice, slice, slice]:
        """Some planes, and around their labels as much of them as shows the surroundings."""
        marked = self.marked(planes)
        sides = [np.flatnonzero(marked.any(axis=axes)) for axes in ((0, 2), (0, 1))]
        margin = max(_LEAST_MARGIN, round(_MARGIN * max(int(side[-1] - side[0]) for side in sides)))
        rows, columns = (
            slice(max(0, int(side[0]) - margin), min(length, int(side[-1]) + margin + 1))
            for side, length in zip(sides, marked.shape[1:], strict=True)
        )
        return planes, rows, columns

    def problem(
        self,
        planes: slice,
        params: Any,
        source: FeatureSource | None,
        first: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Problem:
        """The problem of some planes, on which there are labels; seeds of other labels only say what is not there."""
        box = self.box(planes)
        labels = self.labels[box]
        values = np.unique(labels[labels > 0]).astype(np.int64)
        known = np.full(labels.shape, -1, np.int32)
        if self.seeds is not None:
            seeds = self.seeds[box]
            own = np.where(np.isin(seeds, values), np.searchsorted(values, seeds) + 1, 0)
            known = np.where(seeds == 0, -1, own).astype(np.int32)
        numbers = np.where(labels == 0, 0, np.searchsorted(values, labels) + 1).astype(np.int32)
        channels = _channels(self.image, box)
        return Problem(box, channels, numbers, values, known, self.step, params, source, first, cancelled)


def survey(
    image: Image | ArrayLike,
    mask: ArrayLike,
    seeds: ArrayLike | None,
    source: FeatureSource | None,
    spacing: tuple[float, ...] | None,
    first: int | None = None,
) -> Survey:
    """Check what was given; parameters and errors as :func:`napari_ld.refinement.refine`."""
    labels = _whole(np.asarray(mask), "mask")
    picture = image if isinstance(image, Image) else as_image(image, labels.ndim)
    _check_shapes(picture, labels, seeds)
    _check_source(picture, source, first)
    scribbles = None if seeds is None else _whole(np.asarray(seeds), "seeds")
    values = _values(labels, scribbles)
    step = _step(picture, labels.ndim, spacing)
    if labels.ndim == 2:
        labels, scribbles = labels[None], None if scribbles is None else scribbles[None]
    return Survey(picture, labels, scribbles, values, step)


def pose(
    image: Image | ArrayLike,
    mask: ArrayLike,
    seeds: ArrayLike | None,
    source: FeatureSource | None,
    spacing: tuple[float, ...] | None,
    params: Any = None,
) -> Problem:
    """The problem of all planes at once; parameters and errors as :func:`napari_ld.refinement.refine`."""
    given = survey(image, mask, seeds, source, spacing)
    return given.problem(given.planes, params, source)


def _whole(array: npt.NDArray[Any], what: str) -> npt.NDArray[np.integer[Any]]:
    fractional = array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.floor(array)).all())
    if array.dtype.kind not in "buif" or fractional:
        raise RegionError(f"{what} of type {array.dtype}; expected whole numbers or booleans, such as a label map")
    if array.ndim not in (2, 3):
        raise RegionError(f"{what} of shape {array.shape}; expected (rows, columns) or (planes, rows, columns)")
    # whole masks may be large: integers stay as they are
    return array if array.dtype.kind in "iu" else array.astype(np.uint8 if array.dtype.kind == "b" else np.int64)


def as_image(pixels: ArrayLike, ndim: int) -> Image:
    """A bare array on the grid of a mask of ``ndim`` axes; its planes are slices of one body."""
    extra = len(pixels.shape) - ndim
    if extra not in (0, 1):
        raise ImageError(f"image of shape {tuple(pixels.shape)} and mask of {ndim} axes; expected one grid")
    return Image(pixels, "zyx"[3 - ndim :] + "c" * extra)


def _check_shapes(image: Image, labels: npt.NDArray[np.integer[Any]], seeds: ArrayLike | None) -> None:
    grid = tuple(image.array.shape[: len(image.axes.rstrip("c"))])
    if grid != labels.shape:
        raise RegionError(f"mask of shape {labels.shape} on an image of {grid}; expected a mask on the image's grid")
    if seeds is not None and tuple(seeds.shape) != labels.shape:
        raise RegionError(f"seeds of shape {tuple(seeds.shape)}; expected {labels.shape}, that of the mask")


def _check_source(image: Image, source: FeatureSource | None, first: int | None) -> None:
    if source is None:
        return
    begin = first or 0
    fits = source.n_planes == image.n_planes if first is None else 0 <= begin <= source.n_planes - image.n_planes
    if not fits or source.shape(begin) != image.plane_shape:
        raise ImageError(
            f"features of {source.n_planes} planes of {source.shape(0)} pixels for {image.n_planes} planes of "
            f"{image.plane_shape}; expected a FeatureSource of the same image"
        )


def _values(labels: npt.NDArray[np.integer[Any]], seeds: npt.NDArray[np.integer[Any]] | None) -> npt.NDArray[np.int64]:
    values = np.unique(labels).astype(np.int64)
    if values[0] < 0:
        raise RegionError(f"mask holds {values[0]}; expected 0 for background and labels from 1")
    values = values[values > 0]
    if not len(values):
        raise RegionError("the mask is empty: there is nothing to refine; outline the structure roughly first")
    if seeds is not None:
        foreign = np.setdiff1d(seeds[seeds > 0], values)
        if len(foreign):
            known = ", ".join(map(str, values))
            raise RegionError(f"seeds hold label {foreign[0]}, which is not in the mask; expected one of {known}")
    return values


def _step(image: Image, ndim: int, spacing: tuple[float, ...] | None) -> tuple[float, float, float]:
    given = image.spacing if spacing is None else spacing
    if given is not None and (len(given) not in (2, 3) or not all(0 < one < np.inf for one in given)):
        raise ImageError(f"spacing {given}; expected two or three positive numbers in mm, (plane,) row, column")
    if given is None:
        given = (1.0,) * ndim
    row, column = given[-2:]
    slices = image.axes.startswith("z")
    return ((given[0] / column) if slices and len(given) == 3 else 1.0) if slices else np.inf, row / column, 1.0


def _channels(image: Image, box: tuple[slice, slice, slice]) -> Array:
    """The image in the box; contrast is that of whole planes, of which some pixels are enough."""
    planes = range(box[0].start, box[0].stop)
    every = max(1, int(np.sqrt(len(planes) * np.prod(image.plane_shape) / 1_000_000)))
    cut, samples = [], []
    for number in planes:
        plane = np.asarray(image.plane(number), np.float32)
        plane = np.moveaxis(plane[..., :3], -1, 0) if image.has_channels else plane[None]
        sample = plane[:, ::every, ::every]
        samples.append(sample[np.isfinite(sample)])
        cut.append(plane[:, box[1], box[2]])
    seen = np.concatenate(samples)
    if not seen.size:
        raise ImageError("the image holds no finite value where the mask is; check the file")
    low, high = np.percentile(seen, _CONTRAST)
    scaled = np.clip((np.stack(cut) - low) / max(float(high - low), 1e-9), -0.2, 1.2)
    return np.ascontiguousarray(np.nan_to_num(scaled, nan=0.0), np.float32)


def _cells_within(
    vectors: Array, origin: tuple[float, float], step: tuple[float, float], box: tuple[slice, slice]
) -> Array:
    """Vectors (N, D) of the cells whose centres lie in a box of pixels."""
    parts = []
    for axis in (0, 1):
        first = int(np.floor((box[axis].start - origin[axis]) / step[axis]))
        last = int(np.ceil((box[axis].stop - origin[axis]) / step[axis]))
        parts.append(slice(max(0, first), max(last, first + 1) + 1))
    return vectors[:, parts[0], parts[1]].reshape(len(vectors), -1).T


def _principal(rows: Array, components: int) -> tuple[Array, Array]:
    """Mean (D,) and axes (D, components), scaled to a sum of variances of 1, signs fixed."""
    mean = rows.mean(axis=0)
    centred = (rows - mean).astype(np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(rows))
    axes, variance = axes[:, ::-1][:, :components], np.maximum(variance[::-1][:components], 1e-12)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return mean, (axes / np.sqrt(variance.sum())).astype(np.float32)
