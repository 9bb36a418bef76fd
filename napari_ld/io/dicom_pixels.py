"""DICOM pixels as values: decoded, rescaled, dark to bright.

Rescale slope and intercept and modality look-up tables are applied (CT gives Hounsfield units); ``MONOCHROME1``, whose
large values are dark, is turned round; palettes and YBR become RGB. Windows, overlays and display look-up tables are
not applied: they concern a screen, not the patient. Uncompressed planes are read from their place in the file, others
by pydicom's decoders.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, RLELossless

from napari_ld.errors import ImageError
from napari_ld.io.dicom_frames import Frame
from napari_ld.io.dicom_headers import BROKEN, Header
from napari_ld.io.dicom_series import Place
from napari_ld.io.signatures import damaged

__all__ = ["check_readable", "read_plane", "value_type"]

# What pydicom's decoders complain of is raised as an error of ours; unhandled, its log would go to standard error.
logging.getLogger("pydicom").addHandler(logging.NullHandler())

_FAST_BITS = {8: "u1", 16: "u2", 32: "u4"}
_PALETTE = [
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
]


def value_type(places: list[Place]) -> np.dtype[Any] | None:
    """Type that holds the values of all planes; None when only decoding tells.

    Grey values stay whole numbers where slope and intercept are whole, else they become float32. The type holds all
    that the declared bits can store, so that no plane overflows.
    """
    header = places[0].header
    if header.samples > 1 or _photometric(header) == "PALETTE COLOR" or "ModalityLUTSequence" in header.elements:
        return None
    low, high = 0.0, 0.0
    for bits, signed, slope, intercept in {(*_stored(p.header), p.frame.slope, p.frame.intercept) for p in places}:
        if bits == 0 or slope != int(slope) or intercept != int(intercept):
            return np.dtype(np.float32)
        for stored in _limits(bits, signed):
            low, high = min(low, stored * slope + intercept), max(high, stored * slope + intercept)
    for dtype in (np.uint8, np.uint16, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float32)


def check_readable(header: Header) -> None:
    """Refuse a transfer syntax that no decoder here understands, before any work begins.

    Raises
    ------
    ImageError
    """
    if header.offset is not None:
        return
    uid = UID(header.transfer_syntax)
    try:
        available = get_decoder(uid).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise ImageError(
            f"{header.path} is compressed as {uid.name or uid}, which cannot be decoded here; save it uncompressed"
        )


def read_plane(place: Place, dtype: np.dtype[Any] | None, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    """Pixels of one plane, ``(rows, columns)`` of ``dtype`` or ``(rows, columns, 3)``.

    Parameters
    ----------
    place : Place
    dtype : dtype or None
        As :func:`value_type` says.
    out : array, optional
        Where to put them, of ``dtype``: new memory costs more than reading the file.

    Raises
    ------
    ImageError
        When the file is damaged, gone or changed.
    """
    header, frame = place.header, place.frame
    try:
        raw = _from_disk(header, frame)
        if raw is None:
            raw = _decoded(header, frame)
        expected = (header.rows, header.columns) if raw.ndim == 2 else (header.rows, header.columns, 3)
        if raw.shape != expected:
            raise ValueError(f"its pixels have the shape {raw.shape}, not {expected}")
        values = raw if raw.ndim == 3 else _values(raw, header, frame, dtype, out)
        if out is not None and values is not out:
            out[...] = values
        return values if out is None else out
    except RuntimeError as error:
        if "does not support" not in str(error):
            raise damaged(header.path, error) from error
        kind = UID(header.transfer_syntax).name
        raise ImageError(
            f"cannot read {header.path}: its kind of {kind} cannot be decoded here; save it uncompressed"
        ) from error
    except BROKEN as error:
        raise damaged(header.path, error) from error


def _stored(header: Header) -> tuple[int, bool]:
    """Bits that a sample uses, 0 for floating point, and whether it is signed."""
    elements = header.elements
    if "BitsStored" not in elements and "PixelRepresentation" not in elements:
        return 0, True
    allocated = int(elements["BitsAllocated"])
    return min(int(elements.get("BitsStored") or allocated), allocated), bool(elements.get("PixelRepresentation"))


def _limits(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _photometric(header: Header) -> str:
    return str(header.elements.get("PhotometricInterpretation") or "")


def _from_disk(header: Header, frame: Frame) -> npt.NDArray[Any] | None:
    """Uncompressed grey pixels; None for all others."""
    allocated = int(header.elements.get("BitsAllocated") or 0)
    bits, signed = _stored(header)
    plain = header.samples == 1 and allocated in _FAST_BITS and bits > 0 and _photometric(header) != "PALETTE COLOR"
    if header.offset is None or not plain:
        return None
    count = header.rows * header.columns
    start = header.offset + frame.index * count * allocated // 8
    raw = np.fromfile(header.path, f"<{_FAST_BITS[allocated]}", count, offset=start)
    if raw.size != count:
        raise EOFError("it ends before its pixels do")
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    if signed:
        raw = raw.view(raw.dtype.str.replace("u", "i"))
    if bits < allocated and not signed:  # what stands in the other bits is not part of the value
        raw &= raw.dtype.type((1 << bits) - 1)
    elif bits < allocated:
        raw <<= raw.dtype.type(allocated - bits)
        raw >>= raw.dtype.type(allocated - bits)
    return raw.reshape(header.rows, header.columns)


def _decoded(header: Header, frame: Frame) -> npt.NDArray[Any]:
    """Pixels through pydicom."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd but readable
        extra = Dataset()
        index = frame.index if len(header.frames) > 1 else 0
        uid = UID(header.transfer_syntax)
        if uid.is_deflated:  # was unpacked with care when it was opened
            return np.asarray(pixel_array(pydicom.dcmread(header.path), index=index))
        options: dict[str, Any] = {}
        if uid in JPEGLSTransferSyntaxes:
            options["decoding_plugin"] = "pyjpegls"
        elif uid == RLELossless:
            options["decoding_plugin"] = "pydicom"  # the faster one of pylibjpeg panics on damaged frames
        elif uid in JPEG2000TransferSyntaxes:
            options["decoding_plugin"] = "pylibjpeg"
        raw = pixel_array(
            header.path, ds_out=extra, specific_tags=[_tag(name) for name in _PALETTE], index=index, **options
        )
        if _photometric(header) == "PALETTE COLOR":
            colours = apply_color_lut(raw, extra)
            return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)
    return np.asarray(raw)


