"""What is timed: encoders (their speed depends on the architecture, not on what it has learned) and images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.model.checkpoint import LoadedModel, ModelHeader, load_model
from napari_ld.model.encoder import CONFIGURATIONS, build_encoder
from napari_ld.model.zoo import resolve
from napari_ld.storage import content_key


def model_of(name: str) -> LoadedModel:
    """Load a bundled encoder or a file, or make a configuration (``fast``, ``ld-paper``) with random weights."""
    if name not in CONFIGURATIONS:
        return load_model(resolve(name))
    config = CONFIGURATIONS[name]
    encoder = build_encoder(config, seed=0).eval()
    return LoadedModel(encoder, ModelHeader("encoder", name, config), content_key("untrained", name), Path(name))


def texture(seed: int, size: int = 512) -> npt.NDArray[np.uint8]:
    """A smooth random image; no two seeds give the same, so that nothing is found in a store."""
    noise = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)
    pixels = np.clip(ndimage.gaussian_filter(noise, 4) * 300 + 128, 0, 255)
    return np.asarray(pixels, dtype=np.uint8)
