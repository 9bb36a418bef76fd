"""Outlines that are drawn, and outlines that a person drew; without a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes

from napari_ld._gui.examples import masks_of
from napari_ld._gui.outlines import OTHER, edges_of
from napari_ld.errors import RegionError
from tests.session.regions import SHAPE, box, region

Stack = tuple[ViewerModel, Any]


@pytest.fixture
def stack() -> Stack:
    viewer = ViewerModel()
    return viewer, viewer.add_layer(Image(np.zeros((3, *SHAPE), np.uint8), scale=(2, 0.5, 0.5)))


def test_edges_lie_inside_the_regions_and_between_them() -> None:
    rows = [region(1, box(2, 2, 8, 8)), region(2, box(2, 8, 8, 12)), region(3, box(4, 4, 6, 6))]
    edges = edges_of(rows, 0, SHAPE)
    labels = np.zeros((SHAPE[0] + 2, SHAPE[1] + 2), int)
    for one in rows:
        labels[1:-1, 1:-1][one.mask.to_array(0)] = one.id
    inner = labels[1:-1, 1:-1]
    assert not edges[inner == 0].any()
    around = np.stack([labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]])
    assert not edges[(around == inner).all(axis=0)].any()
    # Each border shows, on one of its sides.
    for row, column in ((2, 5), (7, 5), (5, 2), (5, 11)):
        assert edges[row, column] == OTHER
    assert edges[5, 7] or edges[5, 8]


def test_shapes_become_masks_on_the_plane_they_lie_on(stack: Stack) -> None:
    viewer, image = stack
    square = np.array([[4, 1, 2], [4, 1, 6], [4, 4, 6], [4, 4, 2]], float)  # in the viewer's coordinates
    viewer.add_layer(Shapes([square], shape_type="polygon"))
    [mask] = masks_of(viewer, image)
    assert mask.planes == (2,)
    filled = mask.to_array(2)
    assert filled[3:8, 5:12].all()
    assert mask.area <= 8 * 10


def test_labels_become_one_mask_a_plane(stack: Stack) -> None:
    viewer, image = stack
    data = np.zeros((3, *SHAPE), np.uint8)
    data[1, 2:5, 3:9] = 7
    data[2, 2:5, 3:4] = 1
    viewer.add_layer(Labels(data))
    viewer.add_layer(Points(np.zeros((1, 3))))
    first, second = masks_of(viewer, image)
    assert first.same_as(box(2, 3, 5, 9, plane=1))
    assert second.planes == (2,)


def test_what_outlines_nothing_is_told(stack: Stack) -> None:
    viewer, image = stack
    with pytest.raises(RegionError, match="There is no layer with outlines"):
        masks_of(viewer, image)
    other = viewer.add_layer(Labels(np.zeros((4, 4), np.uint8), name="small"))
    with pytest.raises(RegionError, match=r"'small' has the shape \(4, 4\), the image \(3, 20, 30\)"):
        masks_of(viewer, image)
    viewer.layers.remove(other)
    viewer.add_layer(Labels(np.zeros((3, *SHAPE), np.uint8), name="empty"))
    with pytest.raises(RegionError, match="'empty' outlines nothing on the image"):
        masks_of(viewer, image)
