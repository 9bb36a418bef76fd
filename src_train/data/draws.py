"""Random numbers of a batch, the same however many processes share it.

Small numbers are drawn for the whole batch and cut to this process's rows; large ones (noise) come from a generator
per image, so that nobody draws pixels of others.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Numbers for the rows of one process.

    Parameters
    ----------
    seed : int
        Everything follows from it.
    total : int
        Images of the global batch, neighbours being couples.
    rows : slice
        Those of this process, whole couples.
    device : torch.device
        Where the numbers are given. They are drawn on the CPU, noise excepted.
    """

    def __init__(self, seed: int, total: int, rows: slice | None = None, device: torch.device | str = "cpu") -> None:
        self.total = total
        self.rows = slice(0, total) if rows is None else rows
        self.device = torch.device(device)
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """One draw an image, ``(rows, *shape)``."""
        return self._cut(torch.rand(self.total, *shape, generator=self._generator) * (high - low) + low)

    def of_couples(self, low: float, high: float) -> Tensor:
        """One draw a couple, shared by its two images, ``(rows,)``."""
        drawn = torch.rand(self.total // 2, generator=self._generator) * (high - low) + low
        return self._cut(drawn.repeat_interleave(2))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, few per image, ``(rows, *shape)``."""
        return self._cut(torch.randn(self.total, *shape, generator=self._generator))

    def seeds(self) -> list[int]:
        """One seed an image."""
        drawn: list[int] = torch.randint(2**62, (self.total,), generator=self._generator)[self.rows].tolist()
        return drawn

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers, many per image, ``(rows, *shape)``, drawn on the device."""
        seeds = self.seeds()
        generator = torch.Generator(self.device)
        result = torch.empty(len(seeds), *shape, device=self.device)
        for image, seed in zip(result, seeds, strict=True):
            image.normal_(generator=generator.manual_seed(seed))
        return result

    def _cut(self, drawn: Tensor) -> Tensor:
        return drawn[self.rows].to(self.device)
