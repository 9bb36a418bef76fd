"""Optimisers by name, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from napari_ld.errors import ConfigError
from src_train.protocol import Method, OptimGroup, OptimizerParams

ParamGroups = list[dict[str, Any]]


def _can_fuse(groups: ParamGroups) -> bool:
    """Whether one kernel can update all parameters: not everywhere on Metal."""
    return all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])


def _adamw(groups: ParamGroups, params: OptimizerParams) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=params.betas, fused=_can_fuse(groups))


def _adam(groups: ParamGroups, params: OptimizerParams) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=params.learning_rate, betas=params.betas, fused=_can_fuse(groups))


def _sgd(groups: ParamGroups, params: OptimizerParams) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=params.learning_rate, momentum=params.momentum)


OPTIMIZERS: dict[str, Callable[[ParamGroups, OptimizerParams], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
}


def named_parameters(method: Method, group: OptimGroup) -> dict[str, nn.Parameter]:
    """Parameters that a group trains, by ``network.parameter``."""
    return {
        f"{network}.{name}": parameter
        for network in group.networks
        for name, parameter in method.networks[network].named_parameters()
    }


def all_parameters(method: Method) -> dict[str, nn.Parameter]:
    """Every parameter of every network, by ``network.parameter``."""
    return dict(method.networks.named_parameters())


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], params: OptimizerParams, slower: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """An optimiser without state; biases and normalisation do not decay unless ``decay_all``.

    Its parameter groups have a ``share`` of the learning rate: that of their network in ``slower``, else 1.

    Raises
    ------
    ConfigError
        When its kind is not in :data:`OPTIMIZERS`.
    """
    if params.kind not in OPTIMIZERS:
        raise ConfigError(f"unknown optimizer {params.kind!r}: choose one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[params.kind](_param_groups(parameters, params, slower or {}), params)


def cover(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    params: OptimizerParams,
    slower: Mapping[str, float] | None = None,
) -> None:
    """Add the parameters that an optimiser does not train yet: a phase may bring new networks."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    new = {name: p for name, p in parameters.items() if id(p) not in known}
    for group in _param_groups(new, params, slower or {}):
        optimizer.add_param_group(group)


def _param_groups(
    parameters: Mapping[str, nn.Parameter], params: OptimizerParams, slower: Mapping[str, float]
) -> ParamGroups:
    groups = []
    shares = {name: slower.get(name.partition(".")[0], 1.0) for name in parameters}
    for share in dict.fromkeys(shares.values()):
        own = [p for name, p in parameters.items() if shares[name] == share]
        decaying = [p for p in own if p.ndim > 1 or params.decay_all]
        others = [p for p in own if p.ndim <= 1 and not params.decay_all]
        groups.append({"params": decaying, "weight_decay": params.weight_decay, "share": share})
        groups.append({"params": others, "weight_decay": 0.0, "share": share})
    return [group for group in groups if group["params"]]


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """State of an optimiser as ``parameter/slot``; what has not stepped yet has none."""
    return {
        f"{name}/{slot}": value
        for name, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put a state back that :func:`optimizer_tensors` gave.

    Slots as large as their parameter also take its layout in memory: fused kernels read both in storage order.
    """
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters[name]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        elif value.ndim or optimizer.param_groups[0].get("fused"):
            value = value.to(parameter.device)
        optimizer.state[parameter][slot] = value
