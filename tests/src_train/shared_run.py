"""A small LD run on the group-norm encoder, the same in every process that builds it."""

from __future__ import annotations

from pathlib import Path

from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.batches import Batches
from src_train.data.dataset import load_dataset
from src_train.data.views import ViewMaker, ViewParams
from src_train.distributed import World
from src_train.engine import Trainer
from src_train.methods.ld import LDParams, Weights, build_ld
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
