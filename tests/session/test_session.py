"""Session: edits, undo, stale answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ld._types import Image, Match
from napari_ld.errors import ImageError, LandmarkError
from napari_ld.session import Session, guidance
from napari_ld.session.requests import EmbeddingProgress, Identified, Located, LocateRequest, SourceReady
from napari_ld.session.tracks import PALETTE


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = Session(tmp_path)
    session.choose_encoder("some-encoder")
    session.open_image(Image(np.zeros((6, 20, 30), np.uint8), "pyx"), "film")
    return session


def answer(request: LocateRequest, margin: float = 0.2, *, finished: bool = True, **changes: object) -> Located:
    question = request.tracks[0]
    match = Match(question.landmark, 0, (1.0, 2.0), 0.9, margin, "confident" if margin > 0.1 else "uncertain")
    matches = tuple(replace(match, plane=plane) for plane in question.planes)
    located = Located(request.serial, request.context, question.landmark, question.generation, matches, finished)
    return replace(located, **changes)  # type: ignore[arg-type]


def test_slices_are_a_volume_until_the_person_chooses_otherwise(session: Session) -> None:
    slices = Image(np.zeros((6, 20, 30), np.uint8), "zyx")
    session.open_image(slices, "scan")
    assert session.stack_kind == "volume"
    session.choose_stack_kind("images")
    session.open_image(slices, "other scan")
    assert session.stack_kind == "images"
    session.open_image(None)
    session.open_image(Image(np.zeros((6, 20, 30), np.uint8), "pyx"), "film")
    session.open_image(slices, "scan")
    assert session.stack_kind == "volume"


def test_first_click_is_the_template_and_asks_for_the_other_planes_nearest_first(session: Session) -> None:
    wanted: list[int] = []
    session.work_wanted.connect(lambda: wanted.append(1))
    nasion = session.add_landmark("nasion")
    assert session.awaiting_click
    assert not wanted
    session.place(nasion, 3, (5.0, 6.0))
    assert wanted == [1]
    assert not session.awaiting_click
    request = session.request_location(visible_plane=3)
    assert request is not None
    assert request.planes == (3, 2, 4, 1, 5, 0)
    assert request.tracks[0].templates == ((3, (5.0, 6.0)),)
    assert request.tracks[0].planes == (2, 4, 1, 5, 0)


def test_answers_fill_only_planes_that_nobody_verified(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.corrections_teach = False
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    session.place(nasion, 1, (7.0, 8.0))
    session.accept(answer(request))
    points = session.state[nasion].points
    assert points[1].match.position == (7.0, 8.0)
    assert points[1].match.status == points[3].match.status == "verified"
    assert points[0].match.position == (1.0, 2.0)
    assert session.state[nasion].open_planes(6, session.context) == ()


def test_another_window_makes_answers_stale_and_goes_with_the_image(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 0, (5.0, 6.0))
    request = session.request_location(0)
    assert request is not None
    session.accept(answer(request))
    assert session.open_tracks() == []
    before = session.context
    session.choose_window("lung")
    assert session.image is not None
    assert (session.image.window, session.context != before) == ((-1350, 150), True)
    assert session.request_location(0).image.window == (-1350, 150)  # type: ignore[union-attr]
    with pytest.raises(ImageError, match="the window 'moon' is unknown"):
        session.choose_window("moon")
    session.choose_window(None)
    assert (session.image.window, session.context) == (None, before)
    opened = session.image
    session.choose_window("bone")
    session.open_image(opened, "other")
    assert session.window is None


@pytest.mark.parametrize("changes", [{"serial": -1}, {"context": "other"}, {"generation": -1}, {"landmark": "gone"}])
def test_answers_to_old_questions_are_dropped(session: Session, changes: dict[str, object]) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    session.accept(answer(request, **changes))
    assert list(session.state[nasion].points) == [3]


def test_a_coarse_answer_does_not_replace_a_fine_one_to_the_same_question(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    fine = answer(request)
    coarse = replace(fine, matches=tuple(replace(m, position=(9.0, 9.0), stage="coarse") for m in fine.matches))
    session.accept(coarse)
    session.accept(fine)
    session.accept(coarse)
    assert session.state[nasion].points[0].match.position == (1.0, 2.0)


def test_a_correction_teaches_and_makes_the_other_answers_stale(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    session.accept(answer(request))
    session.place(nasion, 1, (7.0, 8.0))
    track = session.state[nasion]
    assert [plane for plane, _ in track.templates] == [1, 3]
    assert track.is_stale(track.points[0], session.context)
    assert track.open_planes(6, session.context) == (0, 2, 4, 5)
    again = session.request_location(1)
    assert again is not None
    assert again.tracks[0].planes == (0, 2, 4, 5)


def test_without_teaching_a_correction_changes_only_its_plane(session: Session) -> None:
    session.corrections_teach = False
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    session.accept(answer(request))
    session.place(nasion, 1, (7.0, 8.0))
    assert session.open_tracks() == []
    # The only example stays one when it is moved itself.
    session.place(nasion, 3, (5.5, 6.0))
    assert session.state[nasion].templates == ((3, (5.5, 6.0)),)


def test_undo_takes_back_the_edit_but_keeps_what_the_encoder_found_for_others(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    sella = session.add_landmark("sella")
    session.accept(answer(request))
    session.undo()
    assert sella not in session.state
    assert len(session.state[nasion].points) == 6
    session.redo()
    assert sella in session.state
    session.undo()
    session.undo()
    assert session.state[nasion].points == {}
    assert session.awaiting_click
    session.redo()
    assert len(session.state[nasion].points) == 6
    assert session.open_tracks() == []


def test_undo_and_redo_at_the_ends_do_nothing(session: Session) -> None:
    session.undo()
    session.redo()
    assert session.state == {}


def test_names_and_colours_are_distinct_and_stay(session: Session) -> None:
    ids = [session.add_landmark("nasion") for _ in range(3)] + [session.add_landmark() for _ in range(2)]
    assert [session.state[i].name for i in ids] == ["nasion", "nasion 2", "nasion 3", "landmark 1", "landmark 2"]
    colors = [session.state[i].color for i in ids]
    assert colors == list(PALETTE[:5])
    session.remove_landmark(ids[1])
    assert [session.state[i].color for i in ids if i in session.state] == [colors[0], *colors[2:]]
    newest = session.add_landmark()
    assert session.state[newest].color == colors[1]
    session.rename(ids[0], "orbitale")
    assert session.state[ids[0]].color == colors[0]


def test_palette_has_no_twins() -> None:
    assert len(set(PALETTE)) == len(PALETTE)


def test_threshold_counts_margins_or_calibrated_errors(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    session.accept(answer(request, margin=0.2))
    point = session.state[nasion].points[0]
    assert session.status(point) == "confident"
    session.set_threshold(0.3)
    assert session.status(point) == "uncertain"
    calibrated = replace(point, match=replace(point.match, expected_error=1.5))
    session.set_threshold(2.0)
    assert session.status(calibrated) == "confident"
    session.set_threshold(1.0)
    assert session.status(calibrated) == "uncertain"
    assert session.status(session.state[nasion].points[3]) == "verified"


def test_next_uncertain_goes_forward_then_to_other_landmarks_then_round(session: Session) -> None:
    for name in ("nasion", "sella"):
        landmark = session.add_landmark(name)
        session.place(landmark, 3, (5.0, 6.0))
        request = session.request_location(3)
        assert request is not None
        session.accept(answer(request, margin=0.01))
    nasion, sella = session.state
    session.select(nasion)
    assert session.next_uncertain(1) == (nasion, 2)
    assert session.next_uncertain(5) == (sella, 0)
    for plane in (0, 1, 2, 4, 5):
        session.verify(sella, plane)
    session.select(nasion)
    assert session.next_uncertain(5) == (nasion, 0)


def test_verify_and_absent_are_decisions_and_no_examples(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    session.accept(answer(request))
    session.verify(nasion, 0)
    session.verify(nasion, 0)
    session.mark_absent(nasion, 1)
    points = session.state[nasion].points
    assert points[0].verified
    assert points[1].verified
    assert points[1].match.position is None
    assert session.state[nasion].templates == ((3, (5.0, 6.0)),)
    assert session.history.undo_label == "absent: nasion on plane 1"


def test_another_encoder_makes_answers_stale_and_asks_again(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    request = session.request_location(3)
    assert request is not None
    session.accept(answer(request))
    wanted: list[int] = []
    session.work_wanted.connect(lambda: wanted.append(1))
    session.choose_encoder("another")
    assert wanted == [1]
    track = session.state[nasion]
    assert track.is_stale(track.points[0], session.context)
    session.choose_encoder("some-encoder")
    assert not track.is_stale(track.points[0], session.context)
    session.choose_stack_kind("volume")
    assert track.is_stale(track.points[0], session.context)


@pytest.mark.parametrize(
    ("plane", "position"),
    [(6, (1.0, 1.0)), (-1, (1.0, 1.0)), (0, (20.0, 1.0)), (0, (1.0, -0.6)), (0, (float("nan"), 1))],
)
def test_outside_is_refused(session: Session, plane: int, position: tuple[float, float]) -> None:
    nasion = session.add_landmark("nasion")
    with pytest.raises(LandmarkError, match="outside the image of 6 planes, 20 rows and 30 columns"):
        session.place(nasion, plane, position)
    assert session.state[nasion].points == {}
    assert session.awaiting_click


def test_unknown_landmarks_and_missing_images_are_refused(tmp_path: Path, session: Session) -> None:
    session.add_landmark("nasion")
    with pytest.raises(LandmarkError, match="Unknown landmark 'x'; this image has: nasion"):
        session.select("x")
    with pytest.raises(LandmarkError, match="no image to put a landmark on"):
        Session(tmp_path).add_landmark()


def test_loading_keeps_what_was_verified_and_is_one_step(session: Session) -> None:
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (5.0, 6.0))
    session.load(
        [
            Match("nasion", 3, (9.0, 9.0), 1.0, 1.0, "verified"),
            Match("nasion", 2, (8.0, 9.0), 1.0, 1.0, "verified"),
            Match("nasion", 1, (7.0, 9.0), 0.5, 0.1, "uncertain"),
            Match("sella", 0, (1.0, 1.0), 1.0, 1.0, "verified"),
            Match("sella", 4, (1.0, 1.0), 1.0, 1.0, "verified"),
        ]
    )
    nasion_track, sella_track = session.state.values()
    assert nasion_track.points[3].match.position == (5.0, 6.0)
    assert nasion_track.points[1].match.status == "uncertain"
    assert nasion_track.templates == ((3, (5.0, 6.0)),)
    assert sella_track.templates == ((0, (1.0, 1.0)),)
    session.undo()
    assert list(session.state) == [nasion]
    with pytest.raises(LandmarkError, match="outside the image"):
        session.load([Match("porion", 9, (9.0, 9.0), 1.0, 1.0, "verified")])
    assert list(session.state) == [nasion]


def test_progress_and_errors_are_shown_and_old_ones_dropped(session: Session) -> None:
    session.work_started()
    session.accept(SourceReady(session.serial, session.context, "fast", "cpu · float32", "no GPU found"))
    session.accept(EmbeddingProgress(session.serial, session.context, 2, 6))
    session.accept(EmbeddingProgress(session.serial, "other", 3, 6))
    assert (session.work.embedded, session.work.device) == (2, "cpu · float32")
    session.work_ended("The file is corrupt.")
    assert session.work.error == "The file is corrupt."
    session.work_started()
    assert session.work.error == ""


def test_guidance_says_what_to_do_at_each_stage(session: Session, tmp_path: Path) -> None:
    assert "samples" in guidance(Session(tmp_path))
    assert "+ Add" in guidance(session)
    nasion = session.add_landmark("nasion")
    assert guidance(session) == "Click nasion once on any plane."
    session.place(nasion, 3, (5.0, 6.0))
    assert "Propagate" in guidance(session)
    request = session.request_location(3)
    assert request is not None
    session.work_started()
    assert "Loading" in guidance(session)
    session.accept(SourceReady(session.serial, session.context, "fast", "cpu", ""))
    session.accept(EmbeddingProgress(session.serial, session.context, 2, 6))
    assert "2 of 6" in guidance(session)
    session.accept(EmbeddingProgress(session.serial, session.context, 6, 6))
    assert "exactly" in guidance(session)
    session.work_ended()
    session.accept(answer(request, margin=0.01))
    assert guidance(session).startswith("1 verified, 5 uncertain. Press N")
    session.set_threshold(0.001)
    assert "confident" in guidance(session)
    session.set_obstacle("Switch to 2-D.")
    assert guidance(session) == "Switch to 2-D."
    session.set_obstacle("")
    session.work_ended("broken")
    assert "Propagate" in guidance(session)


def test_opening_another_image_starts_empty(session: Session) -> None:
    session.add_landmark("nasion")
    old = session.request_location(0)
    session.open_image(Image(np.zeros((4, 4)), "yx"), "other")
    assert session.state == {}
    assert session.history.undo_label is None
    assert old is not None
    session.accept(Identified(old.serial, "key", None))
    assert session.found is None
    single = session.add_landmark()
    session.place(single, 0, (1.0, 1.0))
    assert session.open_tracks() == []
    assert "is set" in guidance(session)


edits = st.lists(
    st.tuples(st.sampled_from(["add", "place", "absent", "remove", "rename"]), st.integers(0, 5)), max_size=12
)


@settings(max_examples=40, deadline=None)
@given(edits)
def test_undoing_everything_gives_the_empty_start_and_redoing_the_end(actions: list[tuple[str, int]]) -> None:
    session = Session(Path("unused-sessions"))
    session.open_image(Image(np.zeros((6, 20, 30), np.uint8), "pyx"), "film")
    for action, plane in actions:
        if action == "add" or not session.current:
            session.add_landmark()
        elif action == "place":
            session.place(session.current, plane, (float(plane), 1.0))
        elif action == "absent":
            session.mark_absent(session.current, plane)
        elif action == "remove":
            session.remove_landmark(session.current)
        else:
            session.rename(session.current, f"name {plane}")

    def content() -> list[object]:
        return [(track.name, track.color, dict(track.points)) for track in session.state.values()]

    end = content()
    levels = 0
    while session.history.undo_label:
        session.undo()
        levels += 1
    assert session.state == {}
    for _ in range(levels):
        session.redo()
    assert content() == end
