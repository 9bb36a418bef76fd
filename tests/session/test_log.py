"""Autosave: what the person made comes back, with its history; nothing identifying is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image, Match
from napari_ld.errors import StorageError
from napari_ld.session import Session
from napari_ld.session.changes import applied, difference
from napari_ld.session.compute import identify, image_stem
from napari_ld.session.log import SessionLog, image_key, read_log, sessions_folder
from napari_ld.session.replay import newest_work, replay
from napari_ld.session.requests import Located
from napari_ld.session.tracks import EMPTY


def image(value: int = 0) -> Image:
    return Image(np.full((4, 20, 30), value, np.uint8), "pyx", source="/data/smith_john.tif")


def recognise(session: Session) -> None:
    request = session.request_identity()
    assert request is not None
    for result in identify(request, lambda: False):
        session.accept(result)


def worked_on(folder: Path) -> Session:
    session = Session(folder)
    session.open_image(image(), "smith_john")
    recognise(session)
    nasion = session.add_landmark("nasion")
    session.place(nasion, 1, (5.0, 6.0))
    request = session.request_location(1)
    assert request is not None
    question = request.tracks[0]
    match = Match(nasion, 0, (1.25, 2.0), 0.9, 0.2, "confident")
    session.accept(
        Located(request.serial, request.context, nasion, question.generation,
                tuple(replace(match, plane=plane) for plane in question.planes), True)
    )  # fmt: skip
    session.place(nasion, 2, (7.0, 8.0))
    session.add_landmark("sella")
    session.undo()
    return session


def content(session: Session) -> dict[str, object]:
    return {key: (t.name, t.color, dict(t.points), t.generation, t.finished) for key, t in session.state.items()}


def test_work_and_history_come_back(tmp_path: Path) -> None:
    first = worked_on(tmp_path)
    second = Session(tmp_path)
    second.open_image(image(), "smith_john")
    recognise(second)
    assert second.found is not None
    assert (second.found.landmarks, second.found.verified) == (1, 2)
    second.restore()
    assert second.found is None
    assert content(second) == content(first)
    assert second.history.redo_label == "add sella"
    assert second.history.undo_label == "move nasion on plane 2"
    for session in (first, second):
        session.redo()
        session.undo()
        session.undo()
    assert content(second) == content(first)
    # A new edit gets a generation that no answer of before can carry.
    nasion = next(iter(second.state))
    before = max(track.generation for track in second.state.values())
    second.place(nasion, 3, (2.0, 2.0))
    assert second.state[nasion].generation > before


def test_restored_work_is_saved_again(tmp_path: Path) -> None:
    first = worked_on(tmp_path)
    second = Session(tmp_path)
    second.open_image(image(), "smith_john")
    recognise(second)
    second.restore()
    third = Session(tmp_path)
    third.open_image(image(), "smith_john")
    recognise(third)
    third.restore()
    assert content(third) == content(first)


def test_restoring_into_begun_work_adds_to_it_in_one_step(tmp_path: Path) -> None:
    worked_on(tmp_path)
    second = Session(tmp_path)
    second.open_image(image(), "smith_john")
    recognise(second)
    second.add_landmark("porion")
    second.restore()
    assert [track.name for track in second.state.values()] == ["porion", "nasion"]
    second.undo()
    assert [track.name for track in second.state.values()] == ["porion"]


def test_an_image_that_returns_in_the_same_session_needs_no_question(tmp_path: Path) -> None:
    session = worked_on(tmp_path)
    before = content(session)
    session.open_image(image(7), "other")
    recognise(session)
    assert session.found is None
    session.open_image(image(), "smith_john")
    recognise(session)
    assert session.found is None
    assert content(session) == before


def test_dismissed_work_stays_on_disk(tmp_path: Path) -> None:
    worked_on(tmp_path)
    second = Session(tmp_path)
    second.open_image(image(), "smith_john")
    recognise(second)
    second.dismiss_found()
    assert second.found is None
    second.restore()
    assert second.state == {}
    assert newest_work(tmp_path, image_key(image(), "smith_john")) is not None


def test_edits_before_the_image_is_recognised_are_saved(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.open_image(image(), "smith_john")
    session.place(session.add_landmark("nasion"), 0, (1.0, 1.0))
    assert list(tmp_path.rglob("*.jsonl")) == []
    recognise(session)
    [path] = tmp_path.rglob("*.jsonl")
    past = replay(read_log(path), path)
    assert [track.name for track in past.landmarks.values()] == ["nasion"]


def test_the_key_knows_pixels_name_and_shape() -> None:
    assert image_key(image(), "a") == image_key(replace(image(), source="elsewhere"), "a")
    assert image_key(image(), "a") != image_key(image(1), "a")
    assert image_key(image(), "a") != image_key(image(), "b")
    assert len({image_stem("/data/smith_john.nii.gz"), image_stem("smith_john"), "smith_john"}) == 1


def test_nothing_identifying_is_written(tmp_path: Path) -> None:
    worked_on(tmp_path)
    for path in tmp_path.rglob("*"):
        assert "smith" not in str(path.relative_to(tmp_path))
        if path.is_file():
            assert "smith" not in path.read_text()
            assert "/data" not in path.read_text()


def test_a_line_cut_short_by_a_crash_costs_only_itself(tmp_path: Path) -> None:
    first = worked_on(tmp_path)
    [path] = tmp_path.rglob("*.jsonl")
    before = content(first)
    with path.open("ab") as file:
        file.write(b'{"op":"step","label":"mo')
    second = Session(tmp_path)
    second.open_image(image(), "smith_john")
    recognise(second)
    second.restore()
    assert content(second) == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"op":"other"}'], "is not a session"),
        (['{"op":"session","version":99}'], "has format version 99"),
        (['{"op":"session","version":1}', '{"op":"dance"}'], "unknown entry 'dance'"),
        (['{"op":"session","version":1}', '{"op":"amend"}'], "is damaged"),
    ],
)
def test_foreign_files_are_refused_in_words(tmp_path: Path, lines: list[str], message: str) -> None:
    path = tmp_path / "key" / "x.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StorageError, match=message):
        replay(read_log(path), path)
    assert newest_work(tmp_path, "key") is None


def test_a_missing_log_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        list(read_log(tmp_path / "gone.jsonl"))


def test_a_folder_that_cannot_be_written_is_told_and_costs_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "sessions"
    blocked.write_text("a file where the folder should be")
    log = SessionLog(blocked)
    log.attach("key")
    with pytest.raises(StorageError, match=r"Autosave cannot write .* NAPARI_LD_SESSIONS"):
        log.append({"op": "undo"})
    blocked.unlink()
    log.append({"op": "redo"})
    assert log.path is not None
    assert [entry["op"] for entry in read_log(log.path)] == ["undo", "redo"]

    blocked = tmp_path / "more"
    blocked.write_text("")
    session = Session(blocked)
    session.open_image(image(), "a")
    recognise(session)
    session.add_landmark("nasion")
    assert "Autosave cannot write" in session.autosave_error
    blocked.unlink()
    session.add_landmark("sella")
    assert session.autosave_error == ""


def test_the_log_is_attached_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="before its image was recognised"):
        SessionLog(tmp_path)._write([{"op": "undo"}])


def test_differences_apply_through_json(tmp_path: Path) -> None:
    session = worked_on(tmp_path)
    change = json.loads(json.dumps(difference(EMPTY, session.state)))
    [track], [again] = session.state.values(), applied(EMPTY, change).values()
    assert dict(track.points) == dict(again.points)
    assert applied(session.state, difference(session.state, EMPTY)) == {}


def test_the_folder_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_LD_SESSIONS", str(tmp_path))
    assert sessions_folder() == tmp_path
    monkeypatch.delenv("NAPARI_LD_SESSIONS")
    assert sessions_folder().name == "sessions"
