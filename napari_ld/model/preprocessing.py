"""Pixels to model input; the only place that rescales intensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld.errors import ImageError

# Percentiles need no more pixels than this; larger images are read with a stride.
_SAMPLE = 1_000_000
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class IntensityNormalization:
    """Robust limits to [0, 1], then ``(x - mean) / std``.

    Attributes
    ----------
    low_percentile, high_percentile : float
        Intensities at these percentiles become 0 and 1; beyond them values are clipped. All channels share the limits.
    mean, std : float
        Applied after the scaling to [0, 1].
    """

    low_percentile: float = 0.5
    high_percentile: float = 99.5
    mean: float = 0.5
    std: float = 0.25

    def limits(self, pixels: npt.NDArray[Any]) -> tuple[float, float]:
        """Robust limits of one plane, or of a whole volume when all its planes must share them.

        Non-finite pixels are ignored; without any finite pixel the limits are (0, 1).
        """
        flat = np.asarray(pixels).reshape(-1)
        with np.errstate(over="ignore"):
            flat = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float32)
        flat = flat[np.isfinite(flat)]
        if flat.size == 0:
            return 0.0, 1.0
        # In double precision: the range of single-precision values may itself be too large for one.
        low, high = np.percentile(flat.astype(np.float64), [self.low_percentile, self.high_percentile])
        if high <= low:  # nearly constant: the extremes may still differ
            low, high = float(flat.min()), float(flat.max())
        return float(low), float(high)

    def apply(self, pixels: npt.NDArray[Any], limits: tuple[float, float] | None = None) -> npt.NDArray[np.float32]:
        """Turn a plane into model input.

        Parameters
        ----------
        pixels : (H, W) or (H, W, C) array
            C = 1, 3 or 4; the fourth channel (alpha) is dropped.
        limits : (low, high), optional
            From :meth:`limits`; computed from ``pixels`` when absent.

        Returns
        -------
        (C, H, W) float32 array, always finite: non-finite pixels count as the low limit, constant images become 0.5.
        """
        pixels = _channels_first(np.asarray(pixels))
        low, high = self.limits(pixels) if limits is None else limits
        kind: Any = np.float32 if high - low < _LARGEST else np.float64
        with np.errstate(over="ignore"):
            scaled = (pixels.astype(kind) - kind(low)) / kind(max(high - low, 1e-12))
        scaled = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)
        if high <= low:
            scaled.fill(0.5)
        return np.asarray((scaled - self.mean) / self.std, np.float32)


def _channels_first(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if pixels.ndim == 2:
        return pixels[None]
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4):
        return np.moveaxis(pixels[..., :3], -1, 0)
    raise ImageError(
        f"plane of shape {pixels.shape}: expected (rows, columns) or (rows, columns, channels) with 1, 3 or 4 channels"
    )
