"""Images whose pixels are there but say nothing."""

from __future__ import annotations

import numpy as np

from napari_ld._types import Image
from napari_ld.errors import ImageError

__all__ = ["check_pixels"]


def check_pixels(image: Image) -> None:
    """Refuse an image in which nothing can be found; reads every plane once.

    A stack may hold empty planes, as slices outside the body are, but not only such.

    Raises
    ------
    ImageError
        When a pixel is NaN or infinite, when there is no more than one pixel to a plane, or when all pixels are equal;
        names the file and the remedy.
    """
    name = image.source or "the image"
    rows, columns = image.plane_shape
    if rows * columns <= 1:
        raise ImageError(
            f"{name} is {rows} x {columns} pixels; expected a picture with something in it: export it again"
        )
    low, high = np.inf, -np.inf
    for index in range(image.n_planes):
        pixels = image.plane(index)
        plane_low, plane_high = float(pixels.min()), float(pixels.max())
        # a NaN makes both NaN, an infinity one of them infinite
        if not (np.isfinite(plane_low) and np.isfinite(plane_high)):
            where = f", plane {index}" if image.is_stack else ""
            raise ImageError(
                f"{name}{where}: holds NaN or infinite values; replace them, for instance by the smallest finite value "
                "(numpy.nan_to_num), and save the image again"
            )
        low, high = min(low, plane_low), max(high, plane_high)
    if low == high:
        raise ImageError(f"{name}: all pixels have the value {low:g}, so there is nothing to find; export it again")
