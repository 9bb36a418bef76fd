"""Centre-sensitive similarity: the oracles of the specification, and the fast form against the direct one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_ld.errors import ConfigError
from napari_ld.similarity import (
    LevelWeights,
    bell,
    blur,
    centre_weights,
    comparable_rows,
    cosine_rows,
    fast_similarity_map,
    find_peaks,
    highest_peak,
    level_norms,
    plateau_centre,
    pooled_vector,
    sample,
    similarity_map,
    window_size,
)


def unit_field(depth: int, height: int, width: int, seed: int = 0) -> Tensor:
    v = torch.randn(depth, height, width, generator=torch.Generator().manual_seed(seed))
    return v / v.norm(dim=0)


def naive_blur(v: Tensor, weights: np.ndarray) -> np.ndarray:
    """The weighted sum, written out."""
    p = len(weights) // 2
    padded = np.pad(v.numpy().astype(np.float64), ((0, 0), (p, p), (p, p)))
    out = np.zeros(v.shape)
    for r in range(v.shape[1]):
        for c in range(v.shape[2]):
            out[:, r, c] = (padded[:, r : r + 2 * p + 1, c : c + 2 * p + 1] * weights).sum((1, 2))
    return out


class TestBell:
    def test_oracle_14(self) -> None:
        w = centre_weights(57, 11.4)
        assert w[28, 0] / w[28, 28] == pytest.approx(0.04898, abs=5e-6)
        assert w[0, 0] / w[28, 28] == pytest.approx(0.002399, abs=5e-7)
        assert w[28, 28] == pytest.approx(0.00125557, abs=5e-9)
        assert 1 / (w**2).sum() == pytest.approx(1554.9, abs=0.05)
        np.testing.assert_allclose(w, centre_weights(57))

    @pytest.mark.parametrize(("part", "ratio"), [(8, 0.00044), (6, 0.01299), (4, 0.14508)])
    def test_oracle_15(self, part: int, ratio: float) -> None:
        w = centre_weights(57, 57 / part)
        assert w[28, 0] / w[28, 28] == pytest.approx(ratio, abs=5e-6)

    def test_infinite_sigma_is_the_plain_average(self) -> None:
        np.testing.assert_allclose(centre_weights(5, np.inf), 1 / 25)

    @pytest.mark.parametrize(
        ("size", "sigma", "message"), [(4, None, "odd number"), (0, 1.0, "odd"), (3, 0.0, "above 0")]
    )
    def test_refuses(self, size: int, sigma: float | None, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            bell(size, sigma)

    def test_window_holds_the_bell(self) -> None:
        assert [window_size(sigma) for sigma in (0.1, 1.0, 2.0, 11.4)] == [3, 7, 11, 59]


class TestPooling:
    def test_blur_is_the_weighted_sum_with_zeros_outside(self) -> None:
        v = unit_field(3, 9, 7)
        np.testing.assert_allclose(blur(v, 5, 1.3).numpy(), naive_blur(v, centre_weights(5, 1.3)), atol=1e-6)

    def test_stride_keeps_every_nth_cell(self) -> None:
        v = unit_field(3, 9, 8)
        torch.testing.assert_close(blur(v, 5, 1.3, stride=2), blur(v, 5, 1.3)[:, ::2, ::2])

    def test_window_larger_than_the_image(self) -> None:
        assert blur(unit_field(2, 1, 3), 7, 2.0).shape == (2, 1, 3)

    def test_pooled_vector_is_the_blur_at_whole_cells(self) -> None:
        v = unit_field(4, 12, 12)
        torch.testing.assert_close(pooled_vector(v, (6.0, 5.0), 5, 1.2), blur(v, 5, 1.2)[:, 6, 5])

    def test_pooled_vector_between_cells_lies_between(self) -> None:
        ramp = torch.arange(20.0).expand(1, 20, 20)
        value = pooled_vector(ramp, (10.0, 8.3), 11, 1.5)
        assert float(value) == pytest.approx(8.3, abs=0.01)

    def test_sample_is_bilinear_and_held_at_the_border(self) -> None:
        v = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None]
        assert float(sample(v, (0.5, 0.25))) == pytest.approx(1.25)
        assert float(sample(v, (-3.0, 9.0))) == 1.0
        assert float(sample(v[:, :1, :1], (0.4, 0.0))) == 0.0


class TestSimilarityMap:
    def test_oracle_16_constant_image(self) -> None:
        v = torch.zeros(8, 20, 30)
        v[:] = (torch.arange(8.0) / torch.arange(8.0).norm())[:, None, None]
        m = similarity_map(pooled_vector(v, (3.0, 4.0), 7), v, 7)
        torch.testing.assert_close(m, torch.ones(20, 30))
        peaks = find_peaks(m[None], radius=3.0)
        np.testing.assert_allclose(peaks.cells[0, 0], [9.5, 14.5])

    def test_oracle_17_one_pixel_window_is_the_plain_product(self) -> None:
        v, query = unit_field(6, 8, 9), unit_field(6, 10, 7, seed=1)
        m = similarity_map(v[:, 2, 3], query, 1)
        torch.testing.assert_close(m, torch.einsum("dhw,d->hw", query, v[:, 2, 3]))

    @settings(deadline=None, max_examples=20)
    @given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 7]), st.integers(0, 100))
    def test_fast_form_equals_direct_form(self, height: int, width: int, size: int, seed: int) -> None:
        v, template = unit_field(5, height, width, seed), unit_field(5, 1, 1, seed + 1)[:, 0, 0]
        direct = similarity_map(template, v, size)
        torch.testing.assert_close(fast_similarity_map(template, v, size), direct, atol=1e-5, rtol=0)
        norm = blur(v, size).norm(dim=0)
        torch.testing.assert_close(fast_similarity_map(template, v, size, norm=norm), direct, atol=1e-5, rtol=0)

    def test_query_equal_to_support_peaks_at_the_point(self) -> None:
        v = unit_field(16, 30, 30)
        m = similarity_map(pooled_vector(v, (11.0, 17.0), 5), v, 5)
        assert float(m[11, 17]) == pytest.approx(1.0, abs=1e-5)
        assert int(m.argmax()) == 11 * 30 + 17

    def test_shifting_the_query_shifts_the_answer(self) -> None:
        v = unit_field(16, 40, 40)
        template = pooled_vector(v, (15.0, 20.0), 5)
        still = find_peaks(similarity_map(template, v, 5)[None], 3.0).cells[0, 0]
        moved = find_peaks(similarity_map(template, v.roll((4, -6), (1, 2)), 5)[None], 3.0).cells[0, 0]
        np.testing.assert_allclose(moved - still, [4, -6], atol=1e-4)


class TestLevels:
    def test_separate_is_the_weighted_mean_of_the_cosines(self) -> None:
        rows, templates = torch.randn(10, 7), torch.randn(3, 7)
        levels = LevelWeights((3, 4), (1.0, 3.0), separate=True)
        cosine = torch.nn.functional.cosine_similarity
        first = cosine(rows[:, None, :3], templates[None, :, :3], dim=-1)
        second = cosine(rows[:, None, 3:], templates[None, :, 3:], dim=-1)
        torch.testing.assert_close(cosine_rows(rows, templates, levels), (first + 3 * second) / 4)

    def test_joint_weights_stretch_the_parts(self) -> None:
        rows, templates = torch.randn(10, 7), torch.randn(3, 7)
        stretch = torch.tensor([1.0] * 3 + [2.0] * 4)  # square roots of the weights
        expected = torch.nn.functional.cosine_similarity((rows * stretch)[:, None], (templates * stretch)[None], dim=-1)
        levels = LevelWeights((3, 4), (1.0, 4.0))
        torch.testing.assert_close(cosine_rows(rows, templates, levels), expected)
        norms = level_norms(rows, (3, 4))
        torch.testing.assert_close(cosine_rows(rows, templates, levels, norms), expected)

    @pytest.mark.parametrize("separate", [False, True])
    def test_comparable_rows_multiply_to_the_cosine(self, separate: bool) -> None:
        rows, templates = torch.randn(10, 7), torch.randn(3, 7)
        levels = LevelWeights((3, 4), (1.0, 4.0), separate)
        product = comparable_rows(rows, levels) @ comparable_rows(templates, levels).T
        torch.testing.assert_close(product, cosine_rows(rows, templates, levels))

    def test_zero_vectors_give_zero_not_nan(self) -> None:
        for separate in (False, True):
            levels = LevelWeights((2, 2), (1.0, 1.0), separate)
            assert torch.equal(cosine_rows(torch.zeros(1, 4), torch.zeros(1, 4), levels), torch.zeros(1, 1))

    @pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0)])
    def test_refuses(self, weights: tuple[float, ...]) -> None:
        with pytest.raises(ConfigError, match="expected 2 numbers of at least 0"):
            LevelWeights((2, 2), weights)


class TestPeaks:
    @settings(deadline=None, max_examples=30)
    @given(st.floats(2, 13), st.floats(2, 17))
    def test_sub_cell_position_of_a_smooth_peak(self, row: float, column: float) -> None:
        r, c = np.mgrid[:16, :20]
        m = np.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * 3.0**2))
        cell = find_peaks(torch.from_numpy(m)[None], 2.0).cells[0, 0]
        assert np.hypot(*(cell - [row, column])) < 0.1

    def test_margin_is_the_lead_over_the_best_other_peak(self) -> None:
        m = torch.zeros(1, 20, 20)
        m[0, 5, 5], m[0, 5, 7], m[0, 15, 12] = 0.9, 0.8, 0.6
        peaks = find_peaks(m, radius=3.0, count=2)
        assert peaks.margins[0] == pytest.approx(0.3)
        np.testing.assert_allclose(peaks.scores[0], [0.9, 0.6])
        np.testing.assert_allclose(peaks.cells[0], [[5, 5], [15, 12]])

    def test_without_another_peak_the_margin_is_the_lead_over_the_lowest_value(self) -> None:
        r, c = np.mgrid[:9, :9]
        m = torch.from_numpy(-np.hypot(r - 4, c - 4))[None]
        peaks = find_peaks(m, radius=2.0, count=3)
        assert peaks.margins[0] == pytest.approx(np.hypot(4, 4))
        assert np.isnan(peaks.cells[0, 1:]).all()
        assert np.isneginf(peaks.scores[0, 1:]).all()

    def test_ties_go_to_the_first_row_then_column(self) -> None:
        m = torch.zeros(1, 9, 9)
        for row, column in ((6, 2), (2, 6), (2, 2)):
            m[0, row, column] = 1.0
        cells = find_peaks(m, radius=1.0, count=3).cells[0]
        np.testing.assert_array_equal(cells, [[2, 2], [2, 6], [6, 2]])

    def test_a_peak_on_the_border_stays_on_it(self) -> None:
        r, c = np.mgrid[:9, :9]
        m = torch.from_numpy(np.exp(-((r + 2) ** 2 + (c - 4.3) ** 2) / 8.0))[None]
        cell = find_peaks(m, 2.0).cells[0, 0]
        assert cell[0] == 0
        assert cell[1] == pytest.approx(4.3, abs=0.1)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 2)])
    def test_tiny_maps(self, shape: tuple[int, int]) -> None:
        peaks = find_peaks(torch.ones(2, *shape), radius=1.0, count=2)
        np.testing.assert_allclose(peaks.cells[:, 0], [[(n - 1) / 2 for n in shape]] * 2)
        np.testing.assert_array_equal(peaks.margins, 0)

    def test_the_highest_peak_is_the_first_that_is_found(self) -> None:
        maps = np.random.default_rng(0).random((6, 9, 12))
        maps[5] = 1.0  # a plateau
        cells = find_peaks(torch.from_numpy(maps), radius=0.0).cells[:, 0]
        np.testing.assert_array_equal([highest_peak(values) for values in maps], cells)

    def test_plateau_is_connected(self) -> None:
        values = np.zeros((5, 9))
        values[2, 1:4] = [0.997, 1.0, 0.998]
        values[2, 7] = 1.0
        assert plateau_centre(values, (2, 2)) == (2.0, 2.0)
