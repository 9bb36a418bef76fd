"""``napari-ld segment`` and ``propose --model`` as a stranger would use them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import tifffile
import torch

from napari_ld.model.checkpoint import ModelHeader, save_model
from napari_ld.model.encoder import build_encoder
from napari_ld.model.heads import HeadConfig, build_classifier
from tests.model.bright import CONFIG, save_bright

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bright(tmp_path_factory.mktemp("model") / "s.safetensors")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    head = HeadConfig(((1, "ill"), (2, "well")), working_size=96, tile=96)
    torch.manual_seed(0)
    network = build_classifier(build_encoder(CONFIG, 0), head)
    torch.nn.init.normal_(network.head.get_parameter("out.weight"))
    path = tmp_path_factory.mktemp("model") / "c.safetensors"
    save_model(path, network, ModelHeader("classifier", "c", CONFIG, head=head))
    return path


def test_a_label_map_for_each_image(run: Run, films: Path, tmp_path: Path, segmenter: Path) -> None:
    code, output, error = run("segment", films, "-o", tmp_path / "out", "--model", segmenter)
    assert (code, output) == (0, ""), error
    for name, shape in (("a", (96, 128)), ("b", (96, 128)), ("c", (80, 112))):
        labels = tifffile.imread(tmp_path / "out" / f"{name}-labels.tif")
        assert labels.shape == shape
        assert set(np.unique(labels)) == {0, 2}
        pixels = np.asarray(PIL.Image.open(films / f"{name}.png"))
        assert np.percentile(pixels[labels == 2], 5) > np.percentile(pixels[labels == 0], 95)
    code, _, error = run("segment", films, "-o", tmp_path / "out", "--model", segmenter)
    assert code == 1
    assert "exists already; choose another name or add --overwrite" in error
    code, _, error = run("segment", films, "-o", tmp_path / "out", "--model", segmenter, "--overwrite")
    assert code == 0, error


def test_volumes_keep_format_and_geometry(run: Run, tmp_path: Path, segmenter: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 400, (24, 30, 3)).astype(np.int16)
    affine = np.array([[-0.5, 0, 0, 4], [0, 0.7, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "scan.nii.gz")
    code, _, error = run("segment", tmp_path / "scan.nii.gz", "-o", tmp_path / "out", "--model", segmenter)
    assert code == 0, error
    labels = nib.load(tmp_path / "out" / "scan-labels.nii.gz")
    assert labels.shape == volume.shape
    np.testing.assert_allclose(labels.affine, affine)


@pytest.mark.parametrize("kind", ["segmenter", "classifier"])
def test_regions_of_a_model(run: Run, films: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    model, encoder = request.getfixturevalue(kind), request.getfixturevalue("encoder_file")
    words = ["-o", tmp_path / "out", "--model", model, "--encoder", encoder]
    code, _, error = run("propose", films / "a.png", *words)
    assert code == 0, error
    with open(tmp_path / "out" / "regions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = tifffile.imread(tmp_path / "out" / "a_labels.tif")
    assert len(rows) == len(np.unique(labels)) - 1 > 0
    assert all(0 <= float(row["score"]) <= 1 for row in rows)


def test_what_cannot_be_done_is_said_in_one_line(
    run: Run, films: Path, tmp_path: Path, segmenter: Path, classifier: Path, encoder_file: Path
) -> None:
    out = ["-o", tmp_path / "out"]
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    cases = [
        (["segment", films, *out, "--model", classifier], 1, "of kind 'classifier'; a segmenter was expected here"),
        (["segment", films, *out, "--model", encoder_file], 1, "of kind 'encoder'; a segmenter was expected here"),
        (["segment", films, *out, "--model", tmp_path / "none"], 1, "no such model file"),
        (["segment", films, *out, "--model", tmp_path / "x.safetensors"], 1, "not a"),
        (["segment", tmp_path / "nowhere.png", *out, "--model", segmenter], 1, "nowhere.png"),
        (["segment", films, *out], 2, "--model"),
        (["propose", films, *out, "--model", encoder_file], 1, "a segmenter or a classifier was expected"),
        (["propose", films, *out, "--model", segmenter, "--n-regions", 3], 2, "does not go with examples or a number"),
    ]
    for words, expected, message in cases:
        code, output, error = run(*words)
        assert (code, output) == (expected, ""), error
        assert message in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "out").exists()
