"""Samples: exact truth, the same for equal seeds, without a network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from napari_ld import _sample_data
from napari_ld._sample_data import SAMPLES, Sample, phantom_stack, retina_stack

SMALL: dict[str, Callable[[int], Sample]] = {
    "phantom": lambda seed: phantom_stack(3, (96, 128), seed),
    "retina": lambda seed: retina_stack(3, 128, seed),
}


@pytest.mark.parametrize("name", SMALL)
class TestEverySample:
    def test_every_landmark_lies_on_every_plane(self, name: str) -> None:
        for seed in range(4):
            sample = SMALL[name](seed)
            names = {landmark.name for landmark in sample.landmarks}
            assert len(names) >= 6
            assert len(sample.landmarks) == len(names) * sample.image.n_planes
            rows, columns = sample.image.plane_shape
            for landmark in sample.landmarks:
                assert 0 <= landmark.position[0] <= rows - 1
                assert 0 <= landmark.position[1] <= columns - 1

    def test_equal_seeds_give_equal_stacks(self, name: str) -> None:
        first, again, other = (SMALL[name](seed) for seed in (5, 5, 6))
        np.testing.assert_array_equal(np.asarray(first.image.array), np.asarray(again.image.array))
        assert first.landmarks == again.landmarks
        assert (first.image.plane(1) != other.image.plane(1)).any()

    def test_planes_differ_in_pose_and_brightness(self, name: str) -> None:
        sample = SMALL[name](0)
        positions = {landmark.position for landmark in sample.landmarks}
        assert len(positions) == len(sample.landmarks)
        assert len({round(float(sample.image.plane(plane).mean()), 3) for plane in range(3)}) == 3


def test_the_table_names_all_samples_and_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for name, make in SAMPLES.items():
        sample = make()
        assert sample.image.array.dtype == np.uint8
        assert sample.image.axes in ("pyx", "pyxc")
        assert sample.note, name


def _spot(at: npt.NDArray[Any], point: tuple[float, float]) -> npt.NDArray[Any]:
    """A picture with a soft spot."""
    return np.exp(-((at[0] - point[0]) ** 2 + (at[1] - point[1]) ** 2) / (2 * 0.02**2))


@pytest.mark.parametrize("landmark", ["sella", "menton", "nasion"])
def test_truth_of_the_phantom_is_where_a_spot_lands(monkeypatch: pytest.MonkeyPatch, landmark: str) -> None:
    point = _sample_data._PHANTOM_LANDMARKS[landmark]
    drawn = _sample_data._DRAWN
    spot = _spot(drawn * _sample_data._grid((512, 512)), point)
    monkeypatch.setattr(_sample_data, "_head", lambda rng: spot)
    monkeypatch.setattr(_sample_data, "_lesion", lambda position, rng: np.zeros(position.shape[1:], bool))
    monkeypatch.setattr(_sample_data, "_exposed", lambda pixels, rng: np.rint(pixels * 255).astype(np.uint8))
    sample = phantom_stack(3, (200, 256), seed=3)
    for plane in range(3):
        found = ndimage.center_of_mass(sample.image.plane(plane).astype(float))
        truth = next(one.position for one in sample.landmarks if (one.name, one.plane) == (landmark, plane))
        assert found == pytest.approx(truth, abs=0.1)


def test_truth_of_the_retina_is_where_a_spot_lands(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "lower temporal fork"
    row, column = _sample_data._RETINA_LANDMARKS[name]
    rows, columns = (np.arange(1411) - centre for centre in (row, column))
    spot = 255 * np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * 12.0**2))
    picture = np.repeat(spot.astype(np.uint8)[..., None], 3, axis=2)
    monkeypatch.setattr("skimage.data.retina", lambda: picture)
    sample = retina_stack(3, 512, seed=1)
    for plane in range(3):
        pixels = sample.image.plane(plane)[..., 1].astype(float)
        pixels[pixels < 25] = 0  # noise
        truth = next(one.position for one in sample.landmarks if (one.name, one.plane) == (name, plane))
        assert ndimage.center_of_mass(pixels) == pytest.approx(truth, abs=0.25)


def test_plane_0_of_the_retina_is_the_photograph_and_the_note_says_so() -> None:
    sample = retina_stack(2, 64)
    photograph = _sample_data._photograph(64)
    np.testing.assert_array_equal(sample.image.plane(0), photograph)
    assert "warped copies" in sample.name
    assert "copies of it, warped" in sample.note
    assert sample.masks is None


def test_lesions_change_the_pixels_and_stay_in_the_head() -> None:
    sample = phantom_stack(3, seed=2)
    assert sample.masks is not None
    assert sample.masks.shape == sample.image.array.shape
    for plane in range(3):
        mask, pixels = sample.masks[plane], sample.image.plane(plane).astype(float)
        assert 1 <= mask.max() <= 3
        lesion = mask == mask.max()
        around = ndimage.binary_dilation(mask > 0, iterations=6) & ~ndimage.binary_dilation(mask > 0, iterations=2)
        assert abs(pixels[lesion].mean() - pixels[around].mean()) > 5


def test_a_longer_stack_begins_with_the_shorter_one() -> None:
    short, long = phantom_stack(2, (64, 64)), phantom_stack(4, (64, 64))
    np.testing.assert_array_equal(np.asarray(long.image.array[:2]), np.asarray(short.image.array))


def test_spacing_of_the_phantom_keeps_the_size_of_the_head() -> None:
    for shape in ((256, 256), (128, 200)):
        spacing = phantom_stack(1, shape).image.pixel_spacing
        assert spacing is not None
        assert spacing[0] * min(shape) == pytest.approx(204.8)
