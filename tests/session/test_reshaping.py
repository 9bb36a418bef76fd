"""Parts, neighbours, growing: against naive re-derivations."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_ld.proposals import Mask
from napari_ld.session.painting import members
from napari_ld.session.reshaping import STEP, grown, neighbours, parts_of, window
from tests.session.regions import box, region

masks = hnp.arrays(bool, (9, 11)).filter(lambda mask: bool(mask.any()))


@settings(max_examples=60, deadline=None)
@given(masks)
def test_parts_divide_a_mask(pixels: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
    mask = Mask.from_array(pixels, 3)
    parts = parts_of(mask)
    assert sum(part.area for part in parts) == mask.area
    assert Mask.join(parts).same_as(mask)
    assert [part.area for part in parts] == sorted((part.area for part in parts), reverse=True)
    pieces = ndimage.label(pixels, np.ones((3, 3)))[1]
    assert len(parts) == (pieces if pieces > 1 or mask.area == 1 else 2)


def test_a_waist_is_where_a_connected_mask_is_cut() -> None:
    pixels = np.zeros((12, 30), bool)
    pixels[2:10, 2:10] = pixels[2:10, 16:26] = pixels[5:7, 10:16] = True
    left, right = sorted(parts_of(Mask.from_array(pixels)), key=lambda part: part.bbox[2])
    assert 10 <= left.bbox[5] <= 16
    assert 10 <= right.bbox[2] <= 16


def test_linked_planes_are_cut_between_planes() -> None:
    mask = Mask.join([box(2, 2, 6, 6, plane=plane) for plane in range(4)])
    assert [part.planes for part in parts_of(mask)] == [(0, 1), (2, 3)]


@settings(max_examples=40, deadline=None)
@given(masks, st.integers(0, 99), st.integers(1, 4))
def test_growing_is_nested_and_exact(
    pixels: np.ndarray[tuple[int, int], np.dtype[np.bool_]], seed: int, steps: int
) -> None:
    mask = Mask.from_array(pixels)
    similarity = {0: ((0, 0), np.random.default_rng(seed).random((9, 11)).astype(np.float32))}
    larger, smaller = grown(mask, steps, similarity), grown(mask, -steps, similarity)
    assert grown(mask, 0, similarity).same_as(mask)
    assert mask.minus(larger).area == smaller.minus(mask).area == 0
    assert grown(mask, steps - 1, similarity).minus(larger).area == 0
    wanted = max(mask.area + steps, round(mask.area * STEP**steps))
    assert larger.area == min(wanted, 99)
    assert smaller.area == max(1, round(mask.area * STEP**-steps))
    # What is left when shrinking is what is most alike.
    values = similarity[0][1]
    kept, gone = values[smaller.to_array()], values[mask.minus(smaller).to_array()]
    assert not gone.size or kept.min() >= gone.max()


def test_growing_takes_the_most_alike_that_it_touches_first() -> None:
    values = np.zeros((5, 7), np.float32)
    values[2, 2:6] = (1, 0.9, 0.8, 0.7)
    values[0, 0] = 1  # alike, but out of reach
    mask = Mask.from_array(np.pad(np.ones((1, 1)), ((2, 2), (2, 4))))
    larger = grown(mask, 3, {0: ((0, 0), values)})
    assert np.argwhere(larger.to_array()).tolist() == [[2, 2], [2, 3], [2, 4], [2, 5]]
    assert grown(mask, 3, {}).same_as(mask)


def test_windows_stay_on_the_plane() -> None:
    assert window(box(0, 0, 4, 4), 0) == (0, 0, 16, 16)
    assert window(box(10, 20, 20, 30), 0) == (0, 8, 20, 30)


def test_neighbours_touch_or_overlap_and_the_most_alike_comes_first() -> None:
    here = region(1, box(5, 5, 10, 10))
    others = [
        here,
        region(2, box(5, 10, 10, 12), vector=(0, 1)),
        region(3, box(0, 5, 6, 7), vector=(1, 0)),
        region(4, box(5, 15, 10, 20)),  # too far
        region(5, box(5, 10, 10, 12, plane=1)),  # another plane
        region(6, box(11, 11, 13, 13), vector=(0.8, 0.6)),  # one pixel between the corners
    ]
    assert [other.id for other in neighbours(here, others)] == [3, 6, 2]


@settings(max_examples=30, deadline=None)
@given(masks)
def test_members_are_the_pixels_of_the_mask(pixels: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
    mask = Mask.from_array(pixels, 2)
    order = np.random.default_rng(0).permutation(pixels.size)
    assert np.array_equal(members(order, mask, 2), pixels.reshape(-1)[order])
    assert not members(order, mask, 1).any()
