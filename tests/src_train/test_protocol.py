"""A method's parts fit together or it says which do not; a context computes each value once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import EncoderConfig, build_encoder
from src_train.data.views import ViewBatch
from src_train.distributed import World
from src_train.methods import build_method, parts_of
from src_train.methods.ld import LDParams, Weights
from src_train.protocol import Method, OptimGroup, Phase, StepContext
from src_train.schedules import Schedule


@dataclass(frozen=True)
class Mean:
    """Mean of a value; enough for an objective."""

    needs: frozenset[str] = frozenset({"features"})

    def __call__(self, context: StepContext) -> Tensor:
        features: Tensor = context["features"]
        return features.mean()


def _batch() -> ViewBatch:
    images, masks = torch.rand(2, 3, 64, 64), torch.ones(2, 16, 16, dtype=torch.bool)
    return ViewBatch(images, images, torch.zeros(2, 16, 16, 2), masks, masks, masks)


def _method(**changes: object) -> Method:
    encoder = build_encoder(EncoderConfig(), 0)
    phases = (Phase("only", 3, (OptimGroup("model", ("encoder",), {"mean": 2.0}),)), Phase("none", 0, ()))
    providers = {"features": lambda context: context.encoder.levels(context.batch.first)[0][0]}
    arguments = {"networks": {"encoder": encoder}, "providers": providers, "objectives": {"mean": Mean()}}
    return Method(**{**arguments, "phases": phases, **changes})  # type: ignore[arg-type]


def test_values_are_computed_when_asked_and_once() -> None:
    calls: list[str] = []
    context = StepContext(_batch(), {}, {"features": lambda _: calls.append("x") or torch.ones(1)})
    assert calls == []
    assert context["features"] is context["features"]
    assert calls == ["x"]
    with pytest.raises(ConfigError, match=r"no value 'keys' in this method.*features"):
        context["keys"]


def test_phases_without_steps_are_dropped_and_steps_find_theirs() -> None:
    method = _method()
    assert [phase.name for phase in method.phases] == ["only"]
    assert method.phase_at(2) == (0, 0)
    with pytest.raises(ConfigError, match="step 3 lies beyond the 3 steps"):
        method.phase_at(3)


def test_parts_that_do_not_fit_are_all_named() -> None:
    group = OptimGroup("model", ("twin",), {"absent": 1.0})
    with pytest.raises(ConfigError, match=r"no network 'encoder'.*needs 'features'.*'absent'.*'twin'"):
        _method(networks={}, providers={}, phases=(Phase("p", 1, (group,)),))


def test_an_add_on_joins_the_first_group() -> None:
    extended = _method().extended(
        networks={"head": torch.nn.Linear(2, 2), "twin": torch.nn.Linear(2, 2)},
        providers={"more": lambda context: context["features"] + 1},
        objectives={"other": Mean(frozenset({"features"}))},
        terms={"other": 0.5},
        trained=("head",),
        view_extras=frozenset({"labels"}),
    )
    (group,) = extended.phases[0].groups
    assert group.networks == ("encoder", "head")
    assert extended.view_extras == {"labels"}
    context = extended.context(_batch())
    terms = extended.terms(context, group)
    mean = context["features"].mean()
    torch.testing.assert_close(terms, {"mean": 2 * mean, "other": 0.5 * mean})


def test_draws_depend_on_seed_step_and_name_and_are_shared_by_processes() -> None:
    def drawn(step: int, name: str, world: World, rows: int) -> Tensor:
        return StepContext(_batch(), {}, {}, seed=1, step=step, world=world).rand(name, rows, 3)

    whole = drawn(4, "points", World(), 4)
    shares = [drawn(4, "points", World(rank, 2), 2) for rank in range(2)]
    assert torch.equal(torch.cat(shares), whole)
    assert not torch.equal(drawn(5, "points", World(), 4), whole)
    assert not torch.equal(drawn(4, "cells", World(), 4), whole)


def test_shares_of_a_batch() -> None:
    assert World(1, 2).share(6) == slice(3, 6)
    with pytest.raises(ConfigError, match=r"5 couples a step cannot be shared by 2 processes.*schedule.couples"):
        World(0, 2).share(5)


def test_methods_are_built_by_name() -> None:
    tables = {"weights": Weights(), "losses": LDParams()}
    method = build_method("ld", build_encoder(EncoderConfig(), 0), Schedule(steps=10), tables)
    assert sum(phase.steps for phase in method.phases) == 10
    with pytest.raises(ConfigError, match=r"unknown add-on 'magic'"):
        parts_of("ld+magic")
