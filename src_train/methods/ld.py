"""Local Discrimination on views with known geometry, with pixel contrast and cross-image agreement on top.

The patch, mixup, region and entropy terms are those of arXiv 2108.09440 (authors' code). Where the paper undoes
quarter turns exactly, here the known geometry brings the features of view 2 into the frame of view 1. Pixel
contrast, cluster balance and mutual agreement are ours [reconstruction].
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from napari_ld.model.encoder import DenseEncoder
from src_train.objectives.dense import dense_providers
from src_train.objectives.mutual import MutualAgreement
from src_train.objectives.patch import MixupConsistency, PatchDiscrimination
from src_train.objectives.pixel import LevelContrast, PixelContrast
from src_train.objectives.region import ClusterBalance, ClusterEntropy, RegionDiscrimination, shown_clusters
from src_train.protocol import Method, Objective, OptimGroup, OptimizerParams, Phase
from src_train.schedules import Schedule, model_rate


@dataclass(frozen=True)
class Weights:
    """Weight of each term; 0 switches it off. Phase 1 uses the first four, phase 2 all.

    Mixup (weight 1 in the authors' code) is off by default: its extra forwards cost a fifth of the step.
    """

    pixel: float = 1.0
    level: float = 0.25
    patch: float = 0.2
    mixup: float = 0.0
    region: float = 1.0
    entropy: float = 0.1
    balance: float = 0.5
    mutual: float = 0.5


@dataclass(frozen=True)
class LDParams:
    """Constants of the losses.

    Attributes
    ----------
    grid : int
        Patches per side, S (authors' code: 8).
    patch_temperature, region_temperature : float
        τ and τ_r (authors' code: 0.1 and 0.2).
    pixel_temperature, points : float, int
        Of the pixel contrast [reconstruction].
    least_agreement : float
        Couples whose mutual matches agree less than this share teach nothing [reconstruction].
    fresh_optimizer : bool
        Phase 2 starts with a fresh optimiser (authors' code: yes).
    """

    grid: int = 8
    patch_temperature: float = 0.1
    region_temperature: float = 0.2
    pixel_temperature: float = 0.06
    points: int = 160
    least_agreement: float = 0.25
    fresh_optimizer: bool = False


FIRST_PHASE = ("pixel", "level", "patch", "mixup")


def build_ld(encoder: DenseEncoder, schedule: Schedule, weights: Weights, losses: LDParams) -> Method:
    """LD for an encoder: one optimiser, phase 1 without and phase 2 with the region and agreement terms.

    Terms that the encoder cannot serve (levels, clusters) are left out.
    """
    objectives = _objectives(encoder, losses)
    terms = {name: weight for name, weight in asdict(weights).items() if weight > 0 and name in objectives}

    def phase(name: str, steps: int, chosen: dict[str, float], fresh: bool) -> Phase:
        optimizer = OptimizerParams(schedule.optimizer, schedule.learning_rate, schedule.weight_decay)
        group = OptimGroup("model", ("encoder",), chosen, optimizer, model_rate(schedule), schedule.clip)
        return Phase(name, steps, (group,), fresh)

    early = {name: weight for name, weight in terms.items() if name in FIRST_PHASE}
    first = schedule.first_phase_steps
    return Method(
        {"encoder": encoder},
        {**dense_providers(losses.points, weights.mixup > 0), "shown_clusters": shown_clusters},
        objectives,
        (
            phase("patches", first, early, False),
            phase("regions", schedule.steps - first, terms, losses.fresh_optimizer),
        ),
    )


def _objectives(encoder: DenseEncoder, losses: LDParams) -> dict[str, Objective]:
    objectives: dict[str, Objective] = {
        "pixel": PixelContrast(losses.pixel_temperature),
        "patch": PatchDiscrimination(losses.grid, losses.patch_temperature),
        "mixup": MixupConsistency(losses.grid, losses.patch_temperature),
        "mutual": MutualAgreement(losses.pixel_temperature, losses.least_agreement),
    }
    if len(encoder.config.level_dims) > encoder.config.octaves:
        objectives["level"] = LevelContrast(2 * losses.pixel_temperature)
    if encoder.config.clusters:
        objectives["region"] = RegionDiscrimination(losses.region_temperature)
        objectives["entropy"] = ClusterEntropy()
        objectives["balance"] = ClusterBalance()
    return objectives
