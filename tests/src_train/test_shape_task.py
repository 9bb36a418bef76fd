"""Segmentation by shapes: drawn pictures, the student's loss, and runs on pictures with known truth."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from skimage.io import imsave
from torch.nn import functional as F

from napari_ld.errors import ConfigError
from napari_ld.evaluation import dice
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import ModelHeader, load_head, save_model
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.heads import HeadConfig
from napari_ld.segmentation import segment
from src_train.__main__ import main
from src_train.checkpoint import read_state
from src_train.data.crops import CropMaker, CropParams
from src_train.data.drawn import DrawParams, draw_into, scrambled
from src_train.data.draws import Draws
from src_train.data.shaped import ShapeMaker
from src_train.events import read_events
from src_train.losses.unsure import sure_cross_entropy, sure_dice
from src_train.schedules import Schedule
from src_train.task_config import load_task_config
from src_train.tasks.shapes import ShapeTaskParams, build_shapes

ROOT = Path(__file__).resolve().parents[2]
CONFIG = EncoderConfig(embedding_dim=32, level_dims=(4,) * 8)
SIDE = 96
SMALL = [
    *("working_size=96", "crops.size=64", "schedule.couples=2", "precision=float32", "schedule.learning_rate=5e-3"),
    *("schedule.warmup=2", "schedule.average=0.9", "shapes.views=2", "shapes.contrast=dark"),
]
KINDS = "lines", "discs"
Mask = npt.NDArray[np.bool_]


def _lines(rng: np.random.Generator, side: int) -> Mask:
    rows, columns = np.mgrid[:side, :side]
    found = np.zeros((side, side), bool)
    for _ in range(3):
        angle, place = rng.uniform(0, math.pi), rng.uniform(0.2, 0.8, 2) * side
        found |= abs((rows - place[0]) * math.cos(angle) + (columns - place[1]) * math.sin(angle)) < 1.6
    return found


def _discs(rng: np.random.Generator, side: int) -> Mask:
    rows, columns = np.mgrid[:side, :side]
    places = rng.uniform(0.15, 0.85, (3, 2)) * side
    return np.any([np.hypot(rows - r, columns - c) < rng.uniform(11, 14) for r, c in places], axis=0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with dark lines and dark discs of one contrast, the truth of both, unpaired masks of each, an encoder."""
    folder = tmp_path_factory.mktemp("pair")
    rng = np.random.default_rng(0)
    for name in ("images", "true-lines", "true-discs", "lines", "discs"):
        (folder / name).mkdir()
    for index in range(6):
        lines, discs = _lines(rng, SIDE), _discs(rng, SIDE)
        pixels = 150 - 50.0 * (lines | discs) + rng.normal(0, 8, lines.shape)
        imsave(folder / "images" / f"{index}.png", pixels.clip(0, 255).astype(np.uint8), check_contrast=False)
        for name, mask in (("true-lines", lines), ("true-discs", discs & ~lines)):
            imsave(folder / name / f"{index}.png", mask.astype(np.uint8) * 255, check_contrast=False)
        for name, draw in (("lines", _lines), ("discs", _discs)):
            mask = draw(rng, 64).astype(np.uint8) * 255
            imsave(folder / name / f"of-another-modality-{index}.png", mask, check_contrast=False)
    save_model(folder / "encoder.safetensors", build_encoder(CONFIG, 0), ModelHeader("encoder", "tiny", CONFIG))
    return folder


def _words(pair: Path, out: Path, masks: str, *settings: str) -> list[str]:
    given = ["--task", "shapes", "--images", str(pair / "images"), "--masks", str(pair / masks)]
    given += ["--init", str(pair / "encoder.safetensors"), "--out", str(out), "--preset", "quick", "--threads", "1"]
    return ["finetune", *given, "--set", *SMALL, *settings]


def _events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["event"] == kind]


def test_the_masks_of_another_modality_decide_what_is_found(pair: Path, tmp_path: Path) -> None:
    """Lines and discs are equally dark: without the masks neither would be told from the other."""
    paths = sorted((pair / "images").iterdir())
    lines, discs = ([read_image(pair / f"true-{kind}" / path.name).plane(0) > 0 for path in paths] for kind in KINDS)
    overlap, shares = {}, {}
    for kind in KINDS:
        run = tmp_path / kind
        assert main(_words(pair, run, kind, "schedule.steps=100", "shapes.game=0.1")) == 0
        assert [phase["name"] for phase in _events(run, "started")[0]["phases"]] == ["drawn", "game", "student"]
        assert load_head(run / "segmenter.safetensors").head.classes == ((1, "shape"),)
        found = segment([read_image(path) for path in paths], run / "segmenter.safetensors", device="cpu")
        overlap[kind] = float(np.mean([dice(labels == 1, truth) for labels, truth in zip(found, lines, strict=True)]))
        of_discs = np.mean([labels[truth].mean() for labels, truth in zip(found, discs, strict=True)])
        shares[kind] = float(of_discs / np.mean([labels[t].mean() for labels, t in zip(found, lines, strict=True)]))
    assert overlap["lines"] > 0.6, (overlap, shares)
    assert overlap["lines"] > overlap["discs"] + 0.1, (overlap, shares)
    assert shares["lines"] < 0.75 * shares["discs"], (overlap, shares)


