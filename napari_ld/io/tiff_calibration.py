"""Millimetres of a TIFF file: what ImageJ, OME, tifffile and our own label writer leave in it."""

from __future__ import annotations

import json
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

__all__ = ["MILLIMETRES", "calibration", "holds_labels", "our_metadata"]

MILLIMETRES = {
    "nm": 1e-6,
    "nanometer": 1e-6,
    "um": 1e-3,
    "µm": 1e-3,  # micro sign
    "μm": 1e-3,  # Greek mu
    "\\u00b5m": 1e-3,  # as ImageJ escapes it
    "micron": 1e-3,
    "microns": 1e-3,
    "micrometer": 1e-3,
    "mm": 1.0,
    "millimeter": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "m": 1e3,
    "meter": 1e3,
    "inch": 25.4,
    "inches": 25.4,
}
"""Millimetres in one unit, by its name in small letters."""

_OURS = "napari-ld"
Geometry = tuple[npt.NDArray[np.float64] | None, tuple[float, ...] | None]


def our_metadata(affine: npt.NDArray[np.float64] | None, spacing: tuple[float, ...] | None) -> dict[str, str]:
    """What the label writer adds to the description of a TIFF; :func:`calibration` reads it back exactly."""
    rows = None if affine is None else np.asarray(affine, np.float64).tolist()
    return {_OURS: json.dumps({"affine_lps_mm": rows, "spacing_mm": spacing, "kind": "labels"})}


def calibration(tif: tifffile.TiffFile, ndim: int) -> Geometry:
    """Affine to LPS millimetres and spacing in millimetres, each None when the file does not tell.

    Parameters
    ----------
    tif : TiffFile
    ndim : int
        2 for an image, 3 for a stack. A stack without a plane distance gets 1 mm where the format defines that
        (ImageJ: one unit).
    """
    described: dict[str, Any] = tif.imagej_metadata or (tif.shaped_metadata or ({},))[0]
    if _OURS in described:
        ours = json.loads(described[_OURS])
        affine = ours["affine_lps_mm"]
        spacing = ours["spacing_mm"]
        return (None if affine is None else np.array(affine, np.float64)), None if spacing is None else tuple(spacing)
    sizes = _ome(tif.ome_metadata) if tif.ome_metadata else _imagej(tif, described)
    if sizes is None or not all(math.isfinite(size) and size > 0 for size in sizes[-ndim:]):
        return None, None
    return None, sizes[-ndim:]


def holds_labels(tif: tifffile.TiffFile) -> bool:
    """Whether our label writer made the file."""
    described: dict[str, Any] = (tif.shaped_metadata or ({},))[0]
    return _OURS in described and bool(json.loads(described[_OURS]).get("kind") == "labels")


def _imagej(tif: tifffile.TiffFile, described: dict[str, Any]) -> tuple[float, float, float] | None:
    unit = MILLIMETRES.get(str(described.get("unit", "")).lower())
    tags = tif.pages.first.tags
    if unit is None or "XResolution" not in tags or "YResolution" not in tags:
        return None
    across, down = (_per_pixel(tags[name].value) * unit for name in ("XResolution", "YResolution"))
    # ImageJ writes the distance of planes only when it is not one unit.
    try:
        between = float(described.get("spacing", 1.0)) * unit
    except (TypeError, ValueError):
        return None
    return abs(between), down, across


def _per_pixel(resolution: tuple[int, int]) -> float:
    pixels, units = resolution
    return units / pixels if pixels else math.nan


def _ome(xml: str) -> tuple[float, float, float] | None:
    try:
        pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    except ElementTree.ParseError:
        return None
    if pixels is None or "PhysicalSizeX" not in pixels.attrib or "PhysicalSizeY" not in pixels.attrib:
        return None
    sizes = []
    for axis in "ZYX":
        unit = MILLIMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower(), math.nan)
        sizes.append(float(pixels.get(f"PhysicalSize{axis}", "nan")) * unit)
    return sizes[0], sizes[1], sizes[2]
