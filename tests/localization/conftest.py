"""Real photographs, moved by known amounts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn
from torch.nn import functional

from napari_ld.embedding import FeatureSource
from napari_ld.model.checkpoint import LoadedModel, ModelHeader
from napari_ld.model.encoder import DenseEncoder, EncoderConfig

SourceOf = Callable[..., FeatureSource]


class Orientations(nn.Module):
    """Histograms of gradient directions around each cell, at two ranges: finds places without any training."""

    def forward(self, x: Tensor) -> tuple[list[Tensor], None]:
        grey = functional.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        down = grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
        right = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]
        angles = torch.arange(8) * (torch.pi / 4)
        directions = [torch.relu(down * torch.sin(angle) + right * torch.cos(angle)) for angle in angles]
        cells = functional.avg_pool2d(torch.cat(directions, 1), 4)
        smooth = functional.avg_pool2d(cells, 3, 1, 1)
        return [self.around(cells, 1), self.around(smooth, 3)], None

    @staticmethod
    def around(cells: Tensor, distance: int) -> Tensor:
        """The histograms of a cell and its eight neighbours at ``distance``: 8 channels to 72."""
        batch, _, height, width = cells.shape
        return functional.unfold(cells, 3, distance, distance).view(batch, 72, height, width)


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    config = EncoderConfig(embedding_dim=144, clusters=0, level_dims=(72, 72), octaves=1, working_size=192)
    encoder = DenseEncoder(config, Orientations(), alignment=4, receptive_margin=32).eval()
    return LoadedModel(encoder, ModelHeader("encoder", "orientations", config), "0" * 64, Path("orientations"))


@pytest.fixture(scope="session")
def camera() -> np.ndarray:
    return np.ascontiguousarray(data.camera()[::2, ::2])


@pytest.fixture
def source_of(model: LoadedModel) -> SourceOf:
    def make(images: object, **options: object) -> FeatureSource:
        settings = {"device": "cpu", "precision": "float32", **options}
        return FeatureSource(images, model, **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture
def moved(camera: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """Part of the photograph, so that its content moves by (-row, -column)."""

    def make(row: int, column: int) -> np.ndarray:
        return camera[row : row + 192, column : column + 192]

    return make
