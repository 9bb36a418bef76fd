"""Configuration, the loop and the command, on small synthetic images."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ld.errors import ConfigError, ModelFileError, TrainingError
from napari_ld.model.checkpoint import load_model
from napari_ld.model.encoder import CONFIGURATIONS, DenseEncoder, EncoderConfig, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.__main__ import main
from src_train.batches import Batches
from src_train.config import load_config, method_tables, to_toml
from src_train.data.dataset import Dataset, load_dataset
from src_train.data.views import ViewMaker
from src_train.engine import Trainer, average, train
from src_train.methods import build_method
from src_train.methods.ld import LDParams, Weights, build_ld
from src_train.objectives.dense import draw_cells
from src_train.objectives.region import RegionDiscrimination
from src_train.schedules import Rate, Schedule, model_rate

SMALL = ["views.size=64", "schedule.steps=4", "schedule.couples=2", "schedule.warmup=1", "losses.points=16"]


@pytest.fixture(scope="module")
def folder(images: Path) -> Path:
    return images


def _batch(folder: Path, seed: int = 0) -> tuple[DenseEncoder, Dataset, ViewMaker]:
    config = load_config("quick", settings=SMALL, data=(str(folder),))
    encoder = build_encoder(EncoderConfig(), seed)
    normalization = IntensityNormalization()
    dataset = load_dataset([folder], longest_side=96, normalization=normalization, report=lambda text: None)
    maker = ViewMaker(config.views, normalization.mean, normalization.std)
    return encoder, dataset, maker


def test_unknown_keys_are_all_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"schedule.stepz.*schedule.steps.*lossess.*losses"):
        load_config("quick", settings=["schedule.stepz=3", "lossess=1"], data=("x",))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["schedule.steps=many"], "expected int"),
        (["nothing"], "expected key=value"),
        (["method=magic"], "unknown method 'magic'.*ld"),
        (["encoder=huge"], "encoder = 'huge': choose one of fast"),
        (["views.size=50"], "divisible by 64"),
        (["schedule.steps=0"], "at least 1"),
        (["precision=half"], "choose one of auto, float32, bfloat16"),
        (["schedule.average=1.0"], r"must lie in \[0, 1\)"),
        (["kept=1.0", "init=ld-general"], r"kept = 1.0: must lie in \[0, 1\)"),
        (["kept=0.3"], "nothing can be kept of random weights; give init"),
        (["device=gpu"], "choose auto, cpu, cuda"),
        (["schedule.halve_every=0"], "at least 1"),
        (["norm=layer"], "choose one of batch, group"),
        (["schedule.optimizer=lion"], "choose one of adamw, adam, sgd"),
        (["schedule.rate=steep"], "choose one of cosine, halving, constant"),
        (["evaluation.select=luck"], "choose one of last, correspondence"),
        (["evaluation.select=masks"], "also give evaluation.masks"),
        (["evaluation.every=0", "evaluation.patience=1"], "nothing is measured"),
        (["evaluation.most=1"], "at least 2"),
        (["encoder=ld-paper", "norm=group"], "batch normalisation only"),
    ],
)
def test_bad_settings(settings: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_config("quick", settings=settings, data=("x",))


def test_no_data_and_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="no data"):
        load_config("quick")
    with pytest.raises(ConfigError, match=r"unknown preset 'slow'.*quick"):
        load_config("slow")


def test_toml_round_trip(tmp_path: Path) -> None:
    config = load_config("quick", settings=[*SMALL, "name=mine"], data=("a", "b"), data_weights=(1.0, 2.5))
    file = tmp_path / "config.toml"
    file.write_text(to_toml(config))
    assert load_config("standard", file) == config
    file.write_text("not = [toml")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load_config("standard", file)


def test_the_learning_rate_rises_then_falls() -> None:
    rate = model_rate(Schedule(steps=100, warmup=10))
    values = [rate(step, 100) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == pytest.approx(1.0)
    assert values[-1] < 0.03
    assert values.index(max(values)) in (9, 10)


def test_the_published_rate_halves_every_ten_epochs() -> None:
    rate = model_rate(Schedule(rate="halving", halve_every=10_000))
    assert [1e-3 * rate(1000 * epoch, 80_000) for epoch in (0, 10, 20, 79)] == [1e-3, 5e-4, 2.5e-4, 7.8125e-6]
    assert rate.span == "phase"
    assert Rate()(7, 9) == 1
    with pytest.raises(ConfigError, match=r"unknown rate 'slow'.*cosine, halving, constant"):
        Rate("slow")(0, 1)


def test_average_moves_towards_the_current_weights() -> None:
    first, second = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    torch.nn.init.constant_(second.weight, 3.0)
    second.num_batches_tracked.fill_(7)
    average(first, second, 0.75)
    torch.testing.assert_close(first.weight.detach(), torch.full((2,), 1.5))
    assert int(first.num_batches_tracked) == 7


@pytest.mark.parametrize("configuration", ["fast", "ld-paper"])
def test_terms_sum_to_the_loss_and_reach_every_weight(folder: Path, configuration: str) -> None:
    _, dataset, maker = _batch(folder)
    encoder = build_encoder(CONFIGURATIONS[configuration], 0).train()
    weights = Weights(mixup=0.1)
    batch = maker(dataset.draw_couples(2, np.random.default_rng(0)), np.random.default_rng(0))
    method = build_ld(encoder, Schedule(first_phase=0.0), weights, LDParams(points=16, least_agreement=0.0))
    (group,) = method.phases[0].groups
    terms = method.terms(method.context(batch), group)
    expected = {"pixel", "patch", "mixup", "region", "entropy", "balance", "mutual"}
    assert expected <= terms.keys() <= expected | {"level"}
    torch.stack(list(terms.values())).sum().backward()
    silent = [name for name, p in encoder.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []


def test_phase_one_has_no_region_terms_and_zero_weights_switch_terms_off(folder: Path) -> None:
    encoder, dataset, maker = _batch(folder)
    batch = maker(dataset.draw_couples(2, np.random.default_rng(0)), np.random.default_rng(0))
    method = build_ld(encoder.train(), Schedule(), Weights(patch=0.0, level=0.0), LDParams(points=8))
    assert [phase.name for phase in method.phases] == ["patches", "regions"]
    assert method.terms(method.context(batch), method.phases[0].groups[0]).keys() == {"pixel"}


def _trainer(folder: Path, schedule: Schedule, params: LDParams) -> tuple[Trainer, Batches]:
    encoder, dataset, maker = _batch(folder)
    trainer = Trainer(build_ld(encoder, schedule, Weights(), params), schedule)
    return trainer, Batches(dataset, maker, schedule.couples, 0)


def test_training_is_reproducible_and_learns(folder: Path) -> None:
    def final() -> tuple[list[float], dict[str, torch.Tensor]]:
        schedule = Schedule(steps=12, couples=2, warmup=2, first_phase=0.9, learning_rate=3e-3)
        trainer, batches = _trainer(folder, schedule, LDParams(points=32))
        losses: list[float] = []
        assert train(trainer, batches, lambda progress: losses.append(progress.terms["pixel"]) is not None)
        return losses, trainer.averaged.state_dict()

    losses, weights = final()
    again, same = final()
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), same.values(), strict=True))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_loss_that_is_not_finite_stops_the_run(folder: Path) -> None:
    trainer, batches = _trainer(folder, Schedule(steps=1, couples=2), LDParams(points=8))
    torch.nn.init.constant_(trainer.method.encoder.network.pyramid.stem[0][0].weight, float("nan"))
    with pytest.raises(TrainingError, match=r"step 0: the loss is not finite.*pixel"):
        train(trainer, batches)


def test_dataset_excludes_names_and_refuses_emptiness(folder: Path) -> None:
    normal = IntensityNormalization()
    dataset = load_dataset([folder], longest_side=48, normalization=normal, exclude=["1.png"], report=lambda text: None)
    assert [plane.image for plane in dataset.groups[0].planes] == ["0.png", "2.png", "3.png"]
    assert max(dataset.groups[0].planes[0].size) == 48
    with pytest.raises(ConfigError, match="no image to train on"):
        load_dataset(
            [folder], longest_side=48, normalization=normal, exclude=[f"{i}.png" for i in range(4)], report=print
        )
    with pytest.raises(ConfigError, match="2 weights for 1 data folders"):
        load_dataset([folder], longest_side=48, normalization=normal, weights=[1, 2])


def test_the_command_makes_a_run_that_the_plugin_loads(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["train", "--data", str(folder), "--out", str(out), "--preset", "quick", "--set", *SMALL, "name=tiny"]
    assert main(arguments) == 0
    model = load_model(out / "encoder.safetensors")
    assert model.header.name == "tiny"
    assert model.header.areas is not None
    assert sum(model.header.areas) == pytest.approx(1, abs=0.01)
    assert np.shape(model.header.prototypes) == (16, 256)
    assert {"patch", "region"} <= set(model.header.training["losses"])
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [events[0]["event"], events[1]["event"], events[-1]["event"]] == ["loading", "started", "finished"]
    assert main(arguments) == 1
    assert "already holds a training run" in capsys.readouterr().err
    started = [
        *arguments[:3],
        "--out",
        str(tmp_path / "next"),
        "--preset",
        "quick",
        "--init",
        str(out / "encoder.safetensors"),
    ]
    assert main([*started, "--set", *SMALL]) == 0


def test_the_command_tells_errors_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "--out", str(tmp_path / "x")]) == 1
    assert capsys.readouterr().err.startswith("error: no data")
    assert main(["methods"]) == 0
    assert main(["presets"]) == 0
    assert "ld" in capsys.readouterr().out


def test_the_paper_preset_is_the_published_configuration() -> None:
    config = load_config("paper", data=("x",))
    encoder = build_encoder(CONFIGURATIONS[config.encoder], 0)
    method = build_method(config.method, encoder, config.schedule, method_tables(config))
    first, second = method.phases
    assert (first.steps, second.steps) == (20_000, 80_000)
    assert (first.fresh_optimizers, second.fresh_optimizers) == (False, True)
    (early,), (late,) = first.groups, second.groups
    assert early.terms == {"patch": 1, "mixup": 1}
    assert late.terms == {"patch": 1, "mixup": 1, "region": 10, "entropy": 0.1}
    for group in (early, late):
        assert (group.optimizer.kind, group.optimizer.learning_rate, group.optimizer.weight_decay) == ("adam", 1e-3, 0)
        assert group.clip == 0
        assert [group.rate(1000 * epoch, 80_000) for epoch in (0, 10, 79)] == [1, 0.5, 0.5**7]
    assert (config.losses.grid, config.losses.patch_temperature, config.losses.region_temperature) == (8, 0.1, 0.2)
    assert (config.views.size, config.schedule.couples, config.schedule.average) == (448, 4, 0)
    assert config.precision == "float32"
    with pytest.raises(ModelFileError, match=r"normalisation 'group' of backbone 'vgg16_bn_tiny'"):
        build_encoder(replace(CONFIGURATIONS["ld-paper"], norm="group"))


def test_region_losses_need_a_clustering_head(folder: Path) -> None:
    _, dataset, maker = _batch(folder)
    batch = maker(dataset.draw_couples(1, np.random.default_rng(0)), np.random.default_rng(0))
    encoder = build_encoder(replace(EncoderConfig(), clusters=0), 0)
    method = build_ld(encoder, Schedule(first_phase=0.0), Weights(), LDParams(points=8))
    assert "region" not in method.objectives
    with pytest.raises(ValueError, match="region losses need one"):
        RegionDiscrimination(0.2)(method.context(batch))


def test_drawn_cells_lie_in_the_overlap_and_cover_it() -> None:
    overlap = torch.zeros(2, 4, 4, dtype=torch.bool)
    overlap[0, 1, 2] = overlap[0, 3, 3] = True
    cells, weight = draw_cells(overlap, torch.rand(2, 200, generator=torch.Generator().manual_seed(0)))
    assert set(cells[0].tolist()) == {6, 15}
    assert abs(float((cells[0] == 6).float().mean()) - 0.5) < 0.15
    assert float(weight[0].min()) == 1
    assert float(weight[1].max()) == 0
    assert set(cells[1].tolist()) == set(range(16))


def test_a_run_from_an_encoder_goes_gently_and_a_published_one_as_published(tmp_path: Path) -> None:
    scratch, continued = (load_config("quick", data=("x",), init=init).schedule for init in ("", "ld-general"))
    assert (continued.first_phase, continued.learning_rate) == (0.0, scratch.learning_rate / 2)
    assert dataclasses.replace(continued, first_phase=0.3, learning_rate=2e-3) == scratch
    asked = ["init=ld-general", "schedule.learning_rate=3e-3"]
    assert load_config("quick", settings=asked, data=("x",)).schedule.learning_rate == 3e-3
    file = tmp_path / "config.toml"
    file.write_text('init = "ld-general"\n')
    assert load_config("quick", file, data=("x",)).schedule == continued
    assert load_config("quick", file, data=("x",), init="").schedule == scratch
    presets = [(name, init) for name in ("quick", "paper") for init in ("", "ld-general")]
    shares = [load_config(name, data=("x",), init=init).kept for name, init in presets]
    assert shares == [0.0, 0.3, 0.0, 0.0]
    paper = load_config("paper", data=("x",))
    assert load_config("paper", data=("x",), init="ld-general").schedule == paper.schedule
    # what a run folder keeps is the whole configuration, whatever this version would begin with
    kept = dataclasses.replace(load_config("quick", data=("x",), init="ld-general"), schedule=scratch)
    file.write_text(to_toml(kept))
    assert load_config("standard", file) == kept
