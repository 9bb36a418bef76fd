"""The network of the LD paper: VGG16-BN with a quarter of the channels and a U-shaped decoder.

Source: the authors' released code of Chen et al., "Unsupervised Local Discrimination for Medical Images"
(arXiv 2108.09440); written anew from the description, no weights of theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Output channels of the convolutions between two max-pools.
TINY = ((16, 16), (32, 32), (64, 64, 64), (128, 128, 128), (128, 128, 128))
SMALL = tuple(tuple(2 * c for c in block) for block in TINY)
FULL = tuple(tuple(4 * c for c in block) for block in TINY)


class Vgg16Bn(nn.Module):
    """``(B, C, H, W)``, H and W divisible by 16, to five maps taken just before each max-pool (strides 1 to 16)."""

    def __init__(self, in_channels: int, blocks: tuple[tuple[int, ...], ...] = TINY) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in blocks:
            layers: list[nn.Module] = []
            for channels in block:
                layers += _conv_bn_relu(in_channels, channels)
                in_channels = channels
            self.blocks.append(nn.Sequential(*layers))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the pyramid, finest first."""
        height, width = x.shape[-2:]
        if height % 16 or width % 16:
            raise ValueError(f"image of {height} x {width} pixels: the network needs sizes divisible by 16")
        pyramid = []
        for index, block in enumerate(self.blocks):
            x = block(nn.functional.max_pool2d(x, 2) if index else x)
            pyramid.append(x)
        return pyramid


class UTrunk(nn.Module):
    """Decoder: nearest up-sampling, skip, two convolutions; nothing shared at full resolution.

    ``pyramid`` of the tiny encoder to ``(B, 32, H, W)``.
    """

    def __init__(self) -> None:
        super().__init__()
        steps = ((256, 128, 64), (128, 64, 32), (64, 32, 16))
        self.steps = nn.ModuleList(
            nn.Sequential(*_conv_bn_relu(inputs, middle), *_conv_bn_relu(middle, outputs))
            for inputs, middle, outputs in steps
        )

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Return the concatenation of the decoder and the first level."""
        x = pyramid[-1]
        for step, skip in zip(self.steps, reversed(pyramid[1:-1]), strict=True):
            x = step(torch.cat([_up(x), skip], 1))
        return torch.cat([_up(x), pyramid[0]], 1)


def _conv_bn_relu(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _up(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
