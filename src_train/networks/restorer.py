"""The decoder that restores the clean image from an encoder's level maps (DiRA, arXiv 2204.10437)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Restorer(nn.Module):
    """Level maps to one grey channel in [0, 1] at full resolution.

    The levels come out of a top-down path already (the decoder's deep half). Here they are joined on the finest grid
    and brought to full resolution by nearest x2 up-sampling with two conv-BN-ReLU a stage; one 3x3 convolution and a
    sigmoid end it, as in the authors' U-Net.

    Parameters
    ----------
    level_dims : sequence of int
        Channels of the levels, finest first.
    stride : int
        Input pixels per cell of the finest level, a power of 2.
    width : int
        Channels of the last stage; each stage before has twice as many.
    """

    def __init__(self, level_dims: tuple[int, ...], stride: int, width: int = 16) -> None:
        super().__init__()
        stages = stride.bit_length() - 1
        if stride != 1 << stages:
            raise ValueError(f"stride {stride}: expected a power of 2")
        channels = sum(level_dims)
        self.stages = nn.ModuleList()
        for index in range(stages):
            outputs = width << (stages - 1 - index)
            self.stages.append(nn.Sequential(_conv(channels, outputs), _conv(outputs, outputs)))
            channels = outputs
        self.head = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Maps ``(B, D_l, h_l, w_l)`` to ``(B, 1, H, W)``."""
        size = levels[0].shape[-2:]
        raised = [
            nn.functional.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels[1:]
        ]
        x = torch.cat([levels[0], *raised], 1)
        for stage in self.stages:
            x = stage(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return torch.sigmoid(self.head(x).float())


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
