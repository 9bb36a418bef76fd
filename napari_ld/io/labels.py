"""Label maps to files, in the geometry of the image they belong to."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import nrrd
import numpy as np
import numpy.typing as npt
import tifffile

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.io.dicom_seg_writer import Segment, is_dicom_source, write_segmentation
from napari_ld.io.folders import known_suffix
from napari_ld.io.nifti import to_ras
from napari_ld.io.nrrd import LPS_SPACE, OUR_KEY
from napari_ld.io.parts import split_part
from napari_ld.io.tiff_calibration import our_metadata
from napari_ld.storage import atomic_write

__all__ = ["WRITERS", "Segment", "labels_path", "write_labels", "write_scores"]

Segments = Mapping[int, Segment]

_OWN_ENDINGS = {".nii": ".nii.gz", ".nii.gz": ".nii.gz", ".nrrd": ".nrrd", ".nhdr": ".nrrd"}
_AXIS_LETTERS = {"z": "Z", "t": "T", "p": "I", "y": "Y", "x": "X"}


def write_labels(
    path: str | Path, array: ArrayLike, like: Image, *, segments: Mapping[int, Segment] | None = None
) -> None:
    """Write a label map.

    Parameters
    ----------
    path : str or Path
        Ends in ``.tif``, ``.tiff``, ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.dcm`` (a DICOM segmentation; the image must
        have come from DICOM). An existing file is replaced in one step.
    array : array of bool or integer
        Planes, rows and columns of ``like``, without channels; 0 is background.
    like : Image
        The image that was labelled. Its affine and spacing are written: exactly in TIFF, and in NIfTI to the single
        precision of that format, which is exact for an affine that came from a NIfTI file's sform.
    segments : mapping of int to Segment, optional
        Names of labels, written where the format holds them (NRRD as 3D Slicer does, DICOM with codes); by default
        those of ``like``.

    Raises
    ------
    ImageError
        Unknown ending, shape other than the image's, negative or fractional values; see also
        :func:`napari_ld.io.dicom_seg_writer.write_segmentation`.
    StorageError
        When the file cannot be written; an older file is then unchanged.

    Notes
    -----
    Values are stored as the smallest of uint8, uint16 and uint32 that holds them.
    """
    write = _writer(path)
    labels = _labels(path, array, like)
    named = segments or {value: Segment(label) for value, label in like.label_names}
    with atomic_write(path) as file:
        write(file, labels, like, named)


def labels_path(like: Image, folder: str | Path) -> Path:
    """Where labels of an image go by default: its name, and the ending of its own format where that holds labels.

    Parameters
    ----------
    like : Image
    folder : str or Path

    Returns
    -------
    Path
        ``NAME-labels`` with ``.nii.gz`` for NIfTI, ``.nrrd`` for NRRD, ``.dcm`` for DICOM where highdicom is installed
        (else ``.nii.gz``), and ``.tif`` for all others.
    """
    from importlib.util import find_spec

    source = split_part(like.source)[0] if like.source else Path("image")
    name = source.name.lower()
    ending = next((ending for suffix, ending in _OWN_ENDINGS.items() if name.endswith(suffix)), None)
    if is_dicom_source(like):
        ending = ".dcm" if find_spec("highdicom") is not None else ".nii.gz"
    suffix = known_suffix(source, (*_OWN_ENDINGS, ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".zarr"))
    stem = source.name[: -len(suffix)] if suffix else source.name
    return Path(folder) / f"{stem}-labels{ending or '.tif'}"


def write_scores(path: str | Path, array: ArrayLike, like: Image) -> None:
    """Write a map of scores as float32 to TIFF or NIfTI; geometry and errors as :func:`write_labels`."""
    write = _writer(path)
    _check_shape(path, array, like)
    scores = np.asarray(array, np.float32)
    with atomic_write(path) as file:
        write(file, scores, like, {})


def _writer(path: str | Path) -> Callable[[IO[bytes], npt.NDArray[Any], Image, Segments], None]:
    name = Path(path).name.lower()
    write = next((writer for suffix, writer in WRITERS.items() if name.endswith(suffix) and name != suffix), None)
    if write is None:
        raise ImageError(f"cannot write {path}: its ending is none of {', '.join(WRITERS)}; choose one of them")
    return write


def _check_shape(path: str | Path, array: ArrayLike, like: Image) -> None:
    expected = tuple(like.array.shape[:-1] if like.has_channels else like.array.shape)
    if tuple(array.shape) != expected:
        raise ImageError(f"cannot write {path}: labels of shape {array.shape}, expected {expected}, that of the image")


def _labels(path: str | Path, array: ArrayLike, like: Image) -> npt.NDArray[Any]:
    """The labels as unsigned integers."""
    _check_shape(path, array, like)
    labels = np.asarray(array)
    if labels.dtype.kind not in "bui":
        raise ImageError(f"cannot write {path}: labels of type {labels.dtype}; expected whole numbers or booleans")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high >= 2**32:
        raise ImageError(f"cannot write {path}: labels from {low} to {high}; expected 0 to {2**32 - 1}")
    return labels.astype(np.min_scalar_type(high), copy=False)


def _write_tiff(file: IO[bytes], labels: npt.NDArray[Any], like: Image, segments: Segments) -> None:
    metadata = {
        "axes": "".join(_AXIS_LETTERS[axis] for axis in like.axes.rstrip("c")),
        **our_metadata(like.affine, like.spacing),
    }
    tifffile.imwrite(file, labels, photometric="minisblack", compression="zlib", metadata=metadata)


def _write_nifti(file: Any, labels: npt.NDArray[Any], like: Image, segments: Segments) -> None:
    volume = labels if labels.ndim > 2 else labels[np.newaxis]
    make_header: Any = nib.Nifti1Header  # nibabel's classes are not annotated
    make_image: Any = nib.Nifti1Image
    header = make_header()
    header.set_data_dtype(labels.dtype)
    header.set_data_shape(volume.shape[::-1])
    if labels.dtype.kind != "f":
        header.set_intent("label")
    if like.spacing is not None:
        times = [1.0] * (volume.ndim - 3)
        header.set_zooms([float(step) for step in (1.0, *like.spacing)[-1:-4:-1]] + times)
    if like.affine is not None or like.spacing is not None:
        header.set_xyzt_units("mm")
    affine = None if like.affine is None else to_ras(like.affine)
    picture = make_image(volume.T, affine, header)
    if affine is not None:
        picture.set_sform(affine, code="scanner")
        picture.set_qform(affine, code="scanner", strip_shears=True)
    picture.to_stream(file)


def _write_packed_nifti(file: IO[bytes], labels: npt.NDArray[Any], like: Image, segments: Segments) -> None:
    # Without name and time in it, equal labels give equal files.
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        _write_nifti(packed, labels, like, segments)


def _write_nrrd(file: IO[bytes], labels: npt.NDArray[Any], like: Image, segments: Segments) -> None:
    header: dict[str, Any] = {"encoding": "gzip", OUR_KEY: "labels"}
    if like.affine is not None and labels.ndim == 2:
        labels = labels[np.newaxis]  # the place of a single plane needs three directions
    ndim = labels.ndim
    if like.affine is not None:
        directions = like.affine[:3, [2, 1, 0]].T
        times = np.full((ndim - 3, 3), np.nan)
        header |= {"space": LPS_SPACE, "space origin": like.affine[:3, 3]}
        header["space directions"] = np.vstack([directions, times])
        header["kinds"] = ["domain"] * 3 + ["time"] * (ndim - 3)
    elif like.spacing is not None:
        header["spacings"] = [float(step) for step in reversed(like.spacing)]
    for index, value in enumerate(int(value) for value in np.unique(labels) if value):
        name = segments[value].name if value in segments else f"label {value}"
        header |= {f"Segment{index}_ID": f"Segment_{value}", f"Segment{index}_Name": name}
        header |= {f"Segment{index}_LabelValue": str(value), f"Segment{index}_Layer": "0"}
    nrrd.write(file, labels.T, header)


def _write_dicom(file: IO[bytes], labels: npt.NDArray[Any], like: Image, segments: Segments) -> None:
    write_segmentation(file, labels, like, segments)


WRITERS: dict[str, Callable[[IO[bytes], npt.NDArray[Any], Image, Segments], None]] = {
    ".dcm": _write_dicom,
    ".nii": _write_nifti,
    ".nii.gz": _write_packed_nifti,
    ".nrrd": _write_nrrd,
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
}
"""Whole file ending (small letters) to the function that writes labels to an open file."""
