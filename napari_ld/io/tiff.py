"""TIFF through tifffile: single and multi-page, ImageJ, OME and our own label files.

Uncompressed stacks are memory-mapped, others read page by page, so that opening a stack loads one page. Compressions
and colour models that tifffile alone does not decode (LZW, JPEG, palettes …) are decoded by Pillow.

A page axis that the file calls Z becomes ``z``, T becomes ``t``, any other (also separate channels) ``p``. The spacing
comes from ImageJ, OME or tifffile metadata with a unit of length; plain dots per inch say nothing about the patient
and are ignored.
"""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image
import tifffile

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.io.lazy import LazyStack
from napari_ld.io.raster import to_pixels
from napari_ld.io.signatures import DAMAGED, check_plane_size, check_signature, damaged
from napari_ld.io.tiff_calibration import calibration, holds_labels

__all__ = ["read_tiff"]

_PLANE_LETTERS = {"Z": "z", "T": "t"}
# What tifffile complains of is raised as an error of ours; unhandled, its log would go to standard error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_PILLOW_COLOURS = {tifffile.PHOTOMETRIC.PALETTE, tifffile.PHOTOMETRIC.YCBCR, tifffile.PHOTOMETRIC.SEPARATED}
_ALPHA = {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}
_BROKEN = (tifffile.TiffFileError, PIL.UnidentifiedImageError, *DAMAGED)


def read_tiff(path: Path) -> Image:
    """Read a TIFF file.

    Returns
    -------
    Image
        ``"yx"`` or ``"yxc"`` for one page, else with ``z``, ``t`` or ``p`` in front. Lazy for stacks.

    Raises
    ------
    ImageError
        Missing, empty, damaged, truncated, pages of different sizes, more than one page axis, absurdly
        large.
    """
    check_signature(path, "TIFF")
    try:
        with tifffile.TiffFile(path) as tif:
            series = _series(path, tif)
            axes = _axes(path, series)
            pages = [page for page in series.pages if page is not None]
            _check_whole(path, tif, series, pages)
            array = _pixels(path, tif, series, [page.index for page in pages])
            affine, spacing = calibration(tif, len(axes.rstrip("c")))
            labelled = holds_labels(tif)
    except _BROKEN as error:
        raise damaged(path, error) from error
    channels = "c" if len(array.shape) > len(axes.rstrip("c")) else ""
    kind: Literal["labels", "image"] = "labels" if labelled else "image"
    return Image(array, axes.rstrip("c") + channels, affine, spacing, str(path), kind)


