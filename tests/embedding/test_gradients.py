"""Gradient descriptors against a slow re-derivation, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data

from napari_ld.embedding.gradient_grids import GridDescriptors
from napari_ld.embedding.gradients import LENGTH, REACH, descriptors, orientation_maps

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def picture() -> npt.NDArray[np.float32]:
    return np.asarray(data.camera()[100:220, 150:281], np.float32) / 255


def naive_maps(grey: npt.NDArray[np.float32]) -> Array:
    """Triangular bins one by one: every pixel adds its gradient to two orientations of all cells within a bin."""
    from scipy import ndimage

    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    smooth = ndimage.correlate1d(grey.astype(np.float64), kernel / kernel.sum(), 0, mode="nearest")
    smooth = ndimage.correlate1d(smooth, kernel / kernel.sum(), 1, mode="nearest")
    down = ndimage.correlate1d(smooth, [-0.5, 0, 0.5], 0, mode="nearest")
    right = ndimage.correlate1d(smooth, [-0.5, 0, 0.5], 1, mode="nearest")
    height, width = grey.shape
    fine = np.zeros((8, height, width))
    for row in range(height):
        for column in range(width):
            turn = np.arctan2(down[row, column], right[row, column]) / (2 * np.pi) * 8 % 8
            size, low = np.hypot(down[row, column], right[row, column]), int(turn) % 8
            fine[low, row, column] += size * (1 - (turn - int(turn)))
            fine[(low + 1) % 8, row, column] += size * (turn - int(turn))
    cells = fine[:, : height // 2 * 2, : width // 2 * 2].reshape(8, height // 2, 2, width // 2, 2).mean((2, 4))
    triangle = np.maximum(0, 6 - np.abs(np.arange(-5, 6))) / 36
    return ndimage.correlate1d(ndimage.correlate1d(cells, triangle, 1, mode="constant"), triangle, 2, mode="constant")


def test_maps_equal_their_definition(picture: npt.NDArray[np.float32]) -> None:
    found = orientation_maps(torch.from_numpy(picture)).numpy()
    assert found.shape == (8, 60, 66)  # an odd side is rounded up
    expected = naive_maps(picture)
    inside = (slice(None), slice(6, -6), slice(6, 58))  # away from the border, which is continued in two ways
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-4)


def test_descriptors_do_not_depend_on_contrast_and_brightness(picture: npt.NDArray[np.float32]) -> None:
    places = np.array([[60.0, 60.0], [41.0, 77.5]])
    plain = descriptors(orientation_maps(torch.from_numpy(picture)), places)
    other = descriptors(orientation_maps(torch.from_numpy(picture * 0.5 + 0.3)), places)
    cosine = torch.nn.functional.cosine_similarity(plain, other)
    assert cosine.min() > 0.9999
    assert (other.norm(dim=1) < plain.norm(dim=1)).all()  # what is fainter counts less


def test_a_place_is_found_again_after_a_shift(picture: npt.NDArray[np.float32]) -> None:
    maps = orientation_maps(torch.from_numpy(picture))
    shifted = orientation_maps(torch.from_numpy(np.ascontiguousarray(picture[4:, 6:])))
    places = np.stack(np.meshgrid(np.arange(36, 80, 2.0), np.arange(36, 90, 2.0), indexing="ij"), -1).reshape(-1, 2)
    wanted = descriptors(maps, np.array([[60.0, 60.0]]))
    best = places[int(torch.nn.functional.cosine_similarity(descriptors(shifted, places), wanted).argmax())]
    np.testing.assert_array_equal(best, [56.0, 54.0])


def test_flat_areas_have_short_descriptors(picture: npt.NDArray[np.float32]) -> None:
    flat = descriptors(orientation_maps(torch.full((80, 80), 0.4)), np.array([[40.0, 40.0]]))
    assert flat.norm() < 1e-3
    seen = descriptors(orientation_maps(torch.from_numpy(picture)), np.array([[60.0, 60.0]]))
    assert 0.5 < seen.norm() <= 1


def test_bins_beyond_the_border_are_empty(picture: npt.NDArray[np.float32]) -> None:
    """Near a corner nothing fails, and the part that is inside still speaks."""
    maps = orientation_maps(torch.from_numpy(picture))
    at_corner = descriptors(maps, np.array([[0.0, 0.0], [-50.0, -50.0]]))
    assert torch.isfinite(at_corner).all()
    assert at_corner[0].norm() > 0.1


def test_reach_covers_what_a_descriptor_sees(picture: npt.NDArray[np.float32]) -> None:
    place = np.array([[60.0, 64.0]])
    changed = picture.copy()
    far = np.maximum(np.abs(np.arange(120)[:, None] - 60), np.abs(np.arange(131)[None] - 64)) > REACH
    changed[far] = np.random.default_rng(0).random(int(far.sum()))
    before = descriptors(orientation_maps(torch.from_numpy(picture)), place)
    after = descriptors(orientation_maps(torch.from_numpy(changed)), place)
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


@pytest.mark.parametrize("step", [0.7, 3.0, 5.3])
def test_products_on_a_grid_are_those_of_the_descriptors(picture: npt.NDArray[np.float32], step: float) -> None:
    rows, columns = -9.3 + step * np.arange(25), 4.1 + step * np.arange(31)  # partly outside the picture
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    vectors = torch.randn(3, LENGTH, generator=torch.Generator().manual_seed(0))
    grey = torch.from_numpy(picture)
    found = GridDescriptors(grey, rows, columns).products(vectors)
    assert found.shape == (25 * 31, 3)
    torch.testing.assert_close(found, descriptors(orientation_maps(grey), places) @ vectors.T, atol=1e-4, rtol=0)


def test_products_on_a_grid_without_contrast_are_nothing() -> None:
    line = np.arange(10.0, 60.0, 5.0)
    found = GridDescriptors(torch.full((80, 80), 0.4), line, line).products(torch.ones(1, LENGTH))
    assert found.abs().max() < 1e-3
