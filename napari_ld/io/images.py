"""Images from files: the table of readers, single files and whole folders."""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.lazy import LazyImage
from napari_ld.io.nifti import read_nifti
from napari_ld.io.raster import read_jpeg, read_png
from napari_ld.io.tiff import read_tiff

__all__ = ["READERS", "image_keys", "read_image", "read_images"]

READERS: dict[str, Callable[[Path], Image]] = {
    ".jpeg": read_jpeg,
    ".jpg": read_jpeg,
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    ".png": read_png,
    ".tif": read_tiff,
    ".tiff": read_tiff,
}
"""Whole file ending (small letters) to the function that reads it."""

HELD_BYTES = 256 * 2**20
"""Pixels of PNG and JPEG files that :func:`read_images` keeps; it reads those beyond again whenever they are used."""


def read_image(path: str | Path) -> Image:
    """Read one image or stack.

    Parameters
    ----------
    path : str or Path
        PNG, JPEG, TIFF (also multi-page and ImageJ) or NIfTI, told by the whole ending, in any case of letters.

    Returns
    -------
    Image
        One page: ``"yx"`` or ``"yxc"``; several: ``"pyx"``, or ``"zyx"`` when the file says that they are slices.
        Stacks in TIFF and ``.nii`` are lazy.

    Raises
    ------
    ImageError
        Unknown ending, or a file that cannot be used; names the file and the remedy.
    """
    path = Path(path)
    suffix = _suffix(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected a file: use read_images for folders")
    if suffix is None:
        raise ImageError(f"cannot read {path}: its ending is none of {', '.join(READERS)}; convert it to one of them")
    return READERS[suffix](path)


def read_images(paths: Sequence[str | Path]) -> list[Image]:
    """Read files and folders.

    Every file is decoded once, so that a damaged one is reported before any work begins; of many large PNG and JPEG
    files the pixels beyond 256 MiB are dropped and read again when used.

    Parameters
    ----------
    paths : sequence of str or Path
        Files, and folders whose files are taken in natural order (``9.png`` before ``10.png``); folders inside
        folders are not entered. A file named twice is read once.

    Returns
    -------
    list of Image
        In the order of ``paths``.

    Raises
    ------
    ImageError
        No path, a folder without images, a file that cannot be used.

    Warns
    -----
    UserWarning
        Names what was left out of a folder because of its ending; hidden files are not mentioned.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files(Path(path))))
    if not files:
        raise ImageError("no image was given; name image files or folders with images")
    images, held = [], 0
    for file in files:
        image = read_image(file)
        if isinstance(image.array, np.ndarray) and READERS[str(_suffix(file))] in (read_png, read_jpeg):
            held += image.array.nbytes
            if held > HELD_BYTES:
                read = partial(_pixels_again, file, image.array.shape, image.array.dtype)
                image = replace(image, array=LazyImage(image.array.shape, image.array.dtype, read))
        images.append(image)
    return images


def image_keys(images: Sequence[Image]) -> list[str]:
    """Names that tell images apart: the file name, and where names collide the path below the common folder.

    Parameters
    ----------
    images : sequence of Image
        Those without a source are called ``image-0``, ``image-1`` … by their place.

    Returns
    -------
    list of str
        All different; folders are separated by ``/``.
    """
    sources = [Path(os.path.abspath(image.source)) if image.source else None for image in images]
    groups: dict[str, set[Path]] = defaultdict(set)
    for source in sources:
        if source is not None:
            groups[source.name].add(source)
    keys: list[str] = []
    for index, source in enumerate(sources):
        key = f"image-{index}" if source is None else _key(source, groups[source.name])
        copies = sum(key == other or other.startswith(f"{key}#") for other in keys)
        keys.append(f"{key}#{copies + 1}" if copies else key)
    return keys


def _key(source: Path, namesakes: set[Path]) -> str:
    if len(namesakes) == 1:
        return source.name
    try:
        common = os.path.commonpath([path.parent for path in namesakes])
    except ValueError:  # on different drives
        return source.as_posix()
    return source.relative_to(common).as_posix()


def _suffix(path: Path) -> str | None:
    """The longest ending of the table that the name carries."""
    name = path.name.lower()
    return max((suffix for suffix in READERS if name.endswith(suffix) and name != suffix), key=len, default=None)


def _files(path: Path) -> list[Path]:
    """``path`` itself, or the image files of the folder ``path``."""
    if not path.is_dir():
        return [path]
    try:
        entries = sorted(path.iterdir(), key=_natural)
    except OSError as error:
        raise ImageError(f"cannot list {path}: {error.strerror}; check its permissions") from error
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    images = [entry for entry in visible if entry.is_file() and _suffix(entry)]
    if not images:
        raise ImageError(f"{path} holds no image; expected files that end in {', '.join(READERS)}")
    others = [entry.name for entry in visible if entry not in images]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        warnings.warn(f"left out of {path}, not images: {', '.join(others[:5])}{more}", UserWarning, stacklevel=3)
    return images


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key by which 9 comes before 10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts] + [(2, path.name)]


def _pixels_again(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    pixels = np.asarray(read_image(path).array)
    if pixels.shape != shape or pixels.dtype != dtype:
        raise ImageError(f"{path} has changed since it was opened; open it again")
    return pixels
