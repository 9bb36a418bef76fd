"""Masks kept as runs: a few bytes per row that a region touches, on one plane or across linked planes."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld.errors import RegionError

__all__ = ["Mask"]

Runs = npt.NDArray[np.int64]
Box3 = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Pixels of one region, as runs along rows.

    Attributes
    ----------
    shape : (rows, columns)
        Size of the planes in pixels.
    runs : (N, 3) int64 array
        ``(plane, start, stop)``, half-open, where a pixel counts ``row * columns + column``. Sorted, without overlap,
        never across the end of a row; two runs of a row do not touch. Planes are numbered as by the feature source.
    """

    shape: tuple[int, int]
    runs: Runs

    # --- from and to arrays -------------------------------------------------------------------------------------------

    @classmethod
    def from_array(cls, mask: npt.NDArray[Any], plane: int = 0) -> Mask:
        """Mask of one plane.

        Parameters
        ----------
        mask : (rows, columns) array
            Nonzero pixels belong to the region.
        plane : int
        """
        if mask.ndim != 2:
            raise RegionError(f"a mask of {mask.ndim} axes; expected rows and columns: use from_stack for planes")
        return cls((int(mask.shape[0]), int(mask.shape[1])), _runs_of(np.asarray(mask) != 0, plane))

    @classmethod
    def from_stack(cls, masks: npt.NDArray[Any], first_plane: int = 0) -> Mask:
        """Mask of consecutive planes, ``(planes, rows, columns)``."""
        if masks.ndim != 3:
            raise RegionError(f"a mask of {masks.ndim} axes; expected planes, rows and columns")
        shape = int(masks.shape[1]), int(masks.shape[2])
        parts = [_runs_of(np.asarray(mask) != 0, first_plane + k) for k, mask in enumerate(masks)]
        return cls(shape, np.concatenate([*parts, np.zeros((0, 3), np.int64)]))

    @classmethod
    def join(cls, masks: Iterable[Mask]) -> Mask:
        """Union of masks of equal plane size; at least one."""
        parts = list(masks)
        if not parts:
            raise RegionError("no mask was given; expected at least one")
        for other in parts:
            parts[0]._check_shape(other)
        return cls(parts[0].shape, _merged(np.concatenate([part.runs for part in parts]), parts[0].shape[1]))

    def to_array(self, plane: int | None = None) -> npt.NDArray[np.bool_]:
        """``(rows, columns)`` mask of one plane; without ``plane``, of the only one or the first."""
        canvas = np.zeros(self.shape, bool)
        self.paint(canvas, self.first_plane if plane is None else plane, True)
        return canvas

    def paint(self, canvas: npt.NDArray[Any], plane: int, value: Any) -> None:
        """Set the region's pixels of ``plane`` in ``canvas`` (rows, columns), in place."""
        if canvas.shape != self.shape:
            raise RegionError(f"a canvas of {canvas.shape}; expected {self.shape}, the size of the mask's planes")
        flat = canvas.reshape(-1) if canvas.flags.c_contiguous else None
        columns = self.shape[1]
        for _, start, stop in self.on_plane(plane).runs.tolist():
            if flat is None:
                canvas[start // columns, start % columns : start % columns + stop - start] = value
            else:
                flat[start:stop] = value

    def pixels(self, plane: int) -> npt.NDArray[np.int64]:
        """Flat indices of the region's pixels on ``plane``, ascending."""
        runs = self.on_plane(plane).runs
        lengths = runs[:, 2] - runs[:, 1]
        ends = np.cumsum(lengths)
        return np.asarray(np.arange(lengths.sum()) + np.repeat(runs[:, 1] - (ends - lengths), lengths), np.int64)

    # --- what it covers -----------------------------------------------------------------------------------------------

    @property
    def planes(self) -> tuple[int, ...]:
        """Planes that the region touches, ascending."""
        if not len(self.runs) or self.runs[0, 0] == self.runs[-1, 0]:
            return tuple(self.runs[:1, 0].tolist())
        return tuple(int(plane) for plane in np.unique(self.runs[:, 0]))

    @property
    def first_plane(self) -> int:
        """The first plane; 0 for an empty mask."""
        return int(self.runs[0, 0]) if len(self.runs) else 0

    @property
    def area(self) -> int:
        """Number of pixels, over all planes."""
        return int((self.runs[:, 2] - self.runs[:, 1]).sum())

    @property
    def bbox(self) -> Box3:
        """Half-open ``(plane, row, column, plane, row, column)``; zeros for an empty mask."""
        if not len(self.runs):
            return (0, 0, 0, 0, 0, 0)
        plane, start, stop = self.runs.T
        rows, left, columns = start // self.shape[1], start % self.shape[1], stop - start
        low = plane.min(), rows.min(), left.min()
        high = plane.max() + 1, rows.max() + 1, (left + columns).max()
        return tuple(int(edge) for edge in (*low, *high))  # type: ignore[return-value]  # six by construction

    @property
    def centroid(self) -> tuple[float, float, float]:
        """Mean ``(plane, row, column)`` of the pixels; NaN for an empty mask."""
        plane, start, stop = self.runs.T
        length = stop - start
        total = max(1, int(length.sum())) if len(length) else float("nan")
        middle = start % self.shape[1] + (length - 1) / 2
        sums = (plane * length).sum(), (start // self.shape[1] * length).sum(), (middle * length).sum()
        return float(sums[0] / total), float(sums[1] / total), float(sums[2] / total)

    def contains(self, plane: int, row: int, column: int) -> bool:
        """Whether a pixel belongs to the region."""
        runs = self.on_plane(plane).runs
        place = row * self.shape[1] + column
        return bool(((runs[:, 1] <= place) & (place < runs[:, 2])).any())

    def on_plane(self, plane: int) -> Mask:
        """The part on one plane, possibly empty."""
        first, last = np.searchsorted(self.runs[:, 0], [plane, plane + 1])
        return Mask(self.shape, self.runs[first:last])

    # --- together with another ----------------------------------------------------------------------------------------

    def intersection(self, other: Mask) -> int:
        """Number of shared pixels."""
        self._check_shape(other)
        return self.area + other.area - Mask.join([self, other]).area

    def iou(self, other: Mask) -> float:
        """Intersection over union in [0, 1]; 0 when both are empty."""
        shared = self.intersection(other)
        union = self.area + other.area - shared
        return shared / union if union else 0.0

    def minus(self, other: Mask) -> Mask:
        """Pixels of this mask that are not in ``other``."""
        self._check_shape(other)
        kept = []
        for plane in self.planes:
            left = self.to_array(plane)
            other.paint(left, plane, False)
            kept.append(_runs_of(left, plane))
        return Mask(self.shape, np.concatenate([*kept, np.zeros((0, 3), np.int64)]))

    def same_as(self, other: Mask) -> bool:
        """Whether both cover the same pixels of planes of the same size."""
        return self.shape == other.shape and np.array_equal(self.runs, other.runs)

    # --- as text ------------------------------------------------------------------------------------------------------

    def to_text(self) -> str:
        """Compact ASCII, for logs; read again by :meth:`from_text`."""
        steps = np.diff(self.runs.reshape(-1, 3), axis=0, prepend=np.zeros((1, 3), np.int64)).astype("<i8")
        packed = base64.b64encode(zlib.compress(steps.T.tobytes(), 6)).decode("ascii")
        return f"{self.shape[0]}x{self.shape[1]}:{packed}"

    @classmethod
    def from_text(cls, text: str) -> Mask:
        """Inverse of :meth:`to_text`."""
        try:
            size, packed = text.split(":", 1)
            rows, columns = (int(side) for side in size.split("x"))
            steps = np.frombuffer(zlib.decompress(base64.b64decode(packed, validate=True)), "<i8").reshape(3, -1)
        except (ValueError, zlib.error) as error:
            raise RegionError(f"{text[:40]!r} is no mask ({error}); expected what Mask.to_text wrote") from error
        runs = np.cumsum(steps.T, axis=0).astype(np.int64)
        inside = (runs[:, 1] >= 0) & (runs[:, 1] < runs[:, 2]) & (runs[:, 2] <= rows * columns)
        if not inside.all():
            raise RegionError(f"{text[:40]!r} holds runs outside its {rows} x {columns} pixels; the text is damaged")
        return cls((rows, columns), runs)

    def _check_shape(self, other: Mask) -> None:
        if self.shape != other.shape:
            raise RegionError(f"masks of planes of {self.shape} and {other.shape} pixels; expected the same size")


def _runs_of(mask: npt.NDArray[np.bool_], plane: int) -> Runs:
    """Runs of one plane."""
    columns = mask.shape[1]
    touched = np.flatnonzero(mask.any(axis=1))
    padded = np.zeros((len(touched), columns + 2), np.int8)
    padded[:, 1:-1] = mask[touched]
    steps = np.diff(padded, axis=1)
    start_row, start = np.nonzero(steps == 1)
    _, stop = np.nonzero(steps == -1)
    first = touched[start_row] * columns
    return np.stack([np.full(len(start), plane), first + start, first + stop], axis=1).astype(np.int64)


def _merged(runs: Runs, columns: int) -> Runs:
    """Sort runs and join those of a row that touch or overlap."""
    if not len(runs):
        return runs
    order = np.lexsort((runs[:, 1], runs[:, 0]))
    plane, start, stop = runs[order].T
    row = plane * (int(stop.max()) + columns) + start // columns
    # the furthest stop so far, per row: rows grow, so a running maximum of (row, stop) does not leak between them
    span = int(stop.max()) + 1
    reach = np.maximum.accumulate(_rank(row) * span + stop) - _rank(row) * span
    opens = np.ones(len(runs), bool)
    opens[1:] = (row[1:] != row[:-1]) | (start[1:] > reach[:-1])
    closes = np.append(np.flatnonzero(opens)[1:] - 1, len(runs) - 1)
    return np.stack([plane[opens], start[opens], reach[closes]], axis=1)


def _rank(row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number the distinct values of a sorted array from 0."""
    return np.cumsum(np.diff(row, prepend=row[:1]) != 0)
