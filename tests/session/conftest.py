"""A real encoder for the tests of the session, untrained and small."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch

    from napari_ld.model.checkpoint import ModelHeader, save_model
    from napari_ld.model.encoder import EncoderConfig, build_encoder

    torch.manual_seed(0)
    config = EncoderConfig(working_size=64)
    path = tmp_path_factory.mktemp("encoder") / "own.safetensors"
    save_model(path, build_encoder(config).eval(), ModelHeader("encoder", "own", config))
    return str(path)
