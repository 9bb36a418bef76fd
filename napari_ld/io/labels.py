"""Label maps to files, in the geometry of the image they belong to."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import tifffile

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.io.nifti import to_ras
from napari_ld.io.tiff_calibration import our_metadata
from napari_ld.storage import atomic_write

__all__ = ["WRITERS", "write_labels"]

_AXIS_LETTERS = {"z": "Z", "t": "T", "p": "I", "y": "Y", "x": "X"}


def write_labels(path: str | Path, array: ArrayLike, like: Image) -> None:
    """Write a label map.

    Parameters
    ----------
    path : str or Path
        Ends in ``.tif``, ``.tiff``, ``.nii`` or ``.nii.gz``. An existing file is replaced in one step.
    array : array of bool or integer
        Planes, rows and columns of ``like``, without channels; 0 is background.
    like : Image
        The image that was labelled. Its affine and spacing are written: exactly in TIFF, and in NIfTI to the single
        precision of that format, which is exact for an affine that came from a NIfTI file's sform.

    Raises
    ------
    ImageError
        Unknown ending, shape other than the image's, negative or fractional values.
    StorageError
        When the file cannot be written; an older file is then unchanged.

    Notes
    -----
    Values are stored as the smallest of uint8, uint16 and uint32 that holds them.
    """
    name = Path(path).name.lower()
    write = next((writer for suffix, writer in WRITERS.items() if name.endswith(suffix) and name != suffix), None)
    if write is None:
        raise ImageError(f"cannot write {path}: its ending is none of {', '.join(WRITERS)}; choose one of them")
    labels = _labels(path, array, like)
    with atomic_write(path) as file:
        write(file, labels, like)


def _labels(path: str | Path, array: ArrayLike, like: Image) -> npt.NDArray[Any]:
    """The labels as unsigned integers."""
    expected = tuple(like.array.shape[:-1] if like.has_channels else like.array.shape)
    if tuple(array.shape) != expected:
        raise ImageError(f"cannot write {path}: labels of shape {array.shape}, expected {expected}, that of the image")
    labels = np.asarray(array)
    if labels.dtype.kind not in "bui":
        raise ImageError(f"cannot write {path}: labels of type {labels.dtype}; expected whole numbers or booleans")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high >= 2**32:
        raise ImageError(f"cannot write {path}: labels from {low} to {high}; expected 0 to {2**32 - 1}")
    return labels.astype(np.min_scalar_type(high), copy=False)


def _write_tiff(file: IO[bytes], labels: npt.NDArray[Any], like: Image) -> None:
    metadata = {
        "axes": "".join(_AXIS_LETTERS[axis] for axis in like.axes.rstrip("c")),
        **our_metadata(like.affine, like.spacing),
    }
    tifffile.imwrite(file, labels, photometric="minisblack", compression="zlib", metadata=metadata)


def _write_nifti(file: Any, labels: npt.NDArray[Any], like: Image) -> None:
    volume = labels if labels.ndim == 3 else labels[np.newaxis]
    make_header: Any = nib.Nifti1Header  # nibabel's classes are not annotated
    make_image: Any = nib.Nifti1Image
    header = make_header()
    header.set_data_dtype(labels.dtype)
    header.set_data_shape(volume.shape[::-1])
    if like.spacing is not None:
        header.set_zooms([float(step) for step in (1.0, *like.spacing)[-1:-4:-1]])
    if like.affine is not None or like.spacing is not None:
        header.set_xyzt_units("mm")
    affine = None if like.affine is None else to_ras(like.affine)
    picture = make_image(volume.T, affine, header)
    if affine is not None:
        picture.set_sform(affine, code="scanner")
        picture.set_qform(affine, code="scanner", strip_shears=True)
    picture.to_stream(file)


def _write_packed_nifti(file: IO[bytes], labels: npt.NDArray[Any], like: Image) -> None:
    # Without name and time in it, equal labels give equal files.
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        _write_nifti(packed, labels, like)


WRITERS: dict[str, Callable[[IO[bytes], npt.NDArray[Any], Image], None]] = {
    ".nii": _write_nifti,
    ".nii.gz": _write_packed_nifti,
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
}
"""Whole file ending (small letters) to the function that writes labels to an open file."""
