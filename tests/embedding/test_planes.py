"""Arrays of all kinds become planes; what cannot be used is refused by name."""

from __future__ import annotations

from pathlib import Path

import dask.array
import numpy as np
import pytest
import zarr

from napari_ld._types import Image
from napari_ld.embedding.planes import Planes, as_image
from napari_ld.errors import ImageError


@pytest.mark.parametrize(
    ("shape", "axes", "planes"),
    [((4, 5), "yx", 1), ((4, 5, 3), "yxc", 1), ((4, 5, 6), "zyx", 4), ((2, 4, 5, 4), "zyxc", 2)],
)
def test_axes_of_bare_arrays(shape: tuple[int, ...], axes: str, planes: int) -> None:
    image = as_image(np.zeros(shape, np.uint8))
    assert (image.axes, image.n_planes) == (axes, planes)


def test_an_image_says_its_axes_itself() -> None:
    assert as_image(Image(np.zeros((7, 5, 3)), "zyx")).plane_shape == (5, 3)


def test_lists_number_planes_through() -> None:
    planes = Planes([np.zeros((2, 4, 5)), np.ones((6, 7), bool)])
    assert len(planes) == 3
    assert [planes.address(i) for i in range(3)] == [(0, 0), (0, 1), (1, 0)]
    assert planes.load(2).shape == (6, 7)
    assert planes.load(2).dtype == np.uint8


def test_lazy_arrays(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 8, 9), np.uint8)
    stored = zarr.create_array(tmp_path / "a.zarr", shape=pixels.shape, dtype=pixels.dtype)
    stored[:] = pixels
    mapped = np.memmap(tmp_path / "a.raw", np.uint8, "w+", shape=pixels.shape)
    mapped[:] = pixels
    for array in (stored, dask.array.from_array(pixels), mapped):
        np.testing.assert_array_equal(Planes(array).load(1), pixels[1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image(np.zeros((0, 4, 4)), "zyx", source="a.tif"), r"a.tif: shape \(0, 4, 4\) holds no pixels"),
        (np.zeros((4, 0)), "holds no pixels"),
        (Image(np.zeros((4, 4, 2)), "yxc"), "2 channels; expected 1, 3 or 4"),
        (Image(np.zeros((4, 4)), "zyx"), r"axes 'zyx' do not fit the shape \(4, 4\)"),
        (Image(np.zeros((4, 4)), "xy"), "do not fit"),
        (np.zeros((2, 3, 4, 5)), r"array of shape \(2, 3, 4, 5\)"),
        (np.zeros(7), r"array of shape \(7,\)"),
        (np.zeros((4, 4), complex), "values of type complex128; expected integers, floats or booleans"),
        (np.array([["a"]]), "values of type"),
        ("a.png", "got str; expected an Image, an array, or a list"),
        ([], "no image was given"),
    ],
)
def test_refuses(image: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Planes(image)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 2])
def test_planes_that_do_not_exist(index: int) -> None:
    with pytest.raises(ImageError, match="there are planes 0 to 1"):
        Planes(np.zeros((2, 4, 5))).load(index)


def test_limits_of_a_volume_see_all_slices() -> None:
    volume = np.zeros((5, 30, 30), np.uint8)
    volume[3] = 200
    assert 200 in Planes(volume).sample(0)
