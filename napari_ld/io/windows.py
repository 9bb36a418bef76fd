"""Intensity windows: which values the encoder gets as darkest and brightest.

Without a window the encoder gets robust percentiles of the pixels themselves, which suits MR and photographs. CT values
mean the same on every scanner, so that a window in Hounsfield units can show one tissue. The presets are the widths and
levels usual in radiology (as listed for instance by Radiopaedia, "Windowing (CT)").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_ld._types import Image
from napari_ld.errors import ImageError

__all__ = ["AS_SHOWN", "CT_WINDOWS", "parse_window", "windows_for", "with_window"]

AS_SHOWN = "as shown"
"""What viewers call the range in which they show an image."""

CT_WINDOWS: dict[str, tuple[float, float]] = {
    "abdomen": (50, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft-tissue": (50, 400),
    "spine": (50, 250),
    "temporal-bone": (600, 2800),
}
"""Name to (level, width), Hounsfield units."""


def parse_window(text: str) -> tuple[float, float]:
    """Read the name of a preset, or ``LOW,HIGH``.

    Returns
    -------
    (low, high)

    Raises
    ------
    ImageError
        Unknown name, or numbers that are no range.
    """
    if text in CT_WINDOWS:
        level, width = CT_WINDOWS[text]
        return level - width / 2, level + width / 2
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ImageError(f"the window {text!r} is unknown; choose {', '.join(CT_WINDOWS)}, or LOW,HIGH as in -160,240")
    return low, high


def windows_for(image: Image) -> list[str]:
    """Presets that may suit an image: those of CT, unless its file or its values say that it is none."""
    may_be_ct = image.modality in ("", "CT") and np.dtype(image.array.dtype).kind in "if" and not image.has_channels
    return list(CT_WINDOWS) if may_be_ct else []


def with_window(images: Sequence[Image], text: str | None) -> list[Image]:
    """The images with a window for the encoder; unchanged for None.

    Raises
    ------
    ImageError
        As :func:`parse_window`; also for a preset on an image whose file says that it is no CT.
    """
    if text is None:
        return list(images)
    window = parse_window(text)
    for image in images:
        if text in CT_WINDOWS and image.modality not in ("", "CT"):
            raise ImageError(
                f"{image.source} is {image.modality}, and the window {text!r} is in Hounsfield units of CT; "
                "give LOW,HIGH instead"
            )
    return [replace(image, window=window) for image in images]
