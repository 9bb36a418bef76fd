"""What a pixel looks like: colour and blobs at full resolution, relative to its own image, and its embedding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld._types import Embedding
from napari_ld.embedding.resampling import resampled
from napari_ld.proposals.evidence import PlaneEvidence
from napari_ld.proposals.oversegmentation import balanced, gradient_of

__all__ = ["Basis", "appearance", "common_basis"]

Array = npt.NDArray[np.float32]

_SCALES = (1, 2, 4, 8, 16, 32)  # sigmas in pixels of an image whose longest side is 512
_REFERENCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Axes in which embeddings are compared, common to a whole stack.

    Attributes
    ----------
    mean : (D,) float32 array
    axes : (D, d) float32 array
        Principal axes; divided by the fourth root of their variance, which lets weak ones count more.
    """

    mean: Array
    axes: Array

    def project(self, embedding: Embedding) -> Array:
        """``(d, h, w)`` coordinates of every cell."""
        vectors = np.asarray(embedding.vectors, np.float32)
        rows = vectors.reshape(len(vectors), -1).T
        found = np.ascontiguousarray(((rows - self.mean) @ self.axes).T, np.float32)
        return found.reshape(-1, *vectors.shape[1:])


def common_basis(embeddings: Sequence[Embedding], components: int) -> Basis:
    """Principal axes of some planes' embeddings."""
    parts = [np.asarray(one.vectors, np.float32) for one in embeddings]
    rows = np.concatenate([part.reshape(len(part), -1).T[::7] for part in parts])
    mean = rows.mean(axis=0)
    centred = (rows - mean).astype(np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(rows))
    variance, axes = variance[::-1][:components], axes[:, ::-1][:, :components]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return Basis(mean, (axes / (np.maximum(variance, 1e-8) ** 0.25)).astype(np.float32))


def appearance(evidence: PlaneEvidence, basis: Basis, step: int = 1) -> Array:
    """Features of the pixels of a plane.

    Colours are given relative to the median and the spread of the plane itself, blobs as differences of Gaussians of
    five sizes, edges as gradients of two; so that another camera or exposure changes little.

    Parameters
    ----------
    evidence : PlaneEvidence
    basis : Basis
    step : int
        Only every ``step``-th row and column.

    Returns
    -------
    (rows, columns, F) float32 array
    """
    channels = balanced(evidence.channels)
    scale = max(evidence.shape) / _REFERENCE
    blurred = [_blurred(channels, sigma * scale) for sigma in _SCALES]
    flat = blurred[1].reshape(len(channels), -1)
    middle = np.median(flat[:, ::7], axis=1)[:, None, None]
    spread = flat.std(axis=1)[:, None, None] + 1e-3
    parts = [(blurred[0] - middle) / spread, (blurred[2] - middle) / spread]
    parts += [3 * (fine - coarse) / spread for fine, coarse in itertools.pairwise(blurred)]
    parts += [
        np.sqrt(gradient_of(channels, sigma * scale) * sigma * scale / spread.mean())[None] for sigma in (1.0, 3.0)
    ]
    picture = np.concatenate([part[:, ::step, ::step] for part in parts])
    meaning = resampled(basis.project(evidence.embedding), evidence.embedding, evidence.shape, step)
    return np.ascontiguousarray(np.moveaxis(np.concatenate([picture, meaning]), 0, -1), np.float32)


def _blurred(channels: Array, sigma: float) -> Array:
    return np.stack([ndimage.gaussian_filter(channel, sigma, mode="nearest", truncate=3.0) for channel in channels])
