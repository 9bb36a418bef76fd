"""Ties the regions of a session to a viewer: layers, clicks on the canvas, and the workers that propose and explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_ld._gui import layers
from napari_ld._gui.accepted import AcceptedLayer
from napari_ld._gui.departures import Departures
from napari_ld._gui.examples import masks_of
from napari_ld._gui.files import MasksToSave, save_masks
from napari_ld._gui.outlines import Outlines
from napari_ld._gui.view_layers import ViewLayers
from napari_ld._gui.workers import Worker
from napari_ld.errors import RegionError
from napari_ld.session import Session
from napari_ld.session.compute import Sources
from napari_ld.session.region_compute import Trees, offer, propose, region_similarity
from napari_ld.session.requests import Mark, PlaneView
from napari_ld.session.views import show

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.utils.events import Event

SETTLE = 150  # ms that a region is looked at before its similarity map is asked for
HOVER = 60  # ms between questions about the point under the mouse


class ReviewDesk(QObject):
    """Layers and workers of the Regions section.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    session : Session
    sources : Sources
        Features, shared with the landmarks.
    actions : mapping of name to function
        What the keys on the canvas do.

    Attributes
    ----------
    departures : Departures
        By which layers of ours go.
    refused : Signal(str)
        What could not be done, in words; ``""`` after something that could.
    saved : Signal(str)
        Masks were written; says where.
    """

    refused = Signal(str)
    saved = Signal(str)

    def __init__(
        self, viewer: Viewer, session: Session, sources: Sources, actions: Mapping[str, Callable[[], object]]
    ) -> None:
        super().__init__()
        self._viewer, self._session, self._sources = viewer, session, sources
        self._trees = Trees()
        self._image: ImageLayer | None = None
        self._closed = False
        self.awaited: bool | None = None  # whether the next click gives an example (True) or a counter-example (False)
        self.view = ""
        self._look = False
        self.departures = Departures(viewer)
        self._outlines = Outlines(viewer, session.regions, actions, self.departures)
        self._accepted = AcceptedLayer(viewer, session.regions, actions, self.departures)
        self._views = ViewLayers(viewer, self.departures)
        self._proposer = Worker(lambda request, cancelled: propose(request, sources, self._trees, cancelled))
        self._similarity = Worker(lambda request, cancelled: region_similarity(request, sources, cancelled))
        self._offering = Worker(lambda request, cancelled: offer(request, sources, self._trees, cancelled))
        self._viewing = Worker(lambda request, cancelled: show(request, sources, cancelled))
        self._saving = Worker(_saving)
        self._settled = _timer(self, SETTLE, self._ask_similarity)
        self._hover = _timer(self, HOVER, self._ask_hover)
        self._pointer: tuple[int, tuple[float, float]] | None = None
        self._connect()

    def _connect(self) -> None:
        review = self._session.regions
        review.changed.connect(self._on_changed)
        review.current_changed.connect(self._on_current)
        self._proposer.result.connect(self._session.accept)
        self._proposer.ended.connect(self._session.proposing_ended)
        self._similarity.result.connect(self._session.accept)
        self._offering.result.connect(self._session.accept)
        self._offering.ended.connect(self.refused.emit)
        self._viewing.result.connect(self._on_view)
        self._viewing.ended.connect(self._on_view_ended)
        self._saving.result.connect(self.saved.emit)
        self._saving.ended.connect(self.refused.emit)
        self._viewer.mouse_drag_callbacks.append(self._on_press)
        self._viewer.mouse_move_callbacks.append(self._on_move)

    def close(self) -> None:
        """Stop all work and let go of the viewer; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._session.regions.flush()
        for timer in (self._settled, self._hover):
            timer.stop()
        for worker in (self._proposer, self._offering, self._similarity, self._viewing, self._saving):
            worker.shutdown()
        self.departures.close()
        self._trees.clear()
        review = self._session.regions
        review.changed.disconnect(self._on_changed)
        review.current_changed.disconnect(self._on_current)
        self._accepted.close()
        for callbacks, own in (
            (self._viewer.mouse_drag_callbacks, self._on_press),
            (self._viewer.mouse_move_callbacks, self._on_move),
        ):
            if own in callbacks:
                callbacks.remove(own)

    def follow(self, image: ImageLayer | None) -> None:
        """Work on another image layer, or on none."""
        for worker in (self._proposer, self._offering, self._similarity, self._viewing):
            worker.cancel()
        self._image = image
        self.awaited, self.view = None, ""
        self._trees.clear()
        self._views.follow(image)
        self._accepted.follow(image)
        self._outlines.follow(image)

    def forget(self, layer: object) -> None:
        """Take notice that a layer was removed by the person; regions and masks are kept."""
        self._outlines.forget(layer)
        self._accepted.forget(layer)
        if self._views.forget(layer):
            self.view = ""
            self._session.proposing_changed.emit()

    def made(self, layer: object) -> bool:
        """Whether a layer is one of ours."""
        return layer in (self._outlines.layer, self._accepted.layer)

    # --- work ---------------------------------------------------------------------------------------------------------

    @property
    def visible_plane(self) -> int:
        """Plane of the image that the viewer shows; 0 without an image."""
        return layers.visible_plane(self._viewer, self._image) if self._image is not None else 0

    def propose(self, method: str, n_regions: int) -> None:
        """Propose regions on all planes, the visible one first; review can begin with the first of them."""
        self._submit(method, n_regions)
        self._look = True
        self._outlines.activate()

    def cut(self, method: str, n_regions: int) -> None:
        """Show another number of regions on the visible plane; the view stays where it is."""
        self._submit(method, n_regions, only=True)

    def propose_rest(self, method: str, n_regions: int) -> None:
        """Propose regions on the planes on which nothing is accepted."""
        self._submit(method, n_regions, rest=True)
        self._look = True
        self._outlines.activate()

    def _submit(self, method: str, n_regions: int, *, only: bool = False, rest: bool = False) -> None:
        request = self._session.request_proposals(method, n_regions, self.visible_plane, only=only, rest=rest)
        if request is not None and not self._closed:
            self.refused.emit("")
            self._proposer.submit(request)

    def cancel(self) -> None:
        """Stop the proposer; what it found stays."""
        self._proposer.cancel()

    def save(self, path: str) -> None:
        """Write masks and table in the background."""
        session = self._session
        if session.image is not None:
            rows = [item.region for item in session.regions.book.items.values() if not item.gone]
            self._saving.submit(MasksToSave(path, session.regions.book.masks(session.image), session.image, rows))

    def _ask_similarity(self) -> None:
        request = self._session.request_similarity()
        reviewing = self._viewer.layers.selection.active in (self._outlines.layer, self._accepted.layer)
        if request is not None and not self._closed and (reviewing or self._session.regions.awaits_similarity):
            self._similarity.submit(request)

    def _on_current(self) -> None:
        self._settled.start()

    def _on_changed(self) -> None:
        if self._session.regions.awaits_similarity and not self._similarity.running:
            self._ask_similarity()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Bring the current region into view with the next drawing, and give its layer the keys."""
        self._look = True
        if self._viewer.layers.selection.active not in (self._outlines.layer, self._accepted.layer):
            self._outlines.activate()

    def activate(self) -> None:
        """Make our layer the active one, so that it gets the keys."""
        self._outlines.activate()

    def draw(self) -> None:
        """Draw what the session holds."""
        if self._closed or self._image is None or self._image not in self._viewer.layers:
            return
        if self._look and self._session.regions.region is not None:
            self._look = False
            self._outlines.centre()
            if self._outlines.layer is None:
                self._outlines.activate()
        self._outlines.draw()
        self._accepted.draw()

    def show_view(self, kind: str) -> None:
        """Show one of the views; ``""`` takes it away."""
        for other in layers.VIEW_LAYERS:
            if other != kind:
                self._views.remove(other)
        self._viewing.cancel()
        self.view = kind
        if kind and kind != "similarity":
            request = self._session.request_view(kind, self.visible_plane)
            if request is not None:
                self._viewing.submit(request)

    def show_clusters_again(self) -> None:
        """Show the clusters with their new number, where they are shown."""
        if self.view == "clusters" and not self._closed:
            self.show_view("clusters")

    def _on_view(self, view: PlaneView) -> None:
        session = self._session
        if view.serial == session.serial and view.context == session.context and view.kind == self.view:
            self._views.show(view, session.n_planes)

    def _on_view_ended(self, error: str) -> None:
        if error:
            self.refused.emit(error)

    def _on_move(self, viewer: Viewer, event: Event) -> None:
        if self.view == "similarity" and self._image is not None and len(event.dims_displayed) == 2:
            self._pointer = layers.data_position(self._viewer, self._image, event.position)
            if not self._hover.isActive():
                self._hover.start()

    def _ask_hover(self) -> None:
        session = self._session
        if self._pointer is None or session.image is None or self.view != "similarity":
            return
        plane, (row, column) = self._pointer
        rows, columns = session.image.plane_shape
        if 0 <= row < rows and 0 <= column < columns and 0 <= plane < session.n_planes:
            request = session.request_view("similarity", plane, (row, column))
            if request is not None:
                self._viewing.submit(request)

    # --- examples and clicks ------------------------------------------------------------------------------------------

    def await_example(self, positive: bool | None) -> None:
        """Take the next click on the image as an example or counter-example; None: no longer."""
        self.awaited = positive
        if positive is not None:
            self._outlines.activate()
        self._session.proposing_changed.emit()

    def take_layer(self, positive: bool) -> None:
        """Take what the selected Shapes or Labels layer outlines as examples."""
        image = self._image
        if image is None:
            return
        try:
            for mask in masks_of(self._viewer, image, exclude=(self._outlines.layer,)):
                self._session.add_mark(Mark(mask.first_plane, mask=mask, positive=positive))
            self.refused.emit("")
        except RegionError as error:
            self.refused.emit(str(error))

    def _on_press(self, viewer: Viewer, event: Event) -> Iterator[None]:
        image, active = self._image, self._viewer.layers.selection.active
        if image is None or event.button != 1 or event.modifiers or len(event.dims_displayed) != 2:
            return
        if active is None or str(active.mode) != "pan_zoom" or active not in (image, self._outlines.layer):
            return
        if self.awaited is None and active != self._outlines.layer:
            return
        plane, position = layers.data_position(self._viewer, image, event.position)
        if (yield from layers.still_press(event)):
            self._click(plane, position)

    def _pick(self, plane: int, position: tuple[float, float]) -> None:
        """Look at the region at a place; where none is listed, let the image's boundaries offer one."""
        review, session = self._session.regions, self._session
        place = plane, round(position[0]), round(position[1])
        if review.offer_another(*place) or review.select_at(*place) or session.image is None:
            return
        rows, columns = session.image.plane_shape
        request = session.request_offer(plane, position)
        if request is not None and 0 <= place[1] < rows and 0 <= place[2] < columns:
            self._offering.submit(request)

    def _click(self, plane: int, position: tuple[float, float]) -> None:
        if self.awaited is None:
            self._pick(plane, position)
            return
        try:
            self._session.add_mark(Mark(plane, position=position, positive=self.awaited))
            self.await_example(None)
            self.refused.emit("")
        except RegionError as error:
            self.refused.emit(str(error))


def _saving(request: MasksToSave, cancelled: Callable[[], bool]) -> Iterator[str]:
    yield save_masks(request)


def _timer(parent: QObject, milliseconds: int, slot: Callable[[], Any]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(slot)
    return timer
