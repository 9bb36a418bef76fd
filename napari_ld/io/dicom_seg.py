"""DICOM segmentations (PS3.3, A.51) as label maps: the value of a voxel is the number of its segment."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.utils import pixel_array

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.dicom_frames import Frame
from napari_ld.io.dicom_headers import BROKEN, Header
from napari_ld.io.signatures import damaged

__all__ = ["VALUE_MARK", "is_segmentation", "read_segmentation"]

VALUE_MARK = "napari-ld label "
"""Begin of the tracking identifier of segments that we wrote; the value of the label follows."""

_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_MAX_VOXELS = 2**29


def is_segmentation(header: Header) -> bool:
    """Whether the file holds segments of another series."""
    return str(header.elements.get("SOPClassUID")) in _CLASSES


def read_segmentation(header: Header) -> Image:
    """Read a segmentation as labels in patient space.

    Planes that the file leaves out because nothing is segmented on them are put back, as background, between those that
    it holds.

    Raises
    ------
    ImageError
        Frames that do not say where they lie or differ in orientation, no regular distance between them, too many
        voxels, damage.

    Warns
    -----
    UserWarning
        When segments overlap: the one of the higher number is then seen.
    """
    path, frames = header.path, header.frames
    try:
        places, affine, spacing = _grid(header)
        depth = int(places.max()) + 1
        if depth * header.rows * header.columns > _MAX_VOXELS:
            raise ImageError(f"{path} spans {depth} x {header.rows} x {header.columns} voxels; save fewer planes")
        numbers = [_segment_number(header, frame.index) for frame in frames]
        labels = np.zeros((depth, header.rows, header.columns), np.min_scalar_type(max((*numbers, 255))))
        overlap = False
        order = sorted(range(len(frames)), key=lambda index: numbers[index])
        for index, pixels in zip(order, _pixels(header, order), strict=True):
            plane = labels[places[index]]
            if numbers[index] == 0:  # a label map: values are numbers of segments
                plane[:] = pixels
                continue
            overlap |= bool(plane[pixels].any())
            plane[pixels] = numbers[index]
    except BROKEN as error:
        raise damaged(path, error) from error
    if overlap:
        warnings.warn(f"{path}: segments overlap; where they do, the higher number is seen", UserWarning, stacklevel=2)
    values = _values(header)
    if values != {number: number for number in values}:
        table = np.arange(int(labels.max()) + 1)
        for number, value in values.items():
            table[number : number + 1] = value
        labels = table.astype(np.min_scalar_type(int(table.max())))[labels]
    names = tuple((values[number], name) for number, name in _names(header))
    if depth == 1:
        return Image(labels[0], "yx", affine, spacing[1:], str(path), "labels", names, modality="SEG")
    return Image(labels, "zyx", affine, spacing, str(path), "labels", names, modality="SEG")


def _grid(header: Header) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], tuple[float, float, float]]:
    """Plane number of each frame, affine, and spacing."""
    path, first = header.path, header.frames[0]
    if any(_misplaced(frame, first) for frame in header.frames):
        raise ImageError(f"{path} has frames without place, or of several orientations; export it again")
    if first.orientation is None or first.spacing is None:
        raise ImageError(f"{path} does not say where its segments lie; export it again")
    across, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    positions = np.array([frame.position for frame in header.frames], np.float64)
    offsets = positions @ np.cross(across, down)
    unique = np.unique(offsets.round(3))
    step = float(np.diff(unique).min()) if len(unique) > 1 else _declared_step(header)
    numbers = (offsets - offsets.min()) / step
    if np.abs(numbers - numbers.round()).max() > 0.1:
        raise ImageError(f"{path} has planes at uneven distances; save it as NIfTI or NRRD")
    places = numbers.round().astype(np.int64)
    affine = np.eye(4)
    low, high = int(places.argmin()), int(places.argmax())
    affine[:3, 0] = np.cross(across, down) * step
    if places[high] > 0:
        affine[:3, 0] = (positions[high] - positions[low]) / places[high]
    affine[:3, 1], affine[:3, 2] = down * first.spacing[0], across * first.spacing[1]
    affine[:3, 3] = positions[low]
    return places, affine, (float(np.linalg.norm(affine[:3, 0])), *first.spacing)


def _misplaced(frame: Frame, first: Frame) -> bool:
    return frame.position is None or frame.orientation != first.orientation or frame.spacing != first.spacing


def _declared_step(header: Header) -> float:
    shared = header.elements.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    measures = shared[0].get("PixelMeasuresSequence") or [pydicom.Dataset()]
    step = float(measures[0].get("SpacingBetweenSlices") or measures[0].get("SliceThickness") or 1.0)
    return step if step > 0 else 1.0


def _segment_number(header: Header, index: int) -> int:
    """Number of the segment that a frame shows; 0 when its values are the numbers."""
    if str(header.elements.get("SegmentationType")) == "LABELMAP":
        return 0
    groups = (header.elements.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1]
    for group in (*groups, *(header.elements.get("SharedFunctionalGroupsSequence") or [])):
        if group.get("SegmentIdentificationSequence"):
            number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            if number < 1:
                raise ValueError(f"a segment has the number {number}")
            return number
    raise ValueError(f"frame {index} names no segment")


def _pixels(header: Header, order: list[int]) -> Iterator[npt.NDArray[Any]]:
    """Masks of the frames in this order; of a label map the values."""
    count = header.rows * header.columns
    kind = str(header.elements.get("SegmentationType"))
    if header.offset is not None and int(header.elements["BitsAllocated"]) == 1:
        raw = np.memmap(header.path, np.uint8, "r", header.offset)
        for index in order:
            start, stop = index * count, (index + 1) * count
            bits = np.unpackbits(raw[start // 8 : -(-stop // 8)], bitorder="little")
            yield bits[start % 8 :][:count].reshape(header.rows, header.columns).astype(bool)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(header.path)
    half = 1 if kind != "FRACTIONAL" else max(1, int(dataset.get("MaximumFractionalValue", 1)) // 2)
    for index in order:
        pixels = pixel_array(dataset, index=index)
        yield pixels if kind == "LABELMAP" else pixels >= half


def _values(header: Header) -> dict[int, int]:
    """Label of each segment: its number, or what we left in its tracking identifier."""
    values = {}
    for one in header.elements.get("SegmentSequence") or []:
        mark, _, value = str(one.get("TrackingID", "")).partition(VALUE_MARK)
        values[int(one.SegmentNumber)] = int(value) if not mark and value.isdecimal() else int(one.SegmentNumber)
    return values


def _names(header: Header) -> tuple[tuple[int, str], ...]:
    segments = header.elements.get("SegmentSequence") or []
    return tuple((int(one.SegmentNumber), str(one.get("SegmentLabel", ""))) for one in segments)
