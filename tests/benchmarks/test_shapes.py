"""The benchmark of segmentation by shapes: halves, scores, controls, and a run from beginning to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave

from benchmarks import shapes
from benchmarks.shapes import frangi_finder, halves, main, scores, table, write_discs

SIDE = 64


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures of a dark line each, and two unpaired masks."""
    drive, prior = tmp_path / "drive", tmp_path / "octa_vessels" / "masks"
    rng = np.random.default_rng(0)
    for folder in (drive / "images", drive / "masks", drive / "fov", prior):
        folder.mkdir(parents=True)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for index in range(4):
        line = abs(rows - columns * rng.uniform(0.3, 0.9) - 8) < 2
        pixels = (160 - 70 * line + rng.normal(0, 4, line.shape)).clip(0, 255).astype(np.uint8)
        imsave(drive / "images" / f"{index}.png", np.stack([pixels] * 3, -1), check_contrast=False)
        imsave(drive / "masks" / f"{index}.png", line.astype(np.uint8) * 255, check_contrast=False)
        imsave(drive / "fov" / f"{index}.png", np.full(line.shape, 255, np.uint8), check_contrast=False)
    for index in range(2):
        mask = abs(rows - columns * rng.uniform(0.3, 0.9) - 8) < 2
        imsave(prior / f"{index}.png", mask.astype(np.uint8) * 255, check_contrast=False)
    with open(drive / "images.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["image"], *([f"{index}.png"] for index in range(4))])
    monkeypatch.setenv("NAPARI_LD_DATA", str(tmp_path))
    return tmp_path


def test_halves_follow_from_the_names_alone(data: Path) -> None:
    tuning, reported = halves(data / "drive")
    assert sorted([*tuning, *reported]) == [f"{index}.png" for index in range(4)]
    assert len(tuning) == len(reported) == 2
    assert halves(data / "drive") == (tuning, reported)


def test_scores_are_of_the_field_of_view(data: Path) -> None:
    folder = data / "drive"
    truth = imread(folder / "masks" / "0.png") > 0
    inside = np.zeros(truth.shape, np.uint8)
    inside[:32] = 255
    imsave(folder / "fov" / "0.png", inside, check_contrast=False)
    right = truth.copy()
    right[32:] = True  # wrong, but outside
    assert scores(lambda path: right, folder, ["0.png"]) == [1.0]
    assert scores(frangi_finder([1.5, 2.0], 0.06), folder, ["1.png"])[0] > 0.5


def test_discs_cover_as_much_as_the_masks(data: Path, tmp_path: Path) -> None:
    masks = data / "octa_vessels" / "masks"
    folder = write_discs(masks, tmp_path / "discs")
    for path in masks.iterdir():
        like, discs = imread(path) > 0, imread(folder / path.name) > 0
        assert discs.shape == like.shape
        assert discs.mean() >= like.mean()


def test_a_run_goes_on_where_it_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.toml"
    text = shapes.SETTINGS_FILE.read_text()
    for long, short in (
        ("steps = ", "steps = 4 #"),
        ("working_size = ", "working_size = 64 #"),
        ("crop = ", "crop = 64 #"),
    ):
        text = text.replace(f"\n{long}", f"\n{short}")
    small.write_text(text.replace('"bfloat16"', '"float32"'))
    monkeypatch.setattr(shapes, "SETTINGS_FILE", small)
    output = tmp_path / "shapes.json"
    words = ["--work", str(tmp_path / "runs"), "--output", str(output), "--arms", "shapes", "--threads", "1"]
    assert main([*words, "--minutes", "0.00001"]) == 0
    assert list(json.loads(output.read_text())["rows"]) == ["Frangi's filter"]
    assert main(words) == 0
    document = json.loads(output.read_text())
    outputs = ["shapes: clustering", "shapes: embedding", "shapes: student"]
    assert list(document["rows"]) == ["Frangi's filter", *outputs, "untrained"]
    assert document["images"] == 2
    assert {"commit", "machine", "versions"} <= set(document)
    assert "against Frangi's filter: the target is" in capsys.readouterr().out
    assert main([*words, "--seed", "1"]) == 2
    assert "made with other settings" in capsys.readouterr().err


def test_the_target_is_both_a_score_and_a_distance() -> None:
    def rows(student: float, filtered: float) -> dict[str, dict[str, float]]:
        scores = {"shapes: student": student, "Frangi's filter": filtered}
        return {name: {"dice": score, "dice_std": 0.0} for name, score in scores.items()}

    assert "+0.030 against Frangi's filter: the target is met" in table(rows(0.7, 0.67))
    assert "missed" in table(rows(0.69, 0.67))
    assert "missed" in table(rows(0.65, 0.5))
