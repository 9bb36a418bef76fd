"""From stored pixels to model input of the wanted size, with the geometry kept exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Box, Embedding, Position
from napari_ld.model.preprocessing import IntensityNormalization

__all__ = ["THUMBNAIL", "Window", "crop_window", "input_scale", "model_input", "plane_window", "resampled", "thumbnail"]

# Rows are normalised and narrowed in strips of about this many pixels, so that a huge plane never stands in memory as
# floating-point numbers.
_STRIP_PIXELS = 4_000_000
THUMBNAIL = 12, 16  # rows and columns of a thumbnail, whatever the shape of the plane
_CELL_PIXELS = 12  # along each axis of a cell of a thumbnail, at least this many pixels are looked at


@dataclass(frozen=True, slots=True)
class Window:
    """Part of a stored plane, and the size of the model input that it becomes.

    Attributes
    ----------
    box : Box
        In stored pixels.
    size : (rows, columns)
        Model input.
    """

    box: Box
    size: tuple[int, int]

    def grid(self, stride: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """``origin`` and ``step``, in stored pixels, of the cells that an encoder of this stride puts out.

        A cell covers ``stride`` input pixels and an input pixel covers ``box / size`` stored ones; the centre of the
        first stored pixel is 0, hence the half pixel.
        """
        steps = [stride * extent / size for extent, size in zip(self.box.shape, self.size, strict=True)]
        starts = (self.box.top, self.box.left)
        origin = [start + step / 2 - 0.5 for start, step in zip(starts, steps, strict=True)]
        return (origin[0], origin[1]), (steps[0], steps[1])


def input_scale(shape: tuple[int, int], spacing: tuple[float, float] | None, working_size: int) -> tuple[float, float]:
    """Model-input pixels per stored pixel along (rows, columns), for a longest side of ``working_size``.

    With a known spacing the longest side is the longest in millimetres, and oblong pixels become square; otherwise
    pixels count as square.
    """
    row, column = (1.0, 1.0) if spacing is None else spacing
    unit = working_size / max(shape[0] * row, shape[1] * column)
    return unit * row, unit * column


def plane_window(shape: tuple[int, int], scale: tuple[float, float]) -> Window:
    """The whole plane."""
    size = max(1, round(shape[0] * scale[0])), max(1, round(shape[1] * scale[1]))
    return Window(Box(0, 0, *shape), size)


def crop_window(shape: tuple[int, int], scale: tuple[float, float], centre: Position, size: int) -> Window:
    """About ``size`` x ``size`` model-input pixels around ``centre`` (stored pixels).

    At the border the window is shifted inwards, and where the plane is smaller than the window it is the whole side.
    """
    starts, extents, sizes = [], [], []
    for position, length, per_pixel in zip(centre, shape, scale, strict=True):
        extent = min(length, max(1, round(size / per_pixel)))
        start = min(max(round(position - (extent - 1) / 2), 0), length - extent)
        starts.append(start)
        extents.append(extent)
        sizes.append(max(1, round(extent * per_pixel)))
    box = Box(starts[0], starts[1], starts[0] + extents[0], starts[1] + extents[1])
    return Window(box, (sizes[0], sizes[1]))


def model_input(
    pixels: npt.NDArray[Any], window: Window, normalization: IntensityNormalization, limits: tuple[float, float]
) -> Tensor:
    """Normalise and resize one window, with a triangle filter against aliasing.

    Parameters
    ----------
    pixels : (rows, columns) or (rows, columns, channels) array
        The whole stored plane.
    limits : (low, high)
        Intensity limits of the plane or of the volume, never of the window.

    Returns
    -------
    (1, C, rows, columns) float32 tensor, of the window's size
    """
    box = window.box
    cut = pixels[box.top : box.bottom, box.left : box.right]
    strip = max(1, _STRIP_PIXELS // max(1, cut.shape[1]))
    narrowed = []
    for top in range(0, cut.shape[0], strip):
        normalised = normalization.apply(cut[top : top + strip], limits)
        x = torch.from_numpy(np.ascontiguousarray(normalised))[None]
        narrowed.append(_resize(x, (x.shape[-2], window.size[1])))
    return _resize(torch.cat(narrowed, dim=2), window.size)


def thumbnail(
    pixels: npt.NDArray[Any], normalization: IntensityNormalization, limits: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Mean brightness of the cells of a coarse grid over the plane, (rows, columns) of :data:`THUMBNAIL`.

    Parameters
    ----------
    pixels : (rows, columns) or (rows, columns, channels) array
    limits : (low, high)
        Intensity limits of the plane.
    """
    # Cells average over so many pixels that every n-th of them will do.
    down, right = (max(1, side // (cells * _CELL_PIXELS)) for side, cells in zip(pixels.shape, THUMBNAIL, strict=False))
    grey = torch.from_numpy(normalization.apply(pixels[::down, ::right], limits).mean(0))
    return np.asarray(torch.nn.functional.adaptive_avg_pool2d(grey[None], THUMBNAIL)[0].numpy(), np.float32)


def resampled(
    maps: npt.NDArray[np.float32],
    embedding: Embedding,
    shape: tuple[int, int],
    step: int = 1,
    corner: tuple[int, int] = (0, 0),
) -> npt.NDArray[np.float32]:
    """Maps on the cells of an embedding (d, h, w), brought to every ``step``-th pixel, linear between cells.

    ``shape`` is that of the part of the plane that begins at ``corner``.
    """
    for axis in (0, 1):
        cells = maps.shape[axis + 1]
        places = np.arange(corner[axis], corner[axis] + shape[axis], step)
        at = (places - embedding.origin[axis]) / embedding.step[axis]
        at = np.clip(at, 0, cells - 1)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, cells - 1)
        share = (at - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        first, second = np.take(maps, low, axis + 1), np.take(maps, high, axis + 1)
        maps = first + (second - first) * share
    return maps


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[-2:]) == size:
        return x
    return torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
