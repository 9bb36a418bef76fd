"""Images from files: the table of readers, single files and whole folders."""

from __future__ import annotations

import os
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
from napari_ld.io.dicom import Several, read_dicom, read_dicom_files
from napari_ld.io.dicom_headers import is_dicom
from napari_ld.io.folders import dicom_files, images_in, known_suffix, visible
from napari_ld.io.lazy import LazyImage
from napari_ld.io.nifti import read_nifti
from napari_ld.io.nrrd import read_nrrd
from napari_ld.io.ome_zarr import is_zarr, read_zarr
from napari_ld.io.parts import split_part, volumes_of
from napari_ld.io.raster import read_jpeg, read_png
from napari_ld.io.tiff import read_tiff

__all__ = ["FOLDER_READERS", "READERS", "image_keys", "read_dicom_folder", "read_image", "read_images"]

READERS: dict[str, Callable[[Path], Image]] = {
    ".dcm": read_dicom,
    ".dicom": read_dicom,
    ".ima": read_dicom,
    ".jpeg": read_jpeg,
    ".jpg": read_jpeg,
    ".nhdr": read_nrrd,
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    ".nrrd": read_nrrd,
    ".png": read_png,
    ".tif": read_tiff,
    ".tiff": read_tiff,
}
"""Whole file ending (small letters) to the function that reads it; DICOM files may have any name."""

FOLDER_READERS = (".zarr",)
"""Endings of folders that are one image; folders of DICOM files may have any name."""

_REMEDIES = {
    ".mha": "MetaImage is not read: save it as NRRD or NIfTI, for instance with 3D Slicer",
    ".mhd": "MetaImage is not read: save it as NRRD or NIfTI, for instance with 3D Slicer",
    ".img": "Analyze and NIfTI pairs are not read: save it as one .nii file",
    ".hdr": "Analyze and NIfTI pairs are not read: save it as one .nii file",
}

HELD_BYTES = 256 * 2**20
"""Pixels of PNG and JPEG files that :func:`read_images` keeps; it reads those beyond again whenever they are used."""


def read_image(path: str | Path) -> Image:
    """Read one image, stack or volume.

    Parameters
    ----------
    path : str or Path
        PNG, JPEG, TIFF (also multi-page, ImageJ and OME), NIfTI or NRRD, told by the whole ending, in any case of
        letters; DICOM, told by its content; a folder with the slices of a DICOM series; a zarr or OME-Zarr folder.
        ``path#N`` names the N-th series of a folder, volume of a 4-D file or channel of a zarr image, from 0.

    Returns
    -------
    Image
        One page: ``"yx"`` or ``"yxc"``; several: ``"pyx"``, or ``"zyx"`` when the file says that they are slices, and
        ``"tzyx"`` for a series of volumes. Stacks in TIFF, ``.nii``, DICOM and zarr are lazy.

    Raises
    ------
    ImageError
        Unknown ending, a file that cannot be used, several series in a folder; names the file and the remedy.
    """
    file, part = split_part(path)
    if file.is_dir():
        if is_zarr(file):
            return read_zarr(file, part)
        return _only(read_dicom_folder(file, part), file)
    reader = _reader(file)
    if reader is None:
        ending = next((remedy for suffix, remedy in _REMEDIES.items() if file.name.lower().endswith(suffix)), None)
        remedy = ending or f"its ending is none of {', '.join(READERS)}; convert it to one of them"
        raise ImageError(f"cannot read {file}: {remedy}")
    image = reader(file)
    if part is None:
        return image
    volumes = volumes_of(image)
    if not part.isdecimal() or int(part) >= len(volumes) or len(volumes) < 2:
        raise ImageError(f"{file} has no part {part!r}; it holds {len(volumes)}, counted from 0")
    return volumes[int(part)]


