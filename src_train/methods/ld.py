"""Local Discrimination on views with known geometry, with pixel contrast and cross-image agreement on top.

The patch, mixup, region and entropy terms are those of arXiv 2108.09440 (authors' code). Where the paper undoes
quarter turns exactly, here the known geometry brings the features of view 2 into the frame of view 1. Pixel
contrast, cluster balance and mutual agreement are ours [reconstruction].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from napari_ld.model.encoder import DenseEncoder
from src_train.momentum import RunningAreas
from src_train.objectives.dense import dense_providers
from src_train.objectives.mutual import MutualAgreement
from src_train.objectives.patch import MixupConsistency, PatchDiscrimination
from src_train.objectives.pixel import LevelContrast, PixelContrast
from src_train.objectives.published import (
    PUBLISHED,
    PublishedBalance,
    PublishedEntropy,
    PublishedMixup,
    PublishedPatches,
    PublishedRegions,
)
from src_train.objectives.region import (
    ClusterBalance,
    ClusterEntropy,
    RegionDiscrimination,
    areas,
    remember_areas,
    shown_clusters,
)
from src_train.protocol import Method, Objective, OptimGroup, OptimizerParams, Phase, Provider
from src_train.schedules import Schedule, model_rate


@dataclass(frozen=True)
class Weights:
    """Weight of each term; 0 switches it off. Phase 1 uses the first four, phase 2 all.

    Attributes
    ----------
    pixel : float
        The same place in two views is alike, and unlike all other places [reconstruction].
    level : float
        The same for the coarser features of the network [reconstruction].
    patch : float
        The same for the patches of a grid.
    mixup : float
        Patches of blended images lie between those of the two; 1 in the authors' code, off by default: its extra
        forwards cost a fifth of the step.
    region : float
        Regions of one cluster are alike across images, and unlike other regions.
    entropy : float
        Every place belongs to one cluster clearly.
    balance : float
        No cluster dies out [reconstruction].
    mutual : float
        Places of two images that find each other are alike [reconstruction].
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
    pixel_temperature : float
        Of the pixel contrast [reconstruction].
    points : int
        Places per image that the pixel contrast compares [reconstruction].
    least_agreement : float
        Couples whose mutual matches agree less than this share teach nothing [reconstruction].
    fresh_optimizer : bool
        Phase 2 starts with a fresh optimiser (authors' code: yes).
    center_pool : {"mean", "gauss"}
        How the pixels of a patch are weighted; ``gauss`` favours its centre [reconstruction].
    """

    grid: int = 8
    patch_temperature: float = 0.1
    region_temperature: float = 0.2
    pixel_temperature: float = 0.06
    points: int = 160
    least_agreement: float = 0.25
    fresh_optimizer: bool = False
    center_pool: str = "mean"


FIRST_PHASE = ("pixel", "level", "patch", "mixup")


def build_ld(encoder: DenseEncoder, schedule: Schedule, weights: Weights, losses: LDParams) -> Method:
    """LD for an encoder: one optimiser, phase 1 without and phase 2 with the region and agreement terms.

    Terms that the encoder cannot serve (levels, clusters) are left out.
    """
    providers = {**dense_providers(losses.points, weights.mixup > 0), "shown_clusters": shown_clusters, "areas": areas}
    return _assembled(encoder, schedule, weights, losses, providers, _objectives(encoder, losses))


def build_published_ld(encoder: DenseEncoder, schedule: Schedule, weights: Weights, losses: LDParams) -> Method:
    """LD exactly as in the authors' code of November 2021: its views, full-resolution maps, exact undoing of turns.

    With the encoder ``ld-paper`` and the preset ``paper`` this is the published configuration. Whether it equals that
    of the final paper is not known to us. Of ``weights`` only patch, mixup, region, entropy and balance count; the last
    is ours and off in the preset.
    """
    pooling = losses.grid, losses.patch_temperature, losses.center_pool
    objectives: dict[str, Objective] = {
        "patch": PublishedPatches(*pooling),
        "mixup": PublishedMixup(*pooling),
        "region": PublishedRegions(losses.region_temperature),
        "entropy": PublishedEntropy(),
        "balance": PublishedBalance(),
    }
    return _assembled(encoder, schedule, weights, losses, PUBLISHED, objectives, frozenset({"turns"}))


def _assembled(
    encoder: DenseEncoder,
    schedule: Schedule,
    weights: Weights,
    losses: LDParams,
    providers: Mapping[str, Provider],
    objectives: Mapping[str, Objective],
    view_extras: frozenset[str] = frozenset(),
) -> Method:
    terms = {name: weight for name, weight in asdict(weights).items() if weight > 0 and name in objectives}

    def phase(name: str, steps: int, chosen: dict[str, float], fresh: bool) -> Phase:
        optimizer = OptimizerParams(schedule.optimizer, schedule.learning_rate, schedule.weight_decay)
        group = OptimGroup("model", ("encoder",), chosen, optimizer, model_rate(schedule), schedule.clip)
        return Phase(name, steps, (group,), fresh)

    early = {name: weight for name, weight in terms.items() if name in FIRST_PHASE}
    first = schedule.first_phase_steps
    with_clusters = encoder.config.clusters > 0
    return Method(
        {"encoder": encoder, **({"areas": RunningAreas(encoder.config.clusters)} if with_clusters else {})},
        providers,
        objectives,
        (
            phase("patches", first, early, False),
            phase("regions", schedule.steps - first, terms, losses.fresh_optimizer),
        ),
        (remember_areas,) if with_clusters else (),
        view_extras,
    )


def _objectives(encoder: DenseEncoder, losses: LDParams) -> dict[str, Objective]:
    objectives: dict[str, Objective] = {
        "pixel": PixelContrast(losses.pixel_temperature),
        "patch": PatchDiscrimination(losses.grid, losses.patch_temperature, losses.center_pool),
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
