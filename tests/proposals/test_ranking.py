"""Decisions change the order at once, and can be taken back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_ld.errors import RegionError
from napari_ld.proposals import Mask, Ranking, Region, Regions


@pytest.fixture
def two_kinds() -> Regions:
    """Ids 1 to 4 of one kind, 5 to 8 of another, the first kind scored a little higher."""
    random = np.random.default_rng(0)
    kinds = np.eye(2, 16)
    rows = []
    for number in range(1, 9):
        vector = kinds[(number - 1) // 4] + 0.05 * random.normal(size=16)
        mask = Mask.from_array(np.ones((3, 3)))
        rows.append(Region(number, 0, mask, 0.7 if number <= 4 else 0.6, vector.astype(np.float32)))
    return Regions(tuple(rows))


def test_a_rejected_region_lowers_its_like_at_once(two_kinds: Regions) -> None:
    ranking = Ranking(two_kinds)
    assert ranking.order().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(ranking.scores, two_kinds.scores)
    ranking.decide(1, accepted=False)
    assert set(ranking.order()[:4].tolist()) == {5, 6, 7, 8}
    np.testing.assert_allclose(ranking.scores[4:], 0.6, atol=0.01)  # the other kind is left alone


def test_an_accepted_region_raises_its_like(two_kinds: Regions) -> None:
    ranking = Ranking(two_kinds)
    ranking.decide(8, accepted=True)
    assert set(ranking.order()[:4].tolist()) == {5, 6, 7, 8}


def test_decisions_are_taken_back_and_replaced(two_kinds: Regions) -> None:
    ranking = Ranking(two_kinds)
    before = ranking.scores
    ranking.decide(1, accepted=False)
    ranking.decide(1, accepted=True)
    once = Ranking(two_kinds.replaced(replace(two_kinds[0], decision="accepted")))
    np.testing.assert_allclose(ranking.scores, once.scores)
    ranking.decide(1, None)
    np.testing.assert_allclose(ranking.scores, before)


def test_regions_of_another_size_are_less_alike(two_kinds: Regions) -> None:
    large = replace(two_kinds[1], mask=Mask.from_array(np.ones((60, 60))))
    ranking = Ranking(two_kinds.replaced(large))
    ranking.decide(1, accepted=False)
    assert ranking.scores[1] > ranking.scores[2] + 0.2


def test_unknown_regions_are_named(two_kinds: Regions) -> None:
    with pytest.raises(RegionError, match="no region 99 in this ranking"):
        Ranking(two_kinds).decide(99, accepted=True)
    assert Ranking(Regions()).order().tolist() == []
