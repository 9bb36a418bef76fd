"""Small pictures of regions for the list."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
from qtpy.QtGui import QImage, QPixmap

from napari_ld._types import Image
from napari_ld.proposals.regions import Region
from napari_ld.session.painting import members

SIDE = 32  # pixels
_MARGIN = 0.35  # of the region's longer side, around it
_KEPT = 600
_OUTLINE = (255, 214, 0)


class Thumbnails:
    """Pictures of regions, made when they come into sight; the last ones are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[object, QPixmap]] = OrderedDict()
        self._plane: tuple[object, int, npt.NDArray[np.uint8] | None] = (None, -1, None)

    def get(self, image: Image, region: Region) -> QPixmap:
        """Picture of a region with its outline."""
        known = self._kept.get(region.id)
        if known is None or known[0] is not region.mask:
            known = region.mask, _pixmap(self._picture(image, region))
            self._kept[region.id] = known
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return known[1]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._plane = (None, -1, None)

    def _picture(self, image: Image, region: Region) -> npt.NDArray[np.uint8]:
        plane = region.planes[len(region.planes) // 2]
        _, top, left, _, bottom, right = region.mask.on_plane(plane).bbox
        half = max(bottom - top, right - left, 6) * (0.5 + _MARGIN)
        steps = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
        rows = ((top + bottom - 1) / 2 + steps * half).round().astype(int)
        columns = ((left + right - 1) / 2 + steps * half).round().astype(int)
        shape = image.plane_shape
        seen = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
        places = np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)
        inside = members((places[0][:, None] * shape[1] + places[1]).reshape(-1), region.mask, plane)
        inside = inside.reshape(SIDE, SIDE) & seen[0][:, None] & seen[1]
        picture = self._pixels(image, plane, places)
        picture[~(seen[0][:, None] & seen[1])] = 0
        picture[_rim(inside)] = _OUTLINE
        return picture

    def _pixels(
        self, image: Image, plane: int, places: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    ) -> npt.NDArray[np.uint8]:
        """``(SIDE, SIDE, 3)`` pixels; grey where reading the plane could take long."""
        if self._plane[0] is not image or self._plane[1] != plane:
            held = isinstance(image.array, np.ndarray)
            self._plane = image, plane, _bright(image.plane(plane)) if held else None
        pixels = self._plane[2]
        if pixels is None:
            return np.full((SIDE, SIDE, 3), 90, np.uint8)
        part = pixels[np.ix_(*places)]
        return np.array(part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=2))


def _bright(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Pixels of a plane from black to white."""
    colour = np.asarray(pixels[..., :3] if pixels.ndim == 3 else pixels)
    step = max(1, max(colour.shape[:2]) // 256)
    sample = np.asarray(colour[::step, ::step], np.float64)
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    if colour.dtype == np.uint8 and colour.ndim == 3:
        return np.asarray(colour)
    stretched = (np.nan_to_num(np.asarray(colour, np.float32)) - low) / max(high - low, 1e-9) * 255
    return np.asarray(np.clip(stretched, 0, 255), np.uint8)


def _rim(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Outline just outside of a mask, so that a region of two pixels still shows."""
    wide = np.pad(inside, 1)
    grown = wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return np.asarray(grown & ~inside)


def _pixmap(picture: npt.NDArray[np.uint8]) -> QPixmap:
    image = QImage(picture.tobytes(), SIDE, SIDE, 3 * SIDE, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image.copy())
