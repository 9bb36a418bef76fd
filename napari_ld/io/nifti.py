"""NIfTI through nibabel: indexed ``(plane, row, column)``, in patient LPS millimetres.

nibabel indexes ``[column, row, plane]`` and its affine leads to RAS; both are turned round exactly once, here.
Uncompressed files are read plane by plane; a ``.nii.gz`` has to be unpacked from its beginning and is held in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.io.lazy import LazyStack
from napari_ld.io.signatures import DAMAGED, check_signature, damaged

__all__ = ["from_ras", "read_nifti", "to_ras"]

MAX_UNPACKED_BYTES = 8 * 2**30
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
    """Read a 2-D or 3-D NIfTI file, ``.nii`` or ``.nii.gz``.

    Returns
    -------
    Image
        ``"zyx"``, or ``"yx"`` for a single slice, with ``c`` behind for RGB voxels. Without qform and sform the affine
        is None; the spacing then comes from ``pixdim``, and is None where that says nothing (all 1, no unit).

    Raises
    ------
    ImageError
        Missing, empty, damaged, not NIfTI, truncated, more than three dimensions, complex numbers, singular affine.
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
    channels = "c" if len(array.shape) > 3 else ""
    if shape[2] == 1:
        return Image(array[0], "yx" + channels, affine, None if spacing is None else spacing[1:], str(path))
    return Image(array, "zyx" + channels, affine, spacing, str(path))


def _spatial_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Columns, rows and planes."""
    if len(shape) < 2 or min(shape) < 1:
        raise ImageError(f"{path} has the shape {shape}; expected rows, columns and planes, at least one each")
    if any(length > 1 for length in shape[3:]):
        raise ImageError(f"{path} has the shape {shape}, more than three dimensions; save one volume a file")
    columns, rows, planes = (*shape, 1)[:3]
    return int(columns), int(rows), int(planes)


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


def _pixels(volume: Any, shape: tuple[int, int, int], packed: bool) -> ArrayLike:
    """Planes, rows, columns (and channels)."""
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

    def read(plane: int) -> npt.NDArray[Any]:
        index = (slice(None), slice(None), plane, *(0 for _ in volume.shape[3:]))[: len(volume.shape)]
        with _beyond_float32():
            return np.asarray(proxy[index]).T.astype(dtype)

    dtype = np.dtype(np.float32) if scaled else proxy.dtype.newbyteorder("=")
    return LazyStack(shape[::-1], dtype, read)


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
