"""The Points layer ``LD landmarks``: shows what the session holds and turns clicks, drags and keys into wishes.

How sure a point is shows in its shape as well as in its colour: a filled disc is verified, a solid ring confident, a
thin hollow diamond uncertain; an absent landmark has no point. A stale answer is drawn faint until it is renewed.
Names are not written on the canvas: with napari 0.9.2 the program crashes when a Points layer with text is deleted
(napari issue 6472). napari shows the name and status of the point under the mouse in its status bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ld._gui import keys, layers
from napari_ld._types import Status
from napari_ld.errors import LandmarkError
from napari_ld.session import Point, Session, Track

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Points
    from napari.utils.events import Event

SYMBOLS: dict[Status, str] = {"verified": "disc", "confident": "disc", "uncertain": "diamond"}
BORDER_WIDTHS: dict[Status, float] = {"verified": 0.12, "confident": 0.28, "uncertain": 0.10}
_FEATURE_DEFAULTS = {"name": "", "plane": 0, "score": 0.0, "margin": 0.0, "status": "", "_id": ""}
REACH = 14.0  # screen pixels within which the mouse takes hold of a point


class LandmarkLayer:
    """Keeps one Points layer in step with a session.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    session : Session
    actions : mapping of name to function
        What the keys of :data:`napari_ld._gui.keys.KEYS` do.
    report : callable
        Gets the text of an edit that could not be made.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        actions: Mapping[str, Callable[[], object]],
        report: Callable[[str], None],
    ) -> None:
        self._viewer, self._session = viewer, session
        self._actions, self._report = actions, report
        self._image: ImageLayer | None = None
        self._layer: Points | None = None
        self._rows: list[tuple[str, int]] = []
        self._obeying = False
        self._dragging = False
        viewer.mouse_drag_callbacks.append(self._on_press)

    def close(self) -> None:
        """Let go of the viewer; the layer with the points stays for the person."""
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)
        self._forget_layer()
        self.follow(None)

    def follow(self, image: ImageLayer | None) -> None:
        """Lie on this image layer from now on, without points: those of the last image are saved.

        The layer is kept where it can be, since napari 0.9.2 may crash in the frame after one was removed.
        """
        if self._layer is not None:
            if image is None or self._layer.ndim != image.ndim:
                self._discard()
            else:
                self._rows = []
                with self._obey():
                    self._layer.selected_data = set()
                    self._layer.data = np.zeros((0, image.ndim))
                    for name, value in layers.same_place(image).items():
                        setattr(self._layer, name, value)
        if self._image is not None:
            for name in ("scale", "translate", "rotate", "shear", "affine"):
                getattr(self._image.events, name).disconnect(self._on_moved)
        self._image = image
        if image is not None:
            for name in ("scale", "translate", "rotate", "shear", "affine"):
                getattr(image.events, name).connect(self._on_moved)

    def forget(self, layer: object) -> bool:
        """Take notice that a layer was removed; returns whether it was ours."""
        ours = self._layer is not None and self._layer == layer
        if ours:
            self._forget_layer()
        return ours

    def _discard(self) -> None:
        layer = self._layer
        self._forget_layer()
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def activate(self) -> None:
        """Make the layer the active one, so that its keys and clicks count; makes it when it is not there."""
        if self._image is None:
            return
        if self._layer is None:
            self._make()
        if self._layer is not None:
            self._layer.visible = True
            self._viewer.layers.selection.active = self._layer

    def refresh(self) -> None:
        """Show what the session holds; not while a point is being dragged."""
        if self._image is None or self._dragging:
            return
        if self._layer is None:
            if not any(track.points for track in self._session.state.values()):
                return
            self._make()
        if self._layer is not None:
            with self._obey():
                self._show(self._layer)

    def _show(self, layer: Points) -> None:
        session = self._session
        shown = [
            (track, plane, point)
            for track in session.state.values()
            if track.id not in session.hidden
            for plane, point in sorted(track.points.items())
            if point.match.position is not None
        ]
        self._rows = [(track.id, plane) for track, plane, _ in shown]
        data = np.array([self._coordinates(plane, point) for _, plane, point in shown], dtype=float)
        layer.selected_data = set()
        layer.data = data.reshape(len(shown), layer.ndim)
        layer.features = _features(session, shown)
        if shown:
            looks = [_look(session, track, point) for track, _, point in shown]
            layer.symbol = [look["symbol"] for look in looks]
            layer.border_width = np.array([look["border_width"] for look in looks])
            layer.face_color = np.array([look["face"] for look in looks])
            layer.border_color = np.array([look["border"] for look in looks])
            layer.size = np.array([look["size"] for look in looks]) * self._point_size()

    def _coordinates(self, plane: int, point: Point) -> tuple[float, ...]:
        row, column = point.match.position or (0.0, 0.0)
        return (plane, row, column) if self._session.n_planes > 1 or self._ndim == 3 else (row, column)

    @property
    def _ndim(self) -> int:
        return int(self._image.ndim) if self._image is not None else 2

    def _point_size(self) -> float:
        return max(self._session.image.plane_shape) / 30 if self._session.image else 10.0

    def _make(self) -> None:
        image = self._image
        if image is None:
            return
        active = self._viewer.layers.selection.active
        self._layer = self._viewer.add_points(
            np.zeros((0, self._ndim)),
            ndim=self._ndim,
            name=layers.LANDMARKS_LAYER,
            features=_features(self._session, []),
            feature_defaults=_FEATURE_DEFAULTS,
            border_width_is_relative=True,
            canvas_size_limits=(14, 22),
            **layers.same_place(image),
        )
        self._layer.events.data.connect(self._on_data)
        keys.bind_layer(self._layer, self._actions)
        if not self._session.awaiting_click and active is not None:
            self._viewer.layers.selection.active = active
        with self._obey():
            self._show(self._layer)

    def _forget_layer(self) -> None:
        if self._layer is not None:
            self._layer.events.data.disconnect(self._on_data)
            for name in self._actions:
                self._layer.bind_key(keys.KEYS[name].napari, None)
        self._layer = None
        self._rows = []

    def _on_moved(self, event: Event) -> None:
        if self._layer is not None and self._image is not None:
            setattr(self._layer, event.type, getattr(self._image, event.type))

    @contextmanager
    def _obey(self) -> Iterator[None]:
        before, self._obeying = self._obeying, True
        try:
            yield
        finally:
            self._obeying = before

    # Edits made with napari's own tools on the layer

    def _on_data(self, event: Event) -> None:
        action = str(getattr(event, "action", ""))
        if self._obeying or self._layer is None or action not in ("added", "changed", "removed"):
            return
        indices = [int(index) for index in event.data_indices]
        data = np.asarray(self._layer.data)
        with self._obey():
            if action == "added" and self._session.current is not None:
                for index in indices:
                    self._place(self._session.current, data[index])
            elif action == "changed" and len(data) == len(self._rows):
                moved = [(self._rows[index], data[index]) for index in indices]
                for (landmark, _), coordinates in moved:
                    self._place(landmark, coordinates)
            elif action == "removed":
                for landmark, plane in [self._rows[index] for index in indices]:
                    self._session.mark_absent(landmark, plane)
        self.refresh()

    def _place(self, landmark: str, coordinates: Any) -> None:
        plane = round(float(coordinates[0])) if len(coordinates) == 3 else 0
        self._try_place(landmark, plane, (float(coordinates[-2]), float(coordinates[-1])))

    def _try_place(self, landmark: str, plane: int, position: tuple[float, float]) -> None:
        try:
            self._session.place(landmark, plane, position)
            self._report("")
        except LandmarkError as error:
            self._report(str(error))

    # Clicks and drags on the canvas while no tool of napari is chosen

    def _on_press(self, viewer: Viewer, event: Event) -> Iterator[None]:
        image = self._image
        if image is None or event.button != 1 or event.modifiers or len(event.dims_displayed) != 2:
            return
        active = self._viewer.layers.selection.active
        if active is None or str(active.mode) != "pan_zoom" or active not in (self._layer, image):
            return
        grabbed = self._point_at(event)
        if grabbed is not None and not self._session.awaiting_click:
            yield from self._drag(grabbed, event)
        elif self._session.awaiting_click and self._session.current is not None:
            plane, position = layers.data_position(self._viewer, image, event.position)
            if (yield from layers.still_press(event)):
                self._try_place(self._session.current, plane, position)

    def _point_at(self, event: Event) -> int | None:
        layer, image = self._layer, self._image
        if layer is None or image is None or not layer.visible:
            return None
        plane = layers.data_position(self._viewer, image, event.position)[0]
        near = [index for index, (_, own) in enumerate(self._rows) if own == plane]
        if not near:
            return None
        data = np.asarray(layer.data)[near]
        distances = layers.canvas_distances(self._viewer, layer, data, event.position, event.camera_zoom)
        closest = int(np.argmin(distances))
        return near[closest] if distances[closest] <= REACH else None

    def _drag(self, index: int, event: Event) -> Iterator[None]:
        layer, image = self._layer, self._image
        if layer is None or image is None:
            return
        landmark, plane = self._rows[index]
        start, moved = np.asarray(event.pos), False
        event.handled = True  # the camera stays where it is
        self._dragging = True
        # Taken hold of off its centre, a point keeps that offset and does not jump to the mouse.
        grip = np.asarray(layer.data[index])[-2:] - layers.data_position(self._viewer, image, event.position)[1]
        try:
            yield
            while event.type == "mouse_move":
                event.handled = True
                moved = moved or bool(np.linalg.norm(start - event.pos) > layers.STILL)
                if moved and index < len(layer.data):
                    with self._obey():
                        data = np.array(layer.data)
                        data[index, -2:] = layers.data_position(self._viewer, image, event.position)[1] + grip
                        layer.data = data
                yield
        finally:
            self._dragging = False
        if moved:
            row, column = layers.data_position(self._viewer, image, event.position)[1] + grip
            self._try_place(landmark, plane, (float(row), float(column)))
        else:
            self._session.select(landmark)
        self.refresh()


