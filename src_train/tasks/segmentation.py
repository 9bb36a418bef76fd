"""Few-label segmentation: a decoder on an encoder that is frozen at first, then fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld.model.encoder import DenseEncoder
from napari_ld.model.heads import HeadConfig, Segmenter, build_segmenter
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.segmentation.predictor import decided, probabilities_of
from src_train.data.labelled import Classes, LabelledPlane, LabelledSet, load_segmented
from src_train.losses.overlap import cross_entropy, published_dice, soft_dice
from src_train.objectives.labelled import OfPixels
from src_train.protocol import Method, StepContext
from src_train.schedules import Schedule
from src_train.tasks.two_phases import two_phases


@dataclass(frozen=True)
class SegmentationParams:
    """Constants of the task.

    Attributes
    ----------
    values : tuple of int
        Labels of the masks to learn, all others being background; empty: all.
    dice, cross_entropy, published : float
        Weights of the losses: soft Dice, cross-entropy, and the Dice of LD's protocol.
    encoder_rate : float
        Learning rate of the encoder as a share of the decoder's, once it is trained.
    filled_share : float
        How often, at least, a plane with labelled pixels is drawn from volumes that also have others.
    """

    values: tuple[int, ...] = ()
    dice: float = 1.0
    cross_entropy: float = 1.0
    published: float = 0.0
    encoder_rate: float = 0.3
    filled_share: float = 0.75


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice": soft_dice,
    "cross_entropy": cross_entropy,
    "published": published_dice,
}


def read_segmented(
    images: Sequence[str],
    labels: Sequence[str],
    head: HeadConfig,
    normalization: IntensityNormalization,
    params: SegmentationParams,
) -> tuple[LabelledSet, Classes]:
    """Images and masks; see :func:`src_train.data.labelled.load_segmented`."""
    data, classes = load_segmented(images, labels, head, normalization, params.values)
    return replace(data, filled_share=params.filled_share), classes


def build_segmentation(
    encoder: DenseEncoder, head: HeadConfig, schedule: Schedule, params: SegmentationParams
) -> Method:
    """The method that trains a segmenter; see :func:`src_train.tasks.two_phases.two_phases`."""
    network = build_segmenter(encoder, head)

    def logits(context: StepContext) -> Tensor:
        return network.logits(context.given.first, context["maps"])

    return two_phases(
        network,
        logits,
        {name: OfPixels(loss) for name, loss in LOSSES.items()},
        {name: getattr(params, name) for name in LOSSES if getattr(params, name) > 0},
        schedule,
        params.encoder_rate,
    )


class SegmentationJudge:
    """Dice of whole planes at the working size, seen through windows as in use.

    Parameters
    ----------
    data : LabelledSet
        With at least one labelled pixel.
    head : HeadConfig
    normalization : IntensityNormalization
    """

    def __init__(self, data: LabelledSet, head: HeadConfig, normalization: IntensityNormalization) -> None:
        self.data, self.head, self.normalization = data, head, normalization

    def __call__(self, network: Segmenter) -> dict[str, float]:
        """``dice``: over all planes of an image, mean over the images that show a label, mean over labels."""
        numbers = range(1, len(self.head.classes) + 1)
        sums = {(n, plane.group): np.zeros(3) for n in numbers for plane in self.data.planes}
        for plane in self.data.planes:
            found, truth = self._found(network, plane), np.asarray(plane.target)
            for n in numbers:
                own, there = found == n, truth == n
                sums[n, plane.group] += (own & there).sum(), own.sum(), there.sum()
        scores = [
            [2 * both / (own + there) for (n, _), (both, own, there) in sums.items() if n == number and there]
            for number in numbers
        ]
        return {"dice": float(np.mean([np.mean(of_label) for of_label in scores if of_label]))}

    def score(self, measured: dict[str, float]) -> float:
        """What is compared: higher is better."""
        return measured["dice"]

    def _found(self, network: Segmenter, plane: LabelledPlane) -> npt.NDArray[np.intp]:
        x = plane_input(plane, self.normalization, next(network.parameters()).device)

        def ask(part: Tensor) -> Tensor:
            with torch.no_grad():
                return network(part).cpu()  # type: ignore[no-any-return]  # of modules torch knows no types

        return decided(probabilities_of(ask, x, self.head.tile, network.alignment))


def plane_input(plane: LabelledPlane, scaling: IntensityNormalization, device: torch.device) -> Tensor:
    """Model input (1, C, h, w) of a plane."""
    return ((plane.pixels.float() / 255 - scaling.mean) / scaling.std)[None].to(device)
