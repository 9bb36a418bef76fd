"""Segmenters and classifiers: sizes, probabilities, and their model files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_ld.errors import ModelFileError
from napari_ld.model.checkpoint import ModelHeader, load_head, load_model, read_header, save_model
from napari_ld.model.encoder import CONFIGURATIONS, EncoderConfig, build_encoder
from napari_ld.model.heads import KINDS, HeadConfig, build_classifier, build_segmenter, foreground, pooled

TWO = HeadConfig(((1, "disc"), (4, "cup")), working_size=64, tile=64)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("head") / "two.safetensors"
    network = build_segmenter(build_encoder(EncoderConfig(), 0), TWO)
    save_model(path, network, ModelHeader("segmenter", "two", EncoderConfig(), head=TWO))
    return path


@pytest.mark.parametrize(("name", "parameters"), [("ld-paper", 492_001), ("fast", 97_569)])
def test_decoders_take_any_size_and_give_probabilities(name: str, parameters: int) -> None:
    one = HeadConfig(((1, "disc"),))
    encoder = build_encoder(CONFIGURATIONS[name], 0)
    assert sum(p.numel() for p in build_segmenter(encoder, one).head.parameters()) == parameters
    maps = encoder.maps(torch.zeros(1, 1, 64, 96))
    assert [(m.shape[1], 64 // m.shape[2]) for m in maps] == list(encoder.map_shapes)
    for head, labels in ((one, 1), (TWO, 2)):
        with torch.no_grad():
            found = build_segmenter(encoder, head).eval()(torch.rand(2, 3, 45, 71))
        assert found.shape == (2, labels, 45, 71)
        assert float(found.min()) >= 0
        assert float(found.sum(1).max()) <= 1


def test_maps_are_those_that_the_embedding_is_made_of() -> None:
    encoder = build_encoder(EncoderConfig(), 0).eval()
    x = torch.rand(1, 3, 64, 64)
    pyramid: Any = encoder.network.get_submodule("pyramid")
    with torch.no_grad():
        embedded = [embed(m) for embed, m in zip(pyramid.embed, encoder.maps(x)[1:], strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(embedded, encoder.levels(x)[0], strict=True))


def test_one_label_is_a_sigmoid_and_several_share_with_the_background() -> None:
    logits = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(foreground(logits[:, :1]), torch.sigmoid(logits[:, :1]))
    shares = logits.exp() / logits.exp().sum(1, keepdim=True)
    torch.testing.assert_close(foreground(logits), shares[:, 1:])


def test_a_class_is_what_its_map_is_pooled_to() -> None:
    maps = torch.randn(2, 3, 7, 5)
    torch.testing.assert_close(pooled(maps, 0.0), maps.mean((2, 3)))
    torch.testing.assert_close(pooled(maps, 1e-3), maps.mean((2, 3)), atol=1e-3, rtol=0)
    assert float((pooled(maps, 200.0) - maps.amax((2, 3))).abs().max()) < 0.03
    head = HeadConfig(((1, "a"), (2, "b")), sharpness=0.0)
    network = build_classifier(build_encoder(EncoderConfig(), 0), head).eval()
    torch.nn.init.normal_(network.head.get_parameter("out.weight"))
    with torch.no_grad():
        logits, shown = network(torch.rand(1, 3, 64, 96))
    assert shown.shape == (1, 2, 16, 24)
    torch.testing.assert_close(logits, shown.mean((2, 3)))


def test_round_trip(file: Path) -> None:
    model = load_head(file)
    assert (model.header.kind, model.head) == ("segmenter", TWO)
    assert read_header(file, KINDS).head == TWO
    original = build_segmenter(build_encoder(EncoderConfig(), 0), TWO).eval()
    assert not model.network.training
    assert sorted(original.state_dict()) == sorted(model.network.state_dict())


def test_kinds_are_not_mixed_up(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="of kind 'segmenter'; an encoder was expected"):
        load_model(file)
    with pytest.raises(ModelFileError, match="of kind 'segmenter'; a classifier was expected"):
        load_head(file, ("classifier",))
    save_model(
        tmp_path / "e.safetensors", build_encoder(EncoderConfig(), 0), ModelHeader("encoder", "e", EncoderConfig())
    )
    with pytest.raises(ModelFileError, match="of kind 'encoder'; a segmenter or a classifier was expected"):
        load_head(tmp_path / "e.safetensors")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"head": None}, "does not describe its head"),
        ({"head": asdict(replace(TWO, classes=()))}, "no possible head"),
        ({"head": asdict(replace(TWO, classes=((1, "a"), (1, "b"))))}, "no possible head"),
        ({"head": asdict(replace(TWO, classes=((0, "a"),)))}, "no possible head"),
        ({"head": asdict(replace(TWO, working_size=10**9))}, "no possible head"),
        ({"head": asdict(TWO) | {"os": 1}}, "unknown entries.*os"),
        ({"head": {"classes": 3}}, "incomplete"),
        ({"head": asdict(replace(TWO, classes=((1, "a"),)))}, "has shape"),
        ({"kind": "classifier"}, "weights do not fit"),
    ],
)
def test_forged_heads(tmp_path: Path, file: Path, changes: dict[str, Any], match: str) -> None:
    document = asdict(read_header(file, KINDS)) | changes
    save_file(load_file(file), tmp_path / "forged.safetensors", metadata={"napari_ld": json.dumps(document)})
    with pytest.raises(ModelFileError, match=match):
        load_head(tmp_path / "forged.safetensors")
