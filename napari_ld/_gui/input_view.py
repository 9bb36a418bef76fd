"""The layer ``LD input``: the shown plane as the encoder gets it, in its size and its window of intensities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_ld._gui import layers
from napari_ld._gui.departures import Departures
from napari_ld._gui.view_layers import ViewLayers
from napari_ld._gui.workers import Worker
from napari_ld.session import Session
from napari_ld.session.compute import Sources
from napari_ld.session.requests import PlaneView
from napari_ld.session.views import show

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer

KIND = "input"


class InputView(QObject):
    """Shows the input of the encoder on request, and follows plane, window and encoder while it is shown.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    session : Session
    sources : Sources
        Features, shared with the landmarks.

    Attributes
    ----------
    switched : Signal(bool)
        It is shown now, or no longer.
    refused : Signal(str)
        Why it cannot be shown, in words; ``""`` when it can.
    """

    switched = Signal(bool)
    refused = Signal(str)

    def __init__(self, viewer: Viewer, session: Session, sources: Sources) -> None:
        super().__init__()
        self._viewer, self._session = viewer, session
        self._image: ImageLayer | None = None
        self._departures = Departures(viewer)
        self._layers = ViewLayers(viewer, self._departures)
        self._worker = Worker(lambda request, cancelled: show(request, sources, cancelled))
        self._worker.result.connect(self._on_view)
        self._worker.ended.connect(self._on_ended)
        self._asked: tuple[int, str, int] | None = None
        self.on = False

    def close(self) -> None:
        """Stop all work and let go of the viewer; the layer stays."""
        self._worker.shutdown()
        self._departures.close()

    def follow(self, image: ImageLayer | None) -> None:
        """Belong to another image; the view of the last one goes."""
        self._image = image
        self._layers.follow(image)
        self.switch(False)

    def forget(self, layer: object) -> None:
        """Take notice that a layer was removed by the person."""
        if self._layers.forget(layer):
            self.switch(False)

    def switch(self, on: bool) -> None:
        """Show it, or take it away."""
        self._worker.cancel()
        self._asked = None
        if not on:
            self._layers.remove(KIND)
        if on != self.on:
            self.on = on
            self.switched.emit(on)
        self.refresh()

    def refresh(self) -> None:
        """Ask for the shown plane, where it is not what was asked for last."""
        if not self.on or self._image is None:
            return
        session, plane = self._session, layers.visible_plane(self._viewer, self._image)
        wanted = session.serial, session.context, plane
        request = session.request_view(KIND, plane)
        if request is not None and wanted != self._asked:
            self._asked = wanted
            self._worker.submit(request)

    def _on_view(self, view: PlaneView) -> None:
        if self.on and (view.serial, view.context, view.plane) == self._asked:
            self._layers.show(view, self._session.n_planes)

    def _on_ended(self, error: str) -> None:
        self.refused.emit(error)
        if error:
            self.switch(False)
