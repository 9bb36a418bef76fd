"""Regions in the autosave log: restored with their history, replayed without window or encoder, safe from kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ld._types import Image
from napari_ld.errors import StorageError
from napari_ld.session import Session
from napari_ld.session.canvas import Patch
from napari_ld.session.compute import identify
from napari_ld.session.log import read_image, read_log
from napari_ld.session.replay import replay
from tests.session.regions import SHAPE, box, open_session, region
from tests.session.test_review import ACTIONS, act, proposals, snapshot


def recognise(session: Session) -> None:
    request = session.request_identity()
    assert request is not None
    for result in identify(request, lambda: False):
        session.accept(result)


def again(folder: Path) -> Session:
    session = open_session(folder)
    recognise(session)
    return session


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9), st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 19)), max_size=12))
def test_everything_comes_back_with_its_history(
    tmp_path_factory: pytest.TempPathFactory, seed: int, actions: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("sessions")
    first = again(folder)
    first.regions.propose(proposals(seed))
    first.regions.flush()
    for action, number in actions:
        act(first, action, number)
    second = again(folder)
    assert second.found is not None
    second.restore()
    assert snapshot(second) == snapshot(first)
    assert second.regions.queue.order.tolist() == first.regions.queue.order.tolist()
    assert (second.history.undo_label, second.history.redo_label) == (
        first.history.undo_label,
        first.history.redo_label,
    )
    for step in ("undo", "undo", "redo"):
        getattr(first, step)()
        getattr(second, step)()
        assert snapshot(second) == snapshot(first)


def test_replaying_headless_gives_the_same_masks_and_geometry(tmp_path: Path) -> None:
    session = again(tmp_path)
    session.regions.propose(proposals(1))
    for action in ("accept", "reject", "class", "accept", "split", "accept", "paint"):
        act(session, action, 3)
    [path] = tmp_path.rglob("*.jsonl")
    past = replay(read_log(path), path)
    image = read_image(path)
    assert image is not None
    assert image.spacing == (2.0, 0.5, 0.5)
    assert np.array_equal(past.regions.masks(image), session.regions.book.masks(image))
    assert past.regions.statistics == session.regions.book.statistics


def test_work_that_was_begun_takes_earlier_regions_in_as_one_step(tmp_path: Path) -> None:
    first = again(tmp_path)
    first.regions.propose(proposals(2))
    first.regions.accept()
    second = again(tmp_path)
    second.add_landmark("nasion")
    second.restore()
    assert second.regions.book.statistics == first.regions.book.statistics
    assert second.regions.book.masks(second.image).any()  # type: ignore[arg-type]
    second.undo()
    assert not second.regions.book.masks(second.image).any()  # type: ignore[arg-type]
    assert [track.name for track in second.state.values()] == ["nasion"]
    third = again(tmp_path)
    third.restore()
    assert snapshot(third) == snapshot(second)


def test_begun_regions_are_not_mixed_with_earlier_ones(tmp_path: Path) -> None:
    first = again(tmp_path)
    first.regions.propose(proposals(2))
    first.open_image(None)
    second = again(tmp_path)
    second.regions.propose([region(1, box(0, 0, 2, 2))])
    second.restore()
    assert list(second.regions.book.items) == [1]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"op": "regions", "label": "x", "items": [], "patch": "!", "current": [None, None]}, "cannot be read"),
        (
            {"op": "regions", "label": "x", "items": [{"id": 7}], "patch": "", "current": [None, None]},
            "speaks of region 7, which it never proposed",
        ),
        ({"op": "proposals", "add": [{"id": 1, "embedding": "", "mask": "1x1:?"}], "drop": []}, "is damaged"),
    ],
)
def test_damaged_lines_are_refused_in_words(tmp_path: Path, entry: dict[str, object], message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"op":"session","version":1}\n' + json.dumps(entry) + "\n")
    with pytest.raises(StorageError, match=message):
        replay(read_log(path), path)
    assert read_image(path) is None


def test_patches_come_back_from_text() -> None:
    segments = np.array([[0, 3, 9, 0, 4], [0, 9, 12, -1, 4], [7, 0, 600, 300, 0]], np.int32)
    assert np.array_equal(Patch.from_text(Patch(segments).to_text()).segments, segments)
    assert len(Patch.from_text("").segments) == 0


WORKER = """
import sys, time
from pathlib import Path
from tests.session.regions import box, open_session, region
from tests.session.test_region_log import recognise

session = open_session(Path(sys.argv[1]))
recognise(session)
session.regions.propose([region(n, box(n % 18, n % 25, n % 18 + 2, n % 25 + 3), 1 / n) for n in range(1, 2000)])
for number in range(1, 2000):
    session.regions.accept() if number % 3 else session.regions.reject()
    print(number, flush=True)
    time.sleep(0.02)
"""


def test_killed_at_any_moment_the_decisions_are_on_disk(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    code = [sys.executable, "-c", WORKER, str(tmp_path)]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        code, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": path}
    ) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < 20:
            pass
        time.sleep(0.013)
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in child.stdout.read().split("\n") if line.strip()]
    session = again(tmp_path)
    session.restore()
    counts = session.regions.book.statistics
    # What was told had been written before: nothing is lost, and at most the line under way is there besides.
    assert counts.accepted + counts.rejected >= max([20, *told])
    assert session.history.undo_label is not None
    assert session.regions.book.masks(Image(np.zeros((3, *SHAPE), np.uint8), "zyx")).any()
