"""What is measured during training: it finds what is there, and leaves no trace."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imsave

from napari_ld._types import Landmark
from napari_ld.errors import ConfigError
from napari_ld.io.landmarks import write_landmarks
from napari_ld.model.encoder import Dense, DenseEncoder, EncoderConfig, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.model.zoo import load_encoder
from src_train.assessment import Assessor, Evaluation
from src_train.data.dataset import Dataset, load_dataset
from src_train.data.views import ViewMaker, ViewParams
from src_train.labelled import landmark_error, load_landmarks, load_masks, mask_error

NORMAL = IntensityNormalization()


def _dataset(images: Path) -> Dataset:
    return load_dataset([images], longest_side=96, normalization=NORMAL, report=lambda text: None)


def _assessor(images: Path, **changes: object) -> Assessor:
    maker = ViewMaker(ViewParams(size=128, working_size=144), NORMAL.mean, NORMAL.std)
    evaluation = Evaluation(couples=2, points=16, **changes)  # type: ignore[arg-type]
    return Assessor(evaluation, _dataset(images), maker, NORMAL, (str(images),), 0)


class Told(torch.nn.Module):
    """An encoder that is told the place of every cell, since the maker gives it away."""

    def __init__(self, assessor: Assessor) -> None:
        super().__init__()
        self.maker, self.batches = assessor.maker, []

    def forward(self, x: torch.Tensor) -> Dense:
        batch = self.batches[-1]
        grid = torch.stack(torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy"), -1) * 4 + 1.5
        places = batch.partner if x is batch.first else grid.expand(len(x), -1, -1, -1)
        angles = torch.cat([places / 128, 0 * places], -1).permute(0, 3, 1, 2)
        lifted = torch.cat([torch.cos(angles[:, :2]), torch.sin(angles[:, :2])], 1) / 2**0.5
        return Dense(lifted, None)


def test_an_encoder_that_knows_the_answer_finds_all_points(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assessor = _assessor(images)
    told = Told(assessor)
    make = assessor.maker.__call__

    class Maker:
        params = assessor.maker.params

        def __call__(self, *arguments: object) -> object:
            told.batches.append(make(*arguments))  # type: ignore[arg-type]
            return told.batches[-1]

    monkeypatch.setattr(assessor, "maker", Maker())
    measured = assessor(told)  # type: ignore[arg-type]
    assert measured["correspondence"] == 1
    assert measured["correspondence_error"] < 3
    untrained = _assessor(images)(build_encoder(EncoderConfig(), 0))
    assert untrained["correspondence"] < 0.5
    assert 0 < untrained["smallest_area"] < 1 / 16


def test_measuring_leaves_no_trace(images: Path) -> None:
    encoder = build_encoder(EncoderConfig(), 0).train()
    assessor = _assessor(images)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one
    first = assessor(encoder)
    assert encoder.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert all(parameter.grad is None for parameter in encoder.parameters())
    torch.rand(3)
    assert assessor(encoder) == first


def _mirror_pair(folder: Path) -> tuple[Path, DenseEncoder]:
    """Two copies of one textured image, and the bundled encoder."""
    rng = np.random.default_rng(3)
    blobs = torch.nn.functional.interpolate(
        torch.from_numpy(rng.random((1, 1, 14, 14))), size=(128, 128), mode="bicubic"
    )
    pixels = (blobs[0, 0].clamp(0, 1).numpy() * 255).astype(np.uint8)
    for name in ("a.png", "b.png"):
        imsave(folder / name, pixels, check_contrast=False)
    return folder, load_encoder().encoder


def test_landmarks_on_a_copy_are_found(tmp_path: Path) -> None:
    folder, encoder = _mirror_pair(tmp_path)
    table = tmp_path / "points.csv"
    points = {"p": (40.0, 60.0), "q": (90.0, 30.0)}
    write_landmarks(table, [Landmark(n, None, at, f) for f in ("a.png", "b.png") for n, at in points.items()])
    labelled = load_landmarks(table, [folder], 20)
    assert landmark_error(labelled, encoder, NORMAL) < 3
    shifted = {"p": (72.0, 60.0), "q": (122.0, 30.0)}  # 25 % of the side below
    write_landmarks(
        table,
        [Landmark(n, None, at, "a.png") for n, at in points.items()]
        + [Landmark(n, None, at, "b.png") for n, at in shifted.items()],
    )
    assert landmark_error(load_landmarks(table, [folder], 20), encoder, NORMAL) == pytest.approx(25, abs=3)
    write_landmarks(table, [Landmark("p", None, points["p"], "a.png"), Landmark("other", None, points["q"], "b.png")])
    with pytest.raises(ConfigError, match="no landmark of the first image is on another"):
        landmark_error(load_landmarks(table, [folder], 20), encoder, NORMAL)
    write_landmarks(table, [Landmark("p", None, points["p"], name) for name in ("a.png", "c.png")])
    with pytest.raises(ConfigError, match=r"no image 'c.png'.*evaluation.images"):
        load_landmarks(table, [folder], 20)
    write_landmarks(table, [Landmark("p", None, points["p"], "a.png")])
    with pytest.raises(ConfigError, match="landmarks of 1 image"):
        load_landmarks(table, [folder], 20)


def test_masks_of_two_textures_are_told_apart(tmp_path: Path) -> None:
    folder, masks = tmp_path / "images", tmp_path / "masks"
    folder.mkdir()
    masks.mkdir()
    rng = np.random.default_rng(0)
    for index, column in enumerate((50, 70)):
        pixels = rng.integers(80, 120, (128, 128)).astype(np.uint8)
        pixels[:, column:] = np.where(np.arange(128 - column) // 4 % 2, 250, 5)
        mask = np.zeros((128, 128), np.uint8)
        mask[:, column:] = 1
        imsave(folder / f"{index}.png", pixels, check_contrast=False)
        imsave(masks / f"{index}.png", mask, check_contrast=False)
    assert mask_error(load_masks(masks, [folder], 20), load_encoder().encoder, NORMAL) < 0.1
    shutil.copy(masks / "0.png", tmp_path / "alone.png")
    with pytest.raises(ConfigError, match="0 label images"):
        load_masks(tmp_path / "absent", [folder], 20)
    imsave(masks / "1.png", np.zeros((64, 64), np.uint8), check_contrast=False)
    with pytest.raises(ConfigError, match="expected equal sizes"):
        load_masks(masks, [folder], 20)
    for index in range(2):
        imsave(masks / f"{index}.png", np.ones((128, 128), np.uint8), check_contrast=False)
    with pytest.raises(ConfigError, match="one class only"):
        mask_error(load_masks(masks, [folder], 20), load_encoder().encoder, NORMAL)


def test_scores_are_higher_when_better(images: Path) -> None:
    measured = {"correspondence": 0.4, "landmarks": 3.0, "masks": 0.2}
    for select, expected in (("correspondence", 0.4), ("landmarks", -3.0), ("masks", -0.2), ("last", None)):
        assert _assessor(images, select=select).score(measured) == expected
    assert _assessor(images, patience=3).score(measured) == 0.4
