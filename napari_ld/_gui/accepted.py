"""The layer ``LD accepted``: classes of the accepted regions, which a person may paint, fill and erase at will."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from napari_ld._gui import keys, layers
from napari_ld._gui.departures import Departures
from napari_ld._types import Box

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels
    from napari.utils.events import Event

    from napari_ld.session.review import RegionReview

# Okabe & Ito (2008) without black and grey, then two of Tol's "muted" scheme: told apart by colour-blind people too.
CLASS_COLOURS = {
    1: "#009E73", 2: "#56B4E9", 3: "#E69F00", 4: "#CC79A7", 5: "#D55E00", 6: "#0072B2", 7: "#F0E442", 8: "#882255",
    9: "#999933",
}  # fmt: skip
# A person may paint classes above 9.
_COLOURS: dict[int | None, str] = dict([(None, "#BBBBBB"), (0, "transparent"), *CLASS_COLOURS.items()])


class AcceptedLayer:
    """Keeps the layer in step with the review, both ways.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    review : RegionReview
    actions : mapping of name to function
        What the keys do, but for those that napari's brush needs.
    departures : Departures
    """

    def __init__(
        self,
        viewer: Viewer,
        review: RegionReview,
        actions: Mapping[str, Callable[[], object]],
        departures: Departures,
    ) -> None:
        self._departures = departures
        self._viewer, self._review = viewer, review
        self._actions = {name: action for name, action in actions.items() if name not in keys.PAINTING}
        self._image: ImageLayer | None = None
        self.layer: Labels | None = None
        self._class = 0
        self._unseen: int | None = None  # the plane that was visible when pixels were written that are not drawn yet
        review.painted.connect(self._on_painted)

    def close(self) -> None:
        """Let go; the layer stays for the person."""
        self._review.painted.disconnect(self._on_painted)
        self._release()

    def follow(self, image: ImageLayer | None) -> None:
        """Belong to another image; the layer of the last one goes, its masks are saved."""
        layer = self.layer
        self._release()
        self._image = image
        if layer is not None and layer in self._viewer.layers:
            self._departures.add(layer)

    def forget(self, layer: object) -> bool:
        """Take notice that a layer was removed; returns whether it was this one."""
        ours = self.layer is not None and self.layer == layer
        if ours:
            self._release()
        return ours

    def _release(self) -> None:
        layer, self.layer = self.layer, None
        if layer is not None:
            layer.events.paint.disconnect(self._on_stroke)
            layer.events.data.disconnect(self._on_data)
            keys.unbind_layer(layer, self._actions)

    def _on_painted(self, boxes: Mapping[int, Box] | None) -> None:
        if self._image is None or self._review.image is None:
            return
        if self.layer is None:
            if self._review.book.canvas.planes:
                self._make()
            return
        self._write(boxes)

    def _write(self, boxes: Mapping[int, Box] | None) -> None:
        """Copy classes into the layer; all planes that have, or had, an owner where ``boxes`` is None."""
        layer, book, image = self.layer, self._review.book, self._review.image
        if layer is None or image is None:
            return
        if boxes is None:
            layer.data[:] = book.masks(image)
        for plane, box in (boxes or {}).items():
            part = slice(box.top, box.bottom), slice(box.left, box.right)
            pixels = layer.data[plane] if layer.ndim == 3 else layer.data
            pixels[part] = book.labels(plane, box)
        self._unseen = layers.visible_plane(self._viewer, layer)

    def _make(self) -> None:
        from napari.utils.colormaps import DirectLabelColormap

        image, opened = self._image, self._review.image
        if image is None or opened is None:
            return
        active = self._viewer.layers.selection.active
        self.layer = self._viewer.add_labels(
            self._review.book.masks(opened).reshape([int(side) for side in _shape(image)]),
            name=layers.ACCEPTED_LAYER,
            colormap=DirectLabelColormap(color_dict=_COLOURS),
            opacity=0.5,
            metadata=dict(image.metadata),
            **layers.same_place(image),
        )
        self._class = 0
        self.layer.events.paint.connect(self._on_stroke)
        self.layer.events.data.connect(self._on_data)
        keys.bind_layer(self.layer, self._actions)
        if active is not None:
            self._viewer.layers.selection.active = active

    def draw(self) -> None:
        """Show what was written, and let napari's brush paint the present class when that changed.

        A decision usually leads to another plane, and going there shows what was written anyway. What a person chose
        for the brush stays.
        """
        if self.layer is not None and self._unseen == layers.visible_plane(self._viewer, self.layer):
            self.layer.refresh(extent=False, thumbnail=False)
        self._unseen = None
        if self.layer is not None and self._class != self._review.label:
            self._class = self._review.label
            self.layer.selected_label = self._class

    # What a person paints

    def _on_stroke(self, event: Event) -> None:
        layer, image = self.layer, self._image
        if layer is None or image is None:
            return
        if layer.ndim == 2:
            self._review.paint({0: np.asarray(layer.data)})
        elif layer.n_edit_dimensions == 2 and self._viewer.dims.ndisplay == 2:
            plane = layers.visible_plane(self._viewer, layer)
            self._review.paint({plane: np.asarray(layer.data[plane])})
        else:
            self._review.paint({plane: np.asarray(pixels) for plane, pixels in enumerate(layer.data)})

    def _on_data(self, event: Event) -> None:
        """The person, or another plugin, gave the layer other pixels."""
        layer = self.layer
        if layer is None or layer.data.shape != _shape(self._image):
            return
        stack = np.asarray(layer.data)
        self._review.paint(dict(enumerate(stack if layer.ndim == 3 else stack[np.newaxis])))


def _shape(image: ImageLayer | None) -> tuple[int, ...]:
    if image is None:
        return ()
    shape = image.data[0].shape if image.multiscale else image.data.shape
    return tuple(int(side) for side in (shape[:-1] if image.rgb else shape))
