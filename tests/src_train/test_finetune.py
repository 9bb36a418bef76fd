"""Tasks with labels as runs: trained, stopped, killed, resumed, refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage.io import imsave

from napari_ld.evaluation import dice
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import ModelHeader, load_head, read_header, save_model
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.heads import KINDS
from napari_ld.segmentation import segment
from src_train.__main__ import main
from src_train.checkpoint import read_state
from src_train.config import to_toml
from src_train.control import write_command
from src_train.folder import RunFolder
from src_train.task_config import TASK_PRESETS, load_run_config, load_task_config
from tests.src_train.watching import events_of, wait_for

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("working_size=64", "crops.size=64", "schedule.couples=1", "precision=float32", "validation.every=10"),
    *("schedule.first_phase=0.5", "schedule.learning_rate=5e-3", "schedule.warmup=2", "schedule.average=0.9"),
]


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six noisy pictures of a bright disc, their masks, a table of classes, and an untrained encoder."""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:64, :72]
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    (folder / "empty").mkdir()
    lines = ["image,label"]
    for index in range(6):
        centre = rng.uniform(18, 46, 2)
        disc = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(9, 14)
        pixels = 70 + 110 * disc + rng.normal(0, 12, disc.shape)
        imsave(folder / "images" / f"{index}.png", pixels.clip(0, 255).astype(np.uint8), check_contrast=False)
        imsave(folder / "masks" / f"{index}.png", disc.astype(np.uint8) * 7, check_contrast=False)
        empty = 70 + rng.normal(0, 12, disc.shape)
        imsave(folder / "empty" / f"empty{index}.png", empty.clip(0, 255).astype(np.uint8), check_contrast=False)
        lines += [f"{index}.png,disc", f"empty{index}.png,normal"]
    (folder / "classes.csv").write_text("\n".join(lines) + "\n")
    config = EncoderConfig(embedding_dim=32, level_dims=(4,) * 8)
    save_model(folder / "encoder.safetensors", build_encoder(config, 0), ModelHeader("encoder", "tiny", config))
    return folder


def _words(discs: Path, out: Path, *settings: str) -> list[str]:
    given = ["--images", str(discs / "images"), "--masks", str(discs / "masks")]
    given += ["--init", str(discs / "encoder.safetensors")]
    return ["finetune", *given, "--out", str(out), "--preset", "quick", "--threads", "1", "--set", *SMALL, *settings]


