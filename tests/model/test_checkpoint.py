"""Model files: round trip, damage of every kind, nothing runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from napari_ld.errors import ModelFileError, NapariLDError
from napari_ld.model.checkpoint import FORMAT_VERSION, ModelHeader, load_model, read_header, save_model
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.zoo import MODELS, REFINER, WEIGHTS, checksum, load_encoder, resolve


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    header = ModelHeader("encoder", "tiny", EncoderConfig(), training={"steps": 3}, licence="MIT")
    save_model(path, build_encoder(header.config, 0), header)
    return path


def _rewrite(source: Path, target: Path, **changes: Any) -> Path:
    document = asdict(read_header(source)) | changes
    save_file(load_file(source), target, metadata={"napari_ld": json.dumps(document)})
    return target


def test_round_trip(model_file: Path) -> None:
    model = load_model(model_file)
    assert model.header == read_header(model_file)
    assert model.header.training == {"steps": 3}
    assert model.header.config == EncoderConfig()
    assert not model.encoder.training
    assert model.sha256 == checksum(model_file)
    original = build_encoder(EncoderConfig(), 0).eval()
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(x).embedding, original(x).embedding, atol=5e-3, rtol=0)


def test_the_fast_encoder_takes_less_than_five_megabytes(model_file: Path) -> None:
    assert model_file.stat().st_size <= 5_000_000


@pytest.mark.parametrize("content", [b"", b"no", b"\xff" * 64, b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_foreign_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.safetensors: .*(truncated|not a)"):
        load_model(path)


def test_truncated(tmp_path: Path, model_file: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(model_file.read_bytes()[:-1000])
    with pytest.raises(ModelFileError, match="truncated"):
        load_model(path)


def test_missing_and_unknown() -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        load_model("nowhere.safetensors")
    with pytest.raises(ModelFileError, match=r"unknown encoder 'magic'.*bundled ones"):
        resolve("magic")


def test_a_safetensors_file_of_somebody_else(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="not a model of napari-ld"):
        load_model(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "format 2, this version reads up to 1; update"),
        ({"format_version": "new"}, "no format version"),
        ({"kind": "segmenter"}, "of kind 'segmenter'; an encoder was expected"),
        ({"surprise": 1}, "unknown entries.*surprise"),
        ({"config": {"backbone": "fast", "os": "system"}}, "unknown entries.*os"),
        ({"config": asdict(replace(EncoderConfig(), backbone="resnet"))}, "unknown backbone 'resnet'"),
        ({"config": asdict(replace(EncoderConfig(), embedding_dim=10**9))}, "no possible network"),
        ({"config": asdict(replace(EncoderConfig(), clusters=-1))}, "no possible network"),
        ({"config": asdict(replace(EncoderConfig(), level_dims=(1, 2, 3, 122) * 2))}, "has shape"),
        ({"config": asdict(replace(EncoderConfig(), embedding_dim=128, level_dims=(32,) * 4))}, "no possible network"),
        ({"config": asdict(replace(EncoderConfig(), octaves=3))}, "no possible network"),
        ({"config": asdict(replace(EncoderConfig(), clusters=0))}, "weights do not fit"),
        ({"config": 5}, "incomplete"),
    ],
)
def test_forged_headers(tmp_path: Path, model_file: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ModelFileError, match=match):
        load_model(_rewrite(model_file, tmp_path / "forged.safetensors", **changes))


def test_header_that_is_no_json(tmp_path: Path, model_file: Path) -> None:
    save_file(load_file(model_file), tmp_path / "x.safetensors", metadata={"napari_ld": "{"})
    with pytest.raises(ModelFileError, match="not valid JSON"):
        load_model(tmp_path / "x.safetensors")


def test_weights_that_are_not_finite(tmp_path: Path, model_file: Path) -> None:
    tensors = load_file(model_file)
    next(t for t in tensors.values() if t.is_floating_point()).fill_(float("nan"))
    header = json.dumps(asdict(read_header(model_file)))
    save_file(tensors, tmp_path / "nan.safetensors", metadata={"napari_ld": header})
    with pytest.raises(ModelFileError, match="is not finite"):
        load_model(tmp_path / "nan.safetensors")


def test_damaged_weights_are_noticed(tmp_path: Path, model_file: Path) -> None:
    content = bytearray(model_file.read_bytes())
    content[-1000] ^= 1
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"damaged.safetensors: .* checksum; .* fetch it again"):
        load_model(path)


def test_a_file_in_the_place_of_a_bundled_one(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MODELS["ld-general"].file).write_bytes(model_file.read_bytes())
    monkeypatch.setattr("napari_ld.model.zoo.WEIGHTS", tmp_path)
    with pytest.raises(ModelFileError, match="not the file that belongs to this version of napari-ld; install it"):
        load_encoder("ld-general")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_a_model(tmp_path: Path, model_file: Path, position: float, bit: int) -> None:
    content = bytearray(model_file.read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    content[int(position * (header_end - 1))] ^= 1 << bit
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    message, backbone = "", ""
    try:
        backbone = load_model(path).encoder.config.backbone
    except NapariLDError as error:
        message = str(error)
    assert backbone == "fast" or "flipped.safetensors" in message


def test_bundled_refiner() -> None:
    assert checksum(WEIGHTS / REFINER.file) == REFINER.sha256
    assert (WEIGHTS / REFINER.file).stat().st_size <= 1_000_000
    card = (WEIGHTS / REFINER.card).read_text(encoding="utf-8")
    for name in ("idrid_segmentation", "sts", "ms_lesions", "lung_ct"):
        assert name in card


@pytest.mark.parametrize("name", sorted(MODELS))
def test_bundled_models(name: str) -> None:
    entry = MODELS[name]
    assert checksum(WEIGHTS / entry.file) == entry.sha256
    assert (WEIGHTS / entry.file).stat().st_size <= 5_000_000
    assert (WEIGHTS / entry.card).is_file()
    model = load_encoder(name)
    assert model.header.name == name
    assert {"patch", "region"} <= set(model.header.training["losses"])
    assert model.header.areas is not None
    assert min(model.header.areas) >= 0.005
    assert model.header.prototypes is not None
