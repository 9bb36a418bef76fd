"""A coarse index of a stack: pooled vectors of all planes in one file, so that one click searches them all at once."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld.similarity import blur, level_norms, window_size

__all__ = ["DEFAULT_POOLING_SIGMA", "CoarseIndex"]

# Sigma, in pixels of the model input, of the bell for the coarse search (reconstruction).
DEFAULT_POOLING_SIGMA = 4.0


class CoarseIndex:
    """Centre-sensitively pooled vectors of every plane, kept on every ``stride``-th row and column of cells.

    The vectors lie in a temporary file without a name, which is memory-mapped: the memory of the process does not grow
    with the stack. When the disk is full they are kept in memory instead.

    Parameters
    ----------
    grids : sequence of (rows, columns)
        Cells of the embedding of each plane.
    level_dims : tuple of int
        Lengths of the per-scale parts of a vector.
    sigma : float
        Of the bell, in cells of the embedding.
    stride : int
        Keep every n-th cell.
    """

    def __init__(
        self, grids: Sequence[tuple[int, int]], level_dims: tuple[int, ...], sigma: float, stride: int = 2
    ) -> None:
        self.sigma = sigma
        self.stride = stride
        self.level_dims = level_dims
        self._grids = [(-(-rows // stride), -(-columns // stride)) for rows, columns in grids]
        self._starts = np.concatenate([[0], np.cumsum([rows * columns for rows, columns in self._grids])])
        self._dim = sum(level_dims)
        self._ready = np.zeros(len(grids), bool)
        self._norms = np.zeros((int(self._starts[-1]), len(level_dims)), np.float32)
        self._in_memory: dict[int, npt.NDArray[np.float16]] = {}
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the index
        weakref.finalize(self, self._file.close)
        self._file.truncate(int(self._starts[-1]) * self._dim * 2)
        self._rows = np.memmap(self._file, np.float16, "r+", shape=(int(self._starts[-1]), self._dim))

    def __contains__(self, plane: int) -> bool:
        return bool(self._ready[plane])

    def grid(self, plane: int) -> tuple[int, int]:
        """Rows and columns of the index of one plane."""
        return self._grids[plane]

    def put(self, plane: int, vectors: npt.NDArray[np.float16]) -> None:
        """Pool and keep the embedding (D, h, w) of one plane."""
        pooled = blur(torch.from_numpy(vectors.astype(np.float32)), window_size(self.sigma), self.sigma, self.stride)
        rows = pooled.flatten(1).T.to(torch.float16).contiguous()
        start, end = int(self._starts[plane]), int(self._starts[plane + 1])
        with self._lock:
            self._norms[start:end] = level_norms(rows, self.level_dims).numpy()
            try:
                # Written through the file, not the map: on a full disk this is an error, not the end of the process.
                self._file.seek(start * self._dim * 2)
                self._file.write(rows.numpy().data)
                self._file.flush()
            except OSError:
                self._in_memory[plane] = rows.numpy()
            self._ready[plane] = True

    def rows(self, plane: int) -> Tensor:
        """Pooled vectors of one plane, (cells, D) float16, not normalised."""
        kept = self._in_memory.get(plane)
        if kept is None:
            kept = self._rows[int(self._starts[plane]) : int(self._starts[plane + 1])]
        return torch.from_numpy(kept)

    def norms(self, plane: int) -> Tensor:
        """Length of each part of :meth:`rows`, (cells, L) float32."""
        return torch.from_numpy(self._norms[int(self._starts[plane]) : int(self._starts[plane + 1])])