@pytest.fixture(scope="module")
def whole(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert main(_words(discs, run, "schedule.steps=40")) == 0
    return run


def test_a_segmenter_finds_what_was_outlined(discs: Path, whole: Path) -> None:
    started = events_of(whole, "started")[0]
    assert [(p["name"], p["steps"]) for p in started["phases"]] == [("frozen", 20), ("fine", 20)]
    assert (started["planes"], started["groups"]) == (5, ["label 7"])
    scores = [event["measured"]["dice"] for event in events_of(whole, "score")]
    assert max(scores) > 0.9
    finished = events_of(whole, "finished")[0]
    assert finished["chosen_step"] == [10, 20, 30, 40][int(np.argmax(scores))]
    model = load_head(whole / "segmenter.safetensors")
    assert model.head.classes == ((7, "label 7"),)
    assert model.header.training["steps"] == finished["chosen_step"]
    assert model.header.training["started_from"] == "encoder.safetensors"
    paths = sorted((discs / "images").iterdir())
    found = segment([read_image(path) for path in paths], whole / "segmenter.safetensors", device="cpu")
    for path, labels in zip(paths, found, strict=True):
        truth = read_image(discs / "masks" / path.name).plane(0)
        assert labels.shape == truth.shape
        assert set(np.unique(labels)) == {0, 7}
        assert dice(labels == 7, truth == 7) > 0.9


def test_stopped_and_resumed_equals_undisturbed(discs: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "parts"

    def stop() -> None:
        wait_for(run, "step")
        write_command(run, "stop")

    thread = threading.Thread(target=stop)
    thread.start()
    assert main(_words(discs, run, "schedule.steps=40")) == 0
    thread.join()
    assert 0 < read_state(run / "last.ckpt").step < 40
    assert main(["resume", str(run)]) == 0
    expected, found = load_file(whole / "last.ckpt"), load_file(run / "last.ckpt")
    assert expected.keys() == found.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []
    mine, theirs = (load_file(folder / "segmenter.safetensors") for folder in (run, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_killed_and_resumed(discs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = _words(discs, run, "schedule.steps=5000", "schedule.save_every=2", "validation.share=0")
    process = subprocess.Popen([sys.executable, "-m", "src_train", *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(run, "saved", 2)
    process.kill()
    process.wait()
    step = read_state(run / "last.ckpt").step
    assert load_head(run / "segmenter.safetensors").header.training["steps"] >= step
    assert main(["resume", str(run), "--set", f"schedule.steps={step + 2}"]) == 0
    assert [event["step"] for event in events_of(run, "resumed")] == [step]
    assert events_of(run, "finished")[0]["step"] == step + 2
    assert events_of(run, "score") == []


def test_a_frozen_encoder_keeps_weights_and_statistics(discs: Path, tmp_path: Path) -> None:
    assert main(_words(discs, tmp_path / "run", "schedule.steps=4", "schedule.first_phase=1.0")) == 0
    before = load_file(discs / "encoder.safetensors")
    after = load_file(tmp_path / "run" / "last.ckpt")
    for name, tensor in before.items():
        assert torch.equal(tensor.float(), after[f"method/networks.encoder.{name}"].float()), name
    assert any(name.startswith("optimizer/model/head") for name in after)
    assert not any(name.startswith("optimizer/model/encoder") for name in after)


def test_the_encoder_learns_more_slowly(discs: Path, tmp_path: Path) -> None:
    moved = {}
    for share in (1.0, 0.01):
        run = tmp_path / str(share)
        settings = [f"segmentation.encoder_rate={share}", "schedule.first_phase=0.0", "schedule.weight_decay=0.0"]
        assert main(_words(discs, run, "schedule.steps=3", *settings)) == 0
        before, after = load_file(discs / "encoder.safetensors"), load_file(run / "last.ckpt")
        names = [name for name, tensor in before.items() if tensor.ndim == 4 and "stages" in name]
        gaps = [(after[f"method/networks.encoder.{name}"] - before[name].float()).abs().max() for name in names]
        moved[share] = float(torch.stack(gaps).max())
    assert moved[0.01] == pytest.approx(0.01 * moved[1.0], rel=0.2)
    assert moved[1.0] > 1e-3


def test_early_stop_keeps_the_best(discs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    still = ["schedule.learning_rate=0.0", "validation.every=1", "validation.patience=2", "schedule.average=0.0"]
    assert main(_words(discs, run, "schedule.steps=30", "schedule.first_phase=1.0", *still)) == 0
    finished = events_of(run, "finished")[0]
    assert finished["reason"] == "no better for a while"
    assert finished["chosen_step"] < finished["step"] < 30


def test_a_classifier_shows_what_speaks_for_a_class(discs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = ["--images", str(discs / "empty"), str(discs / "images"), "--labels", str(discs / "classes.csv")]
    words = ["finetune", "--task", "classification", *given, "--init", str(discs / "encoder.safetensors")]
    settings = ["schedule.steps=60", "classification.background=normal", "schedule.first_phase=0.2"]
    out = ["--out", str(run), "--preset", "quick", "--threads", "1"]
    assert main([*words, *out, "--set", *SMALL, "schedule.couples=2", *settings, "crops.scale=0.0"]) == 0
    best = max(events_of(run, "score"), key=lambda event: -event["measured"]["loss"])
    assert best["measured"]["accuracy"] == 1
    header = read_header(run / "classifier.safetensors", KINDS)
    assert header.head is not None
    assert header.head.classes == ((1, "disc"), (2, "normal"))
    assert header.head.background == "normal"
    copy = tmp_path / "mine.safetensors"
    assert main(["export", str(run), "-o", str(copy)]) == 0
    assert read_header(copy, ("classifier",)) == header


def test_what_cannot_be_trained_is_said_in_one_line(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one"
    one.mkdir()
    (one / "0.png").write_bytes((discs / "masks" / "0.png").read_bytes())
    images = ["--images", str(discs / "images")]
    both = ["--images", str(discs / "empty"), str(discs / "images"), "--labels", str(discs / "classes.csv")]
    cases: list[tuple[list[str], str]] = [
        ([*images], "no masks: give files or folders with --masks"),
        ([*images, "--masks", str(one)], "one labelled image only"),
        ([*images, "--masks", str(discs / "none")], "none"),
        ([*images, "--masks", str(discs / "masks"), "--set", "segmentation.values=[3]"], "no pixel labelled 3"),
        ([*images, "--masks", str(discs / "masks"), "--init", "magic"], "unknown encoder 'magic'"),
        (["--masks", str(discs / "masks")], "no images: give files or folders with --images"),
        ([*images, "--task", "counting"], "task = 'counting': choose one of segmentation, classification"),
        ([*images, "--preset", "huge"], "unknown preset 'huge': choose one of quick"),
        ([*images, "--set", "crops.sise=3"], "did you mean 'crops.size'?"),
        ([*images, "--set", "crops.size=50"], "divisible by 32"),
        ([*images, "--set", "crops.whole=true"], "crops.whole needs square=true"),
        ([*images, "--set", "working_size=8"], "expected 32 to 8192"),
        ([*images, "--set", "schedule.steps=0"], "must be at least 1"),
        ([*images, "--set", "schedule.average=1.0"], "must lie in [0, 1)"),
        ([*images, "--set", "validation.share=1.0"], "validation.share must lie in [0, 1)"),
        ([*images, "--set", "segmentation.dice=-1.0"], "must not be negative"),
        ([*images, "--set", "segmentation.values=[0]"], "labels count from 1"),
        ([*images, "--set", "segmentation.values=[1.5]"], "expected"),
        ([*images, "--device", "tpu"], "choose auto, cpu, cuda"),
        ([*images, "--task", "classification"], "0 tables of labels"),
        (
            [*both, "--task", "classification", "--set", "classification.background=ill"],
            "no such class; disc, normal",
        ),
    ]
    for words, message in cases:
        run = tmp_path / "run"
        assert main(["finetune", *words, "--out", str(run)]) == 1, words
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1
        assert not list(run.glob("*.safetensors"))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "segmenter.safetensors").write_bytes(b"mine")
    assert main(_words(discs, taken)) == 1
    assert "already holds a training run" in capsys.readouterr().err


def test_configurations_are_read_back_and_the_protocol_is_that_of_ld(discs: Path, tmp_path: Path) -> None:
    for name in TASK_PRESETS:
        config = load_task_config(name, data=("a",), labels=("b",))
        (tmp_path / "config.toml").write_text(to_toml(config))
        assert load_run_config(tmp_path / "config.toml") == config
        assert RunFolder(tmp_path).config() == config
    protocol = load_task_config("ld-protocol", data=("a",))
    assert (protocol.encoder, protocol.working_size, protocol.square) == ("ld-paper", 512, True)
    assert (protocol.epochs, protocol.schedule.first_phase, 2 * protocol.schedule.couples) == (200, 0.5, 2)
    assert (protocol.schedule.optimizer, protocol.schedule.learning_rate) == ("adam", 1e-3)
    small = ["working_size=64", "crops.size=64", "epochs=2", "validation.every=2"]
    words = ["--images", str(discs / "images"), "--masks", str(discs / "masks"), "--threads", "1"]
    run = tmp_path / "run"
    assert main(["finetune", *words, "--out", str(run), "--preset", "ld-protocol", "--set", *small]) == 0
    started = events_of(run, "started")[0]
    assert started["planes"] == 5  # the first of six is held back
    assert [phase["steps"] for phase in started["phases"]] == [2, 2]  # 5 planes in batches of two, two epochs
    assert json.loads((run / "control.json").read_text()) == {"command": "run"}
    network = load_head(run / "segmenter.safetensors").network
    assert sum(p.numel() for p in network.head.parameters()) == 492_001
