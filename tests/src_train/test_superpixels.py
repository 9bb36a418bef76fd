"""Super-pixels: guard, background, store, warping and the purity of cells."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data, transform

from napari_ld.storage import Store
from src_train.data.geometry import Geometry, affine
from src_train.data.superpixels import (
    SuperpixelParams,
    region_cells,
    regions_of,
    stored_superpixels,
    superpixels,
    warp_labels,
)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return transform.resize(data.camera(), (128, 128), anti_aliasing=True).astype(np.float32)


def test_regions_are_numbered_without_gaps_and_none_is_a_blob(picture: np.ndarray) -> None:
    labels = superpixels(picture)
    ids = np.unique(labels[labels >= 0])
    np.testing.assert_array_equal(ids, np.arange(len(ids)))
    assert 8 <= len(ids) <= 256
    assert np.bincount(labels[labels >= 0]).max() <= labels.size / 2


def test_dark_regions_at_the_border_are_dropped_and_dark_organs_are_kept() -> None:
    image = np.zeros((64, 64), np.float32)
    image[8:56, 8:56] = 0.8
    image[26:38, 26:38] = 0.1
    labels = superpixels(image, SuperpixelParams(fewest=1, largest=1.0))
    assert labels[0, 0] == -1
    assert labels[10, 10] >= 0
    assert labels[32, 32] >= 0
    assert labels[32, 32] != labels[10, 10]


@pytest.mark.parametrize("image", [np.full((48, 48), 0.5), np.random.default_rng(0).random((96, 96))])
def test_the_guard_ends_on_constant_and_noise_images(image: np.ndarray) -> None:
    assert superpixels(image.astype(np.float32)).shape == image.shape


def test_the_guard_halves_the_scale_of_a_blob(picture: np.ndarray) -> None:
    unguarded = SuperpixelParams(scale=600.0, fewest=1, largest=1.0)
    blob = superpixels(picture * 0.3, unguarded)
    guarded = superpixels(picture * 0.3, SuperpixelParams(scale=600.0))
    assert len(np.unique(blob)) < 9 <= len(np.unique(guarded))


def test_stored_maps_are_found_again_and_every_parameter_counts(picture: np.ndarray, tmp_path: Path) -> None:
    store, params = Store(tmp_path), SuperpixelParams()
    labels = stored_superpixels(picture, params, store)
    np.testing.assert_array_equal(labels, superpixels(picture, params))
    size = store.size()
    np.testing.assert_array_equal(stored_superpixels(picture, params, store), labels)
    assert store.size() == size
    for entry in fields(params):
        changed = replace(params, **{entry.name: type(entry.default)(getattr(params, entry.name) * 0.9)})
        before = store.size()
        stored_superpixels(picture, changed, store)
        assert store.size() > before, entry.name


def test_training_images_are_reduced_first(tmp_path: Path) -> None:
    pixels = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    labels = regions_of(pixels, SuperpixelParams(longest_side=96), Store(tmp_path))
    assert labels.shape == (96, 96)
    assert int(labels.max()) >= 7
    again = regions_of(pixels, SuperpixelParams(longest_side=96), Store(tmp_path))
    assert torch.equal(labels, again)


def test_identity_geometry_gives_the_labels_themselves(picture: np.ndarray) -> None:
    labels = torch.from_numpy(superpixels(picture))
    middle = torch.tensor([[63.5, 63.5]])
    same = Geometry(affine(middle, torch.ones(1), torch.zeros(1), 128), 128)
    torch.testing.assert_close(warp_labels(labels, same.grid()[0], (128, 128)), labels)


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(0.5, 2), st.floats(-20, 150), st.booleans())
def test_warped_labels_are_original_labels_or_nothing(angle: float, scale: float, centre: float, mirror: bool) -> None:
    labels = torch.arange(100, dtype=torch.int32).reshape(10, 10)  # a map at a tenth of the image's size
    where = torch.tensor([[centre, 50.0]])
    geometry = Geometry(
        affine(where, torch.tensor([scale]), torch.tensor([angle]), 32, mirror=torch.tensor([mirror])), 32
    )
    grid = geometry.grid()[0]
    warped = warp_labels(labels, grid, (100, 100))
    inside = ((grid >= -0.5) & (grid < 99.5)).all(-1)
    assert bool((warped[~inside] == -1).all())
    x, y = ((grid[inside] + 0.5) / 10).long().unbind(-1)
    assert bool((warped[inside] == (10 * y + x).int()).all())


def test_views_of_one_image_agree_on_the_labels_of_common_points(picture: np.ndarray) -> None:
    labels = torch.from_numpy(superpixels(picture))
    middle = torch.tensor([[60.0, 66.0]])
    first = Geometry(affine(middle, torch.tensor([0.5]), torch.tensor([0.4]), 128), 128)
    second = Geometry(affine(middle + 4, torch.tensor([0.7]), torch.tensor([-0.3]), 128), 128)
    maps = [warp_labels(labels, geometry.grid()[0], (128, 128)) for geometry in (first, second)]
    partner = second.to_view(first.grid())[0].round().long()
    inside = ((partner >= 0) & (partner < 128)).all(-1)
    agree = maps[0][inside] == maps[1][partner[inside][:, 1], partner[inside][:, 0]]
    assert float(agree.float().mean()) > 0.9  # the rest are borders, where rounding decides


def test_cells_need_a_pure_majority() -> None:
    labels = torch.tensor([[[1, 1, 2, 2], [1, 3, 2, 2], [4, 4, -1, -1], [5, 5, -1, 6]]])
    assert region_cells(labels, 2).tolist() == [[[1, 2], [-1, -1]]]
    with pytest.raises(ValueError, match="cannot be divided"):
        region_cells(labels, 3)
