"""Layers that show what the encoder sees: what it gets, its embedding, its clusters, the like of the mouse's point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ld._gui import layers
from napari_ld._gui.departures import Departures
from napari_ld.session.requests import PlaneView

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer


_MOVING = ("similarity", "input")  # of one plane only, which is put where that plane lies


class ViewLayers:
    """Makes the layers of the views and fills them plane by plane; they lie just above the image.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    departures : Departures
    """

    def __init__(self, viewer: Viewer, departures: Departures) -> None:
        self._viewer, self._departures = viewer, departures
        self._image: ImageLayer | None = None
        self._layers: dict[str, Layer] = {}

    def follow(self, image: ImageLayer | None) -> None:
        """Belong to another image; views of the last one go."""
        for kind in list(self._layers):
            self.remove(kind)
        self._image = image

    def forget(self, layer: object) -> str:
        """Take notice that a layer was removed; returns which view it was, ``""`` if none."""
        kind = next((kind for kind, own in self._layers.items() if own == layer), "")
        self._layers.pop(kind, None)
        return kind

    def remove(self, kind: str) -> None:
        """Take a view away."""
        layer = self._layers.pop(kind, None)
        if layer is not None and layer in self._viewer.layers:
            self._departures.add(layer)

    def show(self, view: PlaneView, n_planes: int) -> None:
        """Draw one plane of a view."""
        image = self._image
        if image is None:
            return
        layer = self._layers.get(view.kind)
        moving = view.kind in _MOVING
        if layer is None:
            layer = self._layers[view.kind] = self._make(view, image, n_planes)
        if moving:
            place = layers.place_on_plane(image, view.plane, view.origin, view.step)
            if not np.array_equal(layer.translate, place["translate"]):
                layer.translate = place["translate"]
        pixels = layer.data[0 if moving else view.plane] if image.ndim == 3 else layer.data
        pixels[:] = view.pixels
        layer.refresh(extent=False, thumbnail=False)

    def _make(self, view: PlaneView, image: ImageLayer, n_planes: int) -> Layer:
        moving = view.kind in _MOVING
        size = (1 if moving else n_planes, *view.pixels.shape)
        data = np.zeros(size if image.ndim == 3 else view.pixels.shape, view.pixels.dtype)
        place = layers.place_on_plane(image, view.plane if moving else 0, view.origin, view.step)
        mark = {layers.VIEW_MARK: view.kind}
        options: dict[str, Any] = {"name": layers.VIEW_LAYERS[view.kind], "metadata": mark, **place}
        active = self._viewer.layers.selection.active
        above = self._viewer.layers.index(image) + 1
        if view.kind == "clusters":
            layer = self._viewer.add_labels(data, opacity=0.5, **options)
        elif view.kind == "embedding":
            layer = self._viewer.add_image(data, rgb=True, opacity=0.8, **options)
        elif view.kind == "input":
            colour = view.pixels.ndim == 3
            layer = self._viewer.add_image(data, rgb=colour, contrast_limits=None if colour else (0, 1), **options)
        else:
            layer = self._viewer.add_image(data, colormap="inferno", contrast_limits=(0, 1), opacity=0.6, **options)
        self._viewer.layers.move(self._viewer.layers.index(layer), above)
        if active is not None:
            self._viewer.layers.selection.active = active
        return layer
