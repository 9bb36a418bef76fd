"""Small heads between an encoder's features and a loss: global, dense and predicting."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_ld.model.encoder import unit


class GlobalProjector(nn.Module):
    """Level maps to one vector an image: global averages of all levels, joined, through fully connected layers.

    On the published networks the last encoder map is averaged; here all levels are, so that every weight which the
    exported features use is trained [reconstruction].

    Parameters
    ----------
    level_dims : sequence of int
        Channels of the levels.
    widths : sequence of int
        Outputs of the layers; ReLU between them.
    normalised : bool
        Batch normalisation after every layer but the last (SimSiam and Barlow Twins; after the last too for SimSiam's
        projector, without scale: the caller's ``last_normalised``).
    last_normalised : bool
        Batch normalisation without learnt scale after the last layer.
    """

    def __init__(
        self, level_dims: tuple[int, ...], widths: tuple[int, ...], normalised: bool, last_normalised: bool = False
    ) -> None:
        super().__init__()
        self.layers = perceptron((sum(level_dims), *widths), normalised)
        if last_normalised:
            self.layers.append(nn.BatchNorm1d(widths[-1], affine=False))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Maps ``(B, D_l, h_l, w_l)`` to ``(B, widths[-1])``, not normalised."""
        pooled = torch.cat([level.float().mean((2, 3)) for level in levels], 1)
        out: Tensor = self.layers(pooled)
        return out


class DenseProjector(nn.Module):
    """1x1 convolution, ReLU, 1x1 convolution, unit length: ``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, outputs, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Return unit vectors along the channels."""
        return unit(self.layers(maps))


def predictor(dim: int, hidden: int) -> nn.Sequential:
    """SimSiam's predictor: ``dim -> hidden -> dim`` with batch normalisation and ReLU between."""
    return perceptron((dim, hidden, dim), normalised=True)


def perceptron(widths: tuple[int, ...], normalised: bool) -> nn.Sequential:
    """Fully connected layers with ReLU, and optionally batch normalisation, between them."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        last = index == len(widths) - 2
        layers.append(nn.Linear(inputs, outputs, bias=last or not normalised))
        if not last:
            layers += [nn.BatchNorm1d(outputs)] * normalised + [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
