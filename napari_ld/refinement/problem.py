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

__all__ = ["Array", "Problem", "as_image", "pose"]

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
            full = resampled(flat.reshape(-1, *vectors.shape[1:]), embedding, self.source.shape(self.first))
            maps.append(full[:, rows, columns])
        return np.ascontiguousarray(np.stack(maps), np.float32)


def pose(
    image: Image | ArrayLike,
    mask: ArrayLike,
    seeds: ArrayLike | None,
    source: FeatureSource | None,
    spacing: tuple[float, ...] | None,
    params: Any = None,
    first: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Problem:
    """Check what was given and cut out what matters; parameters and errors as :func:`napari_ld.refinement.refine`."""
    labels = _whole(np.asarray(mask), "mask")
    picture = image if isinstance(image, Image) else as_image(image, labels.ndim)
    _check_shapes(picture, labels, seeds)
    _check_source(picture, source, first)
    scribbles = None if seeds is None else _whole(np.asarray(seeds), "seeds")
    values = _values(labels, scribbles)
    step = _step(picture, labels.ndim, spacing)
    if labels.ndim == 2:
        labels, scribbles = labels[None], None if scribbles is None else scribbles[None]
    marked = labels != 0 if scribbles is None else (labels != 0) | (scribbles > 0)
    box = _box(marked)
    known = np.full(labels[box].shape, -1, np.int32)
    if scribbles is not None:
        cut = scribbles[box]
        known = np.where(cut > 0, np.searchsorted(values, cut) + 1, np.where(cut < 0, 0, -1)).astype(np.int32)
    own = np.where(labels[box] == 0, 0, np.searchsorted(values, labels[box]) + 1).astype(np.int32)
    return Problem(box, _channels(picture, box), own, values, known, step, params, source, first or 0, cancelled)


def _whole(array: npt.NDArray[Any], what: str) -> npt.NDArray[np.int64]:
    fractional = array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.floor(array)).all())
    if array.dtype.kind not in "buif" or fractional:
        raise RegionError(f"{what} of type {array.dtype}; expected whole numbers or booleans, such as a label map")
    if array.ndim not in (2, 3):
        raise RegionError(f"{what} of shape {array.shape}; expected (rows, columns) or (planes, rows, columns)")
    return array.astype(np.int64)


def as_image(pixels: ArrayLike, ndim: int) -> Image:
    """A bare array on the grid of a mask of ``ndim`` axes; its planes are slices of one body."""
    extra = len(pixels.shape) - ndim
    if extra not in (0, 1):
        raise ImageError(f"image of shape {tuple(pixels.shape)} and mask of {ndim} axes; expected one grid")
    return Image(pixels, "zyx"[3 - ndim :] + "c" * extra)


def _check_shapes(image: Image, labels: npt.NDArray[np.int64], seeds: ArrayLike | None) -> None:
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


def _values(labels: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    values = np.unique(labels)
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


def _box(marked: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Labelled planes, and around the labels as much of them as shows the surroundings."""
    low, high = (edge(np.nonzero(marked), axis=1) for edge in (np.min, np.max))
    margin = max(_LEAST_MARGIN, round(_MARGIN * int((high - low)[1:].max())))
    rows, columns = (
        slice(max(0, int(low[axis]) - margin), min(marked.shape[axis], int(high[axis]) + margin + 1)) for axis in (1, 2)
    )
    return slice(int(low[0]), int(high[0]) + 1), rows, columns


def _channels(image: Image, box: tuple[slice, slice, slice]) -> Array:
    planes = [np.asarray(image.plane(plane), np.float32) for plane in range(box[0].start, box[0].stop)]
    if image.has_channels:
        planes = [np.moveaxis(plane[..., :3], -1, 0) for plane in planes]
    else:
        planes = [plane[None] for plane in planes]
    whole = np.stack(planes)
    finite = whole[np.isfinite(whole)]
    if not finite.size:
        raise ImageError("the image holds no finite value where the mask is; check the file")
    low, high = np.percentile(finite[:: max(1, finite.size // 1_000_000)], _CONTRAST)
    scaled = np.clip((whole - low) / max(float(high - low), 1e-9), -0.2, 1.2)
    cut = np.nan_to_num(scaled[:, :, box[1], box[2]], nan=0.0)
    return np.ascontiguousarray(cut, np.float32)


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
