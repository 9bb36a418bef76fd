"""Regions that a person's own model finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError, ModelFileError
from napari_ld.model.checkpoint import LoadedModel, ModelHeader, save_model
from napari_ld.model.encoder import build_encoder
from napari_ld.model.heads import HeadConfig, build_classifier
from napari_ld.proposals import ModelParams, propose_regions
from napari_ld.segmentation import Predictor
from tests.model.bright import CONFIG, save_bright


@pytest.fixture(scope="module")
def source(centred_model: LoadedModel) -> FeatureSource:
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:64, :80]
    planes = np.stack([60 + 150 * (np.hypot(rows - 30, columns - at) < 14) for at in (25, 50)])
    return FeatureSource(
        Image((planes + rng.normal(0, 5, planes.shape)).clip(0, 255).astype(np.uint8), "pyx"), centred_model
    )


def test_regions_of_a_segmenter_are_its_labels(source: FeatureSource, tmp_path: Path) -> None:
    file = save_bright(tmp_path / "bright.safetensors", value=5, size=80)
    regions = propose_regions(source, "model", params=ModelParams(model=str(file)))
    predictor = Predictor(source.images, file, device="cpu")
    for plane in (0, 1):
        labels = predictor.labels(plane)
        assert 500 < (labels == 5).sum() < 750
        own = list(regions.on_plane(plane))
        union = np.zeros(labels.shape, bool)
        for region in own:
            union |= region.mask.to_array(plane)
        assert (union != (labels == 5)).sum() <= 16  # specks are left out
        assert own[0].area > 500
        assert own[0].label == 1
        assert own[0].kind == "model"
        assert own[0].score > 0.9
    assert [region.id for region in regions] == list(range(1, len(regions) + 1))


def test_regions_of_a_classifier_are_where_its_map_is_high(source: FeatureSource, tmp_path: Path) -> None:
    head = HeadConfig(((1, "healthy"), (2, "ill"), (3, "worse")), working_size=80, background="healthy")
    encoder = build_encoder(CONFIG, 0)
    torch.manual_seed(0)
    network = build_classifier(encoder, head).eval()
    torch.nn.init.normal_(network.head.get_parameter("out.weight"))
    network.head.get_parameter("out.bias").data[0] = 100.0  # the background is by far the likeliest
    file = tmp_path / "c.safetensors"
    save_model(file, network, ModelHeader("classifier", "c", CONFIG, head=head))
    regions = propose_regions(source, "model", params=ModelParams(model=str(file), level=0.5, smallest=1))
    again = propose_regions(source, "model", params=ModelParams(model=str(file), level=0.5, smallest=1))
    assert len(regions) > 0
    assert {region.label for region in regions} <= {2, 3}
    assert all(a.mask.same_as(b.mask) for a, b in zip(regions, again, strict=True))
    predictor = Predictor(source.images, file, device="cpu", kinds=("classifier",))
    _, _, odds = predictor.evidence(0)
    peak = np.unravel_index(int(odds.argmax()), odds.shape)
    row, column = ((int(p) + 0.5) * size / cells for p, size, cells in zip(peak, (64, 80), odds.shape, strict=True))
    assert len(regions.at(0, int(row), int(column))) == 1


def test_what_cannot_be_asked_is_said(source: FeatureSource, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model was chosen"):
        propose_regions(source, "model")
    with pytest.raises(ModelFileError, match="no such model file"):
        propose_regions(source, "model", params=ModelParams(model=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="a level between 0 and 1"):
        ModelParams(level=1.0)
