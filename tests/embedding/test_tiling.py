"""Tiles equal the whole image."""

from __future__ import annotations

import pytest
import torch

from napari_ld.embedding import choose_device
from napari_ld.embedding.tiling import encode
from napari_ld.errors import Cancelled
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.model.encoder import CONFIGURATIONS, DenseEncoder, build_encoder

CPU = choose_device("cpu", "float32")


def assert_tiles_equal_whole(encoder: DenseEncoder, height: int, width: int, tile: int) -> None:
    x = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    whole = encode(encoder, x, CPU, tile=10_000, dtype=torch.float32)
    tiled = encode(encoder, x, CPU, tile=tile, dtype=torch.float32)
    assert float((whole.embedding - tiled.embedding).abs().max()) < 1e-4
    assert whole.clusters is not None
    assert tiled.clusters is not None
    assert float((whole.clusters - tiled.clusters).abs().max()) < 1e-4


@pytest.mark.parametrize(("height", "width"), [(1299, 70), (33, 1201)])
def test_fast_encoder(centred_model: LoadedModel, height: int, width: int) -> None:
    assert_tiles_equal_whole(centred_model.encoder, height, width, tile=150)


def test_paper_encoder() -> None:
    assert_tiles_equal_whole(build_encoder(CONFIGURATIONS["ld-paper"], seed=0).eval(), 433, 40, tile=64)


def test_small_images_are_one_piece(centred_model: LoadedModel) -> None:
    dense = encode(centred_model.encoder, torch.zeros(2, 1, 5, 7), CPU, tile=64)
    assert dense.embedding.shape == (2, 128, 2, 2)
    assert dense.embedding.dtype == torch.float16


def test_cancel_between_tiles(centred_model: LoadedModel) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(Cancelled, match="cancelled"):
        encode(centred_model.encoder, torch.zeros(1, 1, 200, 32), CPU, tile=64, cancelled=cancelled)
    assert len(asked) == 2
