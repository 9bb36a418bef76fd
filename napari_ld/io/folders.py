"""What of a folder is an image: files by their ending, DICOM files by their mark, zarr folders, folders of DICOM."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from pathlib import Path

from napari_ld.errors import ImageError
from napari_ld.io.dicom_headers import is_dicom
from napari_ld.io.ome_zarr import is_zarr

__all__ = ["dicom_files", "holds_images", "images_in", "known_suffix", "natural", "visible"]

_DEEPEST = 6  # patient, study and series, each in folders of their own


def known_suffix(path: Path, suffixes: Collection[str]) -> str | None:
    """The longest of the endings that the name carries, in any case of letters."""
    name = path.name.lower()
    return max((suffix for suffix in suffixes if name.endswith(suffix) and name != suffix), key=len, default=None)


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key by which 9 comes before 10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts] + [(2, path.name)]


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files that lie directly in a folder, whatever they are called, in natural order."""
    return [entry for entry in visible(folder) if entry.is_file() and is_dicom(entry)]


def holds_images(folder: Path) -> bool:
    """Whether a folder is one image: a zarr folder, or one whose first file is DICOM. Looks at one file."""
    if is_zarr(folder):
        return True
    first = next((entry for entry in visible(folder) if entry.is_file()), None)
    return first is not None and is_dicom(first)


def images_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files and folders that are images, in natural order.

    Parameters
    ----------
    folder : Path
    suffixes : collection of str
        Endings of files that are images.

    Returns
    -------
    list of Path
        Folders inside are entered only to look for DICOM files and zarr folders.

    Raises
    ------
    ImageError
        No image, or no permission.

    Warns
    -----
    UserWarning
        Names what is left out; hidden files are not mentioned.
    """
    images, others = [], []
    for entry in visible(folder):
        if entry.is_dir():
            found = _below(entry, _DEEPEST)
        else:
            found = [entry] if known_suffix(entry, suffixes) or is_dicom(entry) else []
        images += found
        if not found:
            others.append(entry.name)
    if not images:
        raise ImageError(f"{folder} holds no image; expected files that end in {', '.join(suffixes)}")
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        warnings.warn(f"left out of {folder}, not images: {', '.join(others[:5])}{more}", UserWarning, stacklevel=4)
    return images


def _below(folder: Path, depth: int) -> list[Path]:
    """Zarr folders and folders with DICOM files, from this one down."""
    if is_zarr(folder):
        return [folder]
    try:
        entries = visible(folder)
    except ImageError:
        return []  # one that may not be entered is named among what is left out
    first = next((entry for entry in entries if entry.is_file()), None)
    found = [folder] if first is not None and is_dicom(first) else []
    if depth > 1:
        found += [image for entry in entries if entry.is_dir() for image in _below(entry, depth - 1)]
    return found


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, in natural order, hidden files left aside.

    Raises
    ------
    ImageError
        When it cannot be listed.
    """
    try:
        return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=natural)
    except OSError as error:
        raise ImageError(f"cannot list {folder}: {error.strerror}; check its permissions") from error
