"""The fast pyramid: a small residual network with a top-down path, for laptops (our own design).

Down-sampling uses 2x2 convolutions of stride 2, so that the cell ``i`` of a map with stride ``s`` has its centre at
input pixel ``s * i + (s - 1) / 2`` on every level, and no level is shifted against another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

STRIDES = (4, 8, 16, 32)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(8, channels), channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "group": _group_norm}


class FastPyramid(nn.Module):
    """``(B, C, H, W)`` to four maps of ``level_dims`` channels at strides 4, 8, 16, 32; H and W divisible by 32.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    level_dims : tuple of 4 int
        Channels of the maps, finest first.
    widths : tuple of 5 int
        Channels of the bottom-up path at strides 2, 4, 8, 16, 32.
    trunk : int
        Channels of the top-down path.
    norm : str
        A name of :data:`NORMS`. Group normalisation does not depend on the batch, so that several processes compute
        what one would; but it sees the whole image, so that a crop no longer equals its part of the image.
    """

    def __init__(
        self,
        in_channels: int,
        level_dims: tuple[int, ...],
        widths: tuple[int, ...] = (32, 64, 96, 128, 160),
        trunk: int = 64,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if len(level_dims) != len(STRIDES) or len(widths) != len(STRIDES) + 1:
            raise ValueError(f"expected {len(STRIDES)} level_dims and {len(STRIDES) + 1} widths")
        self.stem = nn.Sequential(_down(in_channels, widths[0], norm), _conv(widths[0], widths[0], norm))
        self.stages = nn.ModuleList(
            nn.Sequential(_down(a, b, norm), Residual(b, norm), Residual(b, norm)) for a, b in pairwise(widths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, trunk, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(_conv(trunk, trunk, norm) for _ in STRIDES)
        self.embed = nn.ModuleList(nn.Conv2d(trunk, dim, 1) for dim in level_dims)
        self.stem_channels, self.trunk_channels = widths[0], trunk

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the level maps (finest first, not normalised) and the finest trunk map for the cluster head."""
        _, trunks = self.maps(x)
        return [embed(trunk) for embed, trunk in zip(self.embed, trunks, strict=True)], trunks[0]

    def maps(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map of the stem (stride 2) and those of the top-down path (strides 4 to 32)."""
        stem = self.stem(x)
        x = stem
        bottom_up = []
        for stage in self.stages:
            x = stage(x)
            bottom_up.append(x)
        top: Tensor | None = None
        trunks: list[Tensor] = []
        for lateral, smooth, feature in zip(
            reversed(self.lateral), reversed(self.smooth), reversed(bottom_up), strict=True
        ):
            merged = lateral(feature)
            if top is not None:
                merged = merged + nn.functional.interpolate(top, scale_factor=2.0, mode="nearest")
            top = smooth(merged)
            trunks.append(top)
        trunks.reverse()
        return stem, trunks


class Residual(nn.Module):
    """Two 3x3 convolutions with normalisation around a shortcut."""

    def __init__(self, channels: int, norm: str = "batch") -> None:
        super().__init__()
        self.first = _conv(channels, channels, norm)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), NORMS[norm](channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return torch.relu(x + self.second(self.first(x)))


def _conv(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), NORMS[norm](outputs), nn.ReLU(inplace=True)
    )


def _down(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 2, stride=2, bias=False), NORMS[norm](outputs), nn.ReLU(inplace=True)
    )
