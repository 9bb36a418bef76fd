"""At which size a model with a head sees a plane, and how its maps come back to the pixels of the plane."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_ld._types import Box
from napari_ld.embedding.resampling import Window, input_scale, plane_window
from napari_ld.model.heads import HeadConfig

__all__ = ["head_window", "rows_of"]


def head_window(shape: tuple[int, int], spacing: tuple[float, float] | None, head: HeadConfig) -> Window:
    """The whole plane at the size that the head was trained for.

    Parameters
    ----------
    shape : (rows, columns)
    spacing : (row, column) millimetres, or None
        Oblong pixels become square, unless the head wants planes squeezed into a square.
    head : HeadConfig
    """
    if head.square:
        return Window(Box(0, 0, *shape), (head.working_size, head.working_size))
    return plane_window(shape, input_scale(shape, spacing, head.working_size))


def rows_of(maps: npt.NDArray[np.float32], window: Window, first: int, last: int) -> npt.NDArray[np.float32]:
    """Maps (K, h, w) that cover a window, at rows ``first`` to ``last`` of the plane: (K, last - first, columns).

    Linear between the cells of the maps, whatever their number; beyond the outermost ones their value.
    """
    places = np.arange(first, last), np.arange(window.box.shape[1])
    for axis, pixels in enumerate(places):
        cells = maps.shape[axis + 1]
        at = np.clip((pixels + 0.5) * (cells / window.box.shape[axis]) - 0.5, 0, cells - 1)
        low = np.floor(at).astype(np.int64)
        share = (at - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        below = np.take(maps, low, axis + 1)
        maps = below + (np.take(maps, np.minimum(low + 1, cells - 1), axis + 1) - below) * share
    return maps
