"""Adapt to this stack: one level of undo, learnt from the points of that moment, and nothing a person made moves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image, Match
from napari_ld.session import Session, guidance
from napari_ld.session.changes import applied, difference
from napari_ld.session.compute import Sources, identify, locate_tracks
from napari_ld.session.requests import Located, LocateRequest
from napari_ld.session.tracks import EMPTY


def film() -> Image:
    rng = np.random.default_rng(0)
    return Image(rng.integers(0, 255, (5, 48, 64), np.uint8), "pyx")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """One landmark, clicked on plane 2, confirmed on plane 0, and answered on the others."""
    session = Session(tmp_path)
    session.open_image(film(), "film")
    nasion = session.add_landmark("nasion")
    session.place(nasion, 2, (20.0, 30.0))
    answer(session, 0.5)
    session.verify(nasion, 0)
    return session


def asked(session: Session) -> LocateRequest:
    request = session.request_location(0)
    assert request is not None
    return request


def answer(session: Session, place: float) -> LocateRequest:
    request = asked(session)
    for question in request.tracks:
        match = Match(question.landmark, 0, (place, place), 0.9, 0.2, "confident", "fine")
        matches = tuple(replace(match, plane=plane) for plane in question.planes)
        located = Located(request.serial, request.context, question.landmark, question.generation, matches, True)
        session.accept(located)
    return request


def places(session: Session) -> dict[int, object]:
    [track] = session.state.values()
    return {plane: point.match.position for plane, point in sorted(track.points.items())}


def test_adapting_searches_what_nobody_verified_and_can_be_undone(session: Session) -> None:
    [before] = session.state.values()
    wanted: list[int] = []
    session.work_wanted.connect(lambda: wanted.append(1))
    assert session.can_adapt
    session.adapt()
    assert wanted == [1]
    assert session.history.undo_label == "adapt to this stack"
    [question] = answer(session, 7.0).tracks
    assert question.lessons == question.templates == ((2, (20.0, 30.0)),)
    assert sorted(question.planes) == [1, 3, 4]
    assert places(session) == {0: (0.5, 0.5), 1: (7.0, 7.0), 2: (20.0, 30.0), 3: (7.0, 7.0), 4: (7.0, 7.0)}
    session.undo()
    assert list(session.state.values()) == [before]
    assert session.open_tracks() == []
    session.redo()
    assert places(session)[1] == (7.0, 7.0)
    assert session.open_tracks() == []


def test_answers_of_before_are_dropped(session: Session) -> None:
    old = replace(asked(session), tracks=())
    [track] = session.state.values()
    late = Match(track.id, 1, (9.0, 9.0), 0.9, 0.2, "confident")
    session.adapt()
    session.accept(Located(old.serial, old.context, track.id, track.generation, (late,), True))
    assert places(session)[1] == (0.5, 0.5)
    assert session.open_tracks()


def test_later_points_teach_only_when_asked_again(session: Session) -> None:
    session.adapt()
    answer(session, 7.0)
    assert not session.can_adapt
    session.adapt()
    assert session.history.undo_label == "adapt to this stack"
    nasion = next(iter(session.state))
    session.place(nasion, 4, (11.0, 12.0))
    [question] = asked(session).tracks
    assert question.templates == ((2, (20.0, 30.0)), (4, (11.0, 12.0)))
    assert question.lessons == ((2, (20.0, 30.0)),)
    assert session.can_adapt
    session.adapt()
    [question] = asked(session).tracks
    assert question.lessons == question.templates


def test_nothing_is_adapted_without_points_other_planes_or_for_other_kinds(session: Session, tmp_path: Path) -> None:
    session.choose_stack_kind("volume")
    assert not session.can_adapt
    session.adapt()
    assert session.history.undo_label == "verify nasion on plane 0"
    session.choose_stack_kind("images")
    assert session.can_adapt
    other = Session(tmp_path)
    other.open_image(film(), "other")
    other.add_landmark("nasion")
    assert not other.can_adapt
    other.open_image(Image(np.zeros((20, 30), np.uint8), "yx"), "single")
    other.place(other.add_landmark("nasion"), 0, (5.0, 6.0))
    assert not other.can_adapt


def test_the_log_knows_what_was_learnt(tmp_path: Path) -> None:
    first, second = Session(tmp_path), Session(tmp_path)
    for session in (first, second):
        session.open_image(film(), "film")
        request = session.request_identity()
        assert request is not None
        for result in identify(request, lambda: False):
            session.accept(result)
        if session is first:
            first.place(first.add_landmark("nasion"), 2, (20.0, 30.0))
            first.adapt()
            answer(first, 7.0)
    second.restore()
    [one], [other] = first.state.values(), second.state.values()
    assert other.lessons == one.lessons == ((2, (20.0, 30.0)),)
    assert (dict(other.points), other.finished) == (dict(one.points), one.finished)
    second.undo()
    [other] = second.state.values()
    assert other.lessons == ()


def test_logs_of_earlier_versions_are_read(session: Session) -> None:
    change = json.loads(json.dumps(difference(EMPTY, session.state)))
    for track in change["tracks"]:
        del track["lessons"]
    [track] = applied(EMPTY, change).values()
    assert track.lessons == ()


def test_the_line_below_says_that_it_learns(session: Session) -> None:
    session.adapt()
    session.work_started()
    session.work = replace(session.work, device="cpu", embedded=5, total=5)
    assert guidance(session).startswith("Learning from your points")


def test_the_worker_learns_and_answers_every_open_plane(session: Session, encoder: str) -> None:
    session.choose_encoder(encoder)
    session.choose_mirror(False)  # planes of noise look like either side
    session.place(next(iter(session.state)), 4, (11.0, 12.0))
    sources, found = Sources(), dict[str, list[Located]]()
    for name in ("plain", "adapted"):
        if name == "adapted":
            session.adapt()
        results = locate_tracks(asked(session), sources, lambda: False)
        found[name] = [result for result in results if isinstance(result, Located)]
        assert found[name][-1].finished
        for result in found[name]:
            session.accept(result)
    scores = {
        name: [m.score for result in parts for m in result.matches if m.stage == "fine"]
        for name, parts in found.items()
    }
    assert len(scores["plain"]) == len(scores["adapted"]) == 2
    assert scores["plain"] != scores["adapted"]
    assert session.open_tracks() == []
