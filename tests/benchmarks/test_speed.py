"""The wiring of the speed benchmark; nothing here depends on how long anything takes."""

from __future__ import annotations

import sys

import pytest

from benchmarks.answers import ANSWERS, answer_times
from benchmarks.memory import measure
from benchmarks.speed import (
    PAPER,
    SERIES,
    Samples,
    record,
    summary,
    table,
    time_clicks,
    time_embeddings,
    time_help,
    time_series,
)
from benchmarks.subjects import texture


def test_the_encoders_alternate_and_each_round_counts() -> None:
    samples: Samples = {}
    time_embeddings(["fast"], 2, samples)
    time_clicks({"fast": 2}, 3, samples)
    time_help(1, samples)
    counts = {what: {whose: len(values) for whose, values in found.items()} for what, found in samples.items()}
    assert counts == {
        "embedding of a further 512² image": {"fast": 2},
        "click to coarse points, 512² stack": {"fast": 3},
        "napari-ld --help": {"napari-ld": 1, "bare python": 1},
    }


def test_every_answer_is_timed() -> None:
    found = answer_times(planes=2, side=16, rounds=1)
    assert set(found) == set(ANSWERS)
    assert all(len(values) == 1 and values[0] > 0 for values in found.values())


def test_the_summary_compares_with_limit_and_paper_configuration() -> None:
    samples: Samples = {}
    for value in (100, 120, 900):
        record(samples, "embedding of a further 512² image", "fast", value)
    record(samples, "embedding of a further 512² image", PAPER, 1200)
    fast, paper = summary(samples, "fast")
    assert (fast["median"], fast["least"], fast["most"], fast["kept"]) == (120, 100, 900, True)
    assert paper["ratio"] == 10
    assert "limit" not in paper
    assert "150 kept" in table([fast, paper])


def test_a_series_is_opened_by_turns_with_pydicom() -> None:
    samples: Samples = {}
    for kind in SERIES:
        time_series(kind, 2, 3, samples)
    assert {len(values["napari-ld"]) for values in samples.values()} == {3}
    rows = summary(samples, "fast")
    assert len(rows) == 4 * len(SERIES)
    assert sum(row.get("limit") == 1.3 for row in rows) == 3 * len(SERIES)


def test_images_differ_by_seed() -> None:
    assert texture(0, 32).shape == (32, 32)
    assert (texture(0, 32) != texture(1, 32)).any()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="private memory is read from /proc")
def test_memory_is_measured_above_idle() -> None:
    found = measure("fast", planes=2, size=64)
    assert found["answers"] == 4
    assert found["above_idle_mb"] >= 0
