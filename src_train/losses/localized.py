"""Contrastive sampling between super-pixels of two views [reconstruction of LRC, Yan et al., arXiv 2304.03406].

The paper names a "contrastive sampling loss" over Felzenszwalb super-pixels; its exact form is not known to us. This
one samples cells of regions that both views show; each positive competes with negatives only, and these stay inside
the image, because the same organ of another patient would be a false negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ld.model.encoder import unit


@dataclass(frozen=True)
class RegionSample:
    """Cells drawn for one image.

    Attributes
    ----------
    ids : (R,) int tensor
        Regions that both views show.
    first, second : (R, P) int tensor
        Flat indices of the cells drawn in view 1 and in view 2.
    """

    ids: Tensor
    first: Tensor
    second: Tensor


def shared_regions(first: Tensor, second: Tensor, least_cells: int = 4) -> Tensor:
    """Ids (≥ 0) with at least ``least_cells`` cells in both label grids, ascending: (h, w) int twice -> (M,) int."""
    most = int(max(first.max(), second.max())) + 1
    counts = [torch.bincount(labels[labels >= 0].long(), minlength=max(1, most)) for labels in (first, second)]
    return torch.nonzero((counts[0] >= least_cells) & (counts[1] >= least_cells))[:, 0]


def draw_regions(
    first: Tensor, second: Tensor, regions: int, cells: int, generator: torch.Generator, least_cells: int = 4
) -> RegionSample | None:
    """Draw regions uniformly over ids (not by area), and cells of each in both views.

    Parameters
    ----------
    first, second : (h, w) int tensor
        Label grids of the two views; -1 belongs to no region.
    regions : int
        R; all shared regions when there are fewer.
    cells : int
        P cells a region and view; with replacement only where the region has fewer.

    Returns
    -------
    RegionSample or None
        None when fewer than two regions are shared: there would be no negative.
    """
    ids = shared_regions(first, second, least_cells)
    if len(ids) < 2:
        return None
    ids = ids[torch.randperm(len(ids), generator=generator)[:regions]]
    drawn = [torch.stack([_draw(labels.flatten() == i, cells, generator) for i in ids]) for labels in (first, second)]
    return RegionSample(ids, drawn[0], drawn[1])


def contrastive_sampling(
    queries: Tensor, keys: Tensor, temperature: float = 0.1, ignore: Tensor | None = None, pooled: bool = False
) -> Tensor:
    r"""Cells find the cells of their own region.

    .. math:: L = -\frac{1}{R P^2} \sum_{i,p,r} \log \frac{\exp(q_{ip} \cdot k_{ir} / τ)}
              {\exp(q_{ip} \cdot k_{ir} / τ) + \sum_{j \neq i, s} \exp(q_{ip} \cdot k_{js} / τ)}

    Parameters
    ----------
    queries : (R, P, C) tensor
        Unit vectors of the cells of view 1.
    keys : (R, P, C) tensor
        Unit vectors of the cells of view 2; no gradient.
    temperature : float
        τ; 0.1 as in DetCon.
    ignore : (R, R) bool tensor, optional
        Pairs of regions that are not negatives of each other.
    pooled : bool
        Replace the keys of a region by their normalised mean.

    Returns
    -------
    scalar tensor, float32; ``log(1 + (R - 1) P)`` when all vectors are equal.
    """
    keys = keys.detach().float()
    if pooled:
        keys = unit(keys.mean(1, keepdim=True), -1)
    regions = len(queries)
    scores = torch.einsum("ipc,jrc->ipjr", queries.float(), keys) / temperature
    excluded = torch.eye(regions, dtype=torch.bool, device=queries.device)
    if ignore is not None:
        excluded = excluded | ignore
    # Masked before the sum: subtracting the own region from the whole sum would cancel in float32.
    negative = scores.masked_fill(excluded[:, None, :, None], -torch.inf).flatten(2).logsumexp(2)
    index = torch.arange(regions, device=queries.device)
    positive = scores[index, :, index]  # (R, P, P or 1)
    return (torch.logaddexp(positive, negative[..., None].expand_as(positive)) - positive).mean()


def localized_contrast(
    queries: Tensor, keys: Tensor, samples: list[RegionSample | None], temperature: float = 0.1, pooled: bool = False
) -> Tensor:
    """Mean of :func:`contrastive_sampling` over the images that have a sample; 0 with zero gradient when none has.

    Parameters
    ----------
    queries, keys : (B, C, h, w) tensor
        Unit vectors along C, on the grids of the label maps.
    samples : list of B RegionSample or None
    """
    losses = []
    for query, key, sample in zip(queries.flatten(2), keys.flatten(2), samples, strict=True):
        if sample is not None:
            losses.append(contrastive_sampling(query.T[sample.first], key.T[sample.second], temperature, pooled=pooled))
    return torch.stack(losses).mean() if losses else queries.sum() * 0


def _draw(member: Tensor, count: int, generator: torch.Generator) -> Tensor:
    cells = member.nonzero()[:, 0]
    if len(cells) >= count:
        return cells[torch.randperm(len(cells), generator=generator)[:count]]
    return cells[torch.randint(len(cells), (count,), generator=generator)]
