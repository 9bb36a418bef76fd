"""Intensities: robust, finite, the same limits for all channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_ld.errors import ImageError
from napari_ld.model.preprocessing import IntensityNormalization

NORMAL = IntensityNormalization()


def test_percentiles_become_zero_and_one() -> None:
    ramp = np.linspace(0, 1000, 100_000).reshape(250, 400)
    out = NORMAL.apply(ramp)
    assert out.shape == (1, 250, 400)
    assert out.dtype == np.float32
    assert (float(out.min()), float(out.max())) == (-2.0, 2.0)
    assert float(out[0].ravel()[50_000]) == pytest.approx(0, abs=0.01)


def test_an_outlier_does_not_matter() -> None:
    image = np.random.default_rng(0).random((64, 64))
    spiked = image.copy()
    spiked[3, 3] = 1e9
    np.testing.assert_allclose(NORMAL.apply(spiked)[0, 10:], NORMAL.apply(image)[0, 10:], atol=0.05)


@settings(deadline=None)
@example(np.array([[0.0, 5.5e33, -3.4e38, -3.4e38]], np.float32))  # the range is no single-precision number
@example(np.array([[-3.4e38, 3.4e38]], np.float32))
@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(width=32, allow_nan=True))
)
def test_output_is_always_finite_and_bounded(image: np.ndarray) -> None:
    out = NORMAL.apply(image)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 2.0


def test_a_range_beyond_single_precision() -> None:
    image = np.array([[-3.4e38, 0.0, 3.4e38]], np.float32)
    np.testing.assert_allclose(NORMAL.apply(image), [[[-2.0, 0.0, 2.0]]], atol=0.05)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.full((1, 1), 7.0), np.full((3, 3), np.nan)])
def test_images_that_say_nothing_become_grey(image: np.ndarray) -> None:
    assert np.isfinite(NORMAL.apply(image)).all()
    assert np.ptp(NORMAL.apply(image)) == 0


def test_channels() -> None:
    rgba = np.random.default_rng(0).integers(0, 255, (5, 6, 4), dtype=np.uint8)
    assert NORMAL.apply(rgba).shape == (3, 5, 6)
    np.testing.assert_array_equal(NORMAL.apply(rgba), NORMAL.apply(rgba[..., :3]))
    assert NORMAL.apply(rgba[..., :1]).shape == (1, 5, 6)
    with pytest.raises(ImageError, match=r"plane of shape \(5, 6, 2\)"):
        NORMAL.apply(rgba[..., :2])


def test_given_limits_are_used() -> None:
    np.testing.assert_allclose(NORMAL.apply(np.array([[0.0, 5.0, 20.0]]), (0, 10))[0, 0], [-2, 0, 2])
