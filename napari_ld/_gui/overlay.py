"""A small picture laid over the visible plane, in a layer of ours that can hold the keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_ld._gui import keys
from napari_ld._gui.departures import Departures

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels

Picture = npt.NDArray[np.uint8]
Colours = Mapping[int | None, Any]


class Overlay:
    """Keeps the layer.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    name : str
        Of the layer.
    colours : mapping of value to colour
    actions : mapping of name to function
        What the keys do while it is the active layer.
    departures : Departures

    Attributes
    ----------
    layer : napari.layers.Labels or None
    """

    def __init__(
        self,
        viewer: Viewer,
        name: str,
        colours: Colours,
        actions: Mapping[str, Callable[[], object]],
        departures: Departures,
    ) -> None:
        self._viewer, self._name, self._colours = viewer, name, colours
        self._actions, self._departures = actions, departures
        self._image: ImageLayer | None = None
        self.layer: Labels | None = None

    def follow(self, image: ImageLayer | None) -> None:
        """Lie on another image, or on none; the layer of the last one goes."""
        self.remove()
        self._image = image

    def remove(self) -> None:
        """Take the layer away."""
        layer, self.layer = self.layer, None
        if layer is not None:
            keys.unbind_layer(layer, self._actions)
            if layer in self._viewer.layers:
                self._departures.add(layer)

    def forget(self, layer: object) -> bool:
        """Take notice that a layer was removed; returns whether it was this one."""
        ours = self.layer is not None and self.layer == layer
        if ours:
            self.layer = None
        return ours

    def _show(self, data: Picture, place: dict[str, Any]) -> None:
        layer = self.layer
        if layer is None:
            self.layer = self._make(data, place)
        elif layer.data.shape == data.shape and np.array_equal(layer.translate, place["translate"]):
            layer.data[:] = data
            layer.refresh(extent=False, thumbnail=False)
        else:
            layer.data = data
            for name, value in place.items():
                if not np.array_equal(getattr(layer, name), value):
                    setattr(layer, name, value)

    def _make(self, data: Picture, place: dict[str, Any]) -> Labels:
        from napari.utils.colormaps import DirectLabelColormap

        active = self._viewer.layers.selection.active
        layer: Labels = self._viewer.add_labels(
            data.copy(),
            name=self._name,
            colormap=DirectLabelColormap(color_dict=self._colours),
            opacity=1.0,
            **place,
        )
        layer.editable = False
        keys.bind_layer(layer, self._actions)
        if active is not None:
            self._viewer.layers.selection.active = active
        return layer
