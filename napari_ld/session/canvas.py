"""Who owns each pixel of the accepted masks: a region, a stroke of the brush, or nobody.

The label map that a person sees is a projection of it: a region's pixels have the region's class, those of a stroke the
class that was painted. Planes without an owner take no memory.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld._types import Box
from napari_ld.errors import StorageError
from napari_ld.session.repaint import Repaint

Owners = npt.NDArray[np.int32]
"""Per pixel: 0 nobody, ``id`` of a region, or ``-1 - class`` where a person painted (``-1``: erased)."""

Segments = npt.NDArray[np.int32]
ERASED = -1


def by_hand(label: npt.NDArray[np.integer]) -> Owners:
    """Owners of pixels that a person painted with these classes; 0 is the eraser."""
    return -1 - label.astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels that changed their owners.

    Attributes
    ----------
    segments : (N, 5) int32 array
        ``(plane, start, stop, before, after)``: pixels ``start`` to ``stop`` of a plane, counted row by row, had one
        owner and get another.
    """

    segments: Segments

    @classmethod
    def empty(cls) -> Patch:
        """Patch that changes nothing."""
        return cls(np.zeros((0, 5), np.int32))

    @classmethod
    def between(cls, plane: int, pixels: npt.NDArray[np.int64], before: Owners, after: Owners) -> Patch:
        """Patch of one plane: ``pixels`` are flat ascending indices, with their owners before and after."""
        changed = before != after
        pixels, before, after = pixels[changed], before[changed], after[changed]
        if not len(pixels):
            return cls.empty()
        opens = np.ones(len(pixels), bool)
        opens[1:] = (np.diff(pixels) > 1) | (np.diff(before) != 0) | (np.diff(after) != 0)
        first = np.flatnonzero(opens)
        last = np.append(first[1:], len(pixels)) - 1
        columns = np.full(len(first), plane), pixels[first], pixels[last] + 1, before[first], after[first]
        return cls(np.stack(columns, axis=1).astype(np.int32))

    @classmethod
    def join(cls, patches: list[Patch]) -> Patch:
        """One patch of several that touch different pixels."""
        return cls(np.concatenate([patch.segments for patch in patches])) if patches else cls.empty()

    @property
    def inverse(self) -> Patch:
        """Patch that takes this one back."""
        return Patch(self.segments[:, [0, 1, 2, 4, 3]])

    @property
    def planes(self) -> tuple[int, ...]:
        """Planes that it touches, ascending."""
        return tuple(int(plane) for plane in np.unique(self.segments[:, 0]))

    def to_text(self) -> str:
        """Compact ASCII for the log; ``""`` when nothing changes."""
        if not len(self.segments):
            return ""
        steps = np.diff(self.segments, axis=0, prepend=np.zeros((1, 5), np.int32)).astype("<i4")
        return base64.b64encode(zlib.compress(steps.T.tobytes(), 6)).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> Patch:
        """Inverse of :meth:`to_text`.

        Raises
        ------
        StorageError
            When the text was not written by it.
        """
        try:
            steps = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)) if text else b"", "<i4")
            return cls(np.cumsum(steps.reshape(5, -1).T, axis=0, dtype=np.int32))
        except (ValueError, zlib.error) as error:
            raise StorageError(
                f"Saved pixels {text[:30]!r} cannot be read ({error}); the session is damaged."
            ) from error


class Canvas:
    """Owners of the pixels of one image.

    Parameters
    ----------
    shape : (rows, columns)
        Of a plane.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._planes: dict[int, Owners] = {}

    @property
    def planes(self) -> tuple[int, ...]:
        """Planes on which a pixel has, or had, an owner."""
        return tuple(sorted(self._planes))

    def owners(self, plane: int) -> Owners:
        """``(rows, columns)`` owners of a plane; not to be changed."""
        known = self._planes.get(plane)
        return known if known is not None else np.zeros(self.shape, np.int32)

    def apply(self, patch: Patch) -> None:
        """Give pixels their new owners."""
        for plane, start, stop, _, after in patch.segments.tolist():
            if plane not in self._planes:
                self._planes[plane] = np.zeros(self.shape, np.int32)
            self._planes[plane].reshape(-1)[start:stop] = after

    def labels(self, plane: int, classes: Mapping[int, int], box: Box | None = None) -> npt.NDArray[np.uint8]:
        """``(rows, columns)`` classes of a plane, or of a box of it; ``classes`` is that of each region with pixels."""
        owners = self.owners(plane)
        return as_classes(owners[box.top : box.bottom, box.left : box.right] if box else owners, classes)

    def stroke(self, plane: int, labels: npt.NDArray[np.integer], classes: Mapping[int, int]) -> Patch:
        """Patch of what a person painted: ``labels`` (rows, columns) is how the plane looks now."""
        before = self.owners(plane)
        shown = as_classes(before, classes)
        pixels = np.flatnonzero(shown.reshape(-1) != labels.reshape(-1))
        return Patch.between(plane, pixels, before.reshape(-1)[pixels], by_hand(labels.reshape(-1)[pixels]))

    def repainting(self, repaint: Repaint, classes: Mapping[int, int]) -> Patch:
        """Patch that paints by hand what a refiner changed, where the plane still looks as the refiner saw it."""
        owners = self.owners(repaint.plane).reshape(-1)[repaint.pixels]
        as_seen = as_classes(owners, classes) == repaint.before
        after = np.where(as_seen, by_hand(repaint.after), owners)
        return Patch.between(repaint.plane, repaint.pixels, owners, after)


def as_classes(owners: Owners, classes: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Classes that pixels with these owners show, 0 where there is none."""
    highest = max(int(owners.max(initial=0)), 0)
    lowest = max(int(-owners.min(initial=0)), 0)
    # One table for both signs: negative owners index it from its end, as numpy does.
    table = np.zeros(highest + 1 + lowest, np.uint8)
    for one, label in classes.items():
        if 0 < one <= highest:
            table[one] = label
    for painted in range(1, lowest + 1):
        table[-painted] = painted - 1
    return np.asarray(table[owners])
