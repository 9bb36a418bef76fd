"""A tiny adversarial method with a twin and a queue: everything that a checkpoint must hold, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src_train.batches import Batches
from src_train.data.views import ViewBatch
from src_train.engine import Trainer
from src_train.momentum import KeyQueue, MomentumTwin
from src_train.protocol import Method, OptimGroup, OptimizerParams, Phase, StepContext
from src_train.schedules import Rate, Schedule


@dataclass(frozen=True)
class Loss:
    """Any function of the context."""

    function: Callable[[StepContext], Tensor]
    needs: frozenset[str]

    def __call__(self, context: StepContext) -> Tensor:
        return self.function(context)


def toy_method(fresh: bool = False) -> Method:
    """Contrast against a queue; in phase 2 also restoration and a discriminator with an optimiser of its own."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
    restorer, critic = nn.Conv2d(4, 3, 1), nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 1))
    networks = {
        "encoder": encoder,
        "restorer": restorer,
        "critic": critic,
        "twin": MomentumTwin(encoder),
        "queue": KeyQueue(4, 6),
    }

    def contrast(context: StepContext) -> Tensor:
        query, key = context["features"].mean((2, 3)), context["keys"]
        return torch.logsumexp(query @ context.networks["queue"].keys.T, 1).mean() - (query * key).mean()

    def push(context: StepContext) -> None:
        context.networks["twin"].update(context.networks["encoder"])
        context.networks["queue"].push(context["keys"])

    def small(context: StepContext) -> Tensor:
        return nn.functional.avg_pool2d(context.batch.first, 4)

    objectives = {
        "contrast": Loss(contrast, frozenset({"features", "keys"})),
        "restore": Loss(lambda c: (c["restored"] - c["small"]).square().mean(), frozenset({"restored", "small"})),
        "fool": Loss(lambda c: (c.networks["critic"](c["restored"]) - 1).square().mean(), frozenset({"restored"})),
        "tell": Loss(
            lambda c: (
                c.networks["critic"](c["restored"].detach()).square().mean()
                + (c.networks["critic"](c["small"]) - 1).square().mean()
            ),
            frozenset({"restored", "small"}),
        ),
    }
    rate = Rate("cosine", warmup=2)
    early = OptimGroup("model", ("encoder",), {"contrast": 1.0}, OptimizerParams("sgd", 0.05, 1e-4), rate, clip=1.0)
    terms = {"contrast": 1.0, "restore": 2.0, "fool": 0.1}
    late = OptimGroup("model", ("encoder", "restorer"), terms, OptimizerParams("sgd", 0.05, 1e-4), rate, clip=1.0)
    critics = OptimGroup("critic", ("critic",), {"tell": 1.0}, OptimizerParams("adam", 1e-2), Rate("constant"))
    return Method(
        networks,
        {
            "features": lambda c: c.networks["encoder"](c.batch.first),
            "keys": lambda c: c.networks["twin"](c.batch.second).mean((2, 3)),
            "restored": lambda c: c.networks["restorer"](c["features"]),
            "small": small,
        },
        objectives,
        (Phase("contrast", 3, (early,)), Phase("restore", 4, (late, critics), fresh_optimizers=fresh)),
        after_step=(push,),
    )


def toy_trainer(fresh: bool = False) -> Trainer:
    """A trainer of the toy method."""
    return Trainer(toy_method(fresh), Schedule(average=0.9), seed=5)


class ToyBatches(Batches):
    """Random images by step, without a data set."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def at(self, step: int) -> ViewBatch:
        generator = torch.Generator().manual_seed(1000 * self.seed + step)
        first, second = (torch.rand(4, 3, 16, 16, generator=generator) for _ in range(2))
        mask = torch.ones(4, 4, 4, dtype=torch.bool)
        return ViewBatch(first, second, torch.zeros(4, 4, 4, 2), mask, mask, mask)
