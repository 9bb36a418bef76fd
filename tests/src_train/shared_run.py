"""Small runs on the group-norm encoder, the same in every process that builds them."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.batches import Batches
from src_train.data.dataset import load_dataset
from src_train.data.extras import ViewExtras
from src_train.data.views import ViewMaker, ViewParams
from src_train.distributed import World
from src_train.engine import Trainer
from src_train.methods import build_method
from src_train.methods.ld import LDParams, Weights, build_ld
from src_train.objectives.discrimination import ContrastParams
from src_train.objectives.localized import LocalizedParams
from src_train.schedules import Schedule


def group_norm_parts(images: Path, world: World) -> tuple[Trainer, Batches]:
    """Trainer and batches of four couples a step, four steps, all losses from the second on."""
    normalization = IntensityNormalization()
    dataset = load_dataset([images], longest_side=96, normalization=normalization, report=lambda text: None)
    schedule = Schedule(steps=4, couples=4, first_phase=0.25, warmup=1, learning_rate=1e-3)
    encoder = build_encoder(EncoderConfig(norm="group", embedding_dim=32, level_dims=(4, 4, 4, 4) * 2), 1)
    method = build_ld(encoder, schedule, Weights(mixup=0.3), LDParams(points=16, least_agreement=0.0))
    maker = ViewMaker(ViewParams(size=64, working_size=72), normalization.mean, normalization.std)
    return Trainer(method, schedule, seed=3, world=world), Batches(dataset, maker, schedule.couples, 3, world)


def contrast_parts(images: Path, world: World) -> tuple[Trainer, Batches]:
    """The same for DenseCL with the super-pixel add-on: twins, queues, label maps."""
    normalization = IntensityNormalization()
    dataset = load_dataset([images], longest_side=96, normalization=normalization, report=lambda text: None)
    schedule = Schedule(steps=4, couples=4, warmup=1, learning_rate=1e-3)
    encoder = build_encoder(EncoderConfig(norm="group", embedding_dim=32, level_dims=(4, 4, 4, 4) * 2), 1)
    tables = {"contrast": ContrastParams(queue=13, hidden=16, dim=8), "lrc": LocalizedParams(dim=8, ramp=0.0)}
    torch.manual_seed(3)
    method = build_method("densecl+lrc", encoder, schedule, tables)
    views = ViewParams(size=64, working_size=72)
    maker = ViewMaker(views, normalization.mean, normalization.std, extras=ViewExtras(method.view_extras))
    return Trainer(method, schedule, seed=3, world=world), Batches(dataset, maker, schedule.couples, 3, world)
