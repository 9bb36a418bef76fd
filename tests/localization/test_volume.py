"""Ordered slices: continuity, and slices on which the landmark is absent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.localization import Template, locate
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.volume import best_path, one_piece, point_in_space

SourceOf = Callable[..., FeatureSource]


def path(
    positions: list[list[float]], rewards: list[list[float]], continuity: float = 0.1, switch: float = 0.1
) -> list[int]:
    places = [np.array([[p, 0.0] for p in on_slice]).reshape(-1, 2) for on_slice in positions]
    return best_path(places, [np.array(reward) for reward in rewards], continuity, switch)


class TestBestPath:
    def test_follows_the_rewards_when_movement_is_free(self) -> None:
        assert path([[0, 9], [0, 9], [0, 9]], [[2, 1], [1, 2], [2, 1]], continuity=0) == [0, 1, 0]

    def test_prefers_to_stay(self) -> None:
        assert path([[0, 2], [0, 2], [0, 2]], [[2, 1], [1.9, 2], [2, 1]]) == [0, 0, 0]

    def test_is_absent_where_rewards_are_negative(self) -> None:
        assert path([[0]] * 5, [[-1], [1], [1], [-1], [-1]]) == [-1, 0, 0, -1, -1]

    def test_a_short_weakness_is_no_gap(self) -> None:
        assert path([[0]] * 3, [[1], [-0.1], [1]]) == [0, 0, 0]
        assert path([[0]] * 3, [[1], [-0.3], [1]]) == [0, -1, 0]

    def test_equal_paths_take_the_first_candidate(self) -> None:
        assert path([[0, 0]] * 2, [[1, 1]] * 2) == [0, 0]

    def test_equals_trying_all_paths(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(30):
            positions = [rng.normal(size=(2, 2)) * 2 for _ in range(4)]
            rewards = [rng.normal(size=2) for _ in range(4)]

            def worth(states: tuple[int, ...], positions: list = positions, rewards: list = rewards) -> float:
                total = sum(r[s] for r, s in zip(rewards, states, strict=True) if s >= 0)
                for k in range(3):
                    a, b = states[k], states[k + 1]
                    if (a < 0) != (b < 0):
                        total -= 0.2
                    elif a >= 0:
                        total -= 0.3 * min(((positions[k][a] - positions[k + 1][b]) ** 2).sum() / 2, 8.0)
                return float(total)

            every = [(a, b, c, d) for a in (0, 1, -1) for b in (0, 1, -1) for c in (0, 1, -1) for d in (0, 1, -1)]
            assert worth(tuple(best_path(positions, rewards, 0.3, 0.2))) == pytest.approx(max(map(worth, every)))


class TestOnePiece:
    def test_the_run_that_earns_most_stays(self) -> None:
        rewards = [np.array([r]) for r in (0.3, 0.0, 0.2, 0.2, -1.0, 0.1)]
        assert one_piece([0, -1, 0, 0, -1, 0], rewards) == [-1, -1, 0, 0, -1, -1]

    def test_runs_with_points_of_the_user_stay(self) -> None:
        rewards = [np.array([r]) for r in (1e6, 0.0, 9.0, 0.0, 1e6)]
        assert one_piece([0, -1, 0, -1, 0], rewards) == [0, -1, -1, -1, 0]

    def test_runs_across_a_small_gap_are_one(self) -> None:
        rewards = [np.array([r]) for r in (0.2, -0.1, 0.2, 0.0, 0.0, 0.3)]
        assert one_piece([0, -1, 0, -1, -1, 0], rewards, gap=1) == [0, -1, 0, -1, -1, -1]
        assert one_piece([0, -1, 0, -1, -1, 0], rewards, gap=2) == [0, -1, 0, -1, -1, 0]

    def test_nothing_is_nowhere(self) -> None:
        assert one_piece([-1, -1], [np.array([1.0])] * 2) == [-1, -1]


class TestPointInSpace:
    def matches(self, scores: list[float], status: str = "confident") -> list[CoarseMatch]:
        return [
            CoarseMatch(0, k, (10.0 + k, 20.0 - 2 * k), score, 0.1, "verified" if score == 1 else status)  # type: ignore[arg-type]
            for k, score in enumerate(scores)
        ]

    def test_summit_between_slices(self) -> None:
        scores = [0.9 - 0.01 * (k - 2.25) ** 2 for k in range(5)]
        assert point_in_space(self.matches(scores)) == pytest.approx((2.25, 12.25, 15.5))

    def test_at_the_end_of_the_structure_it_is_the_best_slice(self) -> None:
        assert point_in_space(self.matches([0.9, 0.8])) == (0.0, 10.0, 20.0)

    def test_the_users_own_point(self) -> None:
        assert point_in_space(self.matches([0.5, 1.0, 0.99])) == (1.0, 11.0, 18.0)

    def test_absent_everywhere(self) -> None:
        assert point_in_space([CoarseMatch(0, 0, None, 0.1, 0.0, "absent")]) is None


@pytest.fixture(scope="module")
def volume(camera: np.ndarray) -> np.ndarray:
    """Six slices with the photograph drifting by 3 rows each, between slices of smooth noise."""
    rng = np.random.default_rng(0)
    slices = [np.clip(ndimage.gaussian_filter(rng.normal(size=(192, 192)), 5) * 600 + 100, 0, 255) for _ in range(10)]
    for k in range(2, 8):
        slices[k] = camera[20 + 3 * k : 212 + 3 * k, 32:224].astype(float)
    return np.stack(slices).astype(np.uint8)


def test_follows_the_drift_and_is_absent_elsewhere(source_of: SourceOf, volume: np.ndarray) -> None:
    source = source_of(Image(volume, "zyx", spacing=(2.0, 1.0, 1.0)), shared_limits=True)
    matches = list(locate(source, [Template("eye", source, 4, (92.0, 97.0))], stack_kind="volume"))
    assert [match.plane for match in matches] == list(range(10)) * 2
    for match in matches[10:]:
        if 2 <= match.plane < 8:
            assert match.position == pytest.approx((92 - 3 * (match.plane - 4), 97), abs=2.5)
        else:
            assert match.status == "absent"
            assert match.position is None
    assert matches[4].status == "verified"
    assert {match.unit for match in matches} == {"mm"}
    assert {match.point for match in matches} == {(4.0, 92.0, 97.0)}


def test_slices_between_are_searched_even_if_not_wished(source_of: SourceOf, volume: np.ndarray) -> None:
    source = source_of(Image(volume, "zyx"), shared_limits=True)
    matches = list(locate(source, [Template("eye", source, 4, (92.0, 97.0))], stack_kind="volume", planes=[6]))
    assert [(match.plane, match.stage) for match in matches] == [(6, "coarse"), (6, "fine")]
    assert source.is_ready(5)
    assert not source.is_ready(9)


def test_template_from_another_volume(source_of: SourceOf, volume: np.ndarray, camera: np.ndarray) -> None:
    source = source_of(Image(volume, "zyx"), shared_limits=True)
    single = source_of(camera[32:224, 32:224])
    matches = list(locate(source, [Template("eye", single, 0, (92.0, 97.0))], stack_kind="volume", refine=False))
    found = {match.plane: match.position for match in matches if match.position is not None}
    assert 4 in found
    assert found[4] == pytest.approx((92, 97), abs=4)
    assert "verified" not in {match.status for match in matches}