def _tag(name: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(name)
    if tag is None:
        raise LookupError(name)
    return tag


def _values(
    raw: npt.NDArray[Any],
    header: Header,
    frame: Frame,
    dtype: np.dtype[Any] | None,
    out: npt.NDArray[Any] | None,
) -> npt.NDArray[Any]:
    """Stored values to those of the modality; into ``out`` where that saves a copy."""
    bits, signed = _stored(header)
    if _photometric(header) == "MONOCHROME1" and bits:
        raw = (sum(_limits(bits, signed)) - raw.astype(np.int64)).astype(raw.dtype)
    if "ModalityLUTSequence" in header.elements:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tables = Dataset()
            tables.ModalityLUTSequence = header.elements["ModalityLUTSequence"]
            return np.asarray(apply_modality_lut(raw, tables)).astype(dtype or np.float32)
    if dtype is None or (frame.slope, frame.intercept) == (1.0, 0.0):
        return raw.astype(dtype or raw.dtype, copy=False)
    if dtype.kind == "f":
        values: npt.NDArray[Any] = raw.astype(np.float64) * frame.slope + frame.intercept
        return values.astype(np.float32)
    alike = raw.dtype.itemsize == dtype.itemsize and raw.flags.writeable
    shifted = raw.view(dtype) if alike else raw  # whole numbers, which wrap round and back again
    target = out if out is not None else shifted if alike else np.empty(raw.shape, dtype)
    slope, intercept = np.array([frame.slope, frame.intercept]).astype(np.int64).astype(dtype)
    if slope != 1:
        shifted = np.multiply(shifted, slope, out=target, dtype=dtype, casting="unsafe")
    np.add(shifted, intercept, out=target, dtype=dtype, casting="unsafe")
    return target
