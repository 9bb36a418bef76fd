"""What a file is by its first bytes, and limits that a sane image keeps."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from napari_ld.errors import ImageError

__all__ = ["DAMAGED", "check_plane_size", "check_signature", "damaged"]

MAX_PLANE_PIXELS = 178_956_970
"""Rows times columns of one compressed plane; Pillow calls more than this a decompression bomb too."""

MAX_PLANES = 2**20
"""More planes than this a file cannot mean."""

DAMAGED = (
    OSError,
    EOFError,
    SyntaxError,  # Pillow: "broken PNG file"
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,  # tifffile, of a page that lacks a tag
    AssertionError,  # tifffile, of a page whose tags say nothing of its values
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What the decoders raise on files that are not whole."""

_SIGNATURES = {
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "TIFF": ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
    "gzip": ((0, b"\x1f\x8b"),),
    "NIfTI": ((344, b"n+1\0"), (4, b"n+2\0")),
    "DICOM": ((128, b"DICM"),),
    "NRRD": ((0, b"NRRD"),),
    "GIF": ((0, b"GIF8"),),
    "BMP": ((0, b"BM"),),
}
_ENDINGS = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "TIFF": ".tif",
    "gzip": ".nii.gz, if it is a compressed NIfTI",
    "NIfTI": ".nii",
    "DICOM": ".dcm",
    "NRRD": ".nrrd",
}


def check_signature(path: Path, expected: str) -> None:
    """Refuse a file that is missing, empty or something else than its name says.

    Parameters
    ----------
    path : Path
    expected : str
        ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"NIfTI"``, ``"gzip"``, ``"DICOM"`` or ``"NRRD"``.

    Raises
    ------
    ImageError
        Names the file, what it looks like and the remedy.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(352)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    if not head:
        raise ImageError(f"{path} is empty; copy or export it again")
    found = next((name for name, marks in _SIGNATURES.items() if _carries(head, marks)), None)
    if found == expected:
        return
    if found is None:
        raise ImageError(f"{path} is not a {expected} file as its name says, or it is damaged; export it again")
    remedy = f"rename it to {_ENDINGS[found]}" if found in _ENDINGS else "convert it to PNG, TIFF or NIfTI"
    raise ImageError(f"{path} is a {found} file, expected {expected} by its name; {remedy}")


def _carries(head: bytes, marks: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head[offset : offset + len(mark)] == mark for offset, mark in marks)


def check_plane_size(path: Path, rows: int, columns: int) -> None:
    """Refuse a plane that would fill the memory when decoded.

    Raises
    ------
    ImageError
    """
    if rows * columns > MAX_PLANE_PIXELS:
        raise ImageError(
            f"{path} declares {rows} x {columns} pixels, more than {MAX_PLANE_PIXELS}; make it smaller, or save it as "
            "an uncompressed TIFF, which is read piece by piece"
        )


def damaged(path: Path, error: BaseException) -> ImageError:
    """The error for a file that a decoder gave up on."""
    reason = str(error).strip() or type(error).__name__
    return ImageError(f"cannot read {path}: {reason}; the file is damaged or not complete: copy or export it again")
