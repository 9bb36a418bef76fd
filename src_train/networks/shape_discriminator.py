"""Tells a cluster map from masks of another modality (LD, arXiv 2108.09440 v1; authors' code)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_POOLED = 5
_SMALLEST = 5  # rows that two convolutions without padding need


class ShapeDiscriminator(nn.Module):
    """One logit an image: ``(B, 1, n, n)`` to (B,); 52,129 parameters, no normalisation.

    Five 3x3 convolutions (1-16-32-32-32-32), each with LeakyReLU and 2x2 max-pooling, two more without padding, global
    average, two 1x1 convolutions; 448 pixels become 14, 12 and 10. Of smaller maps the last poolings are left out, so
    that the two unpadded convolutions fit [reconstruction].

    Parameters
    ----------
    leaky_slope : float
        0.2 [reconstruction]; the authors' code has 1, which makes the network linear but for the poolings.
    """

    def __init__(self, leaky_slope: float = 0.2) -> None:
        super().__init__()
        widths = (1, 16, 32, 32, 32, 32)
        self.pooled = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 3, padding=1) for i in range(_POOLED))
        self.bare = nn.ModuleList(nn.Conv2d(32, 32, 3) for _ in range(2))
        self.last = nn.ModuleList([nn.Conv2d(32, 32, 1), nn.Conv2d(32, 1, 1)])
        self.leaky_slope = leaky_slope

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (B,), high for masks.

        Raises
        ------
        ValueError
            For maps of fewer than 5 rows or columns.
        """
        if min(maps.shape[-2:]) < _SMALLEST:
            raise ValueError(f"maps of {tuple(maps.shape[-2:])} cells: expected {_SMALLEST} or more")
        x = self.features(maps).mean((2, 3), keepdim=True)
        logits: Tensor = self.last[1](F.leaky_relu(self.last[0](x), self.leaky_slope))
        return logits.flatten()

    def features(self, maps: Tensor) -> Tensor:
        """Maps before the average: ``(B, 32, 10, 10)`` for 448 pixels."""
        x = maps
        for convolution in self.pooled:
            x = F.leaky_relu(convolution(x), self.leaky_slope)
            if min(x.shape[-2:]) >= 2 * _SMALLEST:
                x = F.max_pool2d(x, 2)
        for convolution in self.bare:
            x = F.leaky_relu(convolution(x), self.leaky_slope)
        return x
