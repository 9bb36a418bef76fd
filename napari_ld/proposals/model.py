"""Regions that a person's own model finds: the labels of a segmenter, or what speaks for a classifier's class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_ld.errors import ConfigError
from napari_ld.proposals.components import regions_of_mask
from napari_ld.proposals.evidence import PlaneEvidence, plane_evidence, region_means
from napari_ld.proposals.hierarchy import STRUCTURES, tree_of
from napari_ld.proposals.job import Job
from napari_ld.proposals.regions import Region
from napari_ld.segmentation import Predictor
from napari_ld.segmentation.windows import rows_of

__all__ = ["ModelParams", "propose_model"]

_CLASSES = 9  # that a person can give; further labels of a model get none


@dataclass(frozen=True, slots=True)
class ModelParams:
    """Settings of the proposals of a model.

    Attributes
    ----------
    model : str
        File of kind ``segmenter`` or ``classifier``.
    smallest : int
        Pixels of the smallest region.
    level : float
        Of a classifier: part of the range of its map from which on a piece belongs to a region.
    pieces : int
        Of a classifier: regions of the hierarchy, per plane, that are taken or left as a whole.
    """

    model: str = ""
    smallest: int = 16
    level: float = 0.6
    pieces: int = 600

    def __post_init__(self) -> None:
        if min(self.smallest, self.pieces) < 1 or not 0 < self.level < 1:
            raise ConfigError(f"{self}: expected counts of at least 1 and a level between 0 and 1")


def propose_model(job: Job) -> Iterator[list[Region]]:
    """Regions of every plane by their score, which for a segmenter is the mean probability of their label."""
    params: ModelParams = job.params
    if not params.model:
        raise ConfigError("no model was chosen: name the file of a segmenter or classifier of yours")
    predictor = Predictor(
        job.source.images, params.model, device=job.source.device.name, kinds=("segmenter", "classifier")
    )
    find = _labelled if predictor.model.header.kind == "segmenter" else _activated
    for plane in job.planes:
        evidence = plane_evidence(job.source, plane, job.cancelled)
        found = sorted(find(job, predictor, evidence, params), key=lambda region: -region.score)
        yield [replace(region, id=number) for number, region in enumerate(found, start=1)]


def _labelled(job: Job, predictor: Predictor, evidence: PlaneEvidence, params: ModelParams) -> list[Region]:
    labels = predictor.labels(evidence.plane, job.cancelled)
    maps, window = predictor.probabilities(evidence.plane, job.cancelled), predictor.window(evidence.plane)
    found: list[Region] = []
    for number, value in enumerate(predictor.values):
        score = rows_of(maps[number : number + 1], window, 0, labels.shape[0])[0]
        found += _regions(job, evidence, labels == value, score, number, params)
    return found


def _activated(job: Job, predictor: Predictor, evidence: PlaneEvidence, params: ModelParams) -> list[Region]:
    """Pieces of the plane that speak most for what the classifier looks for."""
    best, probability, odds = predictor.evidence(evidence.plane, job.cancelled)
    window = predictor.window(evidence.plane)
    activation = rows_of(odds[None], window, 0, evidence.shape[0])[0]
    pieces = tree_of(evidence, STRUCTURES).cut(params.pieces) - 1
    means = region_means(pieces, activation[None], int(pieces.max()) + 1)[:, 0].astype(np.float32)
    relative = (means - means.min()) / max(float(np.ptp(means)), 1e-9)
    flat = relative[pieces]
    return _regions(job, evidence, flat >= params.level, flat * probability, best, params)


def _regions(
    job: Job,
    evidence: PlaneEvidence,
    mask: npt.NDArray[np.bool_],
    score: npt.NDArray[np.float32],
    number: int,
    params: ModelParams,
) -> list[Region]:
    parts = regions_of_mask(job.source, evidence, mask, score, kind="model", smallest=params.smallest)
    label = number + 1 if number < _CLASSES else 0
    return [replace(region, label=label) for region in parts]
