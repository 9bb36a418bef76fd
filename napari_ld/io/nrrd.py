"""NRRD: the header through pynrrd, the pixels here, because unpacking has to stop where the header says.

The space directions of a NRRD file become the affine to patient LPS millimetres; ``right-anterior-superior`` and
``left-anterior-superior`` are turned to it, other spaces say nothing about a patient. Raw files are memory-mapped.
A detached header (``.nhdr``) may name a data file in its own folder only.
"""

from __future__ import annotations

import bz2
import math
import zlib
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.io.lazy import LazyStack
from napari_ld.io.signatures import DAMAGED, check_signature, damaged

__all__ = ["LPS_SPACE", "OUR_KEY", "read_nrrd"]

LPS_SPACE = "left-posterior-superior"
OUR_KEY = "napari-ld"
_TO_LPS = {
    LPS_SPACE: (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_TYPES: tuple[tuple[set[str], str], ...] = (
    ({"signed char", "int8", "int8_t"}, "i1"),
    ({"uchar", "unsigned char", "uint8", "uint8_t"}, "u1"),
    ({"short", "short int", "signed short", "signed short int", "int16", "int16_t"}, "i2"),
    ({"ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"}, "u2"),
    ({"int", "signed int", "int32", "int32_t"}, "i4"),
    ({"uint", "unsigned int", "uint32", "uint32_t"}, "u4"),
    ({"longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"}, "i8"),
    ({"ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"}, "u8"),
    ({"float"}, "f4"),
    ({"double"}, "f8"),
)
_COLOUR = {"rgb-color", "rgba-color", "3-color", "4-color"}
_MAX_UNPACKED_BYTES = 2**31
_CHUNK = 2**20
_BROKEN = (nrrd.NRRDError, *DAMAGED)

Geometry = tuple[npt.NDArray[np.float64] | None, tuple[float, ...] | None]


def read_nrrd(path: Path) -> Image:
    """Read a NRRD file, ``.nrrd`` or ``.nhdr`` with its data beside it.

    Returns
    -------
    Image
        ``"yx"``, ``"zyx"`` or ``"tzyx"``, with ``c`` behind for colour. Labels for files that 3D Slicer calls a
        segmentation.

    Raises
    ------
    ImageError
        Missing, empty, damaged, truncated, of another format, with axes that are neither space, time nor colour.
    """
    check_signature(path, "NRRD")
    try:
        with open(path, "rb") as file:
            header: dict[str, Any] = nrrd.read_header(file)
            start = file.tell()
        dtype, sizes = _declared(path, header)
        data = _data_file(path, header)
        array = _pixels(path, data, header, dtype, sizes, start if data == path else 0)
        axes, array = _arranged(path, header, array)
        affine, spacing = _geometry(path, header, axes)
    except _BROKEN as error:
        raise damaged(path, error) from error
    if axes.startswith("z") and array.shape[0] == 1:
        axes, array, spacing = axes[1:], array[0], None if spacing is None else spacing[1:]
    kind = "labels" if "Segment0_LabelValue" in header or header.get(OUR_KEY) == "labels" else "image"
    return Image(array, axes, affine, spacing, str(path), kind, _names(header))  # type: ignore[arg-type]  # one of two


def _declared(path: Path, header: dict[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    sizes = tuple(int(size) for size in header["sizes"])
    if min(sizes) < 1 or len(sizes) not in (2, 3, 4, 5):
        raise ImageError(f"{path} has the sizes {sizes}; expected rows and columns, at least one each")
    if str(header["type"]) == "block":
        raise ImageError(f"{path} holds blocks of bytes; expected numbers: export it again")
    big = str(header.get("endian", "little")).lower() == "big"
    dtype = next((code for names, code in _TYPES if str(header["type"]).lower() in names), None)
    if dtype is None:
        raise ValueError(f"the type {header['type']!r} is unknown")
    return np.dtype(dtype).newbyteorder(">" if big else "<"), sizes


def _data_file(path: Path, header: dict[str, Any]) -> Path:
    """The file with the pixels; a detached one may only lie beside its header."""
    named = header.get("data file", header.get("datafile"))
    if named is None:
        return path
    name = str(named)
    if name.split()[0] == "LIST" or "%" in name:
        raise ImageError(f"{path} spreads its pixels over several files; save it as one .nrrd file")
    beside = path.parent / name
    if Path(name).is_absolute() or beside.resolve().parent != path.parent.resolve():
        raise ImageError(f"{path} names the data file {name!r}, which lies elsewhere; put it beside the header")
    return beside


def _pixels(
    path: Path, data: Path, header: dict[str, Any], dtype: np.dtype[Any], sizes: tuple[int, ...], start: int
) -> ArrayLike:
    """Fastest axis last, in native byte order where held in memory."""
    expected = math.prod(sizes) * dtype.itemsize
    encoding, stored = str(header["encoding"]).lower(), data.stat().st_size
    lines, skip = int(header.get("line skip", 0)), int(header.get("byte skip", 0))
    with open(data, "rb") as file:
        file.seek(start)
        for _ in range(min(lines, stored)):
            file.readline()
        if encoding == "raw":
            offset = stored - expected if skip == -1 else file.tell() + skip
            if offset < 0 or offset + expected > stored:
                raise _truncated(path, expected)
            return _native(np.memmap(data, dtype, "r", offset, sizes[::-1]))
        if expected > _MAX_UNPACKED_BYTES:
            raise ImageError(f"{path} unpacks to {expected} bytes; save it with raw encoding, which is read by planes")
        if encoding in ("ascii", "text", "txt"):
            words = file.read(64 * math.prod(sizes)).split()
            values = np.array([float(word) for word in words[: math.prod(sizes)]], np.float64)
            raw = values.astype(dtype).tobytes()
        else:
            raw = _unpacked(file, encoding, expected + max(skip, 0))[max(skip, 0) :]
    if len(raw) < expected:
        raise _truncated(path, expected)
    array = np.frombuffer(raw, dtype, math.prod(sizes)).reshape(sizes[::-1])
    return array.astype(dtype.newbyteorder("="), copy=False)


def _truncated(path: Path, expected: int) -> ImageError:
    return ImageError(f"{path} is truncated: it declares {expected} bytes of pixels; copy or export it again")


def _native(mapped: npt.NDArray[Any]) -> ArrayLike:
    """The map itself, or planes in the byte order of this machine."""
    if mapped.dtype.isnative:
        return mapped
    dtype = mapped.dtype.newbyteorder("=")
    if mapped.ndim == 2:
        return mapped.astype(dtype)
    return LazyStack(mapped.shape, dtype, lambda plane: np.asarray(mapped[plane]).astype(dtype))


def _unpacked(file: Any, encoding: str, expected: int) -> bytes:
    """At most ``expected`` bytes of a packed stream."""
    parts, total = [], 0
    if encoding in ("gz", "gzip"):
        gzip = zlib.decompressobj(zlib.MAX_WBITS | 32)
        rest = b""
        while total < expected and not gzip.eof:
            rest = rest or file.read(_CHUNK)
            if not rest:
                break
            parts.append(gzip.decompress(rest, min(expected - total, 16 * _CHUNK)))
            rest = gzip.unconsumed_tail
            total += len(parts[-1])
    elif encoding in ("bz2", "bzip2"):
        packed = bz2.BZ2Decompressor()
        while total < expected and not packed.eof:
            rest = file.read(_CHUNK) if packed.needs_input else b""
            if packed.needs_input and not rest:
                break
            parts.append(packed.decompress(rest, min(expected - total, 16 * _CHUNK)))
            total += len(parts[-1])
    else:
        raise ValueError(f"the encoding {encoding!r} is unknown")
    return b"".join(parts)


def _arranged(path: Path, header: dict[str, Any], array: ArrayLike) -> tuple[str, ArrayLike]:
    """Our axes, colour last; the kinds of the header count the fastest axis first."""
    ndim = len(array.shape)
    kinds = [str(kind).lower() for kind in header.get("kinds") or ["domain"] * ndim]
    if len(kinds) != ndim:
        raise ValueError(f"it has {ndim} axes and {len(kinds)} kinds")
    space = [index for index, kind in enumerate(kinds) if kind in ("domain", "space", "???", "none", "time")]
    others = [index for index in range(ndim) if index not in space]
    colour = [index for index in others if kinds[index] in _COLOUR or array.shape[ndim - 1 - index] in (3, 4)]
    if len(others) > len(colour) or len(colour) > 1 or len(space) not in (2, 3, 4):
        lists = [kinds[index] for index in others]
        raise ImageError(f"{path} has axes of kind {', '.join(lists) or ndim}; save one volume, grey or RGB, a file")
    axes = "tzyx"[-len(space) :] + "c" * len(colour)
    if not colour:
        return axes, array
    return axes, np.moveaxis(np.asarray(array), ndim - 1 - colour[0], -1)


def _geometry(path: Path, header: dict[str, Any], axes: str) -> Geometry:
    bare = axes.rstrip("c")
    ndim = min(len(bare), 3)
    directions = header.get("space directions")
    if directions is None:
        steps = np.asarray(header.get("spacings", np.full(len(bare), np.nan)), np.float64)
        steps = steps[np.isfinite(steps)][:ndim]
        known = len(steps) == ndim and (steps > 0).all()
        return None, tuple(float(step) for step in steps[::-1]) if known else None
    rows = np.asarray(directions, np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)][:ndim]
    signs = _TO_LPS.get(str(header.get("space", "")).lower())
    spacing = tuple(float(step) for step in np.linalg.norm(rows, axis=1)[::-1])
    if len(spacing) != ndim or min(spacing) <= 0:
        return None, None
    if signs is None or rows.shape[1] != 3:
        return None, spacing
    affine = np.eye(4)
    across, down = rows[0], rows[1]
    affine[:3, 2], affine[:3, 1] = across, down
    affine[:3, 0] = rows[2] if ndim == 3 else np.cross(across, down) / np.linalg.norm(np.cross(across, down))
    affine[:3, 3] = np.asarray(header.get("space origin", (0.0, 0.0, 0.0)), np.float64)
    affine[:3] *= np.array(signs)[:, None]
    voxel = abs(np.linalg.det(affine[:3, :3]))
    if not np.isfinite(affine).all() or not voxel > 1e-9 * np.prod(np.linalg.norm(affine[:3, :3], axis=0)):
        raise ImageError(f"{path} has space directions that cannot be inverted: {rows.tolist()}; correct its header")
    return affine + 0.0, (1.0, *spacing) if len(bare) == 4 else spacing


def _names(header: dict[str, Any]) -> tuple[tuple[int, str], ...]:
    """Names of segments as 3D Slicer writes them."""
    names = []
    for index in range(len(header)):
        if f"Segment{index}_LabelValue" not in header:
            break
        names.append((int(header[f"Segment{index}_LabelValue"]), str(header.get(f"Segment{index}_Name", ""))))
    return tuple(names)
