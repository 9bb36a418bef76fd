"""The coarse index holds pooled vectors of every plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ld.embedding import CoarseIndex
from napari_ld.similarity import blur, level_norms, window_size

GRIDS = [(5, 8), (4, 4)]


def field(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(6, height, width)).astype(np.float16)


def test_rows_are_pooled_vectors_on_a_coarser_grid() -> None:
    index = CoarseIndex(GRIDS, (2, 4), sigma=1.2, stride=2)
    assert [index.grid(k) for k in range(2)] == [(3, 4), (2, 2)]
    fields = [field(*grid, seed=k) for k, grid in enumerate(GRIDS)]
    index.put(1, fields[1])
    assert 1 in index
    assert 0 not in index
    index.put(0, fields[0])
    for k in range(2):
        expected = blur(torch.from_numpy(fields[k].astype(np.float32)), window_size(1.2), 1.2)[:, ::2, ::2]
        rows = expected.flatten(1).T
        torch.testing.assert_close(index.rows(k).float(), rows, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(index.norms(k), level_norms(index.rows(k), (2, 4)))


def test_full_disk_keeps_the_rows_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    index = CoarseIndex(GRIDS, (2, 4), sigma=1.2)
    expected = CoarseIndex(GRIDS, (2, 4), sigma=1.2)
    expected.put(0, field(5, 8, 0))

    class FullDisk:
        def seek(self, position: int) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(index, "_file", FullDisk())
    index.put(0, field(5, 8, 0))
    assert 0 in index
    assert torch.equal(index.rows(0), expected.rows(0))
