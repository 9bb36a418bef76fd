"""Agreement between different images: mutual matches, smoothed, become targets [reconstruction].

Views of one image cannot teach how two patients differ. Here the network's own matches between two images of a
group are kept only where they are mutual and fit a smooth field, and the field, which is better than each single
match, is what the network learns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Matches:
    """Targets in the second image for cells of the first.

    Attributes
    ----------
    cells : (M,) int tensor
        Flat indices into the first map.
    target : (M, 2) tensor
        ``(x, y)`` in cells of the second map.
    agreement : float
        Share of the mutual matches that fit the smooth field; 0 when there are too few.
    """

    cells: Tensor
    target: Tensor
    agreement: float


@torch.no_grad()
def mutual_matches(
    first: Tensor,
    second: Tensor,
    inside_first: Tensor,
    inside_second: Tensor,
    *,
    reach: float = 0.12,
    tolerance: float = 0.06,
    least: int = 40,
) -> Matches:
    """Mutual nearest neighbours that fit a locally affine field.

    Parameters
    ----------
    first, second : (D, h, w) tensor
        Unit vectors.
    inside_first, inside_second : (h, w) bool tensor
        Cells that may take part.
    reach : float
        Standard deviation of the local fit, as a share of the map.
    tolerance : float
        Largest distance of a match from the field, as a share of the map.
    least : int
        With fewer fitting matches there is no field, hence no target.
    """
    height, width = first.shape[-2:]
    source = _cell_positions(height, width, first.device)
    forward, backward = _nearest(first, second, inside_second), _nearest(second, first, inside_first)
    returned = (source[backward[forward]] - source).norm(dim=-1) <= 1.5
    kept = (returned & inside_first.flatten()).nonzero()[:, 0]
    if len(kept) < least:
        return Matches(kept[:0], source[:0], 0.0)
    here, there, size = source[kept], source[forward[kept]], float(max(height, width))
    trust, field = torch.ones(len(kept), device=first.device), there
    for limit in (4 * tolerance, 2 * tolerance, tolerance, tolerance):  # reweighted: coarse outliers fade first
        field = _local_affine(here, there, trust, reach * size)
        trust = (1 + ((field - there).norm(dim=-1) / (limit * size)).square()).pow(-2)
    fits = (field - there).norm(dim=-1) <= tolerance * size
    if int(fits.sum()) < least:
        return Matches(kept[:0], source[:0], 0.0)
    return Matches(kept[fits], field[fits], float(fits.float().mean()))


def _nearest(queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
    """For each cell of ``queries`` the most similar allowed cell of ``keys``, as flat indices."""
    similarity = queries.flatten(1).T @ keys.flatten(1)
    return similarity.masked_fill_(~allowed.flatten()[None], -2.0).argmax(1)


def _cell_positions(height: int, width: int, device: torch.device) -> Tensor:
    lines = torch.arange(height, device=device), torch.arange(width, device=device)
    y, x = torch.meshgrid(*lines, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2).float()


def _local_affine(source: Tensor, target: Tensor, trust: Tensor, reach: float) -> Tensor:
    """Weighted least-squares affine around each source point, evaluated there; (M, 2) to (M, 2)."""
    offset = (source[None] - source[:, None]) / reach
    weight = torch.exp(-0.5 * offset.square().sum(-1)) * trust
    design = torch.cat([offset, torch.ones_like(offset[..., :1])], -1)
    weighted = (design * weight[..., None]).transpose(1, 2)
    # The slopes are damped, so that few or collinear neighbours fall back to a shift.
    damping = torch.diag(torch.tensor([1e-2, 1e-2, 1e-6], device=source.device)) * weight.sum(1)[:, None, None]
    shift = (target - source)[None].expand(len(source), -1, -1)
    solution: Tensor = torch.linalg.solve(weighted @ design + damping, weighted @ shift)
    return source + solution[:, 2]
