"""The benchmark of few labels: equal budgets, held-back images, slices that go on."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from benchmarks import transfer
from benchmarks.transfer import Arm, Benchmark, arms_of, images_of, main, parser, table


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures of a disc as a set of the development data, and settings for it."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "discs"
    rows, columns = np.ogrid[:48, :48]
    table = []
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in range(9):
        disc = np.hypot(rows - rng.uniform(15, 33), columns - rng.uniform(15, 33)) < 9
        pixels = 60 + 120 * disc + rng.normal(0, 5, disc.shape)
        imsave(folder / "images" / f"{index}.png", pixels.astype(np.uint8), check_contrast=False)
        imsave(folder / "masks" / f"{index}.png", (disc * (4 if index else 1)).astype(np.uint8), check_contrast=False)
        table.append({"image": f"{index}.png", "mask": f"masks/{index}.png"})
    with open(folder / "images.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, ["image", "mask"])
        writer.writeheader()
        writer.writerows(table)
    settings = (
        "steps = 3\ncouples = 1\nlearning_rate = 3e-3\nencoder_rate = 0.3\nheld_back = 3\nprecision = 'float32'\n"
    )
    settings += '[tasks.disc]\nfolder = "discs"\nvalue = 4\nworking_size = 64\ncrop = 64\n'
    (tmp_path / "transfer.toml").write_text(settings)
    monkeypatch.setattr(transfer, "SETTINGS_FILE", tmp_path / "transfer.toml")
    monkeypatch.setenv("NAPARI_LD_DATA", str(tmp_path / "data"))
    return folder


def test_images_held_back_are_never_learned_from(data: Path, tmp_path: Path) -> None:
    pool, held = images_of(data, 4, 3)
    assert len(pool) == 5  # one picture does not show the label
    assert len(held) == 3
    assert not {row["image"] for row in pool} & {row["image"] for row in held}
    options = parser().parse_args(["--work", str(tmp_path), "--output", str(tmp_path / "r.json"), "--tasks", "disc"])
    benchmark = Benchmark(options, tomllib.loads(transfer.SETTINGS_FILE.read_text()))
    seen = set()
    for task, labels, arm, seed in benchmark.cells():
        config = benchmark.config(task, labels, arm, seed)
        names = {Path(path).name for path in config.data}
        assert len(names) == labels
        assert names <= {row["image"] for row in pool}
        assert {Path(path).name for path in config.labels} == names
        assert config.schedule.steps == 3  # the same for all
        assert config.schedule.first_phase == (1.0 if arm.frozen else 0.0)
        assert config.segmentation.encoder_rate == (0.3 if arm.encoder else 1.0)
        seen.add((labels, arm.name, seed))
    assert len(seen) == 2 * 3 * 3
    assert arms_of(["x=file"]) == [Arm("random"), Arm("x, frozen", "file", True), Arm("x, fine-tuned", "file")]


def test_slices_go_on_and_the_table_counts_seeds(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "r.json"
    words = ["--work", str(tmp_path / "runs"), "--output", str(output), "--tasks", "disc", "--labels", "1"]
    words += ["--seeds", "0", "--threads", "1"]
    assert main([*words, "--minutes", "0.0001"]) == 0
    assert "the time is up" in capsys.readouterr().err
    assert main([*words, "--minutes", "9"]) == 0
    shown = capsys.readouterr()
    document = json.loads(output.read_text())
    assert set(document["results"]) == {f"disc, 1, {name}" for name in ("random", "ours, frozen", "ours, fine-tuned")}
    assert all(0 <= cell["0"] <= 1 for cell in document["results"].values())
    assert {"commit", "machine", "versions", "seconds"} <= set(document)
    assert "| random | " in shown.out
    assert main([*words, "--minutes", "0"]) == 0  # nothing is left to do
    assert "the time is up" not in capsys.readouterr().err
    results = {"disc, 5, random": {"0": 0.5, "1": 0.7}}
    assert "| random | 0.600 (2) |" in table(results, ["disc"], [5], [Arm("random")])
    document["settings"]["steps"] = 4
    output.write_text(json.dumps(document))
    assert main(words) == 2
    assert "made with other settings" in capsys.readouterr().err
    assert main([*words, "--tasks", "spleen"]) == 2
    assert "unknown task 'spleen': choose of disc" in capsys.readouterr().err
