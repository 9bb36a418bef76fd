"""The planes that a DICOM file declares: where each lies, and how its stored values become those of the modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from napari_ld.errors import ImageError

__all__ = ["Frame", "frames_of", "whole"]

Vector = tuple[float, float, float]
Elements = Mapping[str, Any] | Dataset


@dataclass(frozen=True, slots=True)
class Frame:
    """One plane of a file.

    Attributes
    ----------
    index : int
        Number within the file, from 0.
    position : (x, y, z) or None
        Centre of the first pixel, patient LPS millimetres.
    orientation : six floats or None
        Unit vectors along a row (growing column) and along a column (growing row).
    spacing : (row, column) or None
        Millimetres.
    slope, intercept : float
        Stored value to value of the modality.
    time : tuple of int
        What orders repeated measurements of one place.
    """

    index: int
    position: Vector | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    slope: float
    intercept: float
    time: tuple[int, ...]


def frames_of(path: Path, elements: Elements) -> tuple[Frame, ...]:
    """Every frame that a file declares.

    Raises
    ------
    ImageError
        When it declares more frames than it describes, or than it can hold.
    ValueError
        When a number is none.
    """
    count = whole(elements.get("NumberOfFrames")) or 1
    shared = _first(elements, "SharedFunctionalGroupsSequence")
    per_frame = elements.get("PerFrameFunctionalGroupsSequence") or []
    if count < 1 or (per_frame and len(per_frame) != count):
        raise ImageError(f"{path} declares {count} frames and describes {len(per_frame)}; export it again")
    if count > 1 and count > path.stat().st_size:
        raise ImageError(f"{path} declares {count} frames, more than it has bytes; export it again")
    if not per_frame:
        return _plain_frames(elements, count)
    return tuple(_functional_frame(index, elements, item, shared) for index, item in enumerate(per_frame))


def _plain_frames(elements: Elements, count: int) -> tuple[Frame, ...]:
    """Frames that share all but their number, and of dose grids their offset."""
    position = _vector(elements, "ImagePositionPatient", 3)
    orientation = _vector(elements, "ImageOrientationPatient", 6)
    spacing = _vector(elements, "PixelSpacing", 2) or _vector(elements, "ImagerPixelSpacing", 2)
    slope, intercept = _rescale(elements)
    time = tuple(whole(elements.get(name)) for name in ("TemporalPositionIdentifier", "AcquisitionNumber"))
    offsets = _vector(elements, "GridFrameOffsetVector", count) if count > 1 else None
    if count > 1 and offsets is None:
        position = None  # frames that tell no place of their own: a film, or views
    frames = []
    for index in range(count):
        place = position
        if offsets is not None and position is not None and orientation is not None:
            normal = np.cross(orientation[:3], orientation[3:])
            first = offsets[0] if offsets[0] != 0 else 0.0
            moved = np.asarray(position) + (offsets[index] - first) * normal
            place = (float(moved[0]), float(moved[1]), float(moved[2]))
        frames.append(Frame(index, _three(place), orientation, _two(spacing), slope, intercept, time))
    return tuple(frames)


def _functional_frame(index: int, elements: Elements, own: Dataset, shared: Dataset | None) -> Frame:
    """A frame of an enhanced file, whose properties stand in nested groups."""

    def group(name: str) -> Elements:
        found = _first(own, name)
        if found is None and shared is not None:
            found = _first(shared, name)
        return found if found is not None else elements

    content = _first(own, "FrameContentSequence")
    time: tuple[int, ...] = ()
    if content is not None:
        time = (whole(content.get("TemporalPositionIndex")), whole(content.get("FrameAcquisitionNumber")))
    slope, intercept = _rescale(group("PixelValueTransformationSequence"))
    return Frame(
        index,
        _three(_vector(group("PlanePositionSequence"), "ImagePositionPatient", 3)),
        _vector(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        _two(_vector(group("PixelMeasuresSequence"), "PixelSpacing", 2)),
        slope,
        intercept,
        time,
    )


def _first(elements: Elements, name: str) -> Dataset | None:
    sequence = elements.get(name)
    return sequence[0] if sequence else None


def _rescale(elements: Elements) -> tuple[float, float]:
    slope = elements.get("RescaleSlope")
    if slope is None:
        slope = elements.get("DoseGridScaling")
    intercept = elements.get("RescaleIntercept")
    values = (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
    if not np.isfinite(values).all() or values[0] == 0:
        raise ValueError(f"a rescale slope of {values[0]:g} and an intercept of {values[1]:g}")
    return values


def _vector(elements: Elements, name: str, length: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None."""
    value: Any = elements.get(name)
    if value is None or isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) != length:
        return None
    numbers = tuple(float(number) for number in value)
    return numbers if np.isfinite(numbers).all() else None


def _three(values: tuple[float, ...] | None) -> Vector | None:
    return None if values is None else (values[0], values[1], values[2])


def _two(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    return None if values is None or min(values) <= 0 else (values[0], values[1])


def whole(value: Any) -> int:
    """Read a whole number; 0 for what is none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
