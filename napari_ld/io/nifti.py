"""NIfTI-1 and -2 through nibabel: indexed ``(plane, row, column)``, in patient LPS millimetres.

nibabel indexes ``[column, row, plane]`` and its affine leads to RAS; both are turned round exactly once, here.
Uncompressed files are read plane by plane; a ``.nii.gz`` has to be unpacked from its beginning and is held in memory.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.io.lazy import LazyStack
from napari_ld.io.signatures import DAMAGED, check_signature, damaged

__all__ = ["from_ras", "read_nifti", "to_ras"]

MAX_UNPACKED_BYTES = 8 * 2**30
_LABEL_INTENT = 1002
_GZIP_BEST_RATIO = 1100  # deflate cannot pack better than 1032 : 1
_MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "micron": 1e-3, "meter": 1e3}
_REVERSED = np.eye(4)[[2, 1, 0, 3]]
_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def from_ras(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``(column, row, plane, 1)`` to RAS becomes ``(plane, row, column, 1)`` to LPS; exact, its own inverse."""
    turned: npt.NDArray[np.float64] = _RAS_LPS @ np.asarray(affine, np.float64) @ _REVERSED
    return turned + 0.0  # no negative zeros


to_ras = from_ras


def read_nifti(path: Path) -> Image:
    """Read a NIfTI file of two to four dimensions, ``.nii`` or ``.nii.gz``.

    Returns
    -------
    Image
        ``"zyx"``, ``"yx"`` for a single slice, ``"tzyx"`` for a series of volumes, with ``c`` behind for RGB voxels;
        labels where the intent of the file says so. Without qform and sform the affine is None; the spacing then comes
        from ``pixdim``, and is None where that says nothing (all 1, no unit).

    Raises
    ------
    ImageError
        Missing, empty, damaged, not NIfTI, truncated, more than four dimensions, complex numbers, singular affine.
    """
    packed = path.name.lower().endswith(".gz")
    check_signature(path, "gzip" if packed else "NIfTI")
    try:
        volume: Any = nib.load(path, mmap="r")
        shape = _spatial_shape(path, volume.shape)
        _check_bytes(path, volume, packed)
        array = _pixels(volume, shape, packed)
        affine, spacing = _geometry(path, volume)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, *DAMAGED) as error:
        raise damaged(path, error) from error
    channels = "c" if len(array.shape) > len(shape) else ""
    kind: Literal["labels", "image"] = "labels" if _is_labels(volume, array) else "image"
    if len(shape) > 3:
        steps = None if spacing is None else (1.0, *spacing)
        return Image(array, "tzyx" + channels, affine, steps, str(path), kind)
    if shape[2] == 1:
        return Image(array[0], "yx" + channels, affine, None if spacing is None else spacing[1:], str(path), kind)
    return Image(array, "zyx" + channels, affine, spacing, str(path), kind)


def _is_labels(volume: Any, array: ArrayLike) -> bool:
    """Whether the file declares labels; of a float type that would be a mistake."""
    return np.dtype(array.dtype).kind in "bui" and int(volume.header["intent_code"]) == _LABEL_INTENT


def _spatial_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Columns, rows and planes, and times where there are several."""
    if len(shape) < 2 or min(shape) < 1:
        raise ImageError(f"{path} has the shape {shape}; expected rows, columns and planes, at least one each")
    if any(length > 1 for length in shape[4:]):
        raise ImageError(f"{path} has the shape {shape}, more than four dimensions; save one volume a file")
    columns, rows, planes, times = (*shape, 1, 1)[:4]
    return (int(columns), int(rows), int(planes)) + ((int(times),) if times > 1 else ())


def _check_bytes(path: Path, volume: Any, packed: bool) -> None:
    """Refuse a file that cannot hold what its header declares, before anything is allocated."""
    dtype = volume.get_data_dtype()
    if dtype.kind not in "iufV":
        raise ImageError(f"{path} holds values of type {dtype}; expected real numbers: save magnitude or phase alone")
    declared = int(np.prod(volume.shape, dtype=object)) * dtype.itemsize
    stored = path.stat().st_size
    if packed and declared > MAX_UNPACKED_BYTES:
        raise ImageError(f"{path} unpacks to {declared} bytes; save it as .nii, which is read plane by plane")
    if declared > (stored * _GZIP_BEST_RATIO if packed else stored - volume.dataobj.offset):
        raise ImageError(f"{path} is truncated: it declares {declared} bytes of pixels; copy or export it again")


def _beyond_float32() -> np.errstate:
    """A damaged scale makes pixels infinite; whoever uses them refuses those, and a warning would name no file."""
    return np.errstate(over="ignore", invalid="ignore")


def _pixels(volume: Any, shape: tuple[int, ...], packed: bool) -> ArrayLike:
    """(Times,) planes, rows, columns (and channels)."""
    proxy = volume.dataobj
    if volume.get_data_dtype().fields is not None:
        samples = np.ascontiguousarray(proxy.get_unscaled().reshape(shape, order="F").T)
        return samples.view(np.uint8).reshape(*samples.shape, -1)
    scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
    if packed:
        with _beyond_float32():
            values = volume.get_fdata(dtype=np.float32, caching="unchanged") if scaled else proxy.get_unscaled()
        return _native(np.asarray(values).reshape(shape, order="F").T)
    if not scaled and proxy.dtype.isnative:
        mapped: ArrayLike = proxy.get_unscaled().reshape(shape, order="F").T
        return mapped

    def read(plane: int, time: int = 0) -> npt.NDArray[Any]:
        index = (slice(None), slice(None), plane, time, *(0 for _ in volume.shape[4:]))[: len(volume.shape)]
        with _beyond_float32():
            return np.asarray(proxy[index]).T.astype(dtype)

    dtype = np.dtype(np.float32) if scaled else proxy.dtype.newbyteorder("=")
    inner = shape[2::-1]
    if len(shape) == 3:
        return LazyStack(inner, dtype, read)
    return LazyStack(shape[::-1], dtype, lambda time: LazyStack(inner, dtype, partial(read, time=time)))


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _geometry(path: Path, volume: Any) -> tuple[npt.NDArray[np.float64] | None, tuple[float, float, float] | None]:
    """Affine to LPS millimetres, and spacing of plane, row and column."""
    header = volume.header
    unit = header.get_xyzt_units()[0]
    scale = _MILLIMETRES[unit]
    zooms = [float(zoom) * scale for zoom in (*header.get_zooms(), 1.0)[:3]]
    if not (header["sform_code"] or header["qform_code"]):
        told = unit != "unknown" or zooms != [1.0, 1.0, 1.0]
        return None, (zooms[2], zooms[1], zooms[0]) if told and min(zooms) > 0 else None
    affine = from_ras(volume.affine)
    affine[:3] *= scale
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    voxel = abs(np.linalg.det(affine[:3, :3]))
    if not np.isfinite(affine).all() or not voxel > 1e-9 * np.prod(spacing):
        raise ImageError(f"{path} has an affine that cannot be inverted: {affine.tolist()}; correct its header")
    return affine, (float(spacing[0]), float(spacing[1]), float(spacing[2]))
