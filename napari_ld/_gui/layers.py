"""Between napari layers and our values: an image layer as an :class:`Image`, positions both ways.

Only public names of napari are used; the viewer may be a proxy that refuses others.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_ld._npe2 import image_from_layer_data
from napari_ld._types import Image, Position
from napari_ld.errors import ImageError

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer
    from napari.utils.events import Event

LANDMARKS_LAYER = "LD landmarks"
PROPOSALS_LAYER = "LD proposals"
ACCEPTED_LAYER = "LD accepted"
REFINED_LAYER = "LD refined"
VIEW_LAYERS = {
    "embedding": "LD embedding (RGB)",
    "clusters": "LD clusters",
    "similarity": "LD similarity",
    "input": "LD input",
}
VIEW_MARK = "napari-ld-view"
"""In the metadata of layers that show what the encoder sees of another one."""
STILL = 5.0  # screen pixels the mouse may wander during a click


def still_press(event: Event) -> Generator[None, None, bool]:
    """Follow a press of the mouse to its release, for a callback of napari that yields; whether it stayed in place.

    A press that wanders off moves the image, and is left to napari.
    """
    start = np.asarray(event.pos)
    yield
    while event.type == "mouse_move":
        if np.linalg.norm(start - event.pos) > STILL:
            return False
        event.handled = True
        yield
    return True


def is_image(layer: Layer | None) -> bool:
    """Whether a layer holds pixels that landmarks can be put on; views of the encoder do not."""
    from napari.layers import Image as ImageLayer

    return isinstance(layer, ImageLayer) and VIEW_MARK not in layer.metadata


def image_of(layer: ImageLayer) -> Image:
    """Pixels and geometry of an image layer; of a multiscale layer the finest level. Nothing is read yet.

    Axes and affine are those of the file, where one of our readers left them with the layer.

    Raises
    ------
    ImageError
        When the layer has other than two or three axes, or no pixels.
    """
    array = layer.data[0] if layer.multiscale else layer.data
    if layer.ndim not in (2, 3):
        raise ImageError(
            f"The layer {layer.name!r} has {layer.ndim} axes; landmarks need one image or one stack. Right-click the "
            "layer and use Split Stack, then choose one of the parts."
        )
    if 0 in array.shape:
        raise ImageError(f"The layer {layer.name!r} is empty: its shape is {tuple(array.shape)}. Choose another layer.")
    image = image_from_layer_data(
        array, {"rgb": layer.rgb, "scale": spacing_of(layer), "units": "mm", "metadata": layer.metadata}
    )
    return image if image.source else replace(image, source=str(layer.source.path or ""))


def spacing_of(layer: Layer) -> tuple[float, ...] | None:
    """Millimetres per step and axis; None unless the layer's units are lengths, for a guess would be worse."""
    spacing = []
    for size, unit in zip(layer.scale, layer.units, strict=True):
        if not unit.is_compatible_with("millimeter"):
            return None
        spacing.append(float(size) * float((1.0 * unit).to("millimeter").magnitude))
    return tuple(spacing)


def described(image: Image) -> str:
    """Axes, size, colour and spacing in one line."""
    rows, columns = image.plane_shape
    parts = [f"{image.n_planes} planes"] if image.is_stack else ["one image"]
    parts.append(f"{rows} × {columns} px")
    parts.append("colour" if image.has_channels else "grey")
    spacing = image.pixel_spacing
    parts.append("spacing unknown" if spacing is None else f"{spacing[0]:.3g} × {spacing[1]:.3g} mm")
    return " · ".join(parts)


def _unit_factors(viewer: Viewer, layer: Layer) -> npt.NDArray[np.float64]:
    """Steps of the viewer's coordinates in one unit of each axis of the layer.

    The viewer counts all lengths in the finest unit of its layers, while a layer's own transforms know only its own.
    """
    shared = viewer.layers.units
    factors = np.ones(layer.ndim)
    for axis, (own, world) in enumerate(zip(layer.units, shared[-layer.ndim :] if shared else (), strict=False)):
        if own != world and own.is_compatible_with(world):
            factors[axis] = (1.0 * own).to(world).magnitude
    return factors


def data_position(viewer: Viewer, layer: Layer, world: Sequence[float]) -> tuple[int, Position]:
    """``(plane, (row, column))`` of a place in the viewer's coordinates, whatever order its axes are shown in."""
    data = layer.world_to_data(np.asarray(world, dtype=float)[-layer.ndim :] / _unit_factors(viewer, layer))
    plane = round(float(data[-3])) if layer.ndim == 3 else 0
    return plane, (float(data[-2]), float(data[-1]))


