"""Corruption of views: frequencies, sizes, and that nothing but the drawn boxes changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src_train.data.corruption import (
    KINDS,
    Corruption,
    CorruptionParams,
    apply_corruption,
    corrupt,
    draw_corruption,
    overlap,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_frequencies_and_mean_number_of_rectangles() -> None:
    generator = _generator()
    drawn = [draw_corruption(224, CorruptionParams(), generator) for _ in range(2500)]
    share = {kind: np.mean([c.kind == kind for c in drawn]) for kind in (*KINDS, "none")}
    assert share == pytest.approx({"cut_out": 0.30, "outer": 0.05, "swap": 0.30, "none": 0.35}, abs=0.03)
    counts = [len(c.boxes) for c in drawn if c.kind == "cut_out"]
    assert np.mean(counts) == pytest.approx(6.513, abs=0.35)
    assert max(counts) == 10


@pytest.mark.parametrize("size", [224, 112])
def test_sides_are_those_published_and_scale_with_the_view(size: int) -> None:
    limits = {"cut_out": (10, 70), "outer": (154, 174), "swap": (10, 15)}
    for kind, (low, high) in limits.items():
        for seed in range(20):
            for top, left, height, width in KINDS[kind].draw(size, CorruptionParams(), _generator(seed)):
                assert low * size // 224 <= height <= -(-high * size // 224)
                assert low * size // 224 <= width <= -(-high * size // 224)
                assert 0 <= top <= size - height
                assert 0 <= left <= size - width


def test_swapped_patches_never_overlap() -> None:
    for seed in range(30):
        boxes = KINDS["swap"].draw(96, CorruptionParams(), _generator(seed))
        assert len(boxes) == 20
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
        assert not any(overlap(a, b) for a, b in pairs)
        assert all(a[2:] == b[2:] for a, b in zip(boxes[::2], boxes[1::2], strict=True))


def test_overlap_looks_at_rows_and_columns() -> None:
    assert overlap((0, 0, 4, 4), (3, 3, 4, 4))
    assert not overlap((0, 0, 4, 4), (0, 4, 4, 4))
    assert not overlap((0, 0, 4, 4), (4, 0, 4, 4))


def test_each_kind_does_what_it_says() -> None:
    view = torch.rand(3, 20, 20, generator=_generator()) + 0.1
    box = (2, 3, 5, 6)
    hidden = apply_corruption(view, Corruption("cut_out", (box,)), "zero", _generator())
    assert float(hidden[:, 2:7, 3:9].abs().sum()) == 0
    assert int((hidden != view).sum()) == 3 * 30
    shown = apply_corruption(view, Corruption("outer", (box,)), "zero", _generator())
    assert torch.equal(shown[:, 2:7, 3:9], view[:, 2:7, 3:9])
    assert int((shown != 0).sum()) == 3 * 30
    other = (10, 12, 5, 6)
    swapped = apply_corruption(view, Corruption("swap", (box, other)), "zero", _generator())
    assert torch.equal(swapped[:, 2:7, 3:9], view[:, 10:15, 12:18])
    assert torch.equal(swapped[:, 10:15, 12:18], view[:, 2:7, 3:9])
    assert torch.equal(swapped.flatten().sort().values, view.flatten().sort().values)
    whole = apply_corruption(view, Corruption("none"), "zero", _generator())
    assert torch.equal(whole, view)
    noisy = apply_corruption(view, Corruption("cut_out", (box,)), "noise", _generator())
    assert int((noisy != view).sum()) == 3 * 30
    assert float(noisy[:, 2:7, 3:9].std()) > 0.1


def test_the_given_views_are_left_alone_and_seeds_repeat() -> None:
    views = torch.rand(6, 1, 64, 64, generator=_generator())
    before = views.clone()
    first, second = (corrupt(views, CorruptionParams(), range(6)) for _ in range(2))
    assert torch.equal(views, before)
    assert torch.equal(first, second)
    assert not torch.equal(first, views)
    torch.testing.assert_close(corrupt(views[2:4], CorruptionParams(), range(2, 4)), first[2:4])
