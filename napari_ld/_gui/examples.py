"""Outlines that a person drew in a Shapes or Labels layer, as masks on the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ld._gui import layers
from napari_ld.errors import RegionError
from napari_ld.proposals.masks import Mask

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels, Layer, Shapes

_HOW = "Draw an outline in a Shapes or Labels layer, select that layer and press the button again."


def masks_of(viewer: Viewer, image: ImageLayer, exclude: tuple[object, ...] = ()) -> list[Mask]:
    """One mask for each outline of the selected Shapes layer, or for each plane of the selected Labels layer.

    Where the selected layer is neither, the uppermost one that is counts.

    Raises
    ------
    RegionError
        When there is no such layer, or it outlines nothing on the image.
    """
    from napari.layers import Labels, Shapes

    found = [
        layer
        for layer in (viewer.layers.selection.active, *reversed(list(viewer.layers)))
        if isinstance(layer, Labels | Shapes) and layer not in exclude and layer.name != layers.ACCEPTED_LAYER
    ]
    if not found:
        raise RegionError(f"There is no layer with outlines. {_HOW}")
    layer = found[0]
    masks = _shapes(viewer, image, layer) if isinstance(layer, Shapes) else _labels(image, layer)
    if not masks:
        raise RegionError(f"The layer {layer.name!r} outlines nothing on the image. {_HOW}")
    return masks


def _shape(image: ImageLayer) -> tuple[int, ...]:
    shape = image.data[0].shape if image.multiscale else image.data.shape
    return tuple(int(side) for side in (shape[:-1] if image.rgb else shape))


def _labels(image: ImageLayer, layer: Labels) -> list[Mask]:
    if tuple(layer.data.shape) != _shape(image):
        raise RegionError(
            f"The layer {layer.name!r} has the shape {tuple(layer.data.shape)}, the image {_shape(image)}; make the "
            "labels with the button New labels layer while the image is selected."
        )
    planes = np.asarray(layer.data) if layer.ndim == 3 else np.asarray(layer.data)[np.newaxis]
    return [Mask.from_array(plane, index) for index, plane in enumerate(planes) if plane.any()]


def _shapes(viewer: Viewer, image: ImageLayer, layer: Shapes) -> list[Mask]:
    from skimage import draw

    polygon2mask: Any = draw.polygon2mask  # is not annotated
    rows, columns = _shape(image)[-2:]
    masks = []
    for outline in layer.data:
        places = [_on_image(viewer, image, layer, corner) for corner in np.asarray(outline, float)]
        plane = places[0][0]
        inside = polygon2mask((rows, columns), np.array([position for _, position in places]))
        if inside.any():
            masks.append(Mask.from_array(inside, plane))
    return masks


def _on_image(viewer: Viewer, image: ImageLayer, layer: Layer, corner: object) -> tuple[int, tuple[float, float]]:
    """``(plane, (row, column))`` of a corner of a shape; a flat shape lies on the visible plane."""
    world = layers.world_position(viewer, layer, np.asarray(corner).tolist())
    if len(world) < image.ndim:
        there = layers.world_position(viewer, image, (layers.visible_plane(viewer, image), 0, 0))
        world = np.concatenate([there[: image.ndim - len(world)], world])
    return layers.data_position(viewer, image, world.tolist())
