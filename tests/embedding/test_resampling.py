"""Windows, and where the cells of their features lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_ld._types import Box, Embedding
from napari_ld.embedding import resampling
from napari_ld.embedding.resampling import Window, crop_window, input_scale, model_input, plane_window
from napari_ld.model.preprocessing import IntensityNormalization

NORMALIZATION = IntensityNormalization(mean=0.0, std=1.0)
sides = st.integers(1, 3000)


def test_longest_side_is_the_working_size() -> None:
    assert plane_window((200, 400), input_scale((200, 400), None, 128)).size == (64, 128)
    assert plane_window((50, 30), input_scale((50, 30), None, 100)).size == (100, 60)
    assert plane_window((1, 4000), input_scale((1, 4000), None, 128)).size == (1, 128)


def test_oblong_pixels_become_square() -> None:
    scale = input_scale((100, 400), (4.0, 1.0), 128)
    assert plane_window((100, 400), scale).size == (128, 128)
    assert input_scale((100, 400), (2.5, 2.5), 128) == pytest.approx(input_scale((100, 400), None, 128))


def test_grid_by_hand() -> None:
    # 8 input pixels over 16 stored ones, stride 4: a cell covers 8 stored pixels, the first has its centre at 3.5.
    assert Window(Box(10, 20, 26, 36), (8, 8)).grid(4) == ((13.5, 23.5), (8.0, 8.0))


@given(sides, sides, st.floats(0.02, 4), st.tuples(st.floats(0, 1), st.floats(0, 1)), st.integers(1, 300))
def test_crop_windows_stay_inside(height: int, width: int, scale: float, share: tuple[float, float], size: int) -> None:
    centre = share[0] * (height - 1), share[1] * (width - 1)
    window = crop_window((height, width), (scale, scale), centre, size)
    box = window.box
    assert 0 <= box.top < box.bottom <= height
    assert 0 <= box.left < box.right <= width
    assert box.top - 0.5 <= centre[0] <= box.bottom - 0.5
    assert box.left - 0.5 <= centre[1] <= box.right - 0.5
    for extent, length in zip(box.shape, (height, width), strict=True):
        assert extent == min(length, max(1, round(size / scale)))


@given(st.tuples(st.floats(0, 99), st.floats(0, 79)))
def test_round_trip_of_positions(pixel: tuple[float, float]) -> None:
    origin, step = crop_window((100, 80), (1.7, 1.7), (50, 70), 64).grid(4)
    embedding = Embedding(np.zeros((1, 1, 1)), None, origin, step, (100, 80))
    assert embedding.to_pixel(embedding.to_cell(pixel)) == pytest.approx(pixel)


def test_content_stays_where_it_is() -> None:
    """A blob's centre of mass, found in the resized window, maps back to its place within half a pixel."""
    rows, columns = np.mgrid[:120, :160]
    blob = np.exp(-((rows - 61.0) ** 2 + (columns - 90.0) ** 2) / (2 * 6.0**2)) * 200
    for window in (plane_window((120, 160), (0.4, 0.4)), crop_window((120, 160), (1.3, 1.3), (70, 80), 90)):
        x = model_input(blob, window, NORMALIZATION, (0.0, 200.0))[0, 0].double()
        origin, step = window.grid(1)
        mass = x / x.sum()
        row = float((mass.sum(1) * torch.arange(x.shape[0])).sum()) * step[0] + origin[0]
        column = float((mass.sum(0) * torch.arange(x.shape[1])).sum()) * step[1] + origin[1]
        assert (row, column) == pytest.approx((61.0, 90.0), abs=0.3)


def test_strips_equal_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    window = plane_window((90, 70), (0.37, 0.37))
    whole = model_input(pixels, window, NORMALIZATION, (0.0, 255.0))
    monkeypatch.setattr(resampling, "_STRIP_PIXELS", 700)
    torch.testing.assert_close(model_input(pixels, window, NORMALIZATION, (0.0, 255.0)), whole)


def test_downsizing_does_not_alias() -> None:
    checkers = (np.indices((64, 64)).sum(0) % 2) * 255.0
    x = model_input(checkers, plane_window((64, 64), (0.25, 0.25)), NORMALIZATION, (0.0, 255.0))
    assert float((x[0, 0, 1:-1, 1:-1] - 0.5).abs().max()) < 0.02
