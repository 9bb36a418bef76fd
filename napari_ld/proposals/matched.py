"""Small structures from one example: the angle between what a pixel looks like and what the example looks like.

A few pixels teach no rule, but their direction in the space of local contrasts, whitened by what is usual in the image,
singles out their like (adaptive cosine estimator: Kraut, Scharf and McWhorter, IEEE Trans. Signal Processing 49:1,
2001; the choice of features is ours).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.proposals.evidence import PlaneEvidence

__all__ = ["Matched", "contrasts", "fit_matched"]

Array = npt.NDArray[np.float32]

_SIGMAS = (0.7, 1.4, 2.8, 5.6, 11.2, 22.4)  # pixels of the stored image
_RIDGE = 0.05
_NOISE = 4.0  # squared whitened length below which an angle means little
_STEEPNESS = 12.0  # log-odds per unit of cosine
_LEVEL = 0.7  # of the usual cosine inside the example
_CLIP = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """A direction, and the cosine at which it counts as found.

    Attributes
    ----------
    middle, spread : (F,) float32 arrays
        Median and robust spread of the contrasts where the example lies.
    inverse : (F, F) float32 array
        Inverse of their covariance.
    direction : (F,) float32 array
        ``inverse`` times the example, of whitened length 1.
    level : float
    """

    middle: Array
    spread: Array
    inverse: Array
    direction: Array
    level: float = 0.5

    def cosine(self, features: Array) -> Array:
        """Whitened cosine of features (..., F) with the example."""
        x = (features - self.middle) / self.spread
        length = np.sqrt(np.einsum("...i,...i->...", x @ self.inverse, x) + _NOISE)
        return np.asarray(x @ self.direction / length, np.float32)

    def __call__(self, features: Array) -> Array:
        """Log-odds of features (..., F); 0 at the level."""
        return np.asarray(_STEEPNESS * (self.cosine(features) - self.level), np.float32)


def contrasts(evidence: PlaneEvidence) -> Array:
    """Differences of Gaussians of five sizes and the colour itself, ``(rows, columns, F)``."""
    blurred = [
        np.stack([ndimage.gaussian_filter(channel, sigma, truncate=3.0) for channel in evidence.channels])
        for sigma in _SIGMAS
    ]
    parts = [fine - coarse for fine, coarse in itertools.pairwise(blurred)]
    return np.ascontiguousarray(np.moveaxis(np.concatenate([*parts, blurred[1]]), 0, -1), np.float32)


def fit_matched(features: Array, inside: npt.NDArray[np.bool_]) -> Matched:
    """Direction of the pixels ``inside`` (rows, columns), away from the usual ``features`` (rows, columns, F)."""
    sample = features.reshape(-1, features.shape[-1])
    sample = sample[:: max(1, len(sample) // 40_000)]
    middle = np.median(sample, axis=0)
    spread = 1.48 * np.median(np.abs(sample - middle), axis=0) + 1e-4
    usual = np.clip((sample - middle) / spread, -_CLIP, _CLIP)
    inverse = np.linalg.inv(np.cov(usual.T) + _RIDGE * np.eye(usual.shape[1]))
    example = ((features[inside] - middle) / spread).mean(axis=0)
    direction = inverse @ example / np.sqrt(max(float(example @ inverse @ example), 1e-12))
    middle, spread, inverse, direction = (np.asarray(part, np.float32) for part in (middle, spread, inverse, direction))
    rule = Matched(middle, spread, inverse, direction)
    level = _LEVEL * float(np.median(rule.cosine(features[inside])))
    return Matched(middle, spread, inverse, direction, level)
