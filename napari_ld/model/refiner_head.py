"""The network of the learnt refiner: maps around a rough label in, a correction of its log-odds out.

Our own design: three sizes, 3x3 convolutions, and an output that begins at 0, so that an untrained one changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ALIGNMENT", "RefinerHead"]

ALIGNMENT = 4  # sides of the input are padded to multiples of it
_WIDTHS = (16, 24, 32)


class RefinerHead(nn.Module):
    """Maps ``(B, C, H, W)`` to a correction of the log-odds, ``(B, 1, H, W)``; any H and W.

    Parameters
    ----------
    maps : int
        Channels of the input.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        first, second, third = _WIDTHS
        self.fine = _block(maps, first)
        self.middle = _block(first, second)
        self.coarse = _block(second, third)
        self.wide = _block(third, third, dilation=2)
        self.at_middle = _block(third + second, second)
        self.at_fine = _block(second + first, first)
        self.out = nn.Conv2d(first, 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, (-width) % ALIGNMENT, 0, (-height) % ALIGNMENT), mode="replicate")
        fine = self.fine(x)
        middle = self.middle(F.avg_pool2d(fine, 2))
        coarse = self.wide(self.coarse(F.avg_pool2d(middle, 2)))
        middle = self.at_middle(torch.cat([_doubled(coarse), middle], 1))
        out: Tensor = self.out(self.at_fine(torch.cat([_doubled(middle), fine], 1)))
        return out[..., :height, :width]


def _block(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, wide in ((inputs, 1), (outputs, dilation)):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=wide, dilation=wide, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
