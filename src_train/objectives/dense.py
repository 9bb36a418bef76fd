"""Values of a step that dense objectives share: one pass of the encoder over both views, and the points compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.model.encoder import join_levels, unit
from src_train.data.geometry import pixel_grid
from src_train.protocol import Provider, StepContext


@dataclass(frozen=True)
class Passed:
    """What one pass of the network gives for B images.

    Attributes
    ----------
    levels : pair of list of (B, d, h, w) tensors
        Per-scale maps of view 1 and view 2, not normalised.
    embedding : pair of (B, D, V/s, V/s) tensors
        Levels joined to unit vectors, on the grid of ``ViewBatch.overlap``.
    clusters : pair of (B, K, V/s, V/s) tensors, or None
    mixed : (B/2, D, V/s, V/s) tensor or None
        Embedding of the mixed images, ``share`` (B/2,) of the first of each couple.
    """

    levels: tuple[list[Tensor], list[Tensor]]
    embedding: tuple[Tensor, Tensor]
    clusters: tuple[Tensor, Tensor] | None
    mixed: Tensor | None
    share: Tensor | None


@dataclass(frozen=True)
class Queries:
    """Points of view 1 that are looked for in view 2.

    Attributes
    ----------
    cells : (B, P) int tensor
        Flat indices into the map of ``ViewBatch.overlap``.
    weight : (B, P) tensor
        0 for the points of an image without overlap.
    place, target : (B, P, 2) tensor
        ``(x, y)`` pixels of view 1 and of view 2.
    """

    cells: Tensor
    weight: Tensor
    place: Tensor
    target: Tensor


def dense_providers(points: int, mixup: bool) -> Mapping[str, Provider]:
    """Providers of ``passed`` (:class:`Passed`) and ``queries`` (:class:`Queries`)."""

    def passed(context: StepContext) -> Passed:
        return _pass(context, mixup)

    def queries(context: StepContext) -> Queries:
        return _draw_queries(context, points)

    return {"passed": passed, "queries": queries}


def _pass(context: StepContext, mixup: bool) -> Passed:
    batch, share = context.batch, None
    images = [batch.first, batch.second]
    if mixup:
        share = context.rand("mixup", len(batch.first) // 2) * 0.6 + 0.2  # λ of the authors' code
        weight = share[:, None, None, None]
        images.append(weight * batch.first[::2] + (1 - weight) * batch.first[1::2])
    levels, clusters = context.encoder.levels(torch.cat(images))
    joined = join_levels(levels)
    finer = batch.first.shape[-1] // joined.shape[-1], batch.first.shape[-1] // batch.overlap.shape[-1]
    if finer[0] < finer[1]:  # a full-resolution network: average to the cells whose partners are known
        joined = unit(F.avg_pool2d(joined, finer[1] // finer[0]))
        clusters = None if clusters is None else F.avg_pool2d(clusters, finer[1] // finer[0])
    count = len(batch.first)
    halves = slice(count), slice(count, 2 * count)
    return Passed(
        levels=([level[halves[0]] for level in levels], [level[halves[1]] for level in levels]),
        embedding=(joined[halves[0]], joined[halves[1]]),
        clusters=None if clusters is None else (clusters[halves[0]], clusters[halves[1]]),
        mixed=joined[2 * count :] if share is not None else None,
        share=share,
    )


def _draw_queries(context: StepContext, points: int) -> Queries:
    batch = context.batch
    stride = batch.first.shape[-1] // batch.overlap.shape[-1]
    cells, weight = draw_cells(batch.overlap, context.rand("queries", len(batch.overlap), points))
    return Queries(
        cells,
        weight,
        pixel_grid(batch.overlap.shape[-1], stride).to(context.device).flatten(1, 2)[0][cells],
        batch.partner.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 2)),
    )


def draw_cells(overlap: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Cells of the overlap, drawn with replacement by uniform numbers.

    Parameters
    ----------
    overlap : (B, h, w) bool tensor
    chance : (B, P) tensor
        In [0, 1).

    Returns
    -------
    cells, weight : (B, P) tensors
        Flat indices, and 0 where the image has no overlap.
    """
    allowed = overlap.flatten(1)
    some = allowed.any(1, keepdim=True)
    ranks = torch.where(some, allowed, torch.ones_like(allowed)).cumsum(1)  # exact: integers
    wanted = (chance * ranks[:, -1:]).long().clamp_max(ranks[:, -1:] - 1) + 1
    return torch.searchsorted(ranks, wanted), some.float().expand(-1, chance.shape[1])
