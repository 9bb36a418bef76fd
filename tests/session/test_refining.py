"""Refining in a session: what is asked, what comes back, what is applied, and what undo brings back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.errors import Cancelled, RegionError
from napari_ld.evaluation.overlap import dice
from napari_ld.refinement import Change
from napari_ld.session import Session
from napari_ld.session.compute import Sources
from napari_ld.session.log import read_log
from napari_ld.session.refine_compute import refine_labels
from napari_ld.session.refine_report import Report
from napari_ld.session.refine_work import APPLIED, PREVIEWED, STOPPED, OwnLabels
from napari_ld.session.repaint import LayerChange, Repaint
from napari_ld.session.replay import replay
from napari_ld.session.requests import Identified, LabelsRefined, RefineRequest, SourceReady

SHAPE = (4, 48, 56)
Labels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def truth() -> Labels:
    """Discs on planes 1 and 2."""
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    disc = np.hypot(rows - 24, columns - 28) < 13
    return np.stack([disc * 0, disc, disc, disc * 0]).astype(np.uint8)


def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return (100 + 60 * truth() + np.random.default_rng(0).normal(0, 6, SHAPE)).astype(np.float32)


ROUGH = np.roll(truth(), (3, -3), (1, 2))


@pytest.fixture
def session(tmp_path: Path, encoder: str) -> Session:
    """Discs of which rough masks were painted by hand."""
    session = Session(tmp_path)
    session.choose_encoder(encoder)
    session.open_image(Image(pixels(), "pyx"), "discs")
    session.accept(Identified(session.serial, "key", None))
    session.regions.paint(dict(enumerate(ROUGH * 3)))
    return session


def masks(session: Session) -> Labels:
    assert session.image is not None
    return session.regions.book.masks(session.image)


def run(session: Session, request: RefineRequest | None, *, cancel_after: int = 1000) -> None:
    """Have a worker's function answer, and the session take the answers in."""
    assert request is not None
    asked: Iterator[int] = iter(range(10**6))
    try:
        for result in refine_labels(request, Sources(), lambda: next(asked) >= cancel_after):
            session.accept(result)
    except Cancelled:
        session.refining_ended()
    except RegionError as error:
        session.refining_ended(str(error))
    else:
        session.refining_ended()


@pytest.mark.parametrize("method", ["watershed", "prototype"])
def test_planes_are_refined_as_one_level_of_undo(session: Session, method: str) -> None:
    before = masks(session)
    run(session, session.request_refinement(method, session.regions.book.canvas.planes))
    after = masks(session)
    assert dice(after > 0, truth() > 0) > dice(before > 0, truth() > 0) + 0.05
    assert set(np.unique(after)) == {0, 3}
    assert session.refining.heading == APPLIED
    assert "label 3: " in session.refining.report[0]
    assert "px changed on 2 of 2 planes, confidence" in session.refining.report[0]
    assert session.history.undo_label == "refine 2 planes"
    assert set(session.applied) == {1, 2}
    session.undo()
    assert np.array_equal(masks(session), before)
    assert not session.applied
    session.redo()
    assert np.array_equal(masks(session), after)


def test_replay_of_the_log_gives_the_refined_masks(session: Session) -> None:
    run(session, session.request_refinement("watershed", (1,)))
    path = session._log.path
    assert path is not None
    past = replay(read_log(path), path)
    assert session.image is not None
    assert np.array_equal(past.regions.masks(session.image), masks(session))
    assert past.history.undo_label == "refine plane 1"


def test_preview_changes_nothing_until_it_is_applied(session: Session) -> None:
    before = masks(session)
    run(session, session.request_preview("watershed", 2))
    shown = session.previewed
    assert shown is not None
    assert np.array_equal(masks(session), before)
    assert session.refining.heading == PREVIEWED
    top, left = shown.corner
    rows, columns = shown.before.shape
    assert np.array_equal(shown.before, before[2, top : top + rows, left : left + columns])
    assert before[2].sum() == shown.before.sum()
    session.apply_preview(shown)
    assert np.array_equal(masks(session)[2, top : top + rows, left : left + columns], shown.after)
    assert np.array_equal(masks(session)[1], before[1])
    assert session.refining.heading == APPLIED