def test_a_run_of_one_step_at_a_time_equals_an_undisturbed_one(pair: Path, tmp_path: Path) -> None:
    settings = ["schedule.steps=7", "schedule.first_phase=0.28", "shapes.game=0.4", "shapes.second=0.34"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(_words(pair, whole, "lines", *settings)) == 0
    phases = [(phase["name"], phase["steps"]) for phase in _events(whole, "started")[0]["phases"]]
    assert phases == [("drawn", 2), ("game", 2), ("student", 2), ("second student", 1)]
    assert main(_words(pair, parts, "lines", *settings, "schedule.minutes=1e-9")) == 0
    for step in range(1, 7):
        assert read_state(parts / "last.ckpt").step == step
        # The student is what is exported: before it has learned anything there is no model.
        assert (parts / "segmenter.safetensors").exists() == (step > 4)
        assert main(["resume", str(parts), "--minutes", "1e-9"]) == 0
    expected, found = load_file(whole / "last.ckpt"), load_file(parts / "last.ckpt")
    assert expected.keys() == found.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []
    assert len(_events(parts, "finished")) == 1


def test_killed_and_resumed(pair: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = _words(pair, run, "lines", "schedule.steps=5000", "schedule.first_phase=0.0004", "schedule.save_every=1")
    words += ["shapes.game=0.0004"]
    process = subprocess.Popen([sys.executable, "-m", "src_train", *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while len(_events(run, "saved")) < 6:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.wait()
    step = read_state(run / "last.ckpt").step
    assert step >= 6
    assert load_head(run / "segmenter.safetensors").header.training["steps"] >= 5
    assert main(["resume", str(run), "--minutes", "1e-9"]) == 0
    assert [event["step"] for event in _events(run, "resumed")] == [step]


def test_each_phase_trains_its_own_networks() -> None:
    params = ShapeTaskParams(second=0.5)
    head = HeadConfig(((1, "shape"),))
    method = build_shapes(build_encoder(CONFIG, 0), head, Schedule(steps=20, first_phase=0.5), params)
    trained = {phase.name: [group.networks for group in phase.groups] for phase in method.phases}
    player, student = ("generator", "generator_encoder"), ("head", "encoder")
    assert trained == {
        "drawn": [player],
        "game": [player, ("shape_discriminator",)],
        "student": [student],
        "second student": [student],
    }
    assert method.exported.encoder is method.encoder
    published = build_shapes(method.encoder, head, Schedule(steps=20), ShapeTaskParams(drawn=0.0))
    assert [phase.name for phase in published.phases] == ["game", "student"]
    assert "teacher" not in published.networks
    with pytest.raises(ConfigError, match="0 for the student; the student needs some"):
        build_shapes(method.encoder, head, Schedule(steps=20), ShapeTaskParams(game=1.0))


def test_scrambled_images_keep_their_spectrum_and_lose_their_place() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 2, 32, 32)
    image[:, :, 10:12] = torch.tensor([1.0, 0.5])[None, :, None, None]
    found = scrambled(image, torch.randn(1, 1, 32, 32, generator=generator))
    torch.testing.assert_close(torch.fft.rfft2(found).abs(), torch.fft.rfft2(image).abs(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[:, 1], found[:, 0] / 2, atol=1e-5, rtol=0)  # colours stay
    assert float((found - image).abs().mean()) > 0.5 * float(image.abs().mean())


@pytest.mark.parametrize(("contrast", "sign"), [("dark", -1), ("bright", 1)])
def test_masks_are_drawn_in_the_contrast_asked_for(contrast: str, sign: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 64, 64, generator=generator)
    masks = torch.zeros(8, 1, 64, 64)
    masks[:, :, 20:24] = 1
    inside = torch.ones(8, 1, 64, 64)
    inside[..., :16] = 0
    drawn = draw_into(images, inside, masks, DrawParams(contrast, spots=0.0), Draws(1, 8))
    assert torch.equal(drawn[..., :16], images[..., :16])
    line, around = drawn[:, :, 21:23, 16:].mean((1, 2, 3)), drawn[:, :, 30:, 16:].mean((1, 2, 3))
    assert bool((sign * (line - around) > 0).all())
    shared = draw_into(images[2:4], inside[:2], masks[:2], DrawParams(contrast, spots=0.0), Draws(1, 8, slice(2, 4)))
    torch.testing.assert_close(shared, drawn[2:4])  # as many processes as you like see the same


def test_masks_are_as_wide_as_the_span_says() -> None:
    mask = torch.zeros(1, 200, 200)
    mask[:, :, 90:110] = 1  # a tenth of the mask
    for span, width in ((1.0, 6.4), (2.0, 12.8)):
        drawn = ShapeMaker(CropMaker(CropParams(size=64), 0.5, 0.25), [mask], span, 0.0).draw(
            20, torch.Generator().manual_seed(0)
        )
        assert set(drawn.unique().tolist()) <= {0.0, 1.0}
        lengths = [float(m.sum()) / 64 for m in drawn if m.any()]
        assert np.median(lengths) == pytest.approx(width, rel=0.35)


def test_the_student_listens_where_the_teacher_is_sure() -> None:
    logits = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    label = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(1))
    plain = F.binary_cross_entropy_with_logits(logits, (label > 0.5).float())
    torch.testing.assert_close(sure_cross_entropy(logits, label, torch.zeros_like(label)), plain)
    assert float(sure_cross_entropy(logits, label, torch.ones_like(label))) == 0.0
    assert float(sure_dice(logits, label, torch.ones_like(label))) == 0.0
    unsure = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(2))
    total = weights = overlap = sizes = 0.0
    for x, y, u in zip(logits.flatten().tolist(), label.flatten().tolist(), unsure.flatten().tolist(), strict=True):
        p, hard = 1 / (1 + math.exp(-x)), float(y > 0.5)
        total += (1 - u) * -math.log(p if hard else 1 - p)
        weights += 1 - u
        overlap += p * hard * (u < 0.5)
        sizes += (p + hard) * (u < 0.5)
    assert float(sure_cross_entropy(logits, label, unsure)) == pytest.approx(total / weights, abs=1e-5)
    assert float(sure_dice(logits, label, unsure)) == pytest.approx(1 - (2 * overlap + 1) / (sizes + 1), abs=1e-5)


def test_what_cannot_be_learned_from_is_said_in_one_line(
    pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("none", "blank", "many"):
        (tmp_path / name).mkdir()
    imsave(tmp_path / "blank" / "0.png", np.zeros((20, 20), np.uint8), check_contrast=False)
    imsave(tmp_path / "many" / "0.png", np.arange(400, dtype=np.uint8).reshape(20, 20), check_contrast=False)
    images, lines = ["--images", str(pair / "images")], ["--masks", str(pair / "lines")]
    cases: list[tuple[list[str], str]] = [
        (images, "no masks to take shapes from: give files or folders of another modality with --masks"),
        ([*images, "--masks", str(tmp_path / "none")], "none"),
        ([*images, "--masks", str(tmp_path / "blank")], "no mask with an inside and an outside"),
        ([*images, "--masks", str(tmp_path / "many")], "expected masks of two values"),
        (lines, "no images: give files or folders with --images"),
        ([*images, *lines, "--set", "shapes.span=0.001"], "nothing is left of the masks"),
        (["--images", str(tmp_path / "blank"), *lines, "--set", "shapes.field=0.9"], "lower shapes.field"),
        ([*images, *lines, "--set", "shapes.contrast=grey"], "choose one of dark, bright, both"),
        ([*images, *lines, "--set", "shapes.span=0.0"], "shapes.span must be above 0"),
        ([*images, *lines, "--set", "shapes.views=9"], "views in 1 to 8"),
        ([*images, *lines, "--set", "shapes.drawn=0.0", "shapes.shape=0.0"], "drawn or shape above 0"),
        ([*images, *lines, "--set", "shapes.dim=1"], "clusters and dim be at least 2"),
        ([*images, *lines, "--preset", "ld-protocol"], "needs labels"),
        ([*images, *lines, "--set", "schedule.steps=1"], "the student needs some"),
    ]
    for words, message in cases:
        assert main(["finetune", "--task", "shapes", *words, "--out", str(tmp_path / "run")]) == 1, words
        error = capsys.readouterr().err
        assert message in error, error
        assert len(error.strip().splitlines()) == 1
    # What is held back for validation needs labels: nothing is.
    assert load_task_config(task="shapes", data=("a",)).evaluation.select == "last"
