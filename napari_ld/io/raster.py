"""PNG and JPEG through Pillow.

The pixels are those **stored** in the file: an EXIF orientation is not applied, because landmarks are positions in
the stored image, and napari's own reader shows the same. Kept are grey (8 and 16 bit), RGB and RGBA; 1 bit becomes 0
and 255; a palette becomes RGB, or grey where all its colours are grey; grey with alpha loses its alpha; CMYK becomes
RGB. Pillow reads 16-bit *colour* PNG with 8 bits a sample. Dots per inch say nothing about the patient: the spacing
stays unknown.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.signatures import DAMAGED, check_plane_size, check_signature, damaged

__all__ = ["decode", "read_jpeg", "read_png", "to_pixels"]


def read_png(path: Path) -> Image:
    """Read a PNG file.

    Raises
    ------
    ImageError
        Missing, empty, damaged, of another format, animated or absurdly large.
    """
    return _image(path, "PNG")


def read_jpeg(path: Path) -> Image:
    """Read a JPEG file; errors as :func:`read_png`."""
    return _image(path, "JPEG")


def _image(path: Path, kind: str) -> Image:
    pixels = decode(path, kind)
    return Image(pixels, "yx" if pixels.ndim == 2 else "yxc", source=str(path))


def decode(path: Path, kind: str) -> npt.NDArray[Any]:
    """Pixels of a file of ``kind`` ``"PNG"`` or ``"JPEG"``: ``(rows, columns)`` or ``(rows, columns, 3 or 4)``."""
    check_signature(path, kind)
    try:
        with warnings.catch_warnings():
            # Our own limit follows; this one would reach the user as a warning without a remedy.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            # MPO is what cameras write: a JPEG with previews behind it.
            picture = PIL.Image.open(path, formats=[kind, "MPO"] if kind == "JPEG" else [kind])
        with picture:
            check_plane_size(path, picture.height, picture.width)
            if kind == "PNG" and getattr(picture, "n_frames", 1) > 1:
                raise ImageError(f"{path} is an animated PNG; save its frames as a multi-page TIFF")
            return to_pixels(picture)
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large to be decoded ({error}); make it smaller or save it as TIFF") from error
    except DAMAGED as error:
        raise damaged(path, error) from error


def to_pixels(picture: PIL.Image.Image) -> npt.NDArray[Any]:
    """Bring what Pillow opened to grey, RGB or RGBA samples; see the module's text."""
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16, copy=False)
    if mode == "I" and picture.format == "PNG":
        return np.asarray(picture).astype(np.uint16)  # Pillow before 11.3 widened 16-bit PNG
    if mode in ("L", "RGB", "RGBA", "I", "F"):
        return np.asarray(picture)
    if mode in ("1", "LA", "La"):
        return np.asarray(picture.convert("L"))
    if mode in ("P", "PA"):
        return _without_palette(picture)
    return np.asarray(picture.convert("RGB"))


def _without_palette(picture: PIL.Image.Image) -> npt.NDArray[Any]:
    if picture.mode == "PA" or "transparency" in picture.info:
        return np.asarray(picture.convert("RGBA"))
    colours = np.asarray(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    grey = bool((colours == colours[:, :1]).all())
    return np.asarray(picture.convert("L" if grey else "RGB"))
