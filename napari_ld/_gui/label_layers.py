"""The person's own Labels layers: which there are, whether they lie on the image, reading and writing their planes."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

from napari_ld.errors import RegionError
from napari_ld.session.repaint import LayerChange
from napari_ld.session.requests import LabelPlanes

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels, Layer
    from napari.utils.events import Event

_HALF_PIXEL = 0.5
_HOW = "Make labels with the button New labels layer while the image is selected, or load those of this image."


class LabelLayers(QObject):
    """Knows the Labels layers of a viewer by numbers that are never used twice.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    ours : callable
        Whether a layer is one that the panel made.

    Attributes
    ----------
    changed : Signal()
        One came, went or was renamed.
    edited : Signal(int)
        The one with this number was painted or got other pixels, not by :meth:`write`.
    drawn : Signal(int)
        What it shows may be other labels: it was edited, an edit was taken back, or another plane is shown.
    """

    changed = Signal()
    edited = Signal(int)
    drawn = Signal(int)

    def __init__(self, viewer: Viewer, ours: Callable[[Layer], bool]) -> None:
        super().__init__()
        self._viewer, self._ours = viewer, ours
        self._keys = itertools.count(1)
        self._layers: dict[int, tuple[Labels, list[tuple[Any, Callable[[Event], None]]]]] = {}
        self._writing = False
        viewer.layers.events.inserted.connect(self._list)
        viewer.layers.events.removed.connect(self._list)
        self._list()

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.layers.events.inserted.disconnect(self._list)
        self._viewer.layers.events.removed.disconnect(self._list)
        for key in list(self._layers):
            self._release(key)

    def names(self) -> dict[int | None, str]:
        """Number and name of each, the uppermost first."""
        order = list(self._viewer.layers)
        found = [(key, layer) for key, (layer, _) in self._layers.items() if not self._ours(layer)]
        return {key: layer.name for key, layer in sorted(found, key=lambda one: -order.index(one[1]))}

    def get(self, key: int | None) -> Labels | None:
        """The layer with a number, as long as the viewer has it."""
        return self._layers[key][0] if key in self._layers else None

    def write(self, change: LayerChange) -> None:
        """Give pixels other labels, as one step of napari's own undo too; those that look otherwise by now stay.

        Raises
        ------
        RegionError
            When the layer is gone, or cannot be written.
        """
        layer = self.get(change.key)
        if layer is None:
            raise RegionError("The Labels layer that was refined is gone; there is nothing left to take back in it.")
        require_writable(layer)
        with self._as_ours(), layer.block_history():
            for part in change.planes:
                places = np.divmod(part.pixels, layer.data.shape[-1])
                index = places if layer.ndim == 2 else (np.full(len(part.pixels), part.plane), *places)
                if any(int(axis.max()) >= side for axis, side in zip(index, layer.data.shape, strict=True)):
                    continue  # it holds other, smaller labels by now
                as_seen = np.asarray(layer.data[index]) == part.before
                layer.data_setitem(tuple(axis[as_seen] for axis in index), part.after[as_seen], refresh=False)
            layer.refresh()

    @contextmanager
    def _as_ours(self) -> Iterator[None]:
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    def _list(self, event: Event | None = None) -> None:
        from napari.layers import Labels

        present = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        for key in [key for key, (layer, _) in self._layers.items() if layer not in present]:
            self._release(key)
        known = [layer for layer, _ in self._layers.values()]
        for layer in present:
            if layer not in known:
                self._watch(next(self._keys), layer)
        self.changed.emit()

    def _watch(self, key: int, layer: Labels) -> None:
        edited, drawn = partial(self._on_edit, key), partial(self._on_draw, key)
        slots: list[tuple[Any, Callable[[Event], None]]] = [
            (layer.events.name, self._on_name),
            (layer.events.paint, edited),
            (layer.events.data, edited),
            (layer.events.set_data, drawn),
        ]
        self._layers[key] = layer, slots
        for signal, slot in slots:
            signal.connect(slot)

    def _release(self, key: int) -> None:
        _, slots = self._layers.pop(key)
        for signal, slot in slots:
            signal.disconnect(slot)

    def _on_name(self, event: Event) -> None:
        self.changed.emit()

    def _on_edit(self, key: int, event: Event) -> None:
        if not self._writing:
            self.edited.emit(key)
        self.drawn.emit(key)

    def _on_draw(self, key: int, event: Event) -> None:
        self.drawn.emit(key)


def reader(layer: Labels) -> LabelPlanes:
    """Reads planes of a layer from any thread; touches its pixels only."""
    return partial(_plane, layer.data, layer.ndim)


def _plane(data: Any, ndim: int, plane: int) -> npt.NDArray[np.integer[Any]]:
    return np.array(data[plane] if ndim == 3 else data)


def plane_count(layer: Labels) -> int:
    """Planes of a layer of two or three axes; 0 of any other, and of a pyramid."""
    if layer.multiscale or layer.ndim not in (2, 3):
        return 0
    return int(layer.data.shape[0]) if layer.ndim == 3 else 1


def stamp(layer: Labels, plane: int) -> int:
    """Number that differs when a plane of a layer looks otherwise; 0 where finding that out would take long."""
    pixels = layer.data[plane] if layer.ndim == 3 else layer.data
    return zlib.crc32(np.ascontiguousarray(pixels).tobytes()) if isinstance(pixels, np.ndarray) else 0


def require_writable(layer: Labels) -> None:
    """Refuse labels that cannot be changed.

    Raises
    ------
    RegionError
        When they are locked, or not in memory.
    """
    if not layer.editable:
        raise RegionError(f"The layer {layer.name!r} is locked. Make it editable, or refine a copy of it.")
    if not isinstance(layer.data, np.ndarray) or not layer.data.flags.writeable:
        raise RegionError(
            f"The labels of {layer.name!r} are not in memory, or are read-only ({type(layer.data).__name__}), so they "
            "cannot be changed. Save the layer, open the saved file, and refine that."
        )


def require_fit(layer: Labels, image: ImageLayer) -> None:
    """Refuse labels that lie on another grid than the image.

    Raises
    ------
    RegionError
        When they have levels, another shape, or lie elsewhere.
    """
    if layer.multiscale:
        raise RegionError(f"The layer {layer.name!r} has several levels; expected one. Split it and choose the finest.")
    expected = (image.data[0] if image.multiscale else image.data).shape[: image.ndim]
    if tuple(layer.data.shape) != tuple(expected):
        raise RegionError(
            f"The layer {layer.name!r} has the shape {_sides(layer.data.shape)}, the image {_sides(expected)}. {_HOW}"
        )
    # The corners tell of scale, translation, rotation, shear and affine at once.
    ends = np.array([[0] * image.ndim, [side - 1 for side in expected], *np.diag(np.array(expected) - 1)], float)
    there = np.array([layer.data_to_world(place) for place in ends]) * _millimetres(layer)
    back = np.array([image.world_to_data(place / _millimetres(image)) for place in there])
    if np.abs(back - ends).max() >= _HALF_PIXEL:
        raise RegionError(
            f"The layer {layer.name!r} lies elsewhere than the image: scale {_numbers(layer.scale)} and shift "
            f"{_numbers(layer.translate)}, those of the image {_numbers(image.scale)} and {_numbers(image.translate)}, "
            f"or another rotation. {_HOW}"
        )


def _millimetres(layer: Layer) -> npt.NDArray[np.float64]:
    """Of one unit of each axis; 1 where an axis has no length."""
    known = [(1.0 * unit) for unit in layer.units]
    return np.array([one.to("millimeter").magnitude if one.is_compatible_with("millimeter") else 1.0 for one in known])


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(str(int(side)) for side in shape)


def _numbers(values: Any) -> str:
    return "(" + ", ".join(f"{float(value):.4g}" for value in values) + ")"


def relative_steps(image: ImageLayer) -> tuple[float, ...]:
    """Distances between pixels as the layer is drawn: ratios, where no unit of length is known."""
    return tuple(float(abs(size)) for size in image.scale)
