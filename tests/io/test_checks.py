"""Images whose pixels say nothing are refused; blank slices inside a stack are not."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.checks import check_pixels

RAMP = np.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    "image",
    [
        Image(RAMP, "yx"),
        Image(RAMP.reshape(2, 2, 3), "yxc"),
        Image(np.stack([RAMP * 0, RAMP]), "zyx"),  # a slice outside the body
        Image(RAMP > 5, "yx"),
        Image(RAMP[:1], "yx"),
    ],
)
def test_images_with_something_in_them(image: Image) -> None:
    check_pixels(image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value: float) -> None:
    planes = np.stack([RAMP, RAMP])
    planes[1, 2, 3] = value
    with pytest.raises(ImageError, match=r"film.nii, plane 1: holds NaN or infinite values; replace them"):
        check_pixels(Image(planes, "zyx", source="film.nii"))
    with pytest.raises(ImageError, match=r"film.tif: holds NaN or infinite values"):
        check_pixels(Image(planes[1], "yx", source="film.tif"))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_constant(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"film.png: all pixels have the value 7, so there is nothing to find"):
        check_pixels(Image(np.full(shape, 7, np.uint8), "zyx"[-len(shape) :], source="film.png"))


def test_one_pixel() -> None:
    with pytest.raises(ImageError, match=r"film.png is 1 x 1 pixels; expected a picture"):
        check_pixels(Image(np.array([[7]], np.uint8), "yx", source="film.png"))
