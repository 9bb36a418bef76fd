"""Localized region contrast on super-pixels that both views show [reconstruction of LRC, arXiv 2304.03406]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from src_train.data.superpixels import region_cells
from src_train.losses.localized import RegionSample, draw_regions, localized_contrast
from src_train.objectives.discrimination import joined_at
from src_train.protocol import StepContext


@dataclass(frozen=True)
class LocalizedParams:
    """Constants of the region contrast; all [reconstruction].

    Attributes
    ----------
    weight : float
        Of the term beside the global ones.
    ramp : float
        Share of the run over which it rises from 0 to its weight.
    regions, cells : int
        R regions an image, P cells a region and view.
    temperature : float
        τ of the contrast.
    dim : int
        Length of the local projections.
    stride : int
        Pixels per cell of the features and of the label grid.
    purity : float
        Cells of whose pixels a smaller share belongs to one region take no part.
    least_cells : int
        Regions with fewer cells in either view take no part.
    pooled : bool
        Compare with the mean of a region's keys instead of each (as DetCon does).
    symmetric : bool
        Also look from view 2 for view 1, where the method encodes both with gradient.
    """

    weight: float = 1.0
    ramp: float = 0.05
    regions: int = 16
    cells: int = 16
    temperature: float = 0.1
    dim: int = 128
    stride: int = 4
    purity: float = 0.7
    least_cells: int = 4
    pooled: bool = False
    symmetric: bool = True


@dataclass(frozen=True)
class LocalizedContrast:
    """Cells find the cells of their own super-pixel in the other view.

    Attributes
    ----------
    params : LocalizedParams
    ramp_steps : int
        Steps until the term has its full weight.
    keys : str
        Network that projects the keys: the projector's twin, or the projector itself.
    """

    params: LocalizedParams
    ramp_steps: int
    keys: str
    needs: frozenset[str] = frozenset({"query_levels", "key_levels", "both_levels"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the images of the global batch that share at least two regions between their views."""
        size = context.batch.first.shape[-1] // self.params.stride
        samples = self._samples(context)
        project = context.networks["local_projector"]
        queries = project(joined_at(context["query_levels"], size))
        with torch.no_grad():
            keys = context.networks[self.keys](joined_at(context["key_levels"], size))
        loss = self._loss(queries, keys, samples)
        both = context["both_levels"] if self.params.symmetric else None
        if both is not None:
            swapped = [None if s is None else RegionSample(s.ids, s.second, s.first) for s in samples]
            back = project(joined_at(both[1], size))
            loss = (loss + self._loss(back, queries.detach(), swapped)) / 2
        used = sum(sample is not None for sample in samples)
        ramp = min(1.0, (context.step + 1) / max(1, self.ramp_steps))
        return ramp * context.world.mean(loss, used)

    def _loss(self, queries: Tensor, keys: Tensor, samples: list[RegionSample | None]) -> Tensor:
        return localized_contrast(queries, keys, samples, self.params.temperature, self.params.pooled)

    def _samples(self, context: StepContext) -> list[RegionSample | None]:
        p, labels = self.params, context.batch.labels
        if labels is None:
            raise ValueError("the batch has no label maps: the method must ask the view maker for 'labels'")
        grids = [region_cells(view, p.stride, p.purity).cpu() for view in labels]
        chances = context.rand("regions", len(grids[0])).tolist()
        samples: list[RegionSample | None] = []
        for first, second, chance in zip(*grids, chances, strict=True):
            generator = torch.Generator().manual_seed(int(chance * 2**31))
            samples.append(draw_regions(first, second, p.regions, p.cells, generator, p.least_cells))
        return samples
