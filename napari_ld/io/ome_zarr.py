"""Zarr and OME-Zarr (NGFF 0.4 and 0.5) folders, read chunk by chunk, and images written as such.

Of a multiscale image the finest level is the image; the coarser ones go to the viewer. NGFF has no oriented affine:
what napari-ld writes carries it under its own key, and reads it back exactly.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError, StorageError
from napari_ld.io.lazy import LazyArray
from napari_ld.io.signatures import DAMAGED, MAX_PLANES, check_plane_size, damaged
from napari_ld.io.tiff_calibration import MILLIMETRES

__all__ = ["is_zarr", "read_zarr", "write_zarr"]

_MARKS = ("zarr.json", ".zgroup", ".zarray")
_OURS = "napari-ld"
_MAX_CHUNK_BYTES = 2**29
_MAX_CHUNKS = 2**16  # of one plane: each is a file to be opened

Geometry = tuple[npt.NDArray[np.float64] | None, tuple[float, ...] | None]


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def read_zarr(path: Path, part: str | None = None) -> Image:
    """Open a zarr array, or an OME-Zarr image or label image; nothing but its description is read.

    Parameters
    ----------
    path : Path
        Folder.
    part : str, optional
        Channel, from 0, of an image of several channels.

    Returns
    -------
    Image
        ``"yx"``, ``"zyx"``, ``"tyx"``, ``"tzyx"``, with ``c`` behind where the colour comes last.

    Raises
    ------
    ImageError
        Not zarr, damaged, several channels and no ``part``, axes that are not understood, absurd sizes.
    """
    import zarr

    if not is_zarr(path):
        raise ImageError(f"{path} is no zarr folder: none of {', '.join(_MARKS)} is in it; check the path")
    try:
        node = zarr.open(path, mode="r")
        attributes: dict[str, Any] = dict(node.attrs)
        described = attributes.get("ome", attributes)
        if isinstance(node, zarr.Array):
            return _image(path, [node], _names_of(node), {}, attributes, part)
        scales = described.get("multiscales")
        if not scales:
            held = ", ".join(sorted(node.keys())[:8]) or "nothing"
            raise ImageError(f"{path} is a zarr group without an image of its own; name one in it: {held}")
        levels = [node[str(one["path"])] for one in scales[0]["datasets"]]
        if not all(isinstance(level, zarr.Array) for level in levels):
            raise ValueError("a level of its image is no array")
        return _image(path, levels, _axes_of(scales[0]), scales[0], attributes, part)
    except (KeyError, *DAMAGED) as error:
        raise damaged(path, error) from error


def _axes_of(scale: dict[str, Any]) -> list[str]:
    axes = scale.get("axes") or list("tczyx")
    return [str(one["name"] if isinstance(one, dict) else one).lower() for one in axes]


def _names_of(array: Any) -> list[str]:
    """Names of the axes of a bare array: its own, else by their number."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if names and all(isinstance(name, str) and len(name) == 1 for name in names):
        return [str(name).lower() for name in names]
    colour = array.ndim > 2 and array.shape[-1] in (3, 4)
    guessed = {2: "yx", 3: "yxc" if colour else "zyx", 4: "zyxc" if colour else "tzyx"}.get(array.ndim)
    if guessed is None:
        raise ImageError(f"an array of shape {array.shape} has no names of its axes; save one volume, or name them")
    return list(guessed)


def _image(
    path: Path, levels: list[Any], names: list[str], scale: dict[str, Any], attributes: dict[str, Any], part: str | None
) -> Image:
    finest = levels[0]
    if len(names) != finest.ndim or names[-2:] not in (["y", "x"], ["x", "c"]) or set(names) - set("tczpyx"):
        raise ImageError(f"{path} has the axes {''.join(names)} of shape {finest.shape}; expected t, z, y and x")
    _check_size(path, finest, names)
    _check_chunks(path, levels)
    chosen, source = _chosen_channel(path, finest, names, part)
    key: tuple[Any, ...] = tuple(
        chosen if name == "c" and names[-1] != "c" else 0 if name in "tz" and length == 1 else slice(None)
        for name, length in zip(names, finest.shape, strict=True)
    )
    axes = "".join(name for name, one in zip(names, key, strict=True) if isinstance(one, slice))
    arrays = [_lazy(path, level, key) for level in levels]
    ours = attributes.get(_OURS) or {}
    affine, spacing = _geometry(scale, names, axes, ours)
    labelled = "image-label" in attributes or "image-label" in attributes.get("ome", {}) or ours.get("kind") == "labels"
    pixels: ArrayLike = np.asarray(arrays[0]) if len(axes.rstrip("c")) == 2 and len(levels) == 1 else arrays[0]
    return Image(
        pixels,
        axes if not ours.get("axes") or len(ours["axes"]) != len(axes) else str(ours["axes"]),
        affine,
        spacing,
        source,
        "labels" if labelled else "image",
        levels=tuple(arrays[1:]),
    )


