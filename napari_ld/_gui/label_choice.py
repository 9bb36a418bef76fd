"""Which labels are refined, and by which scribbles: the accepted masks, or Labels layers of the person."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_ld._gui.label_layers import LabelLayers, reader, require_fit, require_writable, stamp
from napari_ld.errors import RegionError
from napari_ld.session import Session
from napari_ld.session.refine_work import OwnLabels
from napari_ld.session.requests import LabelPlanes

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

NOTHING_ACCEPTED = "Nothing is accepted yet: accept regions first, or choose a Labels layer."


class LabelChoice:
    """What is chosen, whether it can be used, and how it is read.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    session : Session
    ours : callable
        Whether a layer is one that the panel made.

    Attributes
    ----------
    own : LabelLayers
        The person's Labels layers.
    labels : int or None
        Number of the layer to be refined; None: the accepted masks.
    scribbles : int or None
        Number of the layer with what the person is sure of; None: there is none.
    """

    def __init__(self, viewer: Viewer, session: Session, ours: Callable[[Layer], bool]) -> None:
        self._session = session
        self._image: ImageLayer | None = None
        self.own = LabelLayers(viewer, ours)
        self.labels: int | None = None
        self.scribbles: int | None = None

    def follow(self, image: ImageLayer | None) -> None:
        """Belong to another image, or to none."""
        self._image = image
        self.settle()

    def settle(self) -> bool:
        """Choose anew where what was chosen is gone, or nothing was; returns whether other labels are chosen then.

        The accepted masks are chosen, or where there are none a layer that lies on the image.
        """
        known, chosen = self.own.names(), self.labels
        if self.labels not in known:
            self.labels = None
        if self.scribbles not in known:
            self.scribbles = None
        if self.labels is None and not self._session.regions.book.canvas.planes:
            fitting = (key for key in known if key != self.scribbles and self._fits(key))
            self.labels = next(fitting, None)
        return self.labels != chosen

    @property
    def there(self) -> bool:
        """Whether there are labels to be refined."""
        return self.labels is not None or bool(self._session.regions.book.canvas.planes)

    def check(self, *, writing: bool) -> None:
        """Refuse what cannot be refined, or written.

        Raises
        ------
        RegionError
            With the reason and the remedy.
        """
        if self._image is None:
            raise RegionError("There is no image to refine labels by; open an image first.")
        if not self.there:
            raise RegionError(NOTHING_ACCEPTED)
        for key in (self.labels, self.scribbles):
            layer = self.own.get(key)
            if layer is not None:
                require_fit(layer, self._image)
        layer = self.own.get(self.labels)
        if writing and layer is not None:
            require_writable(layer)

    @property
    def own_labels(self) -> OwnLabels | None:
        """The layer to be refined; None: the accepted masks."""
        layer = self.own.get(self.labels)
        return OwnLabels(self.labels, reader(layer)) if layer is not None and self.labels is not None else None

    @property
    def own_scribbles(self) -> LabelPlanes | None:
        """What the person is sure of."""
        layer = self.own.get(self.scribbles)
        return reader(layer) if layer is not None else None

    def read(self, plane: int) -> npt.NDArray[Any]:
        """Labels of a plane as they are now, (rows, columns)."""
        layer = self.own.get(self.labels)
        return np.asarray(self._session.regions.book.labels(plane) if layer is None else reader(layer)(plane))

    def stamps(self, plane: int) -> tuple[object, ...]:
        """What tells a plane of these layers from other planes and other layers, and from itself when it was edited."""
        found: list[object] = []
        for key in (self.labels, self.scribbles):
            layer = self.own.get(key)
            found += [key, stamp(layer, plane) if layer is not None and self._fits(key) else None]
        return tuple(found)

    def _fits(self, key: int | None) -> bool:
        layer = self.own.get(key)
        if layer is None or self._image is None:
            return False
        try:
            require_fit(layer, self._image)
        except RegionError:
            return False
        return True
