"""The layer ``LD proposals``: outlines of the proposed regions around the current one, which stands out.

It is a small picture laid over the visible plane where the person looks, so that the next region is drawn at once
however large the image is. While regions are reviewed it is the active layer and holds the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_ld._gui import layers
from napari_ld._gui.departures import Departures
from napari_ld._gui.overlay import Overlay, Picture
from napari_ld.proposals.regions import Region

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer

    from napari_ld.session.review import RegionReview

OTHER, CURRENT, HALO = 1, 2, 3
COLOURS = {None: "transparent", 0: "transparent", OTHER: (1, 1, 1, 0.5), CURRENT: (1, 0.84, 0, 1), HALO: (0, 0, 0, 0.7)}
SIDE = 768  # pixels of the picture; smaller images are covered whole
_SMALLEST = 24  # pixels: a lesion of two pixels is shown with this much around it
_FILL = (0.12, 0.55)  # share of the canvas that a region may fill before the zoom changes


class Outlines(Overlay):
    """Keeps the layer in step with the review.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    review : RegionReview
    actions : mapping of name to function
        What the keys do.
    departures : Departures
    """

    def __init__(
        self,
        viewer: Viewer,
        review: RegionReview,
        actions: Mapping[str, Callable[[], object]],
        departures: Departures,
    ) -> None:
        super().__init__(viewer, layers.PROPOSALS_LAYER, COLOURS, actions, departures)
        self._review = review
        self._edges: tuple[tuple[object, ...], Picture] | None = None
        self._gone = False  # the person deleted the layer; it comes back when it is needed for review

    def follow(self, image: ImageLayer | None) -> None:
        """Lie on another image, or on none; the layer of the last one goes."""
        super().follow(image)
        self._edges, self._gone = None, False

    def forget(self, layer: object) -> bool:
        """Take notice that a layer was removed; returns whether it was this one."""
        ours = super().forget(layer)
        self._gone = self._gone or ours
        return ours

    def activate(self) -> None:
        """Make the layer the active one, so that it gets the keys; makes it when it is not there."""
        self._gone = False
        self.draw()
        if self.layer is not None:
            self.layer.visible = True
            self._viewer.layers.selection.active = self.layer

    def centre(self) -> None:
        """Show the current region: its plane, its place, and zoomed so that it can be judged."""
        region, image = self._review.region, self._image
        if region is None or image is None or self._viewer.dims.ndisplay != 2:
            return
        if layers.visible_plane(self._viewer, image) not in region.planes:
            layers.go_to_plane(self._viewer, image, region.planes[len(region.planes) // 2])
        plane = layers.visible_plane(self._viewer, image)
        layers.show_place(self._viewer, image, _widened(region, plane), _FILL)

    def draw(self) -> None:
        """Draw the outlines on the visible plane."""
        image, review = self._image, self._review
        if image is None or review.image is None or self._gone or (self.layer is None and not review.book.items):
            return
        plane = layers.visible_plane(self._viewer, image)
        shape = review.image.plane_shape
        region = review.region if review.region is not None and plane in review.region.planes else None
        corner = _corner(shape, region, plane)
        box = slice(corner[0], corner[0] + SIDE), slice(corner[1], corner[1] + SIDE)
        picture = self._edges_on(plane, shape)[box].copy()
        if region is not None:
            zoom = self._viewer.scene.camera.zoom * float(image.scale[-1])
            _draw_current(picture, region, plane, corner, max(1, round(1.2 / max(zoom, 1e-6))))
        data = picture[np.newaxis] if image.ndim == 3 else picture
        self._show(data, layers.place_on_plane(image, plane, (float(corner[0]), float(corner[1]))))

    def _edges_on(self, plane: int, shape: tuple[int, int]) -> Picture:
        """Outlines of all regions of a plane; kept until the regions change."""
        book = self._review.book
        key = plane, book, book.shape_version
        if self._edges is None or self._edges[0] != key:
            self._edges = key, edges_of(self._review.queue.on_plane(plane), plane, shape)
        return self._edges[1]


def edges_of(regions: list[Region], plane: int, shape: tuple[int, int]) -> Picture:
    """Where one region borders on another or on none, smaller ones on top; (rows, columns)."""
    canvas = np.zeros(shape[0] * shape[1], np.int32)
    for region in sorted(regions, key=lambda region: (-region.area, -region.id)):
        canvas[region.mask.pixels(plane)] = region.id
    labels = canvas.reshape(shape)
    edges = np.zeros(shape, bool)
    edges[:-1] |= (labels[:-1] != labels[1:]) & (labels[:-1] > 0)
    edges[1:] |= (labels[1:] != labels[:-1]) & (labels[:-1] == 0)
    edges[:, :-1] |= (labels[:, :-1] != labels[:, 1:]) & (labels[:, :-1] > 0)
    edges[:, 1:] |= (labels[:, 1:] != labels[:, :-1]) & (labels[:, :-1] == 0)
    return np.asarray(edges, np.uint8) * OTHER


def _widened(region: Region, plane: int) -> tuple[int, int, int, int]:
    """Box of a region on a plane, not smaller than what an eye needs around it."""
    _, top, left, _, bottom, right = region.mask.on_plane(plane).bbox
    rows, columns = (max(0, _SMALLEST - size) for size in (bottom - top, right - left))
    return top - rows // 2, left - columns // 2, bottom + rows // 2, right + columns // 2


def _corner(shape: tuple[int, int], region: Region | None, plane: int) -> tuple[int, int]:
    """Upper left corner of the picture: the region in its middle where the image is larger than it."""
    if region is None:
        return 0, 0
    _, top, left, _, bottom, right = region.mask.on_plane(plane).bbox
    rows = min(max((top + bottom - SIDE) // 2, 0), max(shape[0] - SIDE, 0))
    columns = min(max((left + right - SIDE) // 2, 0), max(shape[1] - SIDE, 0))
    return rows, columns


def _draw_current(picture: Picture, region: Region, plane: int, corner: tuple[int, int], thick: int) -> None:
    """Draw one outline in place, with a dark halo inside it, so that it shows on bright and dark pixels."""
    mask = region.mask.on_plane(plane)
    _, top, left, _, bottom, right = mask.bbox
    rows, columns = np.divmod(mask.pixels(plane), mask.shape[1])
    inside = np.zeros((bottom - top + 2, right - left + 2), bool)
    inside[rows - top + 1, columns - left + 1] = True
    rim = inside & ~ndimage.binary_erosion(inside, np.ones((3, 3)), iterations=thick)
    halo = inside & ~rim & ~ndimage.binary_erosion(inside, np.ones((3, 3)), iterations=2 * thick)
    if np.count_nonzero(halo) > 0.2 * mask.area:
        halo[:] = False  # of a thin region it would hide what is inside
    for part, value in ((rim, CURRENT), (halo, HALO)):
        there = np.argwhere(part) + np.array([top - 1 - corner[0], left - 1 - corner[1]])
        there = there[((there >= 0) & (there < picture.shape)).all(axis=1)]
        picture[tuple(there.T)] = value