def world_position(viewer: Viewer, layer: Layer, data: Sequence[float]) -> npt.NDArray[np.float64]:
    """Place of a data position of the layer in the viewer's coordinates."""
    return np.asarray(layer.data_to_world(data), dtype=float) * _unit_factors(viewer, layer)


def visible_plane(viewer: Viewer, layer: Layer) -> int:
    """Plane of the layer that the viewer shows, kept inside the layer."""
    # While layers are being removed the viewer has lost the plane axis already.
    if layer.ndim < 3 or viewer.dims.ndim < 3:
        return 0
    count = int((layer.data[0] if layer.multiscale else layer.data).shape[0])
    return min(max(data_position(viewer, layer, viewer.dims.point)[0], 0), count - 1)


def go_to_plane(viewer: Viewer, layer: Layer, plane: int) -> None:
    """Show a plane of the layer."""
    if layer.ndim == 3 and viewer.dims.ndim >= 3:
        axis = viewer.dims.ndim - 3
        viewer.dims.set_point(axis, float(world_position(viewer, layer, (plane, 0, 0))[-3]))


def same_place(layer: Layer) -> dict[str, Any]:
    """Geometry for a layer of ours that shall lie exactly on this one."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
    }


def place_on_plane(
    layer: Layer, plane: int, origin: Position = (0.0, 0.0), step: Position = (1.0, 1.0)
) -> dict[str, Any]:
    """Geometry for a layer of ours that covers a part of one plane of this layer.

    Parameters
    ----------
    layer : napari layer
    plane : int
    origin, step : (row, column)
        Where the first pixel of our layer has its centre, and the distance between its pixels, in pixels of ``layer``.
    """
    from napari.utils.transforms import Affine

    corner, size = np.array([plane, *origin])[-layer.ndim :], np.array([1.0, *step])[-layer.ndim :]
    linear = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear).linear_matrix
    return {
        **same_place(layer),
        "scale": layer.scale * size,
        "translate": np.asarray(layer.translate) + linear @ corner,
    }


def show_place(viewer: Viewer, layer: Layer, box: tuple[int, int, int, int], fill: tuple[float, float]) -> None:
    """Centre the view on a half-open (top, left, bottom, right) box of the visible plane.

    The zoom changes only when the box would fill less or more of the canvas than ``fill`` says, and near its border the
    image stays in view rather than the void beside it.
    """
    plane = visible_plane(viewer, layer)
    shape = (layer.data[0] if layer.multiscale else layer.data).shape[layer.ndim - 2 : layer.ndim]
    first, last = (_corner(viewer, layer, plane, at) for at in (box[:2], box[2:]))
    low, high = np.sort([_corner(viewer, layer, plane, at) for at in ((0, 0), shape)], axis=0)
    camera, canvas = viewer.scene.camera, np.array(viewer.canvas.size)
    share = float(np.max(np.abs(last - first) * camera.zoom / canvas))
    if not fill[0] <= share <= fill[1]:
        camera.zoom *= (fill[0] * fill[1]) ** 0.5 / max(share, 1e-9)
    half = canvas / camera.zoom / 2
    middle = np.where(high - low > 2 * half, np.clip((first + last) / 2, low + half, high - half), (low + high) / 2)
    camera.center = (*camera.center[:-2], float(middle[0]), float(middle[1]))


def _corner(viewer: Viewer, layer: Layer, plane: int, at: Sequence[int]) -> npt.NDArray[np.float64]:
    """Place of a corner between pixels on the two shown axes; it lies half a pixel before their centres."""
    return world_position(viewer, layer, (plane, at[0] - 0.5, at[1] - 0.5)[-layer.ndim :])[-2:]


def canvas_distances(
    viewer: Viewer, layer: Layer, points: npt.NDArray[np.float64], world: Sequence[float], zoom: float
) -> npt.NDArray[np.float64]:
    """Distance on the screen, in logical pixels, from a place of the viewer to each of (N, ndim) data points."""
    shown = [axis - viewer.dims.ndim for axis in viewer.dims.displayed]
    there = np.array([world_position(viewer, layer, point) for point in points]).reshape(-1, layer.ndim)
    difference = there - np.asarray(world, dtype=float)[-layer.ndim :]
    return np.asarray(np.linalg.norm(difference[:, shown], axis=1) * zoom)
