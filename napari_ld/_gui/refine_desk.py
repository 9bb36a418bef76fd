"""Ties the refining of labels to a viewer: which layers are meant, the live preview, and what is applied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_ld._gui import layers
from napari_ld._gui.departures import Departures
from napari_ld._gui.label_choice import LabelChoice
from napari_ld._gui.label_layers import relative_steps
from napari_ld._gui.refined_outline import RefinedOutline
from napari_ld._gui.workers import Worker
from napari_ld.errors import RegionError
from napari_ld.session import Session
from napari_ld.session.compute import Sources
from napari_ld.session.refine_compute import refine_labels
from napari_ld.session.refine_work import OwnLabels, before_applied
from napari_ld.session.repaint import LayerChange
from napari_ld.session.requests import LabelPlanes, RefinedPlane

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

SETTLE = 120  # ms that a plane is looked at, or labels rest, before a preview is asked for


class RefineDesk(QObject):
    """Layers and workers of the Refine section.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    session : Session
    sources : Sources
        Features, shared with the landmarks.
    actions : mapping of name to function
        What the keys on the canvas do.
    ours : callable
        Whether a layer is one that the panel made.
    departures : Departures

    Attributes
    ----------
    choice : LabelChoice
        The labels to be refined, and scribbles.
    method : str
        A name of :data:`napari_ld.refinement.REFINERS`.
    previewing : bool
        Whether the shown plane is previewed.
    before : bool
        Whether the labels are shown as they were before.
    changed : Signal()
        Something of this.
    refused : Signal(str)
        What could not be done, in words; ``""`` after something that could.
    """

    changed = Signal()
    refused = Signal(str)

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        sources: Sources,
        actions: Mapping[str, Callable[[], object]],
        ours: Callable[[Layer], bool],
        departures: Departures,
    ) -> None:
        super().__init__()
        self._viewer, self._session = viewer, session
        self._image: ImageLayer | None = None
        self._outline = RefinedOutline(viewer, actions, departures)
        self.choice = LabelChoice(viewer, session, lambda layer: ours(layer) or layer == self._outline.layer)
        self.method = "prototype"
        self.previewing = self.before = False
        self._asked: tuple[object, ...] | None = None
        self._version = 0  # of the accepted masks
        self._closed = False
        self._previewer = Worker(lambda request, cancelled: refine_labels(request, sources, cancelled))
        self._applier = Worker(lambda request, cancelled: refine_labels(request, sources, cancelled))
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLE)
        self._settled.timeout.connect(self._ask)
        self._connect()

    def _connect(self) -> None:
        session = self._session
        self.choice.own.changed.connect(self._on_layers)
        self.choice.own.edited.connect(self._on_edit)
        self.choice.own.drawn.connect(self._on_drawn)
        session.layer_changed.connect(self._write)
        session.regions.painted.connect(self._on_accepted)
        session.points_changed.connect(self.look_again)  # the encoder may be another one
        for worker in (self._previewer, self._applier):
            worker.result.connect(session.accept)
        self._previewer.ended.connect(self._on_preview_ended)
        self._applier.ended.connect(self._on_applied)

    def close(self) -> None:
        """Stop all work and let go of the viewer; what is not complete is not applied. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._settled.stop()
        session = self._session
        session.layer_changed.disconnect(self._write)
        session.regions.painted.disconnect(self._on_accepted)
        session.points_changed.disconnect(self.look_again)
        self._previewer.shutdown()
        self._applier.shutdown()
        self.choice.own.close()
        self._outline.close()

    def follow(self, image: ImageLayer | None) -> None:
        """Work on another image layer, or on none."""
        self._previewer.cancel()
        self._applier.cancel()
        self._image = image
        self.previewing = self.before = False
        self._asked = None
        self._outline.follow(image)
        self.choice.follow(image)
        self.changed.emit()

    def forget(self, layer: object) -> None:
        """Take notice that a layer was removed by the person."""
        if self._outline.forget(layer):
            self.preview(False)

    # --- what is chosen -----------------------------------------------------------------------------------------------

    def choose(self, labels: int | None, scribbles: int | None, method: str) -> None:
        """Refine these labels by these scribbles and this method; None: the accepted masks, no scribbles."""
        if labels != self.choice.labels:
            self._applier.cancel()
            self.before = False
        self.choice.labels, self.choice.scribbles, self.method = labels, scribbles, method
        self.refused.emit("")
        self._asked = None
        self._redraw()
        self.look_again()
        self.changed.emit()

    def _on_layers(self) -> None:
        if self.choice.settle():
            self._applier.cancel()
            if self.previewing:
                self.preview(False)
        self.changed.emit()

    @property
    def plane(self) -> int:
        """Plane of the image that the viewer shows; 0 without an image."""
        return layers.visible_plane(self._viewer, self._image) if self._image is not None else 0

    # --- preview ------------------------------------------------------------------------------------------------------

    def preview(self, on: bool) -> None:
        """Show what refining would change on the shown plane, and keep up with it; or no longer."""
        self._asked = None
        self.previewing, self.before = on, False
        if on:
            self.refused.emit("")
            self._ask()
        else:
            self._previewer.cancel()
            self._session.preview_ended()
            self._redraw()
        self.changed.emit()

    def toggle_preview(self) -> None:
        """Turn the preview on or off."""
        self.preview(not self.previewing)
        self._outline.activate()

    def toggle_before(self) -> None:
        """Show the labels as they were before, or as they are refined."""
        self.before = not self.before and (self.previewing or bool(self._session.applied))
        self._redraw()
        self._outline.activate()
        self.changed.emit()

    def fold(self) -> None:
        """Show nothing, as the section is folded."""
        if self.previewing:
            self.preview(False)
        self._outline.remove()

    def look_again(self) -> None:
        """Keep up with the plane that is shown, the labels and the encoder."""
        if self._closed:
            return
        if self.previewing and not self._settled.isActive():
            self._settled.start()
        shown = self._session.previewed
        if (self.previewing and shown is not None and shown.plane != self.plane) or (
            self.before and not self.previewing
        ):
            self._redraw()

    def _ask(self) -> None:
        if not self.previewing or self._closed or self._session.refining.running:
            return
        plane = self.plane
        wanted = self._key(plane)
        if wanted == self._asked:
            return
        self._asked = wanted
        try:
            self.choice.check(writing=False)
        except RegionError as error:
            self._previewer.cancel()
            self._on_preview_ended(str(error))
            return
        request = self._session.request_preview(self.method, plane, *self._inputs)
        if request is not None:
            self._previewer.submit(request)
            self.changed.emit()

    def _key(self, plane: int) -> tuple[object, ...]:
        """All that a preview depends on."""
        session, version = self._session, self._version if self.choice.labels is None else 0
        return session.serial, session.context, plane, self.method, version, *self.choice.stamps(plane)

    @property
    def _inputs(self) -> tuple[OwnLabels | None, LabelPlanes | None, tuple[float, ...] | None]:
        steps = relative_steps(self._image) if self._image is not None else None
        return self.choice.own_labels, self.choice.own_scribbles, steps

    @property
    def busy(self) -> bool:
        """Whether a preview is being computed."""
        return self.previewing and self._previewer.running

    def _on_preview_ended(self, error: str) -> None:
        if error and self.previewing:
            self._session.preview_ended(error)
        self._redraw()
        self.changed.emit()

    def _redraw(self) -> None:
        """Draw the contours that should be seen."""
        shown, plane = self._session.previewed, self.plane
        if self.previewing and shown is not None and shown.plane == plane:
            self._outline.show(plane, shown.corner, shown.before if self.before else shown.after, before=self.before)
            return
        repaint = self._session.applied.get(plane)
        if self.before and not self.previewing and repaint is not None:
            past = before_applied(self.choice.read(plane), repaint)
            self._outline.show(plane, (0, 0), past, before=True)
            return
        self._outline.blank()

    # --- applying -----------------------------------------------------------------------------------------------------

    def apply(self, *, stack: bool) -> None:
        """Refine the shown plane, or all planes, as one step of undo."""
        try:
            self.choice.check(writing=True)
        except RegionError as error:
            self.refused.emit(str(error))
            return
        self.refused.emit("")
        ready = self._ready
        if not stack and ready is not None:
            self._settle_preview()
            self._session.apply_preview(ready, self.choice.own_labels)
            self.changed.emit()
            return
        planes: Collection[int] = (self.plane,)
        if stack:
            accepted = self.choice.labels is None
            planes = self._session.regions.book.canvas.planes if accepted else range(self._session.n_planes)
        self._previewer.cancel()
        request = self._session.request_refinement(self.method, planes, *self._inputs)
        if request is not None:
            self._settle_preview()
            self._applier.submit(request)
            self.changed.emit()

    @property
    def _ready(self) -> RefinedPlane | None:
        """The preview of what is chosen and shown now, if it is there."""
        shown = self._session.previewed
        there = self.previewing and not self._previewer.running and shown is not None and shown.plane == self.plane
        return shown if there and self._key(self.plane) == self._asked else None

    def _settle_preview(self) -> None:
        """End the preview without a word: what is applied is seen in the labels themselves."""
        self.previewing = self.before = False
        self._asked = None
        self._session.forget_preview()
        self._outline.blank()

    def cancel(self) -> None:
        """Stop refining; nothing is applied."""
        self._applier.cancel()

    def _on_applied(self, error: str) -> None:
        self._session.refining_ended(error)
        self.changed.emit()

    def _write(self, change: LayerChange) -> None:
        try:
            self.choice.own.write(change)
            self.refused.emit("")
        except RegionError as error:
            self.refused.emit(str(error))
        self._after_change(change.key)

    # --- what happens meanwhile ---------------------------------------------------------------------------------------

    def _on_edit(self, key: int) -> None:
        layer = self.choice.own.get(key)
        flat = layer is not None and layer.ndim == 3 and layer.n_edit_dimensions == 2
        self._session.labels_touched(key, (self.plane,) if flat else None)
        self._after_change(key)

    def _on_drawn(self, key: int) -> None:
        if key in (self.choice.labels, self.choice.scribbles):
            self.look_again()

    def _on_accepted(self, boxes: object) -> None:
        self._version += 1
        if self.choice.labels is None:
            self._after_change(None)

    def _after_change(self, key: int | None) -> None:
        if key == self.choice.labels:
            if self.before and not self.previewing:
                self.before = False
                self._redraw()
            self.look_again()
        self.changed.emit()
