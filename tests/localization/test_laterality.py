"""Left and right, judged from all planes together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_ld.embedding import FeatureSource
from napari_ld.localization import LocateParams, Template, images, locate
from napari_ld.localization.laterality import judged_together, two_sides
from napari_ld.localization.query import Query

SourceOf = Callable[..., FeatureSource]
Array = np.ndarray
TURNED = [False, True, True, False, False, True, False, False, True, False, True, False, False]


def pictures(turned: list[bool]) -> Array:
    """Pictures of one kind, some of them mirrored, all under light from the left: (N, 96, 128) uint8."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :128]
    disc = 150 * np.exp(-((rows - 48) ** 2 + (columns - 96) ** 2) / 200)
    made = [(disc[:, ::-1] if mirrored else disc) + rng.normal(0, 8, disc.shape) for mirrored in turned]
    return np.clip(np.stack(made) + 60 - columns / 4, 0, 255).astype(np.uint8)


@pytest.fixture
def eyes() -> Array:
    return pictures(TURNED)


@pytest.fixture
def query(eyes: Array, source_of: SourceOf) -> Query:
    source = source_of(eyes)
    return Query(source, [Template("disc", source, 0, (48.0, 96.0))], LocateParams())


def asymmetries(images: Array) -> Array:
    return (images - images[..., ::-1].astype(float)).reshape(len(images), -1)


def test_two_sides_are_found_under_a_common_light(eyes: Array) -> None:
    sides = two_sides(asymmetries(eyes))
    assert (sides * sides[0]).tolist() == [-1 if turned else 1 for turned in TURNED]


def test_one_kind_of_image_has_no_sides() -> None:
    assert not two_sides(asymmetries(pictures([False] * 13))).any()
    assert not two_sides(np.zeros((20, 6))).any()


def test_few_images_have_no_sides(eyes: Array) -> None:
    assert not two_sides(asymmetries(eyes[:11])).any()


def test_an_image_between_the_sides_is_on_neither() -> None:
    light, side, other = np.eye(3)
    seen = np.array([light + side] * 6 + [light - side] * 6 + [light + 5 * other])
    assert np.abs(two_sides(seen) - two_sides(seen)[0]).tolist() == [0] * 6 + [2] * 6 + [1]


def leads(votes: dict[int, bool], wrong: float = 0.0) -> dict[int, float]:
    """Noise, minus ``wrong`` on planes that are mirrored."""
    noise = np.random.default_rng(2).normal(0, 0.1, len(votes))
    return {plane: float(value) - wrong * TURNED[plane] for plane, value in zip(votes, noise, strict=True)}


def test_wrong_votes_are_outvoted(query: Query) -> None:
    votes = dict.fromkeys(range(1, 13), False) | {3: True, 5: True}
    assert judged_together(query, votes, leads(votes)) == {plane: TURNED[plane] for plane in votes}


def test_votes_stand_where_the_scores_contradict_the_groups(query: Query) -> None:
    votes = dict.fromkeys(range(1, 13), False) | {3: True, 5: True}
    assert judged_together(query, votes, leads(votes, wrong=0.2)) == votes


def test_unanimous_votes_stand(query: Query) -> None:
    for same in (False, True):
        votes = dict.fromkeys(range(1, 13), same)
        assert judged_together(query, votes, leads(votes)) == votes


def test_votes_stand_with_templates_of_both_sides(query: Query, eyes: Array) -> None:
    both = [*query.templates, Template("disc", query.source, 1, (48.0, 31.0))]
    votes = dict.fromkeys(range(2, 13), False) | {3: True}
    assert judged_together(Query(query.source, both, query.params), votes, leads(votes)) == votes


def test_a_template_of_another_image_tells_its_side(query: Query, eyes: Array, source_of: SourceOf) -> None:
    other = source_of(np.ascontiguousarray(eyes[0][:, ::-1]))
    turned = Query(query.source, [Template("disc", other, 0, (48.0, 31.0))], query.params)
    votes = dict.fromkeys(range(13), False) | {3: True}
    assert judged_together(turned, votes, leads(votes)) == {plane: not TURNED[plane] for plane in votes}


def test_a_plane_that_is_turned_after_all_is_answered_again(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that replaces the first one is what the refinement starts from."""
    plain = list(locate(query.source, query.templates))
    assert [match.stage for match in plain] == ["coarse"] * 13 + ["fine"] * 13
    monkeypatch.setattr(images, "judged_together", lambda _, votes, leads: votes | {4: not votes[4]})
    reports: list[tuple[int, int]] = []
    found = list(locate(query.source, query.templates, progress=lambda *done: reports.append(done)))
    assert found[:13] == plain[:13]
    assert (found[13].plane, found[13].stage) == (4, "coarse")
    assert found[13].position != plain[4].position
    assert [match.plane for match in found[14:]] == list(range(13))
    fine = {match.plane: match for match in found if match.stage == "fine"}
    before = {match.plane: match for match in plain if match.stage == "fine"}
    assert [plane for plane in fine if fine[plane] != before[plane]] == [4]
    assert reports == [(done, 26) for done in range(1, 27)]


def test_planes_may_be_judged_one_by_one(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    params = LocateParams(mirror_together=False)
    plain = list(locate(query.source, query.templates, params=params, refine=False))
    monkeypatch.setattr(images, "judged_together", lambda _, votes, leads: votes | {4: not votes[4]})
    assert list(locate(query.source, query.templates, params=params, refine=False)) == plain


def test_without_mirrored_planes_each_answer_is_its_own(source_of: SourceOf, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = source_of(pictures([False] * 13))
    query = Query(straight, [Template("disc", straight, 0, (48.0, 96.0))], LocateParams())
    together = list(images.search_images(query, range(13)))
    monkeypatch.setattr(images, "judged_together", lambda _, votes, leads: votes)
    assert together == list(images.search_images(query, range(13)))
    assert not any(match.mirrored for match in together)