def read_images(paths: Sequence[str | Path], *, several: Several = "refuse") -> list[Image]:
    """Read files and folders.

    Every picture is decoded once, so that a damaged one is reported before any work begins; of many large PNG and JPEG
    files the pixels beyond 256 MiB are dropped and read again when used.

    Parameters
    ----------
    paths : sequence of str or Path
        Files, and folders whose files are taken in natural order (``9.png`` before ``10.png``). Folders inside folders
        are entered only to look for DICOM files and zarr. A file named twice is read once.
    several : {"refuse", "largest", "all"}
        What to do with a folder of several DICOM series.

    Returns
    -------
    list of Image
        In the order of ``paths``. DICOM files of one folder that lie in one body are one volume; of a series of volumes
        (4-D) each is an image of its own, called ``path#N``.

    Raises
    ------
    ImageError
        No path, a folder without images, a file that cannot be used.

    Warns
    -----
    UserWarning
        Names what was left out of a folder because of its ending; hidden files are not mentioned.
    """
    entries = _entries(paths)
    if not entries:
        raise ImageError("no image was given; name image files or folders with images")
    images: list[Image] = []
    held = 0
    for place, files in entries.items():
        for image in _read_entry(place, files, several):
            images += volumes_of(image)
            reader = _reader(Path(image.source))
            if isinstance(image.array, np.ndarray) and reader in (read_png, read_jpeg):
                held += image.array.nbytes
                if held > HELD_BYTES:
                    read = partial(_pixels_again, Path(image.source), image.array.shape, image.array.dtype)
                    images[-1] = replace(image, array=LazyImage(image.array.shape, image.array.dtype, read))
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


def _reader(path: Path) -> Callable[[Path], Image] | None:
    suffix = known_suffix(path, READERS)
    if suffix is not None:
        return READERS[suffix]
    return read_dicom if is_dicom(path) else None


def _entries(paths: Sequence[str | Path]) -> dict[str, list[Path]]:
    """What to read, in order: a path, or a folder with the DICOM files in it that were named."""
    entries: dict[str, list[Path]] = {}
    for path in paths:
        file, part = split_part(path)
        inside = file.is_dir() and part is None and not is_zarr(file)
        for member in images_in(file, READERS) if inside else [Path(path)]:
            if member.is_file() and _reader(member) is read_dicom:
                files = entries.setdefault(str(member.parent), [])
                if member not in files:
                    files.append(member)
            else:
                entries.setdefault(str(member), [])
    return entries


def _read_entry(place: str, files: Sequence[Path], several: Several) -> list[Image]:
    if len(files) > 1:
        return read_dicom_files(files, Path(place), several=several)
    if files:
        return [read_image(files[0])]
    path, part = split_part(place)
    if path.is_dir() and not is_zarr(path):
        return read_dicom_folder(path, part, several)
    return [read_image(place)]


def read_dicom_folder(folder: Path, part: str | None = None, several: Several = "refuse") -> list[Image]:
    """Read the DICOM files that lie directly in a folder; see :func:`napari_ld.io.dicom.read_dicom_files`.

    Raises
    ------
    ImageError
        As there, and for a folder without DICOM files.
    """
    files = dicom_files(folder)
    if not files:
        raise ImageError(f"{folder} is a folder; expected a file: use read_images for folders")
    others = [entry.name for entry in visible(folder) if entry.is_file() and entry not in files]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        warnings.warn(f"left out of {folder}, not DICOM: {', '.join(others[:5])}{more}", UserWarning, stacklevel=3)
    return read_dicom_files(files, folder, part=part, several=several)


def _only(images: Sequence[Image], folder: Path) -> Image:
    if len(images) != 1:
        raise ImageError(f"{folder} holds {len(images)} pictures; expected one series: use read_images for folders")
    return images[0]


def _pixels_again(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    pixels = np.asarray(read_image(path).array)
    if pixels.shape != shape or pixels.dtype != dtype:
        raise ImageError(f"{path} has changed since it was opened; open it again")
    return pixels
