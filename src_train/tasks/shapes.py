"""Segmentation by shapes: masks of another modality and images without labels give a segmenter.

Local Discrimination (arXiv 2108.09440 v1; authors' code) has the game of a generator's first cluster against a
discriminator that knows masks, with region discrimination and entropy beside it, and two outputs. Of its refinement
stage only the existence is known; the uncertainty-weighted student is a reconstruction. Ours is what comes before:
drawn pictures (:mod:`src_train.data.drawn`) teach the generator which looks go with the shapes, so that the game begins
with a player that looks at the image. Left out of the published loss: patch discrimination and mixup, which the encoder
that training starts from has had.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import Dense, DenseEncoder
from napari_ld.model.heads import HeadConfig, Segmenter, build_segmenter, foreground
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.segmentation.shapes import VIEWS, SoftLabel, label_of_views, shape_outputs, soft_label
from src_train.data.crops import CropMaker
from src_train.data.drawn import DrawParams, draw_into
from src_train.data.draws import Draws
from src_train.data.labelled import Classes
from src_train.data.shaped import ShapedSet, ShapeMaker, load_shaped
from src_train.networks.shape_discriminator import ShapeDiscriminator
from src_train.networks.shape_generator import ShapeGenerator
from src_train.objectives.shape_task import FindDrawn, LearnSoftLabel, ShapeEntropy, ShapeRegions, shaped
from src_train.objectives.shapes import LookLikeShapes, TellShapes
from src_train.protocol import Hook, Method, OptimGroup, OptimizerParams, Phase, StepContext
from src_train.schedules import Schedule, model_rate

CLASSES: Classes = ((1, "shape"),)


@dataclass(frozen=True)
class ShapeTaskParams:
    """Constants of the task; [reconstruction] unless marked as published.

    Attributes
    ----------
    span : float
        Longest side of every mask, in sides of a crop; 1 as published. Choose it so that structures are as wide as in
        the images.
    spread : float
        Log-scale of the masks, uniform within ± this.
    field : float
        Pixels whose every channel is below this share of the intensities lie outside the field of view; 0: none does.
    game : float
        Share of the steps after the first phase in which the generator plays; the others train the student.
    second : float
        Share of the student's steps in which its own soft label, as it then is, takes the place of the generator's.
    drawn : float
        Weight of the drawn pictures, which are the whole first phase; 0: none, as published.
    shape, region, entropy : float
        Weights in the game: 1, 10 and 0.1 are published.
    game_rate : float
        Learning rate of the generator in the game, as a share of that before.
    critic_rate : float
        Learning rate of the discriminator, as a share of the generator's in the game; 0.05 published.
    leaky_slope : float
        Of the discriminator; 1.0 in the authors' code.
    clusters, dim : int
        K (published: 8) and the size of the embedding (published: 32).
    encoder_rate : float
        Learning rate of the encoders as a share of the decoders'.
    views : int
        Of the eight turned and mirrored ones: how many the soft label of a step is the mean of.
    contrast : {"dark", "bright", "both"}
        Whether the structures are darker or brighter than what surrounds them in the images, where that is known.
    """

    span: float = 1.0
    spread: float = 0.3
    field: float = 0.0
    game: float = 0.2
    second: float = 0.0
    drawn: float = 1.0
    shape: float = 0.03
    region: float = 0.1
    entropy: float = 0.1
    game_rate: float = 0.3
    critic_rate: float = 0.5
    leaky_slope: float = 0.2
    clusters: int = 8
    dim: int = 16
    encoder_rate: float = 0.3
    views: int = 4
    contrast: str = "both"


def read_shaped(
    images: Sequence[str],
    masks: Sequence[str],
    head: HeadConfig,
    normalization: IntensityNormalization,
    params: ShapeTaskParams,
) -> tuple[ShapedSet, Classes]:
    """Images and unpaired masks; see :func:`src_train.data.shaped.load_shaped`."""
    return load_shaped(images, masks, head, normalization, field=params.field), CLASSES


def make_shaped(crops: CropMaker, data: ShapedSet, params: ShapeTaskParams) -> ShapeMaker:
    """What makes batches of crops and masks."""
    return ShapeMaker(crops, data.masks, params.span, params.spread)


def build_shapes(encoder: DenseEncoder, head: HeadConfig, schedule: Schedule, params: ShapeTaskParams) -> Method:
    """The method: phases ``drawn``, ``game``, ``student`` and, if asked for, ``second student``.

    Raises
    ------
    ConfigError
        When no step is left for the student, which is what is exported.
    """
    first = schedule.first_phase_steps if params.drawn else 0
    game = round(params.game * (schedule.steps - first))
    second = round(params.second * (schedule.steps - first - game))
    student = schedule.steps - first - game - second
    if student < 1 or first + game < 1:
        raise ConfigError(
            f"schedule.steps = {schedule.steps}: {first} for drawn pictures, {game} for the game, {student} for the "
            "student; the student needs some, and one of the others: see schedule.first_phase and shapes.game"
        )
    generator = ShapeGenerator(copy.deepcopy(encoder), params.clusters, params.dim)
    network = build_segmenter(encoder, head)
    parts = _Parts(generator, network, copy.deepcopy(network), params)
    networks: dict[str, nn.Module] = {"encoder": encoder, "head": network.head}
    networks |= {"generator_encoder": generator.encoder, "generator": generator.head}
    networks |= {"shape_discriminator": ShapeDiscriminator(params.leaky_slope)}
    phases = _phases(schedule, params, (first, game, student, second))
    return Method(
        {**networks, **({"teacher": parts.teacher} if second else {})},
        parts.providers(),
        {
            "drawn": FindDrawn(),
            "shape": LookLikeShapes(),
            "shape_told": TellShapes(),
            "region": ShapeRegions(),
            "entropy": ShapeEntropy(),
            "student": LearnSoftLabel(),
            "second_student": LearnSoftLabel("second_label", frozenset({"student", "second_label"})),
        },
        phases,
        (parts.promote(first + game + student),) if second else (),
        exported=network,
    )


def _phases(schedule: Schedule, params: ShapeTaskParams, steps: tuple[int, int, int, int]) -> tuple[Phase, ...]:
    rate = replace(model_rate(schedule), span="phase")

    def group(name: str, networks: tuple[str, ...], terms: dict[str, float], share: float = 1.0) -> OptimGroup:
        optimizer = OptimizerParams(schedule.optimizer, share * schedule.learning_rate, schedule.weight_decay)
        slower = {"encoder": params.encoder_rate, "generator_encoder": params.encoder_rate}
        return OptimGroup(name, networks, terms, optimizer, rate, schedule.clip, slower)

    player = "generator", "generator_encoder"
    played = {name: getattr(params, name) for name in ("shape", "region", "entropy", "drawn")}
    return (
        Phase("drawn", steps[0], (group("generator", player, {"drawn": params.drawn}),)),
        Phase(
            "game",
            steps[1],
            (
                group("player", player, {name: weight for name, weight in played.items() if weight}, params.game_rate),
                group("critic", ("shape_discriminator",), {"shape_told": 1.0}, params.game_rate * params.critic_rate),
            ),
        ),
        Phase("student", steps[2], (group("student", ("head", "encoder"), {"student": 1.0}),)),
        Phase("second student", steps[3], (group("student", ("head", "encoder"), {"second_student": 1.0}),)),
    )


@dataclass(frozen=True)
class _Parts:
    """The generator, the student, and the student as it was when it became a teacher."""

    generator: ShapeGenerator
    student: Segmenter
    teacher: Segmenter
    params: ShapeTaskParams

    def providers(self) -> dict[str, Any]:
        """What a step computes, by name."""
        return {
            "drawn_outputs": self.drawn_outputs,
            "real": lambda context: self.generator.train()(shaped(context).first),
            "shape_fakes": self.fakes,
            "shape_masks": lambda context: shaped(context).masks * shaped(context).inside,
            "student": self.logits,
            "soft_label": self.soft_label,
            "second_label": self.second_label,
        }

    def drawn_outputs(self, context: StepContext) -> tuple[Tensor, Tensor]:
        """Both outputs on drawn pictures."""
        batch, world = shaped(context), context.world
        count, seed = len(batch.first), int(torch.randint(2**62, (), generator=context.generator("drawn")))
        draws = Draws(seed, count * world.size, slice(world.rank * count, (world.rank + 1) * count), context.device)
        drawn = draw_into(batch.first, batch.inside, batch.masks, DrawParams(self.params.contrast), draws)
        dense: Dense = self.generator.train()(drawn)
        assert dense.clusters is not None
        return shape_outputs(dense.clusters, dense.embedding, batch.inside[:, 0])

    def fakes(self, context: StepContext) -> Tensor:
        """First cluster of the crops, 0 beyond the field of view."""
        clusters: Tensor = context["real"].clusters
        return clusters[:, :1] * shaped(context).inside

    def logits(self, context: StepContext) -> Tensor:
        """The student's, on images with changed intensities."""
        first = shaped(context).first
        return self.student.logits(first, self.student.encoder.maps(first))

    def soft_label(self, context: StepContext) -> SoftLabel:
        """The generator's, on images as they are."""
        batch = shaped(context)
        return soft_label(self.generator.eval(), batch.clean, batch.inside[:, 0], views=self._views(context))

    def second_label(self, context: StepContext) -> SoftLabel:
        """The earlier student's."""
        batch, teacher = shaped(context), self.teacher.eval()

        def ask(x: Tensor, inside: Tensor) -> tuple[Tensor]:
            return (foreground(teacher.logits(x, teacher.encoder.maps(x)))[:, 0] * inside,)

        return label_of_views(ask, batch.clean, batch.inside[:, 0], views=self._views(context))

    def promote(self, step: int) -> Hook:
        """Hook: after ``step`` steps the student becomes the teacher."""

        def after(context: StepContext) -> None:
            if context.step == step - 1:
                self.teacher.load_state_dict(self.student.state_dict())

        return after

    def _views(self, context: StepContext) -> list[int]:
        order: list[int] = torch.randperm(VIEWS, generator=context.generator("views")).tolist()
        return order[: self.params.views]
