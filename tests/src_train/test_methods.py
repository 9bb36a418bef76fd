"""The contract that every method of the table keeps, add-ons included, on four synthetic images at 64 pixels."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.io import imsave
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ld.errors import ConfigError
from napari_ld.model.backbones.fast import FastPyramid
from napari_ld.model.checkpoint import ModelHeader, load_model, save_model
from napari_ld.model.encoder import ClusterHead, DenseEncoder, EncoderConfig, FastNetwork, build_encoder
from napari_ld.storage import Store
from src_train.config import TrainConfig, load_config
from src_train.data.dataset import Plane
from src_train.data.extras import ViewExtras
from src_train.data.views import ViewBatch, ViewMaker
from src_train.engine import Trainer
from src_train.methods import ADD_ONS, METHODS, build_method, parts_of
from src_train.methods.dira import DiRAParams, build_dira
from src_train.momentum import MomentumTwin, frozen
from src_train.objectives.discrimination import ContrastParams, level_dims
from src_train.protocol import Method, OptimGroup, OptimizerParams, Phase, StepContext
from src_train.schedules import Schedule

# The shape prior needs clusters.
_PAIRS = [(base, add_on) for base in ("moco", "ld", "dira") for add_on in ADD_ONS if base == "ld" or add_on != "shapes"]
NAMES = [*METHODS, *(f"{base}+{add_on}" for base, add_on in _PAIRS)]
SMALL: dict[str, dict[str, Any]] = {
    "schedule": {"steps": 60, "couples": 2, "warmup": 1, "learning_rate": 2e-3, "average": 0.5},
    "views": {"size": 64},
    "losses": {"points": 32, "grid": 4},
    "contrast": {"queue": 5, "hidden": 64, "dim": 16, "width": 64, "bottleneck": 16},
    "lrc": {"dim": 16, "regions": 8, "cells": 8},
    "dira": {"width": 4},
}


@pytest.fixture(scope="module", autouse=True)
def _masks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A mask of another modality for the shape prior."""
    path = tmp_path_factory.mktemp("masks") / "0.png"
    imsave(path, np.kron(np.eye(8), np.ones((8, 8))).astype(np.uint8) * 255, check_contrast=False)
    SMALL["shapes"] = {"masks": [str(path)]}


def _plane(seed: int) -> Plane:
    coarse = torch.rand(1, 1, 9, 8, generator=torch.Generator().manual_seed(seed))
    image = F.interpolate(coarse, size=(96, 88), mode="bicubic").clamp(0, 1)
    half = F.avg_pool2d(image, 2)
    return Plane(((image[0] * 255).to(torch.uint8), (half[0] * 255).to(torch.uint8)), f"{seed}.png")


def _encoder(seed: int = 0) -> DenseEncoder:
    """The fast network with an eighth of its channels."""
    config = EncoderConfig(embedding_dim=64, level_dims=(8,) * 8, clusters=4)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = FastNetwork(config)
        network.pyramid = FastPyramid(3, (8,) * 4, (8, 12, 16, 24, 32), 16)
        network.clustering = ClusterHead(16, 4)
    return DenseEncoder(config, network, 64, 768)


def _config(name: str, **tables: dict[str, Any]) -> TrainConfig:
    merged = {key: {**SMALL.get(key, {}), **tables.get(key, {})} for key in {*SMALL, *tables}}
    return load_config("quick", data=("x",), method=name, **merged)


def _method(name: str, **tables: dict[str, Any]) -> Method:
    config = _config(name, **tables)
    used = {table: getattr(config, table) for part in parts_of(name) for table in part.tables}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_method(name, _encoder(), config.schedule, used)


def _trainer(name: str, **tables: dict[str, Any]) -> Trainer:
    return Trainer(_method(name, **tables), _config(name, **tables).schedule)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def batches(store: Store) -> list[ViewBatch]:
    """Three batches of the four images, with all extras."""
    names = frozenset({"clean", "corruption", "labels"})
    maker = ViewMaker(_config("ld").views, 0.5, 0.25, extras=ViewExtras(names, store=store))
    planes = [_plane(seed) for seed in range(4)]
    couples = [(planes[0], planes[1]), (planes[2], planes[3])]
    made = [maker(couples, np.random.default_rng(seed)) for seed in range(3)]
    return [replace(batch, turns=torch.tensor([0, 3, 6, 1])) for batch in made]


