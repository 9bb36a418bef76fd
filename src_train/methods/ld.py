"""Local Discrimination on views with known geometry, with pixel contrast and cross-image agreement on top.

The patch, mixup, region and entropy terms are those of arXiv 2108.09440 (authors' code). Where the paper undoes
quarter turns exactly, here the known geometry brings the features of view 2 into the frame of view 1. Pixel
contrast, cluster balance and mutual agreement are ours [reconstruction].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.model.encoder import DenseEncoder, join_levels, unit
from src_train.data.geometry import pixel_grid, sample
from src_train.data.views import ViewBatch
from src_train.losses.mixup import hypersphere_mixup
from src_train.losses.mutual import mutual_matches
from src_train.losses.patch import patch_discrimination, patch_pool
from src_train.losses.pixel import pixel_contrast
from src_train.losses.region import cluster_balance, cluster_entropy, region_discrimination


@dataclass(frozen=True)
class Weights:
    """Weight of each term; 0 switches it off. Phase 1 uses the first four, phase 2 all.

    Mixup (weight 1 in the authors' code) is off by default: its extra forwards cost a fifth of the step.
    """

    pixel: float = 1.0
    level: float = 0.25
    patch: float = 0.2
    mixup: float = 0.0
    region: float = 1.0
    entropy: float = 0.1
    balance: float = 0.5
    mutual: float = 0.5


@dataclass(frozen=True)
class LDParams:
    """Constants of the losses.

    Attributes
    ----------
    grid : int
        Patches per side, S (authors' code: 8).
    patch_temperature, region_temperature : float
        τ and τ_r (authors' code: 0.1 and 0.2).
    pixel_temperature, points : float, int
        Of the pixel contrast [reconstruction].
    least_agreement : float
        Couples whose mutual matches agree less than this share teach nothing [reconstruction].
    """

    grid: int = 8
    patch_temperature: float = 0.1
    region_temperature: float = 0.2
    pixel_temperature: float = 0.06
    points: int = 160
    least_agreement: float = 0.25


@dataclass(frozen=True)
class Forwarded:
    """What one pass of the network gives for a batch of B images: levels and joined embedding of both views."""

    levels: tuple[list[Tensor], list[Tensor]]
    embedding: tuple[Tensor, Tensor]
    clusters: tuple[Tensor, Tensor] | None
    mixed: Tensor | None
    share: Tensor | None


class LocalDiscrimination:
    """Computes the weighted, named loss terms of one batch."""

    def __init__(self, weights: Weights, params: LDParams) -> None:
        self.weights = weights
        self.params = params

    def terms(
        self, encoder: DenseEncoder, batch: ViewBatch, phase: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of a batch; their sum is the loss.

        Parameters
        ----------
        encoder : DenseEncoder
            In training mode.
        batch : ViewBatch
        phase : {1, 2}
            1: pixel, level, patch, mixup; 2: region, entropy, balance and mutual too.
        generator : torch.Generator
            Draws points and mixing shares.
        """
        w, out = self.weights, self._forward(encoder, batch, generator)
        raw = self._pixel_terms(out, batch, generator)
        raw["patch"] = self._patch(out, batch)
        if out.mixed is not None and out.share is not None:
            raw["mixup"] = self._mixup(out, out.mixed, out.share)
        if phase >= 2:
            raw |= self._region_terms(out, batch)
            if w.mutual > 0:
                raw["mutual"] = self._mutual(out, batch)
        return {name: getattr(w, name) * value for name, value in raw.items() if getattr(w, name) > 0}

    def _forward(self, encoder: DenseEncoder, batch: ViewBatch, generator: torch.Generator) -> Forwarded:
        images, share = [batch.first, batch.second], None
        if self.weights.mixup > 0:
            share = torch.rand(len(batch.first) // 2, generator=generator) * 0.6 + 0.2  # λ of the authors' code
            weight = share[:, None, None, None]
            images.append(weight * batch.first[::2] + (1 - weight) * batch.first[1::2])
        levels, clusters = encoder.levels(torch.cat(images))
        joined = join_levels(levels)
        finer = batch.first.shape[-1] // joined.shape[-1], batch.first.shape[-1] // batch.overlap.shape[-1]
        if finer[0] < finer[1]:  # a full-resolution network: average to the cells whose partners are known
            joined = unit(F.avg_pool2d(joined, finer[1] // finer[0]))
            clusters = None if clusters is None else F.avg_pool2d(clusters, finer[1] // finer[0])
        count = len(batch.first)
        halves = slice(count), slice(count, 2 * count)
        return Forwarded(
            levels=([level[halves[0]] for level in levels], [level[halves[1]] for level in levels]),
            embedding=(joined[halves[0]], joined[halves[1]]),
            clusters=None if clusters is None else (clusters[halves[0]], clusters[halves[1]]),
            mixed=joined[2 * count :] if share is not None else None,
            share=share,
        )

    def _pixel_terms(self, out: Forwarded, batch: ViewBatch, generator: torch.Generator) -> dict[str, Tensor]:
        stride, tau = batch.first.shape[-1] // batch.overlap.shape[-1], self.params.pixel_temperature
        cells, weight = _draw_cells(batch.overlap, self.params.points, generator)
        target = batch.partner.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 2))
        queries = out.embedding[0].flatten(2).gather(2, cells[:, None].expand(-1, out.embedding[0].shape[1], -1))
        result = {
            "pixel": pixel_contrast(
                queries.transpose(1, 2), out.embedding[1], (target - (stride - 1) / 2) / stride, weight, tau
            )
        }
        where = pixel_grid(batch.overlap.shape[-1], stride).flatten(1, 2)[0][cells]
        parts = []
        for first, second in zip(out.levels[0][1:], out.levels[1][1:], strict=True):
            step = batch.first.shape[-1] // first.shape[-1]
            points = unit(sample(first.float(), where[:, None], step)[:, :, 0])
            goal = (target - (step - 1) / 2) / step
            parts.append(pixel_contrast(points.transpose(1, 2), unit(second), goal, weight, 2 * tau))
        if parts:
            result["level"] = torch.stack(parts).sum()
        return result

    def _patch(self, out: Forwarded, batch: ViewBatch) -> Tensor:
        """View 2 brought into the frame of view 1, patches of both compared; half-empty patches are left out."""
        # Halving the maps first costs a quarter and changes no patch mean of view 1.
        first, second = (F.avg_pool2d(view, 2) for view in out.embedding)
        stride = batch.first.shape[-1] // first.shape[-1]
        partner = F.avg_pool2d(batch.partner.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        aligned = sample(second, partner, stride)
        overlap = F.avg_pool2d(batch.overlap[:, None].float(), 2)[:, 0]
        cell = overlap.shape[-1] // self.params.grid
        kept = F.avg_pool2d(overlap[:, None], cell).flatten(1) >= 0.5
        vectors = [patch_pool(view, self.params.grid, overlap)[kept] for view in (first, aligned)]
        if len(vectors[0]) < 2:
            return first.sum() * 0
        return patch_discrimination(torch.cat(vectors), self.params.patch_temperature)

    def _mixup(self, out: Forwarded, mixed: Tensor, share: Tensor) -> Tensor:
        patches = patch_pool(out.embedding[0], self.params.grid)
        return hypersphere_mixup(
            patch_pool(mixed, self.params.grid), patches[::2], patches[1::2], share, self.params.patch_temperature
        )

    def _region_terms(self, out: Forwarded, batch: ViewBatch) -> dict[str, Tensor]:
        if out.clusters is None:
            return {}
        clusters = torch.cat(out.clusters)
        inside = torch.cat([batch.inside_first, batch.inside_second])[:, None]
        region, _ = region_discrimination(clusters * inside, torch.cat(out.embedding), self.params.region_temperature)
        shown = clusters.permute(0, 2, 3, 1)[inside[:, 0]].T[None, :, :, None]  # (1, K, pixels, 1)
        return {"region": region, "entropy": cluster_entropy(shown), "balance": cluster_balance(shown)}

    def _mutual(self, out: Forwarded, batch: ViewBatch) -> Tensor:
        """Second views of each couple: smoothed mutual matches at twice the output stride become targets."""
        maps = unit(F.avg_pool2d(out.embedding[1], 2))
        inside = F.avg_pool2d(batch.inside_second[:, None].float(), 2)[:, 0] > 0.99
        losses = []
        for i in range(0, len(maps), 2):
            found = mutual_matches(maps[i], maps[i + 1], inside[i], inside[i + 1])
            if found.agreement >= self.params.least_agreement:
                queries = maps[i].flatten(1)[:, found.cells].T[None]
                ones = torch.ones(1, len(found.cells))
                temperature = self.params.pixel_temperature
                losses.append(
                    pixel_contrast(queries, maps[i + 1 : i + 2], found.target[None], ones, temperature, spread=1)
                )
        return torch.stack(losses).sum() / (len(maps) / 2) if losses else maps.sum() * 0


def _draw_cells(overlap: Tensor, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cells of the overlap, drawn with replacement: flat indices (B, points) and their weights (0 without overlap)."""
    flat = overlap.flatten(1).float()
    some = flat.sum(1, keepdim=True) > 0
    cells = torch.multinomial(torch.where(some, flat, torch.ones_like(flat)), points, True, generator=generator)
    return cells, some.float().expand(-1, points)
