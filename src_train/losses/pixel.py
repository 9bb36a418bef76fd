"""Contrast between matched positions: a point of view 1 is found among all cells of view 2 [reconstruction].

In the line of VADeR (Pinheiro et al. 2020), SAM (Yan et al. 2022) and CC2D (Yao et al. 2021), written anew.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


def pixel_contrast(
    queries: Tensor, keys: Tensor, target: Tensor, weight: Tensor, temperature: float, spread: int = 0
) -> Tensor:
    """Cross-entropy of the position of each query among all cells, the truth shared by the four nearest cells.

    Parameters
    ----------
    queries : (B, P, D) tensor
        Unit vectors of points of view 1.
    keys : (B, D, h, w) tensor
        Unit vectors of all cells of view 2.
    target : (B, P, 2) tensor
        True ``(x, y)`` of each point in cells of ``keys`` (centre of the first cell at 0).
    weight : (B, P) tensor
        0 leaves a point out.
    temperature : float
    spread : int
        Cells within this distance (maximum norm) of the target, apart from the four that share the truth, do not
        count as wrong; 0: all count.

    Returns
    -------
    scalar tensor: weighted mean over the points; 0 when no point counts.
    """
    height, width = keys.shape[-2:]
    logits = torch.bmm(queries, keys.flatten(2)).float() / temperature
    near, share = bilinear_shares(target, height, width)
    if spread:
        logits = logits.masked_fill(_neighbourhood(target, height, width, spread, near), -torch.inf)
    log_p = logits.gather(2, near) - logits.logsumexp(2, keepdim=True)
    loss = -(share * log_p).sum(2)
    return (loss * weight).sum() / weight.sum().clamp_min(1.0)


def bilinear_shares(target: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four cells around each ``(x, y)`` as flat indices, and their bilinear shares: (B, P, 4) each."""
    limit = torch.tensor([width - 1, height - 1], dtype=target.dtype, device=target.device)
    target = torch.minimum(target.clamp_min(0.0), limit)
    base = torch.minimum(target.floor(), (limit - 1).clamp_min(0))
    fraction = target - base
    index, share = [], []
    for dx, dy in _CORNERS:
        column = (base[..., 0] + dx).clamp_max(width - 1)
        row = (base[..., 1] + dy).clamp_max(height - 1)
        index.append((row * width + column).long())
        x, y = fraction[..., 0], fraction[..., 1]
        share.append((x if dx else 1 - x) * (y if dy else 1 - y))
    return torch.stack(index, -1), torch.stack(share, -1)


def _neighbourhood(target: Tensor, height: int, width: int, spread: int, keep: Tensor) -> Tensor:
    rows = torch.arange(height, device=target.device)
    columns = torch.arange(width, device=target.device)
    close_row = (rows - target[..., 1:]).abs() <= spread
    close_column = (columns - target[..., :1]).abs() <= spread
    close = (close_row[..., :, None] & close_column[..., None, :]).flatten(2)
    return close.scatter(2, keep, torch.zeros_like(keep, dtype=torch.bool))
