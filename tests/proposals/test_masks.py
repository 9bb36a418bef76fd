"""Runs against plain boolean arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_ld.errors import RegionError
from napari_ld.proposals import Mask

SHAPE = (5, 7)
Stack = npt.NDArray[np.bool_]
stacks = hnp.arrays(bool, st.tuples(st.integers(1, 4), st.just(SHAPE[0]), st.just(SHAPE[1])))


def as_stack(mask: Mask, planes: int, first: int = 0) -> Stack:
    return np.stack([mask.to_array(first + k) for k in range(planes)])


@given(stacks, st.integers(0, 9))
def test_a_stack_comes_back_as_it_was(stack: Stack, first: int) -> None:
    mask = Mask.from_stack(stack, first)
    assert np.array_equal(as_stack(mask, len(stack), first), stack)
    assert mask.area == stack.sum()
    assert mask.planes == tuple(first + k for k in range(len(stack)) if stack[k].any())
    for plane in mask.planes:
        assert np.array_equal(mask.pixels(plane), np.flatnonzero(stack[plane - first]))
    if stack.any():
        places = np.argwhere(stack) + np.array([first, 0, 0])
        assert mask.bbox == (*places.min(0), *(places.max(0) + 1))
        np.testing.assert_allclose(mask.centroid, places.mean(0))
        assert mask.contains(*places[0].tolist())
    else:
        assert mask.bbox == (0,) * 6
        assert np.isnan(mask.centroid).all()


@given(stacks, stacks)
@settings(max_examples=200)
def test_two_masks_together(one: Stack, other: Stack) -> None:
    planes = max(len(one), len(other))
    padded = [np.concatenate([stack, np.zeros((planes - len(stack), *SHAPE), bool)]) for stack in (one, other)]
    first, second = (Mask.from_stack(stack) for stack in padded)
    union = Mask.join([first, second])
    assert union.same_as(Mask.from_stack(padded[0] | padded[1]))
    assert first.minus(second).same_as(Mask.from_stack(padded[0] & ~padded[1]))
    shared, either = (padded[0] & padded[1]).sum(), (padded[0] | padded[1]).sum()
    assert first.intersection(second) == shared
    assert first.iou(second) == (shared / either if either else 0.0)


@given(stacks)
def test_text_and_back(stack: Stack) -> None:
    mask = Mask.from_stack(stack, 3)
    assert Mask.from_text(mask.to_text()).same_as(mask)


def test_painting_a_canvas_that_is_not_contiguous() -> None:
    stack = np.zeros(SHAPE, bool)
    stack[1:3, 2:6] = True
    canvas = np.zeros(SHAPE[::-1], int).T
    Mask.from_array(stack).paint(canvas, 0, 4)
    assert np.array_equal(canvas, 4 * stack)


def test_compact() -> None:
    rows, columns = np.ogrid[:1000, :1000]
    disc = (rows - 500) ** 2 + (columns - 500) ** 2 < 400**2
    mask = Mask.from_array(disc)
    assert mask.runs.nbytes < disc.nbytes / 40
    assert len(mask.to_text()) < 4000


def test_bad_input_is_named() -> None:
    with pytest.raises(RegionError, match="use from_stack"):
        Mask.from_array(np.zeros((2, 3, 4)))
    with pytest.raises(RegionError, match="expected planes, rows and columns"):
        Mask.from_stack(np.zeros((2, 3)))
    with pytest.raises(RegionError, match="no mask was given"):
        Mask.join([])
    with pytest.raises(RegionError, match="expected the same size"):
        Mask.from_array(np.ones((2, 3))).iou(Mask.from_array(np.ones((3, 2))))
    with pytest.raises(RegionError, match="the size of the mask's planes"):
        Mask.from_array(np.ones((2, 3))).paint(np.zeros((3, 2)), 0, 1)
    with pytest.raises(RegionError, match="is no mask"):
        Mask.from_text("2x3:%%%")
    text = Mask.from_array(np.ones((4, 4))).to_text()
    with pytest.raises(RegionError, match="the text is damaged"):
        Mask.from_text(text.replace("4x4", "2x2"))