def _series(path: Path, tif: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """The only image or stack of the file, thumbnails left aside."""
    if not len(tif.pages):
        raise ImageError(f"{path} holds no page; export it again")
    series = [one for one in tif.series if not one.keyframe.is_reduced]
    if not series or min(series[0].shape, default=0) < 1:
        raise ImageError(f"{path} holds no pixels; export it again")
    if len(series) > 1:
        shapes = ", ".join(str(one.shape) for one in series[:4])
        raise ImageError(f"{path} holds images of different sizes ({shapes}); save each as a file of its own")
    if any(page is not None and page.parent is not tif for page in series[0].pages):
        raise ImageError(f"{path} is a part of an image in several files; save the image as one file")
    return series[0]


def _axes(path: Path, series: tifffile.TiffPageSeries) -> str:
    """Our letters for the axes of the series, e.g. ``"zyx"``; ``c`` is a matter of the pages."""
    planes = [
        letter for letter, length in zip(series.axes, series.shape, strict=True) if length > 1 and letter not in "YXS"
    ]
    if "Y" not in series.axes or "X" not in series.axes:
        raise ImageError(f"{path} has the axes {series.axes}; expected rows (Y) and columns (X)")
    if len(planes) > 1:
        raise ImageError(f"{path} has the axes {series.axes}, more than one axis of pages; save each stack alone")
    return (_PLANE_LETTERS.get(planes[0], "p") if planes else "") + "yx"


def _check_whole(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, pages: list[Any]) -> None:
    """Refuse a file that ends before its pages do; tifffile alone would silently give fewer pages."""
    size = path.stat().st_size
    ends = [sum(ends) for page in pages for ends in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if series.dataoffset is not None:
        ends.append(series.dataoffset + series.nbytes)
    if max(ends, default=0) > size or _link_behind(tif, tif.pages[-1].offset) != 0:
        raise ImageError(f"{path} is truncated: its pages reach beyond its {size} bytes; copy or export it again")
    if series.dataoffset is None:
        check_plane_size(path, series.keyframe.imagelength, series.keyframe.imagewidth)


def _link_behind(tif: tifffile.TiffFile, offset: int) -> int:
    """Where the page after the one at ``offset`` is said to be; 0 after the last."""
    form = tif.tiff
    tif.filehandle.seek(offset)
    (count,) = struct.unpack(form.tagnoformat, tif.filehandle.read(form.tagnosize))
    tif.filehandle.seek(count * form.tagsize, 1)
    (link,) = struct.unpack(form.offsetformat, tif.filehandle.read(form.offsetsize))
    return int(link)


def _pixels(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, indices: list[int]) -> ArrayLike:
    """``(planes, rows, columns[, channels])`` or one plane."""
    planes = int(np.prod([n for letter, n in zip(series.axes, series.shape, strict=True) if letter not in "YXS"]))
    first = _page(path, tif, indices[0])
    if planes == 1:
        return first
    if series.dataoffset is not None and series.keyframe.photometric != tifffile.PHOTOMETRIC.MINISWHITE:
        return _mapped(path, tif, series, planes, first)
    if len(indices) != planes:
        raise ImageError(f"{path} declares {planes} pages and holds {len(indices)}; export it again")

    def read(plane: int) -> npt.NDArray[Any]:
        return read_page(path, indices[plane], first.shape, first.dtype)

    return LazyStack((planes, *first.shape), first.dtype, read)


def _mapped(
    path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, planes: int, first: npt.NDArray[Any]
) -> ArrayLike:
    """A stack that lies in the file as it is in memory."""
    stored = series.dtype.newbyteorder(tif.byteorder)
    page_shape = series.keyframe.shape
    raw: npt.NDArray[Any] = np.memmap(
        path, dtype=stored, mode="r", offset=series.dataoffset or 0, shape=(planes, *page_shape)
    )
    if page_shape == first.shape and stored == first.dtype:
        return raw
    axes = series.keyframe.axes
    return LazyStack((planes, *first.shape), first.dtype, lambda plane: _arranged(path, np.asarray(raw[plane]), axes))


def read_page(path: Path, index: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Read page ``index`` of a file that was opened before.

    Raises
    ------
    ImageError
        When the file is damaged, gone or no longer the one that was opened.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            pixels = _page(path, tif, index)
    except _BROKEN as error:
        raise damaged(path, error) from error
    if pixels.shape != shape or pixels.dtype != dtype:
        raise ImageError(f"{path} has changed since it was opened; open it again")
    return pixels


def _page(path: Path, tif: tifffile.TiffFile, index: int) -> npt.NDArray[Any]:
    """Decode one page to grey, RGB or RGBA in native byte order."""
    page = tif.pages[index].aspage()
    if page.photometric in _PILLOW_COLOURS:
        return _with_pillow(path, index)
    try:
        pixels = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _with_pillow(path, index)
    if page.samplesperpixel == 2 and not set(page.extrasamples) & _ALPHA:
        raise ImageError(f"{path} has 2 samples a pixel, the second of them no alpha; save the channel to look at")
    pixels = _arranged(path, pixels, page.axes)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        return np.iinfo(pixels.dtype).max - pixels
    return pixels


def _arranged(path: Path, pixels: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """Samples last and 3 or 4 of them, native byte order, bits as 0 and 255."""
    if pixels.dtype.kind not in "biuf":
        raise ImageError(
            f"{path} holds values of type {pixels.dtype}; expected real numbers: save magnitude or phase alone"
        )
    pixels = pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype.kind == "b" else pixels
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
        samples = pixels.shape[-1]
        if samples > 4:
            raise ImageError(
                f"{path} has {samples} samples a pixel; expected 1 (grey), 3 (RGB) or 4 (RGBA): "
                "save the channel to look at"
            )
        pixels = pixels if samples > 2 else pixels[..., 0]  # the second of two is alpha
    return np.ascontiguousarray(pixels)


def _with_pillow(path: Path, index: int) -> npt.NDArray[Any]:
    with PIL.Image.open(path, formats=["TIFF"]) as picture:
        picture.seek(index)
        return to_pixels(picture)
