"""``napari-ld session replay``: masks of a saved session."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_ld.io.images import read_image
from napari_ld.session import Session
from tests.session.regions import box, open_session, region
from tests.session.test_region_log import recognise

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = open_session(tmp_path / "sessions")
    recognise(session)
    session.regions.propose([region(1, box(1, 1, 6, 6), 0.9), region(2, box(8, 8, 12, 12, plane=2), 0.8)])
    session.regions.set_class(4)
    session.regions.accept()
    session.regions.reject()
    painted = session.regions.book.labels(1).copy()
    painted[3:5, 7:9] = 2
    session.regions.paint({1: painted})
    return session


@pytest.mark.parametrize("name", ["masks.tif", "masks.nii.gz"])
def test_masks_and_table_are_those_of_the_panel(run: Run, tmp_path: Path, session: Session, name: str) -> None:
    [folder] = (tmp_path / "sessions").iterdir()
    code, out, err = run("session", "replay", folder, "-o", tmp_path / name, "--table", tmp_path / "regions.csv")
    assert (code, err) == (0, "")
    assert out.startswith("1 accepted · 1 rejected · 0 left · 50% accept rate")
    written = read_image(tmp_path / name)
    assert np.array_equal(np.asarray(written.array), session.regions.book.masks(session.image))  # type: ignore[arg-type]
    assert written.spacing == (2.0, 0.5, 0.5)
    with (tmp_path / "regions.csv").open(newline="") as file:
        assert [(row["decision"], row["class"]) for row in csv.DictReader(file)] == [
            ("accepted", "4"),
            ("rejected", ""),
        ]


def test_the_newest_session_of_a_folder_counts(run: Run, tmp_path: Path, session: Session) -> None:
    time.sleep(0.02)
    later = open_session(tmp_path / "sessions")
    recognise(later)
    later.regions.propose([region(1, box(0, 0, 2, 2))])
    later.regions.accept()
    [folder] = (tmp_path / "sessions").iterdir()
    code, out, _ = run("session", "replay", folder, "-o", tmp_path / "masks.tif")
    assert code == 0
    assert "1 accepted · 0 rejected" in out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sessions", "lie in folders below it"),
        ("empty", r"no session \(\*.jsonl\)"),
        ("none.jsonl", "cannot be read"),
        ("old.jsonl", "holds no regions"),
        ("text.jsonl", "is not a session"),
    ],
)
def test_what_is_no_session_is_told(run: Run, tmp_path: Path, session: Session, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.jsonl").write_text('{"op":"session","version":1}\n')
    (tmp_path / "text.jsonl").write_text("{}\n")
    code, out, err = run("session", "replay", tmp_path / name, "-o", tmp_path / "masks.tif")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert re.search(message, err)
    assert not (tmp_path / "masks.tif").exists()


def test_the_ending_must_be_one_for_labels(run: Run, tmp_path: Path, session: Session) -> None:
    [folder] = (tmp_path / "sessions").iterdir()
    code, _, err = run("session", "replay", folder, "-o", tmp_path / "masks.png")
    assert code == 1
    assert "its ending is none of" in err