def _features(session: Session, shown: list[tuple[Track, int, Point]]) -> dict[str, Any]:
    # Types are given, since of an empty list they could not be told.
    return {
        "name": np.array([track.name for track, _, _ in shown], dtype=object),
        "plane": np.array([plane for _, plane, _ in shown], dtype=int),
        "score": np.array([point.match.score for *_, point in shown], dtype=float),
        "margin": np.array([point.match.margin for *_, point in shown], dtype=float),
        "status": np.array([session.status(point) for *_, point in shown], dtype=object),
        "_id": np.array([track.id for track, _, _ in shown], dtype=object),
    }


def _look(session: Session, track: Track, point: Point) -> dict[str, Any]:
    status = session.status(point)
    red, green, blue = (int(track.color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    strength = 0.35 if track.is_stale(point, session.context) else 1.0
    inner = 1.0 if status == "verified" else 0.0
    # A verified disc gets a white rim, so that it stands out on an image of its own colour.
    rim = (1.0, 1.0, 1.0) if status == "verified" else (red, green, blue)
    return {
        "symbol": SYMBOLS.get(status, "disc"),
        "border_width": BORDER_WIDTHS.get(status, 0.2),
        "face": (red, green, blue, inner * strength),
        "border": (*rim, (0.8 if status == "uncertain" else 1.0) * strength),
        "size": 1.25 if track.id == session.current else 1.0,
    }
