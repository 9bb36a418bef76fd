"""DICOM through pydicom: single files, files of many frames, and folders of slices, as images in patient space.

Only headers are read when a series is opened; a plane is decoded when it is looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.io.dicom_headers import Header, NoPixelsError, read_header
from napari_ld.io.dicom_pixels import check_readable, read_plane, value_type
from napari_ld.io.dicom_seg import is_segmentation, read_segmentation
from napari_ld.io.dicom_series import Ordered, Place, Series, group_series, order_series
from napari_ld.io.folders import dicom_files
from napari_ld.io.lazy import LazyStack
from napari_ld.io.parts import choose

__all__ = ["Several", "ordered_places", "read_dicom", "read_dicom_files"]

Several = Literal["refuse", "largest", "all"]
"""What to do with a folder of several series where one is expected."""


def read_dicom(path: Path) -> Image:
    """Read one file.

    Returns
    -------
    Image
        ``"yx"``, or for many frames ``"zyx"``, ``"tzyx"``, ``"tyx"`` or ``"pyx"`` as their positions tell, with ``c``
        behind for colour; labels for a DICOM segmentation. Affine and spacing are those of the patient; of projections
        the spacing is that at the detector.

    Raises
    ------
    ImageError
        Missing, empty, damaged, without pixels, compressed in a way that cannot be decoded.
    """
    header = read_header(path)
    if is_segmentation(header):
        return read_segmentation(header)
    images = [_image(series, str(path)) for series in group_series([header])]
    if len(images) > 1:
        raise ImageError(f"{path} holds frames of {len(images)} orientations; save each as a file")
    return images[0]


def read_dicom_files(
    files: Sequence[Path], where: Path, *, part: str | None = None, several: Several = "refuse"
) -> list[Image]:
    """Read files that lie in one folder, as the volumes and pictures that they form.

    Parameters
    ----------
    files : sequence of Path
    where : Path
        Their folder, by which the volume is called.
    part : str, optional
        Number (from 0, by number and UID of the series) or UID of the only series that is wanted.
    several : {"refuse", "largest", "all"}
        What to do when there is a volume and anything beside it and no part is named.

    Returns
    -------
    list of Image
        Planes that lie in one body form one volume; planes without a position are pictures of their own.

    Raises
    ------
    ImageError
        As :func:`read_dicom`; also for several series under ``"refuse"``, which are then listed.

    Warns
    -----
    UserWarning
        Names what was left out under ``"largest"``, and what :func:`napari_ld.io.dicom_series.order_series` says.
    """
    headers = _headers(files, where)
    labels = [header for header in headers if is_segmentation(header)]
    series = group_series(header for header in headers if not is_segmentation(header))
    if part is not None:
        return [_image(choose(series, [one.first.series for one in series], part, where), f"{where}#{part}")]
    if labels and not series:
        return [read_segmentation(header) for header in labels]
    if labels:
        _warn(f"{where}: left out, segmentations beside images: {', '.join(one.path.name for one in labels[:5])}")
    if len(series) > 1 and any(one.is_volume for one in series):
        if several == "refuse":
            raise ImageError(f"{where} holds {len(series)} series; name one of them: {_listed(series, where)}")
        if several == "largest":
            index = max(range(len(series)), key=lambda one: len(series[one].places))
            _warn(f"{where} holds {len(series)} series; opened is the largest of {_listed(series, where)}")
            return [_image(series[index], f"{where}#{index}")]
        return [_image(one, f"{where}#{index}") for index, one in enumerate(series)]
    if len(series) == 1 and series[0].is_volume and len({place.header.path for place in series[0].places}) > 1:
        return [_image(series[0], str(where))]
    return [_image(picture, str(picture.first.path)) for one in series for picture in _pictures(one)]


def ordered_places(path: Path, part: str | None = None) -> tuple[Place, ...]:
    """The planes of an image that was opened from ``path``, in its order.

    Raises
    ------
    ImageError
        When there is no such DICOM file or series any more.
    """
    files = dicom_files(path) if path.is_dir() else [path]
    if not files:
        raise ImageError(f"{path} holds no DICOM files; a DICOM segmentation needs those that the image came from")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # was said when the image was opened
        series = group_series(header for header in _headers(files, path) if not is_segmentation(header))
        chosen = choose(series, [one.first.series for one in series], part or "0", path)
        return order_series(chosen, str(path)).places


def _headers(files: Sequence[Path], where: Path) -> list[Header]:
    headers, others = [], []
    for path in files:
        try:
            headers.append(read_header(path))
        except NoPixelsError:
            others.append(path.name)
    if not headers:
        raise ImageError(f"{where} holds DICOM files, but none with an image: {', '.join(others[:5])}")
    if others:
        _warn(f"left out of {where}, DICOM files without an image: {', '.join(others[:5])}{_more(others)}")
    return headers


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 5} more" if len(names) > 5 else ""


def _pictures(series: Series) -> list[Series]:
    """Planes without a position: each file by itself, in the order of the files' numbers."""
    headers = {place.header.path: place.header for place in series.places}
    return [one for header in sorted(headers.values(), key=_by_number) for one in group_series([header])]


def _by_number(header: Header) -> tuple[int, str]:
    return header.number, header.path.name


def _listed(series: Sequence[Series], where: Path) -> str:
    return "; ".join(f"{where}#{index} ({one})" for index, one in enumerate(series))


def _image(series: Series, name: str) -> Image:
    for header in {id(place.header): place.header for place in series.places}.values():
        check_readable(header)
    ordered = order_series(series, name)
    array = _pixels(ordered)
    first = ordered.places[0].header
    channels = "c" if len(array.shape) > len(ordered.axes) else ""
    return Image(
        array,
        ordered.axes + channels,
        ordered.affine,
        ordered.spacing,
        name,
        modality=str(first.elements.get("Modality") or ""),
        display_range=_display_range(first),
    )


def _pixels(ordered: Ordered) -> ArrayLike:
    """The pixels of a single plane, else a stack that is read plane by plane."""
    places: list[Place] = list(ordered.places)
    dtype, header = value_type(places), places[0].header
    shape: tuple[int, ...] = (header.rows, header.columns)
    if dtype is None or not ordered.shape:
        first = read_plane(places[0], dtype)
        if not ordered.shape:
            return first
        dtype, shape = first.dtype, first.shape
    depth = ordered.shape[-1]

    def volume(time: int) -> LazyStack:
        return LazyStack(
            (depth, *shape),
            dtype,
            lambda plane: read_plane(places[time * depth + plane], dtype),
            lambda plane, out: read_plane(places[time * depth + plane], dtype, out),
        )

    return volume(0) if len(ordered.shape) == 1 else LazyStack((*ordered.shape, *shape), dtype, volume)


def _display_range(header: Header) -> tuple[float, float] | None:
    """The first window that the file proposes, as darkest and brightest value (PS3.3, C.11.2.1.2)."""
    values: list[Any] = [header.elements.get(name) for name in ("WindowCenter", "WindowWidth")]
    try:
        centre, width = (float(value if isinstance(value, (str, float, int)) else value[0]) for value in values)
    except (TypeError, ValueError, IndexError):
        return None
    return (centre - width / 2, centre + width / 2) if width > 0 and np.isfinite([centre, width]).all() else None


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)
