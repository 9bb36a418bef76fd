"""Reviewing regions: decisions, order, pixels, undo."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ld.errors import RegionError
from napari_ld.proposals import Mask, Region
from napari_ld.session import Session
from napari_ld.session.queue import Filter
from napari_ld.session.region_changes import Change
from tests.session.regions import SHAPE, box, open_session, region


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = open_session(tmp_path)
    session.regions.propose(
        [
            region(1, box(1, 1, 6, 6), 0.9, (1, 0)),
            region(2, box(1, 6, 6, 12), 0.8, (0.96, 0.28)),
            region(3, box(10, 10, 16, 20), 0.7, (0, 1)),
            region(4, box(12, 12, 14, 14), 0.6, (0, 1), parent=3),
            region(5, Mask.join([box(2, 20, 5, 25, plane=1), box(2, 21, 5, 26, plane=2)]), 0.5, (-1, 0)),
        ]
    )
    return session


def labels(session: Session, plane: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return session.regions.book.labels(plane)


def test_the_best_is_shown_first_and_a_decision_goes_on(session: Session) -> None:
    review = session.regions
    assert review.current == 1
    review.accept()
    assert review.current == 2
    assert np.array_equal(labels(session), box(1, 1, 6, 6).to_array().astype(np.uint8))
    review.next()
    assert review.current == 3
    review.reject()
    assert review.current == 4  # 2 was passed over
    review.previous()
    assert review.current == 2
    review.next()
    review.next()
    assert review.current == 5
    review.next()
    assert review.current == 2


def test_a_rejected_region_lowers_its_like_at_once(session: Session) -> None:
    review = session.regions
    before = review.queue.score(4)
    review.select(3)
    review.reject()
    assert review.queue.score(4) < before
    assert review.queue.score(1) == pytest.approx(0.9, abs=0.01)
    session.undo()
    assert review.queue.score(4) == pytest.approx(before)
    assert review.current == 3


def test_classes_and_the_newest_on_top(session: Session) -> None:
    review = session.regions
    review.select(3)
    review.set_class(2)
    review.accept()
    review.select(4)
    review.set_class(5)
    review.accept()
    assert set(np.unique(labels(session)).tolist()) == {0, 2, 5}
    assert np.array_equal(labels(session) == 5, box(12, 12, 14, 14).to_array())
    # Rejecting what lies on top gives its pixels back to the region below.
    review.select(4)
    review.reject()
    assert np.array_equal(labels(session) == 2, box(10, 10, 16, 20).to_array())
    review.select(3)
    review.set_class(7)
    assert np.array_equal(labels(session) == 7, box(10, 10, 16, 20).to_array())
    with pytest.raises(RegionError, match="class 10: expected a number from 1 to 9"):
        review.set_class(10)


def test_regions_of_several_planes(session: Session) -> None:
    session.regions.select(5)
    session.regions.accept()
    assert labels(session, 1).sum() == labels(session, 2).sum() == 15
    stack = session.regions.book.masks(session.image)  # type: ignore[arg-type]
    assert stack.shape == (3, *SHAPE)
    assert stack.sum() == 30


def test_merging_takes_the_neighbour_most_like_it_and_splitting_gives_it_back(session: Session) -> None:
    review = session.regions
    review.merge()
    assert review.region is not None
    assert review.region.area == 25 + 30
    assert len(review.queue) == 4
    review.split()
    assert review.region.area in (25, 30, 27, 28)
    assert len(review.queue) == 5
    assert sum(r.area for r in review.book.present()) == 25 + 30 + 60 + 4 + 30
    session.undo()
    session.undo()
    assert review.current == 1
    assert sorted(review.queue.order.tolist()) == [1, 2, 3, 4, 5]
    review.select(5)
    review.merge()
    assert "nothing to merge" in review.note


def test_merging_with_an_accepted_neighbour_extends_it(session: Session) -> None:
    review = session.regions
    review.set_class(3)
    review.accept()
    assert review.current == 2
    review.merge()
    assert np.array_equal(labels(session) == 3, box(1, 1, 6, 12).to_array())
    assert review.book.statistics.accepted == 1


def test_growing_follows_the_similarity_and_is_nested_and_reversible(session: Session) -> None:
    review = session.regions
    review.select(4)
    before = review.region.mask  # type: ignore[union-attr]
    assert review.wants_similarity == 4
    review.grow()
    assert "being computed" in review.note
    assert review.awaits_similarity
    columns = np.linspace(1, 0, SHAPE[1], dtype=np.float32)
    review.set_similarity(4, {0: ((0, 0), np.tile(columns, (SHAPE[0], 1)))})
    assert review.wants_similarity is None
    # What was asked for while the map was unknown is done as soon as it is there.
    masks = [before, review.region.mask]  # type: ignore[union-attr]
    for _ in range(2):
        review.grow()
        masks.append(review.region.mask)  # type: ignore[union-attr]
    for small, large in pairwise(masks):
        assert large.area > small.area
        assert small.minus(large).area == 0
    for _ in range(3):
        review.grow(-1)
    assert review.region.mask.same_as(before)  # type: ignore[union-attr]
    review.grow(-1)
    assert review.region.mask.area == 3  # type: ignore[union-attr]
    for _ in range(9):
        review.grow(-1)
    assert "cannot shrink" in review.note


def test_growing_an_accepted_region_paints_and_shrinking_takes_away(session: Session) -> None:
    review = session.regions
    review.select(4)
    review.accept()
    review.select(4)
    flat = np.zeros(SHAPE, np.float32)
    flat[10:16, 10:16] = 1
    review.set_similarity(4, {0: ((0, 0), flat)})
    review.grow()
    assert np.array_equal(labels(session) > 0, review.region.mask.to_array(0))  # type: ignore[union-attr]
    review.grow(-2)
    assert labels(session).sum() == review.region.area  # type: ignore[union-attr]


def test_accept_all_keeps_what_was_decided_or_painted(session: Session) -> None:
    review = session.regions
    painted = labels(session).copy()
    painted[2, 2] = 9
    assert review.paint({0: painted})
    assert not review.paint({0: painted})
    review.select(4)
    review.set_class(5)
    review.accept()
    review.set_class(1)
    assert review.accept_all(0.65) == 3
    assert labels(session)[2, 2] == 9
    assert (labels(session) == 5).sum() == 4
    assert review.book.statistics.accepted == 4
    session.undo()
    assert review.book.statistics.accepted == 1
    assert review.accept_all(0.999) == 0


def test_strokes_stay_and_what_was_erased_is_free_for_another_region(session: Session) -> None:
    review = session.regions
    review.select(3)
    review.accept()
    erased = labels(session).copy()
    erased[12:14, 12:14] = 0
    review.paint({0: erased})
    assert session.history.undo_label == "erase by hand"
    review.select(3)
    review.set_class(2)
    assert (labels(session)[12:14, 12:14] == 0).all()
    review.select(4)
    review.accept()
    assert (labels(session)[12:14, 12:14] == 2).all()
    painted = labels(session).copy()
    painted[0, :] = 3
    review.paint({0: painted})
    assert session.history.undo_label == "paint by hand"
    session.undo()
    assert labels(session)[0].sum() == 0


def test_filters(session: Session) -> None:
    review = session.regions
    review.accept()
    assert review.queue.place(1) == -1
    review.filter(Filter(decision=None))
    assert len(review.queue) == 5
    review.filter(Filter(decision=None, label=1))
    assert review.queue.order.tolist() == [1]
    review.filter(Filter(plane=2))
    assert review.queue.order.tolist() == [5]
    assert review.current == 5
    review.filter(Filter(min_area=20, max_area=40))
    assert sorted(review.queue.order.tolist()) == [2, 5]
    review.filter(Filter(min_score=0.65))
    assert sorted(review.queue.order.tolist()) == [2, 3]
    review.filter(Filter(min_score=1.0))
    assert review.queue.order.tolist() == []
    review.next()
    review.previous()


def test_a_click_takes_the_smallest_region_then_the_larger_ones(session: Session) -> None:
    review = session.regions
    assert review.select_at(0, 12, 12)
    assert review.current == 4
    review.select_at(0, 12, 12)
    assert review.current == 3
    assert not review.select_at(1, 12, 12)
    review.select_at(0, 2, 2)
    assert review.current == 1
    assert not review.select_at(0, 2, 2)  # there is no other


def test_a_click_offers_nested_regions_one_after_the_other(session: Session) -> None:
    review = session.regions
    nested = [region(k, box(6 - k, 20 - k, 7 + k, 21 + k), 1.0, kind="clicked") for k in (2, 1, 3)]
    review.offer(nested)
    assert review.region is not None
    assert review.region.mask.same_as(nested[0].mask)
    assert len(review.queue) == 6
    for wanted in (nested[1], nested[2], nested[0], nested[1]):
        assert review.offer_another(0, 6, 20)
        assert review.region.mask.same_as(wanted.mask)
        assert len(review.queue) == 6
    assert not review.offer_another(0, 0, 0)  # elsewhere
    taken = review.current
    review.accept()
    assert not review.offer_another(0, 6, 20)  # it was decided
    assert labels(session).sum() == nested[1].area
    review.flush()
    assert [one for one in review.book.items if review.book.items[one].region.kind == "clicked"] == [taken]


def test_a_new_cut_replaces_only_what_is_undecided(session: Session) -> None:
    review = session.regions
    review.accept()
    new = review.propose([region(1, box(0, 0, 3, 3), 0.4)], replacing=list(review.book.items))
    assert sorted(review.book.items) == [1, *new]
    assert labels(session).sum() == 25
    session.undo()
    assert labels(session).sum() == 0
    assert review.queue.is_open(1)


def test_times_are_kept(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    now = [0.0]
    session.regions._clock = lambda: now[0]
    session.regions.propose([region(n, box(n, 0, n + 1, 5)) for n in range(1, 5)])
    assert session.regions.book.statistics.accept_rate is None
    for seconds in (1.0, 2.0, 600.0):
        now[0] += seconds
        session.regions.accept()
    counts = session.regions.book.statistics
    assert (counts.accepted, counts.left, counts.seconds, counts.accept_rate) == (3, 1, 2.0, 1.0)
    assert counts.text == "3 accepted · 0 rejected · 1 left · 100% accept rate · 2.0 s per decision"


def test_without_regions_nothing_happens(tmp_path: Path) -> None:
    review = open_session(tmp_path).regions
    for action in (review.accept, review.reject, review.merge, review.split, review.grow, review.next, review.previous):
        action()
    assert not review.select_at(0, 1, 1)
    assert review.accept_all(0.0) == 0
    assert review.region is None


def test_a_single_pixel_cannot_be_split(tmp_path: Path) -> None:
    review = open_session(tmp_path).regions
    review.propose([region(1, box(1, 1, 2, 2))])
    review.split()
    assert "single pixel" in review.note
    review.merge()
    assert "nothing to merge" in review.note


def test_regions_of_two_encoders_live_in_one_queue(session: Session) -> None:
    review = session.regions
    review.accept()
    review.propose([region(1, box(1, 6, 6, 14), 0.99, (1, 0, 0)), region(2, box(16, 0, 20, 4), 0.2, (0, 0, 1))])
    assert len(review.queue) == 6
    assert review.current == 2
    review.merge()  # with its like of the other encoder
    assert len(review.queue) == 5
    assert np.isfinite(review.queue.scores()).all()


def test_the_history_forgets_the_oldest_when_it_grows_too_large() -> None:
    from napari_ld.session.history import History

    history = History(limit=1000, max_bytes=20_000)
    for number in range(300):
        history.record_regions(str(number), Change())
    kept = 0
    while history.undo_label is not None:
        history.undo({})
        kept += 1
    assert kept == 200
    assert history.redo_label == "100"


ACTIONS = (
    "accept",
    "reject",
    "next",
    "previous",
    "merge",
    "split",
    "class",
    "paint",
    "all",
    "undo",
    "redo",
    "landmark",
)


def snapshot(session: Session) -> tuple[object, ...]:
    book = session.regions.book
    items = {one: (i.region.decision, i.region.label, i.gone, i.region.mask.to_text()) for one, i in book.items.items()}
    return items, session.regions.book.masks(session.image).tobytes(), list(session.state)  # type: ignore[arg-type]


def act(session: Session, action: str, number: int) -> None:
    review = session.regions
    if action == "class":
        review.set_class(1 + number % 9)
    elif action == "paint":
        painted = review.book.labels(number % 3).copy()
        painted[number : number + 4, 3:9] = number % 4
        review.paint({number % 3: painted})
    elif action == "all":
        review.accept_all(number / 20)
    elif action in ("undo", "redo"):
        getattr(session, action)()
    elif action == "landmark":
        session.add_landmark()
    else:
        getattr(review, action)()


def proposals(seed: int) -> list[Region]:
    rng = np.random.default_rng(seed)
    found = []
    for one in range(1, 8):
        top, left = rng.integers(0, 14), rng.integers(0, 20)
        mask = box(top, left, top + rng.integers(1, 6), left + rng.integers(1, 9), plane=int(rng.integers(0, 3)))
        vector = rng.normal(size=3)
        found.append(region(one, mask, float(rng.random()), tuple(vector / np.linalg.norm(vector))))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 19)), max_size=14))
def test_undoing_everything_gives_the_start_and_redoing_the_end(seed: int, actions: list[tuple[str, int]]) -> None:
    session = open_session(Path("unused-sessions"))
    session.regions.propose(proposals(seed))
    start = snapshot(session)
    for action, number in actions:
        act(session, action, number)
    while session.history.redo_label is not None:
        session.redo()
    end = snapshot(session)
    while session.history.undo_label is not None:
        session.undo()
    assert snapshot(session) == start
    while session.history.redo_label is not None:
        session.redo()
    assert snapshot(session) == end
