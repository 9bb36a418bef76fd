"""A scheme at work: added together, clicked one after the other, searched together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.errors import LandmarkError
from napari_ld.io.schemes import Scheme, SchemeEntry
from napari_ld.session import Session, guidance

SCHEME = Scheme("ceph", (SchemeEntry("sella", "#ff8800"), SchemeEntry("nasion"), SchemeEntry("menton")))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = Session(tmp_path)
    session.choose_encoder("some-encoder")
    session.open_image(Image(np.zeros((6, 20, 30), np.uint8), "pyx"), "film")
    return session


def name(session: Session) -> str:
    return session.state[str(session.current)].name


def test_each_click_leads_to_the_next_landmark_and_the_last_one_starts_the_search(session: Session) -> None:
    wanted: list[int] = []
    session.work_wanted.connect(lambda: wanted.append(1))
    session.use_scheme(SCHEME)
    assert [track.name for track in session.state.values()] == ["sella", "nasion", "menton"]
    assert next(iter(session.state.values())).color == "#ff8800"
    for k, expected in enumerate(("sella", "nasion", "menton")):
        assert not wanted
        assert (name(session), session.awaiting_click) == (expected, True)
        assert guidance(session) == f"Now click: {expected} ({k + 1}/3)."
        session.place(str(session.current), 2, (3.0 + k, 4.0))
    assert wanted
    assert not session.awaiting_click
    request = session.request_location(2)
    assert request is not None
    assert len(request.tracks) == 3


def test_undo_goes_back_to_the_landmark_that_was_clicked(session: Session) -> None:
    session.use_scheme(SCHEME)
    session.place(str(session.current), 0, (3.0, 4.0))
    assert name(session) == "nasion"
    session.undo()
    assert (name(session), session.awaiting_click) == ("sella", True)
    session.redo()
    assert name(session) == "nasion"
    session.undo()
    session.undo()
    assert not session.state


def test_another_landmark_may_be_clicked_first(session: Session) -> None:
    session.use_scheme(SCHEME)
    menton = list(session.state)[2]
    session.select(menton)
    assert guidance(session) == "Now click: menton (3/3)."
    session.place(menton, 0, (3.0, 4.0))
    assert name(session) == "sella"


def test_what_is_there_keeps_its_points_and_colour(session: Session) -> None:
    sella = session.add_landmark("sella")
    session.place(sella, 1, (3.0, 4.0))
    color = session.state[sella].color
    session.use_scheme(SCHEME)
    assert session.state[sella].color == color
    assert session.state[sella].points[1].verified
    assert name(session) == "nasion"
    count = len(session.state)
    session.use_scheme(SCHEME)
    assert len(session.state) == count


def test_another_image_begins_without_scheme(session: Session) -> None:
    session.use_scheme(SCHEME)
    session.open_image(Image(np.ones((6, 20, 30), np.uint8), "pyx"), "other")
    session.place(session.add_landmark("spot"), 0, (1.0, 1.0))
    assert session.scheme == ()
    session.open_image(None)
    with pytest.raises(LandmarkError, match="There is no image to click the scheme on"):
        session.use_scheme(SCHEME)


def test_without_mirrored_copies_answers_turn_stale(session: Session) -> None:
    before = session.context
    session.choose_mirror(False)
    assert session.context != before
    request = session.request_location(0)
    assert request is not None
    assert not request.mirror
    session.choose_mirror(True)
    assert session.context == before
