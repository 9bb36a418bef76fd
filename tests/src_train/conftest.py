"""Small synthetic images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imsave


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of four smooth random images."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(4):
        blobs = torch.nn.functional.interpolate(
            torch.from_numpy(rng.random((1, 1, 12, 10))), size=(96, 80), mode="bicubic", align_corners=False
        )
        imsave(path / f"{index}.png", (blobs[0, 0].clamp(0, 1).numpy() * 255).astype(np.uint8), check_contrast=False)
    return path
