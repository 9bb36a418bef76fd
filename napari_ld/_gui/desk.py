"""Ties one session to one viewer: which image is worked on, which work runs, which plane is shown."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, Signal

from napari_ld._gui import layers
from napari_ld._gui.input_view import InputView
from napari_ld._gui.landmark_layer import LandmarkLayer
from napari_ld._gui.refine_desk import RefineDesk
from napari_ld._gui.review_desk import ReviewDesk
from napari_ld._gui.workers import Worker
from napari_ld.errors import ImageError
from napari_ld.io.windows import AS_SHOWN
from napari_ld.session import Session, guidance
from napari_ld.session.compute import Sources, identify, image_stem, locate_tracks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.utils.events import Event

THREE_D = "The viewer shows 3-D. Switch to 2-D with the button at its lower left, then click landmarks."
LAYER_GONE = "The layer LD landmarks was removed; its points are kept. Click a row of the table to show it again."


class Desk(QObject):
    """Session, workers and layers of one panel.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy

    Attributes
    ----------
    review : ReviewDesk or None
        Layers and workers of the regions; there after :meth:`start`.
    refine : RefineDesk or None
        Those of the refined labels; there after :meth:`start`.
    input : InputView
        The layer of what the encoder gets.
    images_changed, plane_changed, theme_changed : Signal()
    refused : Signal(str)
        An edit on the canvas that could not be made, in words; ``""`` after one that could.
    """

    images_changed = Signal()
    plane_changed = Signal()
    theme_changed = Signal()
    refused = Signal(str)

    def __init__(self, viewer: Viewer, session: Session) -> None:
        super().__init__()
        self._viewer = viewer
        self._closed = False
        self._layer_gone = False
        self.session = session
        self.image_layers: list[ImageLayer] = []
        self.image_layer: ImageLayer | None = None
        self._sources = Sources()
        self._work = Worker(lambda request, cancelled: locate_tracks(request, self._sources, cancelled))
        self._recognition = Worker(identify)
        self._preparation = Worker(_prepare)
        self._landmarks: LandmarkLayer | None = None
        self.review: ReviewDesk | None = None
        self.refine: RefineDesk | None = None
        self.input = InputView(viewer, session, self._sources)

    def start(
        self,
        actions: Mapping[str, Callable[[], object]],
        review_actions: Mapping[str, Callable[[], object]],
        refine_actions: Mapping[str, Callable[[], object]],
    ) -> None:
        """Listen to the viewer and take up its image.

        ``actions`` are what the keys do while the layer of the landmarks is active, ``review_actions`` while one of the
        regions is, ``refine_actions`` while that of the refined labels is.
        """
        self._landmarks = LandmarkLayer(self._viewer, self.session, actions, self.refused.emit)
        review = self.review = ReviewDesk(self._viewer, self.session, self._sources, review_actions)
        self.refine = RefineDesk(
            self._viewer,
            self.session,
            self._sources,
            refine_actions,
            lambda layer: review.made(layer) or layers.VIEW_MARK in layer.metadata,
            review.departures,
        )
        for signal, slot in self._viewer_signals():
            signal.connect(slot)
        for worker in (self._work, self._recognition):
            worker.result.connect(self.session.accept)
        self._work.ended.connect(self.session.work_ended)
        self.session.work_wanted.connect(self.propagate)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)
        self._list_images()
        self._on_ndisplay()
        self._preparation.submit(None)

    def _viewer_signals(self) -> list[tuple[Any, Callable[..., None]]]:
        viewer = self._viewer
        return [
            (viewer.layers.events.inserted, self._on_inserted),
            (viewer.layers.events.removed, self._on_removed),
            (viewer.dims.events.current_step, self._on_step),
            (viewer.dims.events.ndisplay, self._on_ndisplay),
            (viewer.events.theme, self._on_theme),
        ]

    def close(self) -> None:
        """Stop all work and let go of the viewer; may be called twice. What the person made is on disk already."""
        if self._closed:
            return
        self._closed = True
        self.session.work_wanted.disconnect(self.propagate)
        self._work.shutdown()
        self._recognition.shutdown()
        self._preparation.shutdown()
        if self.refine is not None:
            self.refine.close()
        if self.review is not None:
            self.review.close()
        self.input.close()
        self._sources.clear()
        for signal, slot in self._viewer_signals():
            signal.disconnect(slot)
        self._watch(None)
        for layer in self.image_layers:
            layer.events.name.disconnect(self._on_renamed)
        if self._landmarks is not None:
            self._landmarks.close()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    # Images

    def _list_images(self) -> None:
        self.image_layers = [layer for layer in self._viewer.layers if layers.is_image(layer)]
        for layer in self.image_layers:
            layer.events.name.disconnect(self._on_renamed)
            layer.events.name.connect(self._on_renamed)
        if self.image_layer is None and self.image_layers:
            active = self._viewer.layers.selection.active
            self._open(active if active in self.image_layers else self.image_layers[-1])
        self.images_changed.emit()

    def choose_image(self, row: int) -> None:
        """Work on another image layer, which is shown then."""
        if 0 <= row < len(self.image_layers):
            self.image_layers[row].visible = True  # of several series all but one are opened hidden
        if 0 <= row < len(self.image_layers) and self.image_layers[row] != self.image_layer:
            self._open(self.image_layers[row])
            self.images_changed.emit()

    def _open(self, layer: ImageLayer | None) -> None:
        self._work.cancel()
        self._recognition.cancel()
        self._layer_gone = False
        if self._landmarks is not None:
            self._landmarks.follow(layer)
        if self.review is not None:
            self.review.follow(layer)
        self.input.follow(layer)
        self._watch(layer)
        self.refused.emit("")
        try:
            image = layers.image_of(layer) if layer is not None else None
        except ImageError as error:
            image = None
            self.refused.emit(str(error))
        self.session.open_image(image, image_stem(image.source or layer.name) if image and layer else "")
        if self.refine is not None:
            self.refine.follow(layer if image is not None else None)
        request = self.session.request_identity()
        if request is not None:
            self._recognition.submit(request)
        self._on_step()

    def choose_window(self, window: str) -> None:
        """Let the encoder see a CT window, what the layer's contrast limits show, or (``""``) robust limits."""
        if window == AS_SHOWN and self.image_layer is not None:
            low, high = self.image_layer.contrast_limits
            window = f"{float(low)!r},{float(high)!r}"
        try:
            self.session.choose_window(window or None)
            self.refused.emit("")
        except ImageError as error:
            self.refused.emit(str(error))

    def _watch(self, layer: ImageLayer | None) -> None:
        if self.image_layer is not None:
            self.image_layer.events.data.disconnect(self._on_pixels)
        self.image_layer = layer
        if layer is not None:
            layer.events.data.connect(self._on_pixels)

    def _on_pixels(self, event: Event) -> None:
        self._open(self.image_layer)
        self.images_changed.emit()

    def _on_inserted(self, event: Event) -> None:
        if layers.is_image(event.value):
            self._list_images()

    def _on_renamed(self, event: Event) -> None:
        self.images_changed.emit()

    def _on_removed(self, event: Event) -> None:
        removed = event.value
        if self._landmarks is not None and self._landmarks.forget(removed):
            self._layer_gone = bool(self.session.state)
            self.session.await_click(False)
            self.session.work_changed.emit()
        if self.review is not None:
            self.review.forget(removed)
        if self.refine is not None:
            self.refine.forget(removed)
        self.input.forget(removed)
        if removed == self.image_layer:
            left = [layer for layer in self._viewer.layers if layers.is_image(layer)]
            self._open(left[-1] if left else None)
        if layers.is_image(removed):
            self._list_images()

    # Work

    def propagate(self) -> None:
        """Let the encoder do what is open: embed the planes and answer for the landmarks."""
        request = self.session.request_location(self.visible_plane)
        if request is not None and not self._closed:
            self.session.work_started()
            self._work.submit(request)

    def cancel(self) -> None:
        """Stop the encoder; what it found stays."""
        self._work.cancel()

    # What is shown

    @property
    def visible_plane(self) -> int:
        """Plane of the image that the viewer shows; 0 without an image."""
        return layers.visible_plane(self._viewer, self.image_layer) if self.image_layer is not None else 0

    def show_plane(self, plane: int) -> None:
        """Show a plane of the image."""
        if self.image_layer is not None:
            layers.go_to_plane(self._viewer, self.image_layer, plane)
            self._show_layer()

    def take_click(self) -> None:
        """Make our layer the active one, so that the next click on the canvas is ours."""
        self._show_layer()

    def _show_layer(self) -> None:
        self._layer_gone = False
        if self._landmarks is not None:
            self._landmarks.activate()
        self.session.work_changed.emit()

    def draw(self) -> None:
        """Draw the landmarks as the session holds them."""
        if self._landmarks is not None and not self._closed and not self._layer_gone:
            self._landmarks.refresh()
        if self.review is not None:
            self.review.draw()
        if not self._closed:
            self.input.refresh()

    @property
    def status(self) -> str:
        """What is going on and what to do next."""
        return LAYER_GONE if self._layer_gone else guidance(self.session)

    def _on_step(self, event: Event | None = None) -> None:
        self.plane_changed.emit()
        self.input.refresh()
        if self.refine is not None:
            self.refine.look_again()

    def _on_ndisplay(self, event: Event | None = None) -> None:
        self.session.set_obstacle(THREE_D if self._viewer.dims.ndisplay == 3 else "")

    def _on_theme(self, event: Event) -> None:
        self.theme_changed.emit()


def _prepare(request: None, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Load what napari loads with its first layer of points, so that the window need not stand still for it then."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pandas")
    yield None