def test_answers_to_old_questions_are_dropped(session: Session) -> None:
    before = masks(session)
    request = session.request_preview("watershed", 1)
    session.request_preview("watershed", 2)
    run(session, request)
    assert session.previewed is None
    request = session.request_refinement("watershed", (1, 2))
    session.choose_mirror(False)  # the encoder is asked in another way now
    run(session, request)
    assert np.array_equal(masks(session), before)
    request = session.request_preview("watershed", 1)
    session.forget_preview()
    run(session, request)
    assert session.previewed is None


def test_volume_is_refined_in_three_dimensions_and_keeps_its_ends(session: Session) -> None:
    session.choose_stack_kind("volume")
    before = masks(session)
    request = session.request_refinement("prototype", range(4), steps=(5.0, 1.0, 1.0))
    assert request is not None
    assert request.solid
    answers = list(refine_labels(request, Sources(), lambda: False))
    assert isinstance(answers[0], SourceReady)
    progress = [(one.done, one.total) for one in answers if isinstance(one, LabelsRefined)]
    assert progress == [(1, 3), (2, 3), (3, 3)]
    for answer in answers:
        session.accept(answer)
    after = masks(session)
    assert dice(after > 0, truth() > 0) > dice(before > 0, truth() > 0) + 0.05
    assert not after[[0, 3]].any()
    session.undo()
    assert np.array_equal(masks(session), before)


def test_cancelled_work_is_not_applied(session: Session) -> None:
    before = masks(session)
    run(session, session.request_refinement("prototype", (0, 1, 2)), cancel_after=3)
    assert np.array_equal(masks(session), before)
    assert session.refining.heading == STOPPED
    assert session.history.undo_label == "paint by hand"
    session.choose_stack_kind("volume")
    run(session, session.request_refinement("prototype", (1, 2)), cancel_after=5)
    assert np.array_equal(masks(session), before)


def test_what_the_person_changes_meanwhile_stays(session: Session) -> None:
    request = session.request_refinement("watershed", (1, 2))
    assert request is not None
    answers = list(refine_labels(request, Sources(), lambda: False))
    session.accept(answers[0])
    painted = masks(session)[1]
    painted[0, :5] = 4
    session.regions.paint({1: painted})
    for answer in answers[1:]:
        session.accept(answer)
    assert np.array_equal(masks(session)[1], painted)
    assert not np.array_equal(masks(session)[2], ROUGH[2] * 3)
    assert "changed meanwhile on plane 1: left alone there" in session.refining.report[-1]

    request = session.request_refinement("watershed", (1,))
    assert request is not None
    answers = list(refine_labels(request, Sources(), lambda: False))
    session.undo()
    session.undo()  # the stroke on plane 1
    before = masks(session)
    session.accept(answers[0])
    assert np.array_equal(masks(session), before)
    assert "nothing was applied" in session.refining.heading


def test_layer_of_ones_own_is_changed_by_messages_and_not_in_the_log(session: Session) -> None:
    own = ROUGH.copy()
    seen: list[LayerChange] = []

    def write(change: LayerChange) -> None:
        seen.append(change)
        for part in change.planes:
            flat = own[part.plane].reshape(-1)
            assert np.array_equal(flat[part.pixels], part.before)
            flat[part.pixels] = part.after

    session.layer_changed.connect(write)
    before = masks(session)
    request = session.request_refinement("watershed", range(4), OwnLabels(5, lambda plane: own[plane].copy()))
    run(session, request)
    assert [change.key for change in seen] == [5]
    assert dice(own, truth()) > dice(ROUGH, truth()) + 0.05
    assert np.array_equal(masks(session), before)
    refined = own.copy()
    session.undo()
    assert np.array_equal(own, ROUGH)
    session.redo()
    assert np.array_equal(own, refined)
    session.undo()
    session.undo()  # the stroke before it
    assert not masks(session).any()
    path = session._log.path
    assert path is not None
    assert [entry["op"] for entry in read_log(path)] == ["regions", "undo"]
    assert replay(read_log(path), path).history.redo_label == "paint by hand"


