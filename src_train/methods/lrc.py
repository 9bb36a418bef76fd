"""LRC as an add-on: super-pixel contrast beside any method's own losses [reconstruction of arXiv 2304.03406].

The paper has two losses, a global one (any self-supervised method, or supervision) and a localized one. Here the
localized one joins the first optimiser group of every phase of any :class:`Method`, a supervised one included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from napari_ld.errors import ConfigError
from src_train.momentum import MomentumTwin
from src_train.networks.projectors import DenseProjector
from src_train.objectives.discrimination import level_dims
from src_train.objectives.localized import LocalizedContrast, LocalizedParams
from src_train.protocol import Method, Provider, StepContext
from src_train.schedules import Schedule


def add_lrc(method: Method, schedule: Schedule, lrc: LocalizedParams) -> Method:
    """Add the localized contrast to a method.

    Keys come from the method's momentum twin where it has one, else from its own second view without gradient; a
    method that encodes one view only gets a pass over the second.

    Raises
    ------
    ConfigError
        When the encoder is coarser than the label grid.
    """
    if method.encoder.config.output_stride > lrc.stride:
        raise ConfigError(f"lrc.stride = {lrc.stride}: the encoder's cells are {method.encoder.config.output_stride}")
    projector = DenseProjector(sum(level_dims(method.encoder)), lrc.dim, lrc.dim)
    with_twin = "twin" in method.networks
    networks = {"local_projector": projector}
    if with_twin:
        twin = method.networks["twin"]
        momentum = twin.momentum if isinstance(twin, MomentumTwin) else 0.999
        networks["local_twin"] = MomentumTwin(projector, momentum)  # type: ignore[assignment]
    keys = "local_twin" if with_twin else "local_projector"
    objective = LocalizedContrast(lrc, math.ceil(lrc.ramp * schedule.steps), keys)
    return method.extended(
        networks=networks,
        providers=_providers(method),
        objectives={"lrc": objective},
        terms={"lrc": lrc.weight},
        trained=("local_projector",),
        after_step=(_follow,) if with_twin else (),
        view_extras=frozenset({"labels"}),
    )


def _providers(method: Method) -> Mapping[str, Provider]:
    """What the objective needs and the method does not give."""
    if "query_levels" in method.providers:
        return {} if "both_levels" in method.providers else {"both_levels": _nothing}
    if "passed" in method.providers:
        return {"both_levels": _passed_levels, "query_levels": _first, "key_levels": _second}
    return {"both_levels": _nothing, "query_levels": _encode_first, "key_levels": _encode_second}


def _nothing(context: StepContext) -> None:
    return None


def _passed_levels(context: StepContext) -> tuple[list[Tensor], list[Tensor]]:
    levels: tuple[list[Tensor], list[Tensor]] = context["passed"].levels
    return levels


def _first(context: StepContext) -> list[Tensor]:
    levels: list[Tensor] = context["both_levels"][0]
    return levels


def _second(context: StepContext) -> list[Tensor]:
    return [level.detach() for level in context["both_levels"][1]]


def _encode_first(context: StepContext) -> list[Tensor]:
    return context.encoder.levels(context.batch.first)[0]


@torch.no_grad()
def _encode_second(context: StepContext) -> list[Tensor]:
    return context.encoder.levels(context.batch.second)[0]


def _follow(context: StepContext) -> None:
    twin = context.networks["local_twin"]
    if isinstance(twin, MomentumTwin):
        twin.update(context.networks["local_projector"])