def _check_size(path: Path, array: Any, names: list[str]) -> None:
    rows, columns = (int(array.shape[names.index(name)]) for name in "yx")
    if min(array.shape) < 1:
        raise ImageError(f"{path} has the shape {array.shape}; expected at least one pixel: export it again")
    check_plane_size(path, rows, columns)
    planes = math.prod(int(length) for length in array.shape) // (rows * columns)
    chunk = math.prod(int(length) for length in array.chunks) * array.dtype.itemsize
    if planes > MAX_PLANES or chunk > _MAX_CHUNK_BYTES:
        raise ImageError(f"{path} declares {planes} planes in chunks of {chunk} bytes; save it in smaller pieces")
    across = [-(-int(array.shape[names.index(name)]) // int(array.chunks[names.index(name)])) for name in "yx"]
    if math.prod(across) > _MAX_CHUNKS:
        raise ImageError(f"{path} has {math.prod(across)} chunks a plane; save it in larger chunks")
    if array.dtype.kind not in "biuf":
        raise ImageError(f"{path} holds values of type {array.dtype}; expected real numbers")


def _check_chunks(path: Path, levels: list[Any]) -> None:
    """Refuse chunks that take more than they can hold: they would unpack to far more."""
    most = 0
    for level in levels:
        stored_together = getattr(level, "shards", None) or level.chunks
        most = max(most, math.prod(int(length) for length in stored_together) * level.dtype.itemsize)
    for folder, _, files in os.walk(path):
        for name in files:
            size = os.path.getsize(os.path.join(folder, name))
            if not name.startswith(".") and name not in _MARKS and size > 2 * most + 2**16:
                raise ImageError(f"{path} has a chunk {name} larger than it declares; copy or export it again")


def _chosen_channel(path: Path, array: Any, names: list[str], part: str | None) -> tuple[int, str]:
    """Number of the channel that is looked at, and how the image is then called."""
    if "c" not in names or names[-1] == "c":
        if names[-1] == "c" and array.shape[-1] not in (1, 3, 4):
            raise ImageError(f"{path} has {array.shape[-1]} channels; expected 1, 3 or 4")
        return 0, str(path)
    count = int(array.shape[names.index("c")])
    if count == 1:
        return 0, str(path)
    if part is None or not part.isdecimal() or int(part) >= count:
        raise ImageError(f"{path} has {count} channels; name one of them: {path}#0 to {path}#{count - 1}")
    return int(part), f"{path}#{part}"


def _lazy(path: Path, array: Any, key: tuple[Any, ...]) -> LazyArray:
    """The part of a zarr array that ``key`` leaves, whose errors name the file."""
    kept = [index for index, one in enumerate(key) if isinstance(one, slice)]

    def read(inner: tuple[Any, ...]) -> npt.NDArray[Any]:
        full = list(key)
        for index, one in zip(kept, inner, strict=True):
            full[index] = one
        try:
            return np.asarray(array[tuple(full)])
        except (KeyError, *DAMAGED) as error:
            raise damaged(path, error) from error

    shape = tuple(int(array.shape[index]) for index in kept)
    chunks = tuple(int(array.chunks[index]) for index in kept)
    return LazyArray(shape, array.dtype, read, chunks)


def _geometry(scale: dict[str, Any], names: list[str], axes: str, ours: dict[str, Any]) -> Geometry:
    if "spacing_mm" in ours:
        affine, spacing = ours.get("affine_lps_mm"), ours["spacing_mm"]
        return None if affine is None else np.array(affine, np.float64), None if spacing is None else tuple(spacing)
    factors = _factors((scale.get("datasets") or [{}])[0])
    units = [one.get("unit") if isinstance(one, dict) else None for one in scale.get("axes") or []]
    if factors is None or len(factors) != len(names) or len(units) != len(names):
        return None, None
    whole = _factors(scale)
    steps = []
    for index, name in enumerate(names):
        if name in axes and name in "zyx":
            unit = MILLIMETRES.get(str(units[index]).lower(), math.nan)
            steps.append(float(factors[index]) * (float(whole[index]) if whole else 1.0) * unit)
    if not all(math.isfinite(step) and step > 0 for step in steps):
        return None, None
    extra = len(axes.rstrip("c")) - len(steps)
    return None, (*(1.0,) * extra, *steps)


def _factors(scaled: dict[str, Any]) -> list[float] | None:
    transforms = scaled.get("coordinateTransformations") or []
    return next((one["scale"] for one in transforms if one.get("type") == "scale"), None)


def write_zarr(path: str | Path, image: Image, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Write an image as an OME-Zarr 0.5 folder of one level, plane by plane, with its affine and without any name.

    Parameters
    ----------
    path : str or Path
        Folder that does not exist yet; it appears under its name when all is written.
    image : Image
        May be lazy: one plane is in memory at a time.
    progress : callable, optional
        Called with planes done and all.

    Raises
    ------
    StorageError
        When the folder exists or cannot be written.
    """
    import zarr

    target = Path(path)
    if target.exists():
        raise StorageError(f"cannot write {target}: it exists already; choose another name or remove it first")
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    shape = tuple(int(length) for length in image.array.shape)
    leading = len(image.axes.rstrip("c")) - 2
    try:
        group: Any = zarr.open_group(temporary, mode="w-", zarr_format=3)
        array = group.create_array(
            "0",
            shape=shape,
            dtype=image.array.dtype,
            chunks=(1,) * leading + shape[leading:],
            dimension_names=list(image.axes),
        )
        for index in range(image.n_planes):
            array[np.unravel_index(index, shape[:leading]) if leading else ...] = image.plane(index)
            if progress is not None:
                progress(index + 1, image.n_planes)
        group.attrs.update(_description(image))
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}; choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _description(image: Image) -> dict[str, Any]:
    kinds = {"t": "time", "c": "channel", "p": "other"}
    axes = [{"name": axis, "type": kinds.get(axis, "space")} for axis in image.axes]
    spacing = list(image.spacing or ())
    for axis in axes:
        if axis["type"] == "space" and spacing:
            axis["unit"] = "millimeter"
    missing = len(image.axes.rstrip("c")) - len(spacing)
    steps = [1.0] * missing + [float(step) for step in spacing] + [1.0] * image.has_channels
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": steps}]}
    affine = None if image.affine is None else np.asarray(image.affine, np.float64).tolist()
    ours = {"axes": image.axes, "affine_lps_mm": affine, "spacing_mm": image.spacing, "kind": image.kind}
    return {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [dataset]}]}, _OURS: ours}
