"""Lazy arrays index as numpy does, and read only what is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from napari_ld._types import ArrayLike
from napari_ld.io.lazy import LazyImage, LazyStack

STACK = np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4)


def _lazy(read: list[int] | None = None) -> LazyStack:
    def read_plane(index: int) -> Any:
        if read is not None:
            read.append(index)
        return STACK[index]

    return LazyStack(STACK.shape, STACK.dtype, read_plane)


@settings(max_examples=200, deadline=None)
@given(key=hnp.basic_indices(STACK.shape, allow_newaxis=True))
def test_indexing_is_that_of_numpy(key: Any) -> None:
    np.testing.assert_array_equal(_lazy()[key], STACK[key], strict=True)


@pytest.mark.parametrize(
    "key", [[0, 3], np.array([True, False, True, False, False]), (np.array([1, 2]), 0), np.int8(-1)]
)
def test_fancy_indexing(key: Any) -> None:
    np.testing.assert_array_equal(_lazy()[key], STACK[key])


def test_only_the_planes_asked_for_are_read() -> None:
    read: list[int] = []
    stack = _lazy(read)
    stack[-1], stack[1:4:2, 0], stack[2, ..., 1]
    assert read == [4, 1, 3, 2]


def test_planes_outside_the_stack() -> None:
    with pytest.raises(IndexError, match="plane 5 is outside a stack of 5 planes"):
        _lazy()[5]


def test_as_an_array() -> None:
    stack = _lazy()
    assert isinstance(stack, ArrayLike)
    assert (stack.ndim, len(stack)) == (3, 5)
    np.testing.assert_array_equal(np.asarray(stack), STACK, strict=True)
    assert np.asarray(stack, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="always a copy"):
        np.array(stack, copy=False)


def test_single_image() -> None:
    image = LazyImage(STACK[0].shape, STACK.dtype, lambda: STACK[0])
    assert isinstance(image, ArrayLike)
    assert (image.ndim, len(image)) == (2, 3)
    np.testing.assert_array_equal(image[1:, 2], STACK[0, 1:, 2])
    np.testing.assert_array_equal(np.asarray(image), STACK[0], strict=True)
    with pytest.raises(ValueError, match="always a copy"):
        np.array(image, copy=False)
