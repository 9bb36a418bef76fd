"""DICOM planes put in order: which files belong together, which plane comes after which, and what is missing.

Planes are sorted by their position along the normal of the slices, the cross product of the directions of a row and of
a column, so that ``(plane, row, column)`` is right-handed in ``(normal, down, across)``; neither file names nor
instance numbers are trusted for it (DICOM PS3.3, C.7.6.2).
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld.errors import ImageError
from napari_ld.io.dicom_frames import Frame
from napari_ld.io.dicom_headers import Header

__all__ = ["Place", "Series", "group_series", "order_series"]

_SAME_PLACE_MM = 1e-3
_IRREGULAR = 0.02  # of the distance between planes; positions are often written with two digits

Geometry = tuple[npt.NDArray[np.float64] | None, tuple[float, ...] | None]


@dataclass(frozen=True, slots=True)
class Place:
    """A plane: a frame of a file."""

    header: Header
    frame: Frame


@dataclass(frozen=True)
class Series:
    """Planes of one size, orientation and series, not yet ordered."""

    places: tuple[Place, ...]

    @property
    def first(self) -> Header:
        """Header of the first file."""
        return self.places[0].header

    @property
    def key(self) -> tuple[int, str]:
        """Number and UID of the series, by which several are listed."""
        number = self.first.elements.get("SeriesNumber")
        return (int(number) if number is not None and str(number) else 0, self.first.series)

    @property
    def is_volume(self) -> bool:
        """Whether its planes lie beside each other in a body."""
        frame = self.places[0].frame
        return len(self.places) > 1 and frame.position is not None and frame.orientation is not None

    def __str__(self) -> str:
        modality = str(self.first.elements.get("Modality") or "unknown modality")
        planes = f"{len(self.places)} plane{'s' if len(self.places) > 1 else ''}"
        return f"{modality}, {planes} of {self.first.rows} x {self.first.columns}, series {self.key[0]}"


@dataclass(frozen=True)
class Ordered:
    """Planes in their order.

    Attributes
    ----------
    places : tuple of Place
        For ``"tzyx"`` all planes of the first time, then those of the second …
    axes : str
        ``"yx"``, ``"zyx"``, ``"tzyx"``, ``"tyx"`` or ``"pyx"``, without channels.
    shape : tuple of int
        Lengths of the axes in front of rows and columns.
    affine, spacing
        As in :class:`napari_ld._types.Image`.
    """

    places: tuple[Place, ...]
    axes: str
    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64] | None
    spacing: tuple[float, ...] | None


def group_series(headers: Iterable[Header]) -> list[Series]:
    """Put planes together that may form one volume, listed by number and UID of their series, the larger first.

    Parameters
    ----------
    headers : iterable of Header

    Returns
    -------
    list of Series
        Planes of one series that differ in size, colour or orientation (scout views) form series of their own.
    """
    groups: dict[tuple[object, ...], list[Place]] = defaultdict(list)
    for header in headers:
        for frame in header.frames:
            facing = None if frame.orientation is None else tuple(round(value, 3) + 0.0 for value in frame.orientation)
            groups[header.series, header.rows, header.columns, header.samples, facing].append(Place(header, frame))
    series = [Series(tuple(places)) for places in groups.values()]
    return sorted(series, key=lambda one: (*one.key, -len(one.places), str(one.first.path)))


def order_series(series: Series, name: str) -> Ordered:
    """Order the planes of a series and find where they lie.

    Parameters
    ----------
    series : Series
    name : str
        What to call it in messages.

    Raises
    ------
    ImageError
        When the directions of rows and columns are not perpendicular.

    Warns
    -----
    UserWarning
        Names files left out because another has the same place, and says where planes are missing or unevenly spaced;
        there the affine is left out, for it would be wrong.
    """
    frame = series.places[0].frame
    if not series.is_volume or frame.orientation is None:
        return _unplaced(series, name)
    normal = _normal(frame.orientation, name)
    stacks = _by_place(series, normal, name)
    depth, times = len(stacks), len(stacks[0])
    places = tuple(stack[time] for time in range(times) for stack in stacks)
    affine, spacing = _geometry([stack[0] for stack in stacks], normal, name)
    if depth == 1:
        return Ordered(places, "tyx", (times,), affine, None if spacing is None else (1.0, *spacing[1:]))
    if times == 1:
        return Ordered(places, "zyx", (depth,), affine, spacing)
    return Ordered(places, "tzyx", (times, depth), affine, spacing)


def _unplaced(series: Series, name: str) -> Ordered:
    """A single plane, or planes that do not say where they lie: ordered by their numbers."""
    places = tuple(sorted(series.places, key=lambda one: (one.header.number, one.frame.index, one.header.path.name)))
    first = places[0]
    affine, spacing = None, first.frame.spacing
    if len(places) == 1:
        if first.frame.position is not None and first.frame.orientation is not None:
            affine, _ = _geometry([first], _normal(first.frame.orientation, name), name)
        return Ordered(places, "yx", (), affine, spacing)
    film = "FrameTime" in first.header.elements or "FrameTimeVector" in first.header.elements
    steps = None if spacing is None else (1.0, *spacing)
    return Ordered(places, "tyx" if film else "pyx", (len(places),), None, steps)


def _normal(orientation: Sequence[float], name: str) -> npt.NDArray[np.float64]:
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(across @ down) > 0.01:
        raise ImageError(
            f"{name} has rows along {across.tolist()} and columns along {down.tolist()}; expected perpendicular "
            "directions of length 1: export the series again"
        )
    return np.asarray(np.cross(across, down), np.float64)


def _by_place(series: Series, normal: npt.NDArray[np.float64], name: str) -> list[list[Place]]:
    """Planes along the normal; for each place its repetitions in time, as many everywhere."""
    unique: dict[tuple[str, int], Place] = {}
    copies: list[Place] = []
    for place in sorted(series.places, key=lambda one: str(one.header.path)):
        identity = str(place.header.elements.get("SOPInstanceUID") or place.header.path), place.frame.index
        if unique.setdefault(identity, place) is not place:
            copies.append(place)
    offsets = [(_offset(place, normal), place) for place in unique.values()]
    offsets.sort(key=lambda one: (one[0], one[1].frame.time, one[1].header.number, one[1].frame.index))
    stacks: list[list[Place]] = []
    last = -np.inf
    for offset, place in offsets:
        if offset - last > _SAME_PLACE_MM:
            stacks.append([])
            last = offset
        stacks[-1].append(place)
    counts = {len(stack) for stack in stacks}
    for stack in stacks:
        stack.sort(key=lambda one: (one.frame.time, one.header.number, one.frame.index))
        if len(counts) > 1:
            copies += stack[1:]
            del stack[1:]
    if copies:
        names = list(dict.fromkeys(place.header.path.name for place in copies))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        _warn(f"{name}: left out, another file has the same place: {', '.join(names[:5])}{more}")
    return stacks


def _offset(place: Place, normal: npt.NDArray[np.float64]) -> float:
    if place.frame.position is None:
        raise ImageError(f"{place.header.path} does not say where its plane lies, unlike its series; export it again")
    return float(np.asarray(place.frame.position) @ normal)


def _geometry(places: Sequence[Place], normal: npt.NDArray[np.float64], name: str) -> Geometry:
    """Affine and spacing of planes in order; of uneven planes only the spacing, with a warning."""
    first = places[0].frame
    if first.position is None or first.orientation is None or first.spacing is None:
        return None, None
    positions = np.array([place.frame.position for place in places], np.float64)
    affine = np.eye(4)
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
    affine[:3, 2] = np.array(first.orientation[:3]) * first.spacing[1]
    affine[:3, 3] = positions[0]
    if len(places) == 1:
        affine[:3, 0] = normal
        return affine, (1.0, *first.spacing)
    if any(place.frame.spacing != first.spacing for place in places):
        _warn(f"{name}: its planes differ in the size of their pixels; positions in mm are left out")
        return None, None
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    affine[:3, 0] = (positions[-1] - positions[0]) / (len(places) - 1)
    straight = positions[0] + np.arange(len(places))[:, None] * affine[:3, 0]
    away = np.linalg.norm(positions - straight, axis=1)
    if np.abs(steps - usual).max() > max(_IRREGULAR * usual, 0.01) or away.max() > max(2 * _IRREGULAR * usual, 0.02):
        uneven = _unevenness(steps, usual)
        _warn(f"{name}: {uneven}; positions in mm are left out, and planes count as {usual:g} mm apart")
        return None, (usual, *first.spacing)
    return affine, (float(np.linalg.norm(affine[:3, 0])), *first.spacing)


def _unevenness(steps: npt.NDArray[np.float64], usual: float) -> str:
    """Say what is wrong with the distances between planes."""
    gaps = [(index, round(float(step) / usual) - 1) for index, step in enumerate(steps) if step > 1.5 * usual]
    if gaps and all(abs(steps[index] / usual - missing - 1) < 0.1 for index, missing in gaps):
        where = ", ".join(f"{missing} after plane {index}" for index, missing in gaps[:5])
        return f"{sum(missing for _, missing in gaps)} planes are missing ({where})"
    return f"its planes are unevenly spaced, {float(steps.min()):g} to {float(steps.max()):g} mm apart"


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
