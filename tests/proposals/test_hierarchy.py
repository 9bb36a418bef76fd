"""Basins, boundaries and merging against plain loops and known scenes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.proposals import HierarchyParams, propose_regions, region_tree
from napari_ld.proposals.merging import MergeParams, boundaries, merge_tree
from napari_ld.proposals.oversegmentation import balanced, basins

reliefs = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 5).map(float))


@given(reliefs)
@settings(max_examples=100, deadline=None)
def test_every_pixel_flows_to_its_lowest_neighbour(relief: np.ndarray) -> None:
    labels = basins(relief)
    rows, columns = relief.shape

    def end(place: tuple[int, int]) -> tuple[int, int]:
        around = [
            (row, column)
            for row in range(max(0, place[0] - 1), min(rows, place[0] + 2))
            for column in range(max(0, place[1] - 1), min(columns, place[1] + 2))
        ]
        lowest = min(around, key=lambda at: (relief[at], at))
        return place if lowest == place else end(lowest)

    ends = [[end((row, column)) for column in range(columns)] for row in range(rows)]
    names = {place: number for number, place in enumerate(sorted({one for line in ends for one in line}))}
    assert labels.tolist() == [[names[one] for one in line] for line in ends]


def test_boundaries_are_counted_side_by_side() -> None:
    labels = np.array([[0, 0, 1], [2, 2, 1]], np.int32)
    edges = boundaries(labels, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert edges.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert edges.length.tolist() == [1, 2, 1]
    assert edges.strength.tolist() == [2, 3 + 4, 5]


def greedy_heights(labels: np.ndarray, colour: np.ndarray) -> list[float]:
    """Ward's linkage of neighbours, one pair at a time."""
    regions = {k: np.argwhere(labels == k) for k in range(len(colour))}
    means, heights = {k: colour[k] for k in regions}, []
    while len(regions) > 1:
        best = None
        for a in regions:
            for b in regions:
                near = np.abs(regions[a][:, None] - regions[b][None]).sum(-1).min() == 1
                if a < b and near:
                    size = len(regions[a]) * len(regions[b]) / (len(regions[a]) + len(regions[b]))
                    cost = float(((means[a] - means[b]) ** 2).sum() * size)
                    best = (cost, a, b) if best is None or cost < best[0] else best
        assert best is not None
        cost, a, b = best
        heights.append(max([cost, *heights[-1:]]))
        whole = len(regions[a]) + len(regions[b])
        means[a] = (means[a] * len(regions[a]) + means[b] * len(regions[b])) / whole
        regions[a] = np.concatenate([regions[a], regions.pop(b)])
    return heights


@pytest.mark.parametrize("seed", range(4))
def test_merging_in_rounds_gives_the_tree_of_one_by_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.kron(np.arange(12).reshape(3, 4), np.ones((2, 3))).astype(np.int32)
    colour = random.normal(size=(12, 2))
    params = MergeParams(1, 0, 0, 1, 1, 0)
    edges = boundaries(labels, np.zeros((6, 12), np.float32))
    tree = merge_tree(labels, colour, np.zeros((12, 1), np.float32), edges, params)
    # constrained to neighbours, merging may bring regions closer: heights are made to never fall in both
    assert tree.heights[0] == pytest.approx(greedy_heights(labels, colour)[0], rel=1e-4)
    assert (np.diff(tree.heights) >= 0).all()
    for count in range(1, 13):
        cut = tree.cut(count)
        assert len(np.unique(cut)) == count
        assert all(ndimage.label(cut == number)[1] == 1 for number in range(1, count + 1))


def test_cuts_nest(centred_model: LoadedModel) -> None:
    source = FeatureSource(np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8), centred_model)
    tree = region_tree(source, 0)
    coarse, fine = tree.cut(7), tree.cut(30)
    assert len(np.unique(np.stack([coarse, fine]).reshape(2, -1), axis=1).T) == 30


def test_structures_are_found(centred_model: LoadedModel) -> None:
    rows, columns = np.ogrid[:96, :96]
    disc = (rows - 40) ** 2 + (columns - 50) ** 2 < 18**2
    pixels = (60 + 100 * disc + np.random.default_rng(1).normal(0, 6, (96, 96))).astype(np.uint8)
    cut = region_tree(FeatureSource(pixels, centred_model), 0).cut(3)
    best = max(((cut == number) & disc).sum() / ((cut == number) | disc).sum() for number in (1, 2, 3))
    assert best > 0.9


def test_a_volume_is_divided_as_a_whole(centred_model: LoadedModel) -> None:
    planes, rows, columns = np.ogrid[:5, :40, :40]
    ball = (2 * (planes - 2)) ** 2 + (rows - 18) ** 2 / 9 + (columns - 22) ** 2 / 9 < 12
    volume = (50 + 120 * ball + np.random.default_rng(0).normal(0, 3, ball.shape)).astype(np.uint8)
    source = FeatureSource(Image(volume, "zyx"), centred_model, shared_limits=True)
    seen: list[tuple[int, int]] = []
    regions = propose_regions(
        source, params=HierarchyParams(n_regions=6), stack_kind="volume", progress=lambda *step: seen.append(step)
    )
    assert len(regions) == 6
    assert regions.areas.sum() == volume.size
    assert seen[-1] == (5, 5)
    overlaps = [sum((region.mask.to_array(k) & ball[k]).sum() for k in range(5)) for region in regions]
    found = regions[int(np.argmax(overlaps))]
    assert 2 * max(overlaps) / (found.area + ball.sum()) > 0.8
    assert len(found.planes) > 1


def test_flat_images_and_single_pixels(centred_model: LoadedModel) -> None:
    for shape in ((1, 1), (1, 9), (12, 12)):
        tree = region_tree(FeatureSource(np.zeros(shape, np.uint8), centred_model), 0)
        assert tree.cut(5).shape == shape


def test_channels_are_balanced() -> None:
    channels = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32) * [[[1.0]], [[0.25]], [[1.0]]]
    spread = balanced(channels.astype(np.float32)).std(axis=(1, 2))
    assert spread[1] / spread[0] == pytest.approx(0.5, rel=0.1)


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ConfigError, match="expected no negative number"):
        MergeParams(colour=-1)
    with pytest.raises(ConfigError, match="a sigma above 0"):
        HierarchyParams(sigma=0)