def _groups_of_all_phases(method: Method) -> list[OptimGroup]:
    return [group for phase in method.phases for group in phase.groups]


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_finite_and_their_gradient_reaches_the_whole_encoder(name: str, batches: list[ViewBatch]) -> None:
    method = _method(name).train()
    reached: set[str] = set()
    for group in _groups_of_all_phases(method):
        for network, module in method.networks.items():
            module.requires_grad_(network in group.networks)
        method.zero_grad()
        terms = method.terms(method.context(batches[0], step=59), group)
        assert terms.keys() == {term for term, weight in group.terms.items() if weight}
        assert all(math.isfinite(float(term.detach())) for term in terms.values())
        torch.stack(list(terms.values())).sum().backward()
        grads = {n for n, p in method.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
        assert {n.split(".")[1] for n in grads} == set(group.networks)
        reached |= grads
    assert {f"networks.encoder.{n}" for n, _ in method.encoder.named_parameters()} <= reached


@pytest.mark.parametrize("name", NAMES)
def test_reported_terms_sum_to_the_loss_and_memories_move(name: str, batches: list[ViewBatch]) -> None:
    trainer = _trainer(name)
    before = copy.deepcopy(trainer.method.state_dict())
    group = trainer.phase()[0].groups[0]
    expected = trainer.method.terms(trainer.method.context(batches[0]), group)
    trainer.method.load_state_dict(before)
    torch.testing.assert_close(
        sum(trainer.advance(batches[0]).values()),
        sum(float(term.detach()) for term in expected.values()),
        atol=1e-4,
        rtol=1e-4,
    )
    after = trainer.method.state_dict()
    moved = {key.split(".")[1] for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved >= {
        "encoder",
        *group.networks,
        *({"twin", "queue", "dense_queue"} & set(trainer.method.networks.keys())),
    }


@pytest.mark.parametrize("name", NAMES)
def test_resumed_equals_uninterrupted(name: str, batches: list[ViewBatch]) -> None:
    stages = {"schedule": {"steps": 3}, "dira": {"stages": [0, 1, 1]}}
    whole = _trainer(name, **stages)
    for batch in batches[:2]:
        whole.advance(batch)
    resumed = _trainer(name, **stages)
    resumed.method.load_state_dict(copy.deepcopy(whole.method.state_dict()))
    resumed.averaged.load_state_dict(copy.deepcopy(whole.averaged.state_dict()))
    resumed.step = whole.step
    for group in whole.phase()[0].groups:
        state = copy.deepcopy(whole.optimizer(group).state_dict())
        resumed.optimizer(group).load_state_dict(state)
    assert whole.advance(batches[2]) == resumed.advance(batches[2])
    both = whole.method.state_dict(), resumed.method.state_dict()
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])
    assert all(
        torch.equal(a, b) for a, b in zip(whole.averaged.parameters(), resumed.averaged.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", list(METHODS))
def test_exports_load_as_dense_encoders(name: str, tmp_path: Path) -> None:
    config = _config(name)
    used = {table: getattr(config, table) for part in parts_of(name) for table in part.tables}
    encoder = build_method(name, build_encoder(EncoderConfig(), 0), config.schedule, used).encoder.eval()
    save_model(tmp_path / "e.safetensors", encoder, ModelHeader("encoder", name, encoder.config))
    loaded = load_model(tmp_path / "e.safetensors").encoder
    dense = loaded(torch.zeros(1, 1, 70, 50))
    assert dense.embedding.shape == (1, 256, 18, 13)
    assert (dense.clusters is None) == (
        name not in ("ld", "ld-paper")
    )  # a head that no loss has trained is not exported


@pytest.mark.parametrize("name", ["moco", "densecl", "simsiam", "barlow", "dira", "ld+lrc"])
def test_four_images_can_be_learnt_by_heart(name: str, batches: list[ViewBatch]) -> None:
    """The loss falls by 30 % in 60 steps, the adversarial terms aside."""
    tables = {"contrast": {"queue": 4, "splits": 1}, "dira": {"stages": [0, 1, 0]}, "schedule": {"first_phase": 1.0}}
    trainer = _trainer(name, **tables)
    history = [sum(trainer.advance(batches[0]).values()) for _ in range(60)]
    start = history[1]  # the queue holds its first keys of these images only now
    assert np.mean(history[-5:]) < start - 0.3 * abs(start)


class _Called(nn.Module):
    """Counts the calls of a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.count = 0

    def forward(self, *arguments: Any) -> Any:
        self.count += 1
        return self.network(*arguments)


def test_dira_calls_decoder_and_discriminator_in_their_phases_only(batches: list[ViewBatch]) -> None:
    method = _method("dira", dira={"stages": [1, 1, 1]}, schedule={"steps": 3})
    for name in ("restorer", "discriminator"):
        method.networks[name] = _Called(method.networks[name])
    trainer = Trainer(method, _config("dira", schedule={"steps": 3}).schedule)
    counts = []
    for batch in batches:
        trainer.advance(batch)
        counts.append([method.networks[name].count for name in ("restorer", "discriminator")])
    # One decoder pass a step: view 1 only, and the discriminator sees fooling, real and fake.
    assert counts == [[0, 0], [1, 0], [2, 3]]
    assert [phase.name for phase in method.phases] == ["D", "D+R", "D+R+A"]
    assert "discriminator" not in _method("dira", dira={"stages": [1, 1, 0]}).networks


def test_key_branch_has_no_decoder_and_no_gradient(batches: list[ViewBatch]) -> None:
    method = _method("dira")
    twin = method.networks["twin"]
    assert isinstance(twin, MomentumTwin)
    assert {name.split(".")[0] for name, _ in twin.network.named_parameters()} == {"encoder", "projector"}
    assert not method.context(batches[0])["keys_global"].requires_grad


def test_players_train_apart(batches: list[ViewBatch]) -> None:
    trainer = _trainer("dira", dira={"stages": [0, 0, 1]})
    generator, discriminator = trainer.phase()[0].groups
    context = trainer.method.context(batches[0])
    start = copy.deepcopy(trainer.method.state_dict())
    trainer._advance_group(generator, context, trainer.phase()[0], 0)
    between = copy.deepcopy(trainer.method.state_dict())
    trainer._advance_group(discriminator, context, trainer.phase()[0], 0)
    after = trainer.method.state_dict()

    def changed(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
        return {key.split(".")[1] for key in first if not torch.equal(first[key], second[key])}

    assert "discriminator" not in changed(start, between)
    assert {"encoder", "restorer", "projector"} <= changed(start, between)
    assert changed(between, after) == {"discriminator"}


def test_a_change_of_stage_keeps_weights_and_queue_and_forgets_the_optimizer(batches: list[ViewBatch]) -> None:
    trainer = _trainer("dira", dira={"stages": [1, 1, 0]}, schedule={"steps": 4})
    for batch in batches[:2]:
        trainer.advance(batch)
    before = copy.deepcopy(trainer.method.state_dict())
    optimizer = trainer.optimizers["model"]
    trainer.advance(batches[2])
    after = trainer.method.state_dict()
    assert trainer.optimizers["model"] is not optimizer
    kept = int((before["networks.queue.keys"] == after["networks.queue.keys"]).all(1).sum())
    assert kept == 1  # of five keys, four are new
    change = after["networks.encoder.network.pyramid.stem.0.0.weight"]
    assert float((change - before["networks.encoder.network.pyramid.stem.0.0.weight"]).abs().max()) < 0.01


def test_validation_leaves_no_trace(batches: list[ViewBatch]) -> None:
    method = _method("moco+lrc").eval()
    before, state = copy.deepcopy(method.state_dict()), torch.get_rng_state()
    with frozen(method), torch.no_grad():
        context = method.context(batches[0])
        method.terms(context, method.phases[0].groups[0])
        for hook in method.after_step:
            hook(context)
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("base", ["moco", "simsiam", "barlow"])
def test_dira_stands_on_any_base(base: str, batches: list[ViewBatch]) -> None:
    trainer = _trainer("dira", dira={"base": base, "stages": [0, 0, 1]})
    assert trainer.advance(batches[0]).keys() == {"instance", "restore", "adversary", "discriminator"}


def test_dira_weights_are_the_published_ones(batches: list[ViewBatch]) -> None:
    method = _method("dira")
    assert dict(method.phases[2].groups[0].terms) == {"instance": 1.0, "restore": 10.0, "adversary": 0.001}
    player = method.phases[2].groups[1].optimizer
    assert (player.kind, player.learning_rate, player.betas) == ("adam", 2e-4, (0.5, 0.999))
    assert [phase.steps for phase in method.phases] == [12, 36, 12]


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"base": "byol"}, r"dira.base = 'byol'.*moco, simsiam, barlow"),
        ({"distance": "l3"}, r"dira.distance = 'l3'.*mse, l1"),
        ({"game": "wgan"}, r"dira.game = 'wgan'.*lsgan, bce"),
        ({"stages": [1, 1]}, "three shares"),
        ({"stages": [0, 0, 0]}, "three shares"),
    ],
)
def test_bad_settings_of_dira(table: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        _config("dira", dira=table)
    with pytest.raises(ConfigError, match=match):
        build_dira(_encoder(), Schedule(), ContrastParams(), DiRAParams(**table))


@pytest.mark.parametrize(
    ("table", "values", "match"),
    [
        ("losses", {"center_pool": "max"}, r"losses.center_pool = 'max'.*mean, gauss"),
        ("corruption", {"fill": "grey"}, r"corruption.fill = 'grey'.*zero, noise"),
        ("contrast", {"queue": 0}, "contrast.queue.*at least 1"),
        ("contrast", {"dense_stride": 48}, r"contrast.dense_stride = 48: must divide views.size = 64"),
        ("lrc", {"stride": 0}, r"lrc.stride = 0: must divide"),
        ("lrc", {"regions": 1}, r"lrc.regions must be at least 2"),
        ("superpixels", {"scale": 0.0}, r"superpixels.scale must be above 0"),
    ],
)
def test_settings_are_checked_before_a_run_begins(table: str, values: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        _config("moco", **{table: values})


def test_lrc_needs_a_grid_that_the_encoder_has() -> None:
    with pytest.raises(ConfigError, match=r"lrc.stride = 2.*cells are 4"):
        _method("moco+lrc", lrc={"stride": 2})


def test_lrc_rises_over_its_ramp(batches: list[ViewBatch]) -> None:
    method = _method("ld+lrc", lrc={"ramp": 0.5})
    objective = method.objectives["lrc"]
    values = [float(objective(method.context(batches[0], step=step)).detach()) for step in (0, 29, 45)]
    assert values[0] < values[1] / 10
    assert values[1] == pytest.approx(values[2], rel=0.5)


def test_lrc_joins_supervised_training(batches: list[ViewBatch]) -> None:
    """Any method takes the add-on, one that knows labels and a single view included."""

    class Supervised:
        needs = frozenset({"scores"})

        def __call__(self, context: StepContext) -> Tensor:
            return F.cross_entropy(context["scores"], torch.arange(4) % 2)

    def scores(context: StepContext) -> Tensor:
        level = context.encoder.levels(context.batch.first)[0][0]
        result: Tensor = context.networks["head"](level.mean((2, 3)))
        return result

    encoder = _encoder()
    group = OptimGroup("model", ("encoder", "head"), {"class": 1.0}, OptimizerParams(learning_rate=1e-3))
    head = nn.Linear(level_dims(encoder)[0], 2)
    base = Method(
        {"encoder": encoder, "head": head}, {"scores": scores}, {"class": Supervised()}, (Phase("labels", 4, (group,)),)
    )
    config = _config("ld")
    method = ADD_ONS["lrc"].build(base, config.schedule, lrc=config.lrc)
    terms = Trainer(method, config.schedule).advance(batches[0])
    assert terms.keys() == {"class", "lrc"}
    assert all(math.isfinite(value) for value in terms.values())


def test_objectives_say_which_extra_is_missing(store: Store) -> None:
    maker = ViewMaker(_config("ld").views, 0.5, 0.25)
    batch = maker([(_plane(0), _plane(1))], np.random.default_rng(0))
    with pytest.raises(ValueError, match="ask the view maker for 'clean'"):
        _method("dira").context(batch)["clean"]
    with pytest.raises(ValueError, match="ask the view maker for 'labels'"):
        _method("moco+lrc").objectives["lrc"](_method("moco+lrc").context(batch))
    with pytest.raises(ValueError, match=r"unknown extras \['depth'\]"):
        ViewExtras(frozenset({"depth"}), store=store)


def test_every_row_says_what_it_is_and_where_it_comes_from() -> None:
    for entry in (*METHODS.values(), *ADD_ONS.values()):
        assert "arXiv" in entry.citation
        assert "\n" not in entry.summary