def test_scribbles_say_where_a_label_is_and_where_none_is(session: Session) -> None:
    scribbles = np.zeros(SHAPE, np.uint8)
    scribbles[1, 2, 2], scribbles[1, 27, 25] = 3, 200
    run(session, session.request_refinement("watershed", (1,), None, lambda plane: scribbles[plane]))
    assert masks(session)[1, 2, 2] == 3
    assert masks(session)[1, 27, 25] == 0


def test_planes_that_cannot_be_refined_are_left_and_told(session: Session) -> None:
    assert session.image is not None
    session.image.array[1] = np.nan
    before = masks(session)
    run(session, session.request_refinement("watershed", (1, 2)))
    assert np.array_equal(masks(session)[1], before[1])
    assert not np.array_equal(masks(session)[2], before[2])
    assert "left as it was on plane 1: the image holds no finite value" in session.refining.report[-1]


@pytest.mark.parametrize(("planes", "kind"), [((0,), "images"), ((0, 3), "volume")])
def test_nothing_to_refine(session: Session, planes: tuple[int, ...], kind: str) -> None:
    session.choose_stack_kind(kind)
    request = session.request_refinement("watershed", planes)
    assert request is not None
    with pytest.raises(RegionError, match="Outline the structure roughly first"):
        list(refine_labels(request, Sources(), lambda: False))


def test_without_an_image_nothing_is_asked(tmp_path: Path) -> None:
    session = Session(tmp_path)
    assert session.request_preview("watershed", 0) is None
    assert session.request_refinement("watershed", (0,)) is None


def test_refining_that_fails_says_why(session: Session) -> None:
    session.request_refinement("watershed", (1,))
    session.refining_ended("the disk is on fire")
    assert (session.refining.error, session.refining.running) == ("the disk is on fire", False)
    session.preview_ended("no label here")
    assert session.refining.error == "no label here"
    session.preview_ended()
    assert session.refining.error == ""


def test_report_in_words() -> None:
    change = Change(2, 100, 110, 134, 0.9, 0.81, False)
    unsure, far = replace(change, changed=0, confidence=0.05, kept=True), replace(change, overlap=0.31, kept=True)

    def lines(*changes: Change, notes: int = 0) -> list[str]:
        report = Report()
        for one in changes:
            report.add([one])
        for plane in range(notes):
            report.add((), f"plane {plane}: black")
        return list(report.lines())

    assert lines(change) == ["label 2: 134 px changed, confidence 0.81"]
    assert lines(unsure) == ["label 2: left as it was: not sure enough (confidence 0.05)"]
    assert lines(far) == ["label 2: left as it was: what was found overlaps it too little (0.31)"]
    assert lines(replace(change, changed=0)) == ["label 2: nothing to change"]
    more = replace(change, changed=66, confidence=0.31)
    assert lines(change, more, unsure) == [
        "label 2: 200 px changed on 2 of 3 planes, confidence 0.65; left as it was on 1, not sure enough"
    ]
    assert lines(unsure, unsure) == ["label 2: left as it was on all 2 planes, not sure enough"]
    assert lines(*(replace(change, label=label) for label in range(1, 9)))[5:] == ["and 3 more labels: 402 px changed"]
    assert lines(notes=3) == ["left as it was on plane 0: black, and 2 more planes"]


def test_repaint_and_its_inverse() -> None:
    before = np.array([[0, 1, 1], [0, 0, 2]])
    after = np.array([[0, 1, 0], [3, 0, 2]])
    repaint = Repaint.between(4, before, after, (10, 20), 100)
    assert repaint.pixels.tolist() == [1022, 1120]
    assert (repaint.before.tolist(), repaint.after.tolist()) == ([1, 0], [0, 3])
    back = repaint.inverse
    assert (back.before.tolist(), back.after.tolist()) == ([0, 3], [1, 0])
    assert LayerChange(1, (repaint,)).inverse.planes[0].before.tolist() == [0, 3]
    assert LayerChange(1, (repaint,)).size > repaint.size > 0
