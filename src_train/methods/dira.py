"""DiRA (Haghighi et al., CVPR 2022, arXiv 2204.10437): discriminative, restorative and adversarial, step by step.

An independent implementation from the equations. DiRA is research that its authors have filed a patent on (M22-158L)
and released for academic use only; no code of theirs is used. Its published network is a U-Net on ResNet-50; here the
decoder stands on the encoder that is exported. Of the known defects of the release none is inherited: the target
shows the same geometry as the input, validation leaves no trace, swapped patches do not overlap, the key branch runs
no decoder, the discriminator's output size is not assumed and the queue wraps around.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import DenseEncoder
from src_train.losses.adversarial import GAMES
from src_train.losses.restoration import DISTANCES
from src_train.networks.discriminator import PatchDiscriminator
from src_train.networks.restorer import Restorer
from src_train.objectives.discrimination import BASES, ContrastParams, drop_clusters, level_dims
from src_train.objectives.restoration import FoolDiscriminator, Restoration, TellApart, clean, restored
from src_train.protocol import Method, Objective, OptimGroup, OptimizerParams, Phase
from src_train.schedules import Schedule, model_rate


@dataclass(frozen=True)
class DiRAParams:
    """Weights, stages and variants of DiRA; weights and discriminator settings are those of the authors' 2D code.

    Attributes
    ----------
    base : str
        A name of ``BASES``: ``moco``, ``simsiam`` or ``barlow``.
    stages : tuple of 3 float
        Shares of the steps for D, D+R and D+R+A [reconstruction]; 0 leaves a stage out.
    discriminate, restore, adversary : float
        λ of the three terms; 1, 10 and 0.001 in two dimensions.
    distance : str
        A name of ``DISTANCES``.
    game : str
        A name of ``GAMES``.
    discriminator_rate : float
        Of the discriminator's Adam (betas 0.5 and 0.999), constant.
    width : int
        Channels of the decoder's last stage.
    """

    base: str = "moco"
    stages: tuple[float, ...] = (0.2, 0.6, 0.2)
    discriminate: float = 1.0
    restore: float = 10.0
    adversary: float = 0.001
    distance: str = "mse"
    game: str = "lsgan"
    discriminator_rate: float = 2e-4
    width: int = 16


def build_dira(encoder: DenseEncoder, schedule: Schedule, contrast: ContrastParams, dira: DiRAParams) -> Method:
    """DiRA for an encoder: phases D, D+R and D+R+A with fresh optimisers, the last one against a discriminator.

    Raises
    ------
    ConfigError
        Naming every setting that cannot be used.
    """
    problems = problems_of(dira)
    if problems:
        raise ConfigError("; ".join(problems))
    base = BASES[dira.base](drop_clusters(encoder), contrast)
    networks: dict[str, nn.Module] = {"encoder": encoder, **base.networks}
    networks["restorer"] = Restorer(level_dims(encoder), encoder.config.output_stride, dira.width)
    objectives: dict[str, Objective] = {**base.objectives, "restore": Restoration(dira.distance)}
    phases = _phases(schedule, dira, base.trained, {n: dira.discriminate * w for n, w in base.terms.items()})
    if any("discriminator" in group.networks for phase in phases for group in phase.groups):
        networks["discriminator"] = PatchDiscriminator()
        objectives |= {"adversary": FoolDiscriminator(dira.game), "discriminator": TellApart(dira.game)}
    return Method(
        networks,
        {**base.providers, "restored": restored, "clean": clean},
        objectives,
        phases,
        base.after_step,
        frozenset({"clean", "corruption"}),
    )


def _phases(
    schedule: Schedule, dira: DiRAParams, trained: tuple[str, ...], discriminate: dict[str, float]
) -> tuple[Phase, ...]:
    optimizer = OptimizerParams(schedule.optimizer, schedule.learning_rate, schedule.weight_decay)
    restore = {**discriminate, "restore": dira.restore}

    def model(networks: tuple[str, ...], terms: dict[str, float]) -> OptimGroup:
        chosen = ("encoder", *trained, *networks)
        return OptimGroup("model", chosen, terms, optimizer, model_rate(schedule), schedule.clip)

    players = OptimizerParams("adam", dira.discriminator_rate, betas=(0.5, 0.999))
    discriminator = OptimGroup("discriminator", ("discriminator",), {"discriminator": 1.0}, players)
    groups = (
        (model((), discriminate),),
        (model(("restorer",), restore),),
        (model(("restorer",), {**restore, "adversary": dira.adversary}), discriminator),
    )
    phases = [
        Phase(name, steps, chosen, fresh_optimizers=True)
        for name, steps, chosen in zip(("D", "D+R", "D+R+A"), _steps(schedule.steps, dira.stages), groups, strict=True)
    ]
    return tuple(phase for phase in phases if phase.steps > 0)


def _steps(total: int, stages: tuple[float, ...]) -> list[int]:
    """Steps of each stage by rounding the cumulated shares; they sum to ``total``."""
    whole, ends = sum(stages), [0]
    for index in range(len(stages)):
        ends.append(round(total * sum(stages[: index + 1]) / whole))
    return [end - start for start, end in pairwise(ends)]


def problems_of(dira: DiRAParams) -> list[str]:
    """What cannot be used, one sentence each."""
    problems = []
    for key, value, known in (("base", dira.base, BASES), ("distance", dira.distance, DISTANCES)):
        if value not in known:
            problems.append(f"dira.{key} = {value!r}: choose one of {', '.join(known)}")
    if dira.game not in GAMES:
        problems.append(f"dira.game = {dira.game!r}: choose one of {', '.join(GAMES)}")
    if len(dira.stages) != 3 or min(dira.stages, default=-1.0) < 0 or sum(dira.stages) <= 0:
        problems.append(f"dira.stages = {list(dira.stages)}: give three shares of the steps, for D, D+R and D+R+A")
    return problems
