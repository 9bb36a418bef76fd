"""What a DICOM file says before its pixels: only the elements that napari-ld uses, none that name a person.

A header is read from the first bytes of the file; the pixels stay on disk. Where they lie there uncompressed, their
place is noted, so that a plane can later be read without parsing the file again. Most elements are the same in all
files of a series: what their bytes mean is worked out once.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from napari_ld.errors import ImageError
from napari_ld.io.dicom_frames import Frame, frames_of, whole
from napari_ld.io.signatures import DAMAGED, check_plane_size, check_signature, damaged

__all__ = ["BROKEN", "Header", "NoPixelsError", "is_dicom", "read_header"]

BROKEN = (InvalidDicomError, BytesLengthException, NotImplementedError, *DAMAGED)
"""What pydicom and its decoders raise on files that are not whole or not understood."""

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "InstanceNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "FrameTime",
    "FrameTimeVector",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SpacingBetweenSlices",
    "GridFrameOffsetVector",
    "DoseGridScaling",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "SegmentSequence",
    "SegmentationType",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_ODD_IS_FINE = [
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "Modality",
    "FrameTime",
    "FrameTimeVector",
    "SpacingBetweenSlices",
    "WindowCenter",
    "WindowWidth",
]
_FIRST_BYTES = 2**14
_SHORT = 256  # bytes of an element that may be remembered; longer ones differ from file to file or come once
_MAX_HEADER_BYTES = 2**28
_MAX_UNPACKED_BYTES = 2**26
_MAX_ELEMENTS = 50_000
_NAMES = {int(Tag(name)): name for name in _TAGS}
_NUMBERS: list[int | BaseTag] = [Tag(name) for name in _TAGS]
_PIXEL_NUMBERS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_PIXEL_TAGS = {(0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010)}
_NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian}
_UNDEFINED = 0xFFFFFFFF


class NoPixelsError(ImageError):
    """A sound DICOM file that holds no image: an index, a report, a plan."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes
    ----------
    elements : mapping
        The few elements that were read: keyword to value, as pydicom gives it.
    transfer_syntax : str
        UID.
    offset : int or None
        Where uncompressed pixels begin in the file; None when they have to be decoded.
    frames : tuple of Frame
    """

    path: Path
    elements: Mapping[str, Any]
    transfer_syntax: str
    offset: int | None
    frames: tuple[Frame, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.elements["Rows"])

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(self.elements["Columns"])

    @property
    def samples(self) -> int:
        """Samples a pixel, 1 or 3."""
        return int(self.elements.get("SamplesPerPixel", 1) or 1)

    @property
    def series(self) -> str:
        """UID of the series, or the path where there is none."""
        return str(self.elements.get("SeriesInstanceUID") or self.path)

    @property
    def number(self) -> int:
        """InstanceNumber, 0 where there is none."""
        return whole(self.elements.get("InstanceNumber"))


def is_dicom(path: Path) -> bool:
    """Whether the file carries the mark of DICOM, whatever its name."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> Header:
    """Read what stands before the pixels.

    Raises
    ------
    ImageError
        Missing, empty, damaged, no DICOM file; names the file and the remedy.
    NoPixelsError
        A DICOM file of something else than an image.
    """
    try:
        head, size = _begin(path, _FIRST_BYTES)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    marked = head[128:132] == b"DICM"
    if not marked and (len(head) < 8 or struct.unpack("<H", head[:2])[0] not in (2, 8)):
        check_signature(path, "DICOM")  # files from before the mark existed begin with a small group number
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom would quote the values that it finds odd
            dataset, offset, length = _parse(path, head, size, force=not marked)
            elements = _values(dataset)
            syntax = _transfer_syntax(dataset)
            if length is None:
                what = f"{path} is a DICOM file without pixels ({_class_name(elements)})"
                raise NoPixelsError(f"{what}; choose a file that holds an image")
            _check_pixels(path, elements)
            native = offset if syntax in _NATIVE and length != _UNDEFINED else None
            frames = frames_of(path, elements)
            if native is not None:
                _check_whole(path, elements, len(frames), min(length, size - native))
    except BROKEN as error:
        raise damaged(path, error) from error
    return Header(path, elements, syntax, native, frames)


def _begin(path: Path, count: int) -> tuple[bytes, int]:
    """The first bytes of a file, and how many it has."""
    with open(path, "rb", buffering=0) as file:
        return file.read(count), os.fstat(file.fileno()).st_size


def _values(dataset: Dataset) -> dict[str, Any]:
    """Turn raw elements into values now, while an error still names the file; what orders or shows only may be odd."""
    values = {}
    for raw in list(dataset.values()):
        name = _NAMES.get(raw.tag)
        if name is None:
            continue
        try:
            if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and len(raw.value) <= _SHORT:
                values[name] = _value(raw.tag, raw.VR, raw.value, raw.is_implicit_VR, raw.is_little_endian)
            else:
                values[name] = dataset[raw.tag].value
        except BROKEN:
            if name not in _ODD_IS_FINE:
                raise
    return values


