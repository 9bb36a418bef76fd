"""The table of regions and its projections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_ld.errors import RegionError
from napari_ld.proposals import Mask, Region, Regions


def square(number: int, low: int, high: int, **known: object) -> Region:
    canvas = np.zeros((8, 8), bool)
    canvas[low:high, low:high] = True
    return Region(number, 0, Mask.from_array(canvas), 0.5, np.ones(3, np.float32), **known)  # type: ignore[arg-type]


def test_nested_regions_stay_visible_in_the_label_map() -> None:
    regions = Regions((square(1, 3, 5), square(2, 1, 7), square(3, 1, 7, label=4)))
    labels = regions.label_map(0, (8, 8))
    assert labels[4, 4] == 1
    assert labels[1, 1] == 2  # of two equal ones the lower id
    assert labels[0, 0] == 0
    assert regions.label_map(0, (8, 8), "label").max() == 0  # the one without a class lies on top
    assert not regions.label_map(1, (8, 8)).any()
    assert [region.id for region in regions.at(0, 4, 4)] == [1, 2, 3]


def test_from_a_label_map_and_back() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (9, 11))
    regions = Regions.from_label_map(labels, plane=2)
    assert np.array_equal(regions.label_map(2, (9, 11)), labels)
    assert regions.areas.tolist() == np.bincount(labels.ravel())[1:].tolist()


def test_tables_are_replaced_not_changed() -> None:
    regions = Regions((square(1, 0, 4), square(2, 1, 3, parent=1)))
    decided = regions.replaced(replace(regions[1], decision="accepted"))
    assert decided.by_id(2).decision == "accepted"
    assert regions.by_id(2).decision == "undecided"
    assert [region.parent for region in decided.without([1])] == [None]
    assert decided.added([square(7, 0, 1)]).ids.tolist() == [1, 2, 7]
    assert len(regions.where(lambda region: region.area > 4)) == 1
    assert regions[0].bbox == (0, 0, 0, 1, 4, 4)
    assert regions[0].centroid == (0, 1.5, 1.5)
    assert regions.scores.tolist() == [0.5, 0.5]


def test_columns_of_an_empty_table() -> None:
    empty = Regions()
    assert (len(empty), empty.embeddings.shape, empty.ids.shape) == (0, (0, 0), (0,))


def test_bad_input_is_named() -> None:
    with pytest.raises(RegionError, match="two regions have the id 1"):
        Regions((square(1, 0, 2), square(1, 0, 3)))
    with pytest.raises(RegionError, match="there is no region 5"):
        Regions((square(1, 0, 2),)).by_id(5)
    with pytest.raises(RegionError, match="expected 'id' or 'label'"):
        Regions().label_map(0, (2, 2), "colour")
