"""Random walks on the grid of pixels: the sparse equations that several refiners solve.

Reference
---------
Grady, "Multilabel random walker image segmentation using prior models", CVPR 2005, eq. 9: with the graph's Laplacian
``L`` and probabilities ``p`` that pixels have beforehand, ``(L + g) x = g p``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import linalg

from napari_ld.refinement.problem import Array

__all__ = ["affinities", "walk"]

_FLOOR = 1e-3  # of an affinity: no pixel is cut off
_PINNED = 100.0
_TOLERANCE = 1e-3
_ROUNDS = 200


def affinities(maps: Array, step: tuple[float, float, float], contrast: float) -> list[Array]:
    """How freely a walker passes from each pixel to its next neighbour along planes, rows and columns.

    Parameters
    ----------
    maps : (planes, C, rows, columns) float32 array
    step : (plane, row, column)
        Distances; a walker passes less freely where neighbours are farther apart.
    contrast : float
        Exponent of a difference that is as large as the usual one within the planes.

    Returns
    -------
    list of three float32 arrays
        Shorter by 1 along their own axis; values from 0.001 to 1, divided by the squared distance.
    """
    squares = []
    for axis in (0, 2, 3):
        squares.append(np.square(np.diff(maps, axis=axis)).sum(axis=1))
    usual = np.mean([part.mean() for part in squares[1:] if part.size] or [1.0]) + 1e-9
    return [
        np.asarray((np.exp(-contrast * part / usual) + _FLOOR) / distance**2, np.float32)
        for part, distance in zip(squares, step, strict=True)
    ]


def walk(weights: list[Array], prior: Array, trust: Array, seeds: npt.NDArray[np.int32]) -> Array:
    """Probabilities that walkers from each pixel come to each label.

    Parameters
    ----------
    weights : list of arrays
        As :func:`affinities`.
    prior : (K + 1, planes, rows, columns) float32 array
        Probabilities beforehand; sums to 1.
    trust : (planes, rows, columns) float32 array
        How much the prior counts against the neighbours; above 0 somewhere.
    seeds : (planes, rows, columns) int32 array
        Known labels; -1 where there is none.

    Returns
    -------
    (K + 1, planes, rows, columns) float32 array
        Sums to 1.
    """
    shape = seeds.shape
    known = seeds >= 0
    own = np.where(known, _PINNED, trust).reshape(-1).astype(np.float64)
    matrix = _laplacian(weights, shape) + sparse.diags(own)
    scale = sparse.diags(1 / matrix.diagonal())
    found = np.empty_like(prior)
    # the probabilities sum to 1, so the last needs no walk
    for k in range(1, len(prior)):
        wanted = np.where(known, seeds == k, prior[k]).reshape(-1).astype(np.float64)
        solution, _ = linalg.cg(matrix, own * wanted, x0=wanted, rtol=_TOLERANCE, maxiter=_ROUNDS, M=scale)
        found[k] = np.clip(solution, 0, 1).reshape(shape)
    found[0] = np.clip(1 - found[1:].sum(axis=0), 0, 1)
    return np.asarray(found / found.sum(axis=0), np.float32)


def _laplacian(weights: list[Array], shape: tuple[int, ...]) -> sparse.csr_array:
    """Laplacian of the grid."""
    place = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    first, second, values = [], [], []
    for axis, own in enumerate(weights):
        first.append(np.take(place, range(shape[axis] - 1), axis).reshape(-1))
        second.append(np.take(place, range(1, shape[axis]), axis).reshape(-1))
        values.append(own.reshape(-1))
    a, b, w = np.concatenate(first), np.concatenate(second), np.concatenate(values).astype(np.float64)
    upper = sparse.coo_array((w, (a, b)), (place.size, place.size)).tocsr()
    both = upper + upper.T
    return sparse.csr_array(sparse.diags(np.asarray(both.sum(axis=1)).reshape(-1)) - both)
