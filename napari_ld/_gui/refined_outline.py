"""The layer ``LD refined``: contours of the labels of the shown plane, refined or as they were before.

It is a small picture around the labels, laid over them; no layer of the person is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld._gui import keys, layers
from napari_ld._gui.departures import Departures
from napari_ld._gui.overlay import Overlay, Picture

if TYPE_CHECKING:
    from napari import Viewer

AFTER, BEFORE, HALO = 1, 2, 3
COLOURS = {None: "transparent", 0: "transparent", AFTER: (1, 0.84, 0, 1), BEFORE: (1, 1, 1, 1), HALO: (0, 0, 0, 0.7)}


class RefinedOutline(Overlay):
    """Keeps the layer.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    actions : mapping of name to function
        What the keys do while it is the active layer.
    departures : Departures
    """

    def __init__(self, viewer: Viewer, actions: Mapping[str, Callable[[], object]], departures: Departures) -> None:
        super().__init__(viewer, layers.REFINED_LAYER, COLOURS, actions, departures)

    def close(self) -> None:
        """Let go; the layer stays."""
        if self.layer is not None:
            keys.unbind_layer(self.layer, self._actions)

    def show(self, plane: int, corner: tuple[int, int], labels: npt.NDArray[np.integer[Any]], *, before: bool) -> None:
        """Draw the contours of labels (rows, columns) that begin at ``corner`` of a plane."""
        image = self._image
        if image is None:
            return
        zoom = self._viewer.scene.camera.zoom * float(image.scale[-1])
        picture = contours(labels, BEFORE if before else AFTER, max(1, round(1.2 / max(zoom, 1e-6))))
        place = layers.place_on_plane(image, plane, (float(corner[0]), float(corner[1])))
        self._show(picture[np.newaxis] if image.ndim == 3 else picture, place)

    def blank(self) -> None:
        """Show nothing; the layer keeps its keys."""
        if self.layer is not None and np.any(self.layer.data):
            self.layer.data[:] = 0
            self.layer.refresh(extent=False, thumbnail=False)

    def activate(self) -> None:
        """Make the layer the active one, so that it gets the keys; makes it when it is not there."""
        if self.layer is None and self._image is not None:
            plane = layers.visible_plane(self._viewer, self._image)
            self.show(plane, (0, 0), np.zeros((2, 2), np.uint8), before=False)
        if self.layer is not None:
            self._viewer.layers.selection.active = self.layer


def contours(labels: npt.NDArray[np.integer[Any]], value: int, thick: int) -> Picture:
    """Where a label ends, ``thick`` pixels inside it, with a dark line around it; (rows, columns)."""
    size = 2 * thick + 1
    highest, lowest = (
        extreme(labels, size, mode="constant") for extreme in (ndimage.maximum_filter, ndimage.minimum_filter)
    )
    picture = np.zeros(labels.shape, np.uint8)
    picture[(labels == 0) & (highest > 0)] = HALO
    picture[(labels != 0) & (highest != lowest)] = value
    return picture
