"""MoCo-v2, DenseCL, SimSiam and Barlow Twins: the baselines, on the features that are exported.

Our re-implementations from the equations; what differs from the published recipes stands in
:mod:`src_train.objectives.discrimination`.
"""

from __future__ import annotations

from collections.abc import Callable

from napari_ld.model.encoder import DenseEncoder
from src_train.objectives.discrimination import (
    ContrastParams,
    Discrimination,
    barlow,
    densecl,
    drop_clusters,
    moco,
    siamese,
)
from src_train.protocol import Method, OptimGroup, OptimizerParams, Phase
from src_train.schedules import Schedule, model_rate


def build_moco(encoder: DenseEncoder, schedule: Schedule, contrast: ContrastParams) -> Method:
    """MoCo-v2 for an encoder."""
    return _build(moco, encoder, schedule, contrast)


def build_densecl(encoder: DenseEncoder, schedule: Schedule, contrast: ContrastParams) -> Method:
    """DenseCL for an encoder."""
    return _build(densecl, encoder, schedule, contrast)


def build_simsiam(encoder: DenseEncoder, schedule: Schedule, contrast: ContrastParams) -> Method:
    """SimSiam for an encoder."""
    return _build(siamese, encoder, schedule, contrast)


def build_barlow(encoder: DenseEncoder, schedule: Schedule, contrast: ContrastParams) -> Method:
    """Barlow Twins for an encoder."""
    return _build(barlow, encoder, schedule, contrast)


def _build(
    base: Callable[[DenseEncoder, ContrastParams], Discrimination],
    encoder: DenseEncoder,
    schedule: Schedule,
    contrast: ContrastParams,
) -> Method:
    parts = base(drop_clusters(encoder), contrast)
    optimizer = OptimizerParams(schedule.optimizer, schedule.learning_rate, schedule.weight_decay)
    networks = ("encoder", *parts.trained)
    group = OptimGroup("model", networks, parts.terms, optimizer, model_rate(schedule), schedule.clip)
    return Method(
        {"encoder": encoder, **parts.networks},
        parts.providers,
        parts.objectives,
        (Phase("contrast", schedule.steps, (group,)),),
        parts.after_step,
    )
