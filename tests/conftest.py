"""What all tests share: where the development data are, and folders that are not those of the person who runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from napari_ld.model.checkpoint import LoadedModel


@pytest.fixture(scope="session")
def development_data() -> Path:
    """Folder of the public development data; the test is skipped where there is none."""
    folder = os.environ.get("NAPARI_LD_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NAPARI_LD_DATA names no folder with development data")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests away from the caches and sessions of the person who runs them; processes they start inherit this."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_LD_CACHE", str(home / "cache"))
        for folder in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.setenv(folder, str(home / folder.lower()))
        yield


@pytest.fixture(scope="session")
def centred_model() -> LoadedModel:
    """A random fast encoder, its outputs centred on one image: its cosines spread like those of a trained one."""
    import torch
    from skimage import data

    from napari_ld.model.checkpoint import LoadedModel, ModelHeader
    from napari_ld.model.encoder import EncoderConfig, build_encoder

    config = EncoderConfig(working_size=128, embedding_dim=128, level_dims=(16,) * 8)
    encoder = build_encoder(config, seed=0)
    pixels = torch.from_numpy(data.camera()[::2, ::2].astype(np.float32) / 64 - 2)[None, None].expand(1, 3, -1, -1)
    network = encoder.network
    with torch.no_grad():
        for _ in range(20):  # settles the statistics of the batch normalisation
            network(pixels)
        network.eval()
        for layer, level in zip(network.pyramid.embed, network(pixels)[0], strict=True):
            layer.bias -= level.mean((0, 2, 3))
    return LoadedModel(encoder.eval(), ModelHeader("encoder", "random", config), "0" * 64, Path("random"))


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory, centred_model: LoadedModel) -> Path:
    """A model file whose encoder was never trained."""
    from napari_ld.model.checkpoint import save_model

    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_model(path, centred_model.encoder, centred_model.header)
    return path
