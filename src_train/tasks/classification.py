"""Classes of images from a linear head whose maps show what speaks for a class, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import DenseEncoder
from napari_ld.model.heads import Classifier, HeadConfig, build_classifier, pooled
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.data.labelled import Classes, LabelledSet, load_classified
from src_train.objectives.labelled import OfImages
from src_train.protocol import Method, StepContext
from src_train.schedules import Schedule
from src_train.tasks.segmentation import plane_input
from src_train.tasks.two_phases import two_phases


@dataclass(frozen=True)
class ClassificationParams:
    """Constants of the task; all [reconstruction].

    Attributes
    ----------
    background : str
        Class that shows nothing to be found, such as ``normal``; empty: none.
    sharpness : float
        Of the pooling of the class maps: 0 is their mean, larger values come closer to their maximum.
    dropout : float
        Of whole channels before the linear layer.
    smoothing : float
        Of the labels.
    encoder_rate : float
        Learning rate of the encoder as a share of the head's, once it is trained.
    """

    background: str = ""
    sharpness: float = 1.0
    dropout: float = 0.2
    smoothing: float = 0.05
    encoder_rate: float = 0.3


def read_classified(
    images: Sequence[str],
    labels: Sequence[str],
    head: HeadConfig,
    normalization: IntensityNormalization,
    params: ClassificationParams,
) -> tuple[LabelledSet, Classes]:
    """Images and the table of their classes; see :func:`src_train.data.labelled.load_classified`.

    Raises
    ------
    ConfigError
        Also without exactly one table, or when no image is of the background class.
    """
    if len(labels) != 1:
        raise ConfigError(f"{len(labels)} tables of labels: give one CSV file with --labels")
    data, classes = load_classified(images, labels[0], head, normalization)
    names = [name for _, name in classes]
    if params.background and params.background not in names:
        raise ConfigError(f"classification.background = {params.background!r}: no such class; {', '.join(names)}")
    return data, classes


def build_classification(
    encoder: DenseEncoder, head: HeadConfig, schedule: Schedule, params: ClassificationParams
) -> Method:
    """The method that trains a classifier; see :func:`src_train.tasks.two_phases.two_phases`."""
    network = build_classifier(encoder, head, params.dropout)

    def logits(context: StepContext) -> Tensor:
        return pooled(network.head(context["maps"]), head.sharpness)

    return two_phases(
        network, logits, {"classes": OfImages(params.smoothing)}, {"classes": 1.0}, schedule, params.encoder_rate
    )


class ClassificationJudge:
    """How well classes of the images held back are told; parameters as of the judge of segmenters."""

    def __init__(self, data: LabelledSet, head: HeadConfig, normalization: IntensityNormalization) -> None:
        self.data, self.head, self.normalization = data, head, normalization

    @torch.no_grad()
    def __call__(self, network: Classifier) -> dict[str, float]:
        """``loss``: mean cross-entropy in nats; ``accuracy``: mean over classes of the share told right."""
        device = next(network.parameters()).device
        losses: list[float] = []
        right: dict[int, list[bool]] = {}
        for plane in self.data.planes:
            logits = network(plane_input(plane, self.normalization, device))[0].float().cpu()
            target = torch.tensor([int(plane.target)])
            losses.append(float(F.cross_entropy(logits, target)))
            right.setdefault(int(target), []).append(int(logits.argmax()) == int(target))
        return {"loss": float(np.mean(losses)), "accuracy": float(np.mean([np.mean(r) for r in right.values()]))}

    def score(self, measured: dict[str, float]) -> float:
        """What is compared: higher is better."""
        return -measured["loss"]
