"""The simulated annotator on masks whose cost can be counted by hand, and with the real session on a small stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.annotator import annotate, as_bytes
from benchmarks.annotator_queue import QueueWay
from benchmarks.annotator_ways import BoxWay, Hand, PaintWay, boxes_of
from benchmarks.litemedsam import SIDE, prepared
from benchmarks.painter import BRUSHES, Brush, Painter, band, dice
from napari_ld._types import Image

ROWS, COLUMNS = np.ogrid[:96, :96]


def disc(row: int, column: int, radius: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray((ROWS - row) ** 2 + (COLUMNS - column) ** 2 <= radius**2)


def test_the_best_click_covers_a_disc_of_its_size() -> None:
    truth = disc(40, 50, 10)
    clicks = Painter(truth).clicks(np.zeros_like(truth))
    best = max(clicks.values(), key=lambda dab: dab.gain)
    assert (best.brush, best.end) == (Brush(20), (40, 50))
    assert best.gain == pytest.approx(1.0)
    assert set(clicks) == set(BRUSHES)
    surplus = truth | disc(10, 10, 5)
    erased = max(Painter(truth).clicks(surplus).values(), key=lambda dab: dab.gain)
    assert (erased.brush.erases, erased.end) == (True, (10, 10))
    assert np.array_equal(erased.mask, truth)


def test_the_best_click_is_that_of_trying_every_place() -> None:
    random = np.random.default_rng(0)
    truth, mask = random.random((2, 24, 30)) > 0.6
    clicks = Painter(truth).clicks(mask)
    for brush in (Brush(5), Brush(10, erases=True)):
        tried = [
            dice(mask & ~touched if brush.erases else mask | touched, truth)
            for row in range(24)
            for column in range(30)
            for touched in [band((24, 30), (row, column), (row, column), brush.size)]
        ]
        assert dice(mask, truth) + clicks[brush].gain == pytest.approx(max(tried))


def test_a_drag_covers_a_band_with_round_ends() -> None:
    touched = band((20, 40), (10, 10), (10, 20), 6)
    assert touched[10, 7:24].all()
    assert not touched[10, [6, 24]].any()
    assert touched.sum() == pytest.approx(np.pi * 9 + 60, rel=0.15)
    truth = band((20, 40), (10, 10), (10, 16), 6)
    dab = Painter(truth).drag(band((20, 40), (10, 10), (10, 10), 6), Brush(6), (10, 10))
    assert dab is not None
    assert (dab.end, dice(dab.mask, truth)) == ((10, 16), 1.0)


def test_every_step_of_the_hand_costs_one() -> None:
    hand = Hand()
    assert (hand.go_to(0), hand.go_to(2), hand.go_to(2)) == (0, 1, 0)
    assert hand.take("brush", 20) == 2  # the tool and its size
    assert hand.take("eraser", 20) == 1
    assert hand.take("box") == 1
    assert hand.take("brush", 20) == 1  # the size is remembered


def test_costs_of_painting_and_of_boxes() -> None:
    truths = [disc(40, 50, 10), disc(60, 30, 10)]
    found = annotate(PaintWay(truths), [0.4, 0.9], 100)
    assert found["costs"] == {"0.40": 3, "0.90": 5}  # brush, size, click; plane, click
    assert found["actions"] == {"dab": 2}
    drawn = [[truth] for truth in truths]
    found = annotate(BoxWay(truths, drawn=drawn), [0.4, 0.9], 100)
    assert found["costs"] == {"0.40": 3, "0.90": 6}  # a brush of the right size wins; tool and two clicks lose
    assert annotate(PaintWay(truths), [0.99], 2)["costs"]["0.99"] is None  # it was given up


def test_boxes_are_tight() -> None:
    truth = np.zeros((20, 20), bool)
    truth[2:5, 3:9] = truth[10:12, 10:12] = truth[18, 18] = True
    assert boxes_of(truth) == [(2, 3, 5, 9), (10, 10, 12, 12)]


def test_pictures_for_the_rival_are_padded_and_between_0_and_1() -> None:
    pixels = np.arange(60 * 120, dtype=np.uint16).reshape(60, 120)
    picture, shape, inner = prepared(pixels)
    assert (picture.shape, shape, inner) == ((1, 3, SIDE, SIDE), (60, 120), (128, 256))
    assert (float(picture.min()), float(picture.max())) == (0.0, 1.0)
    assert not torch.any(picture[:, :, 128:])


def test_bytes_are_kept_and_other_pixels_brought_to_them() -> None:
    bright = np.full((40, 60), 200, np.uint8)
    assert (as_bytes(bright, 32) == 200).all()
    wide = as_bytes(np.linspace(-1000, 3000, 40 * 60).reshape(40, 60), 32)
    assert (wide.shape, wide.dtype) == ((32, 32), np.uint8)
    assert wide.min() < 10
    assert wide.max() > 245


def test_the_queue_is_the_real_session(tmp_path: Path, encoder_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_LD_CACHE", str(tmp_path / "cache"))
    truths = [disc(40, 50, 14), disc(55, 40, 16), disc(30, 45, 12)]
    noise = np.random.default_rng(0).normal(0, 3, (3, 96, 96))
    pixels = np.clip(60 + 120 * np.stack(truths) + noise, 0, 255).astype(np.uint8)
    way = QueueWay(truths, image=Image(pixels, "pyx"), encoder=str(encoder_file), folder=tmp_path)
    found = annotate(way, [0.3, 0.9], 200)
    assert found["actions"]["begin"] == 1
    assert found["actions"]["propagate"] >= 1
    assert 0 < found["costs"]["0.30"] < found["costs"]["0.90"] < 60
    assert found["dice"] >= 0.9
    assert way.session.regions.book.statistics.accepted >= 1