@lru_cache(maxsize=1024)
def _value(tag: BaseTag, vr: str | None, value: bytes, implicit: bool, little: bool) -> Any:
    """What the bytes of an element mean; shared by all files that hold the same, and never changed."""
    raw = RawDataElement(tag, vr, len(value), value, 0, implicit, little)
    return convert_raw_data_element(raw).value


def _parse(path: Path, begin: bytes, size: int, force: bool) -> tuple[Dataset, int, int | None]:
    """The elements, where the pixels begin, and how many bytes they take (None: there are none)."""
    if str(DeflatedExplicitVRLittleEndian).encode() in begin[:2048]:
        return _parse_deflated(path)
    take = _FIRST_BYTES
    while True:
        head = BytesIO(begin)
        dataset = read_partial(head, _Until(_PIXEL_NUMBERS), specific_tags=_NUMBERS, force=force)
        place = head.tell()
        found = _pixel_element(head, place, dataset)
        if found is not None:
            return dataset, place + found[0], found[1]
        if take >= size:
            return dataset, 0, None
        if take >= _MAX_HEADER_BYTES:
            raise ImageError(f"{path} has more than {take} bytes before its pixels; export it again")
        take *= 16
        begin, _ = _begin(path, take)


def _pixel_element(head: BytesIO, place: int, dataset: Dataset) -> tuple[int, int] | None:
    """Bytes from the pixel element's begin to its value, and the length of the value; None when it is not here."""
    implicit, little = dataset.original_encoding
    head.seek(place)
    raw = head.read(12)
    if len(raw) < 12:
        return None
    order = "<" if little or little is None else ">"
    tag = struct.unpack(f"{order}HH", raw[:4])
    if tag not in _PIXEL_TAGS:
        return None
    if implicit:
        return 8, int(struct.unpack(f"{order}L", raw[4:8])[0])
    return 12, int(struct.unpack(f"{order}L", raw[8:12])[0])


class _Until:
    """Stops a parser at some elements, and gives up on a file of more elements than any has: zeros look like that."""

    def __init__(self, numbers: frozenset[int]) -> None:
        self._numbers, self._seen = numbers, 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self._seen += 1
        if self._seen > _MAX_ELEMENTS:
            raise ValueError(f"it has more than {_MAX_ELEMENTS} elements")
        return int(tag) in self._numbers


def _parse_deflated(path: Path) -> tuple[Dataset, int, int | None]:
    """A file whose elements are packed; unpacked with an eye on how much comes out."""
    raw = path.read_bytes()
    if len(raw) > _MAX_HEADER_BYTES:
        raise ImageError(f"{path} is a packed DICOM file of {len(raw)} bytes; save it without deflate compression")
    start = 144 + struct.unpack("<L", raw[140:144])[0]
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    total, rest = 0, raw[start:]
    while rest:
        total += len(unpacker.decompress(rest, 2**22))
        rest = unpacker.unconsumed_tail
        if total > _MAX_UNPACKED_BYTES:
            raise ImageError(f"{path} unpacks to more than {_MAX_UNPACKED_BYTES} bytes; save it without compression")
    dataset = read_partial(BytesIO(raw), _Until(frozenset()), specific_tags=[*_NUMBERS, Tag("PixelData")])
    pixels = dataset.pop("PixelData", None)
    return dataset, 0, None if pixels is None else _UNDEFINED


def _transfer_syntax(dataset: Dataset) -> str:
    """The UID; of files without one what their elements were found to be."""
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and "TransferSyntaxUID" in meta:
        return str(meta.TransferSyntaxUID)
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _class_name(elements: Mapping[str, Any]) -> str:
    uid = elements.get("SOPClassUID")
    return str(getattr(uid, "name", "")) or "of unknown class"


def _check_pixels(path: Path, elements: Mapping[str, Any]) -> None:
    """Refuse what is no picture, or more than memory holds."""
    rows, columns = whole(elements.get("Rows")), whole(elements.get("Columns"))
    if rows < 1 or columns < 1:
        raise ImageError(f"{path} declares {rows} x {columns} pixels; expected at least one: export it again")
    check_plane_size(path, rows, columns)
    samples = whole(elements.get("SamplesPerPixel")) or 1
    if samples not in (1, 3):
        raise ImageError(f"{path} has {samples} samples a pixel; expected 1 or 3: export it again")


def _check_whole(path: Path, elements: Mapping[str, Any], frames: int, stored: int) -> None:
    """Refuse a file that ends before its pixels do."""
    pixels = int(elements["Rows"]) * int(elements["Columns"]) * int(elements.get("SamplesPerPixel", 1))
    bits = int(elements["BitsAllocated"]) * pixels
    if str(elements.get("PhotometricInterpretation", "")) == "YBR_FULL_422":
        bits = bits * 2 // 3
    declared = frames * bits // 8
    if declared > stored:
        raise ImageError(
            f"{path} is truncated: it declares {declared} bytes of pixels and holds {stored}; copy or export it again"
        )
