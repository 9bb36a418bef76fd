"""Small structures from one click: spots that stand out from their surroundings as the clicked one does.

A few pixels teach no rule, but the way in which they differ from what surrounds them, in units of the contrast that is
usual there, singles out their like: a matched filter whose background covariance is shrunk strongly (Ledoit and Wolf,
J. Multivariate Analysis 88:365, 2004, say why; the amount and the choice of contrasts are ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld._types import Position
from napari_ld.proposals.evidence import PlaneEvidence

__all__ = ["Spots", "fit_spots", "local_contrasts", "spot_outline"]

Array = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]

_WINDOWS = (13, 25, 51)  # pixels of the stored image: sides of the surroundings that a pixel is compared with
_BLURS = (0.8, 1.6, 3.2)  # sigmas in pixels of the contrasts
_FLOOR = 0.005  # contrast that is never taken for usual, of the range of the plane
_CAP = 0.02  # contrasts above count as this much when the usual one is measured
_CLIP = 8.0
_SHRINKAGE = 30.0  # of the correlations of the background towards none
_STEEPNESS = 6.0  # log-odds per response of the example
_LEVEL = 0.5  # of the usual response inside the example
_SAMPLE = 60_000  # pixels that say what is usual
_FAINTEST = 1.5  # contrast from which on a click has hit a spot
_PARTS = (
    0.5,
    0.65,
    0.8,
    0.9,
)  # of the contrast at the click: where its outline runs; the first that parts it from others
_FILLED = 0.25  # part of the window that a spot fills at most


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """A direction in the space of local contrasts.

    Attributes
    ----------
    polarity : (C,) float32 array
        1 for channels in which the example is brighter than its surroundings, -1 for the others.
    direction : (F,) float32 array
        Response is 1 for the usual pixel of the example.
    """

    polarity: Array
    direction: Array

    def __call__(self, evidence: PlaneEvidence, within: BoolMask) -> Array:
        """Log-odds (rows, columns) of the pixels of a plane, 0 at half the example's response.

        Parameters
        ----------
        evidence : PlaneEvidence
        within : (rows, columns) bool array
            Pixels that say what is usual on this plane.
        """
        contrasts = local_contrasts(evidence, self.polarity)
        middle, spread = _usual(contrasts, within)
        response = contrasts @ (self.direction / spread) - np.float32(middle @ (self.direction / spread))
        return np.asarray(_STEEPNESS * (response - _LEVEL), np.float32)


def local_contrasts(evidence: PlaneEvidence, polarity: Array) -> Array:
    """How much every pixel differs from its surroundings, relative to what is usual there.

    Parameters
    ----------
    evidence : PlaneEvidence
    polarity : (C,) float32 array
        Factors of the channels, 1 or -1. Only contrasts of this sign are capped when the usual one is measured: spots
        do not hide their like, while dark lines make bright edges beside them less remarkable.

    Returns
    -------
    (rows, columns, F) float32 array
        For three sizes of surroundings and three of blur, each colour channel.
    """
    parts = []
    for window in _WINDOWS:
        contrast = _contrast(evidence.channels * polarity[:, None, None], window)
        parts += [ndimage.gaussian_filter(contrast, (0, sigma, sigma), truncate=3.0) for sigma in _BLURS]
    return np.ascontiguousarray(np.moveaxis(np.concatenate(parts), 0, -1), np.float32)


def fit_spots(evidence: PlaneEvidence, inside: BoolMask, within: BoolMask) -> Spots:
    """Direction in which the pixels ``inside`` (rows, columns) differ from those ``within``."""
    apart = [float((channel - _median(channel, _WINDOWS[1]))[inside].mean()) for channel in evidence.channels]
    polarity = np.where(np.array(apart) < 0, -1, 1).astype(np.float32)
    contrasts = local_contrasts(evidence, polarity)
    middle, spread = _usual(contrasts, within)
    usual = (_sampled(contrasts, within) - middle) / spread
    example = ((contrasts[inside] - middle) / spread).mean(axis=0)
    covariance = np.cov(usual.T.astype(np.float64)) + _SHRINKAGE * np.eye(len(example))
    direction = np.linalg.solve(covariance, example.astype(np.float64))
    response = float(np.median((contrasts[inside] - middle) / spread @ direction))
    return Spots(polarity, np.asarray(direction / max(response, 1e-9), np.float32))


def spot_outline(evidence: PlaneEvidence, position: Position) -> BoolMask | None:
    """Outline of a clicked spot: where half of the contrast at the click is left, or more where others are near.

    Returns
    -------
    (rows, columns) bool array or None
        None where the click has hit nothing that is small and stands out.
    """
    rows, columns = evidence.shape
    row = min(max(round(position[0]), 0), rows - 1)
    column = min(max(round(position[1]), 0), columns - 1)
    near = slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)
    for window in _WINDOWS:
        differing = [
            float(channel[row, column] - _median(channel, window)[row, column]) for channel in evidence.channels
        ]
        signed = evidence.channels * np.where(np.array(differing) < 0, -1, 1).astype(np.float32)[:, None, None]
        contrast = ndimage.gaussian_filter(_contrast(signed, window), (0, _BLURS[0], _BLURS[0]))
        there = contrast[:, near[0], near[1]].mean(axis=(1, 2))
        strength = float(np.linalg.norm(there))
        if strength < _FAINTEST:
            continue
        alike = np.einsum("c,cij->ij", there / strength**2, contrast)
        for part in _PARTS:
            labels, _ = ndimage.label(alike > part)
            spot = labels == labels[row, column]
            if labels[row, column] and int(spot.sum()) <= _FILLED * window**2:
                return np.asarray(spot)
    return None


def _contrast(channels: Array, window: int) -> Array:
    """Channels (C, rows, columns) less the median around every pixel, in units of the usual contrast there."""
    found = channels - np.stack([_median(channel, window) for channel in channels])
    capped = np.minimum(found, _CAP) ** 2
    usual = np.sqrt(ndimage.gaussian_filter(capped, (0, window / 2, window / 2), truncate=2.0)) + _FLOOR
    return np.asarray(np.clip(found / usual, -_CLIP, _CLIP), np.float32)


def _median(channel: Array, window: int) -> Array:
    """Median of a square around every pixel; of wide squares that of block means, which is much quicker."""
    step = max(1, window // 6)
    rows, columns = channel.shape
    padded = np.pad(channel, ((0, -rows % step), (0, -columns % step)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // step, step, -1, step).mean(axis=(1, 3))
    small = ndimage.median_filter(blocks, size=2 * round(window / step / 2) - 1, mode="nearest")
    places = [(np.arange(side) - (step - 1) / 2) / step for side in (rows, columns)]
    found = ndimage.map_coordinates(small, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    return np.asarray(found, np.float32)


def _usual(contrasts: Array, within: BoolMask) -> tuple[Array, Array]:
    """Median and spread ``(F,)`` of the contrasts of a plane."""
    rows = _sampled(contrasts, within)
    return np.median(rows, axis=0), rows.std(axis=0) + np.float32(1e-3)


def _sampled(contrasts: Array, within: BoolMask) -> Array:
    rows = contrasts[within]
    return np.asarray(rows[:: max(1, len(rows) // _SAMPLE)])
