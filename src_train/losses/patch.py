"""Patch discrimination of Local Discrimination (Chen et al., arXiv 2108.09440; authors' code), and its pooling.

The batch loss is that of Ye et al. 2019 (invariant and spreading instance feature), applied to patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ld.model.encoder import unit

# 1 - P never falls below this, so that its logarithm stays finite in float32.
_FLOOR = 1e-7

WINDOWS = ("mean", "gauss")


def patch_pool(embedding: Tensor, grid: int = 8, weight: Tensor | None = None) -> Tensor:
    """Mean embedding of each cell of a ``grid`` x ``grid`` partition, at unit length.

    Parameters
    ----------
    embedding : (n, D, H, W) tensor
        H and W divisible by ``grid``.
    weight : (n, H, W) or (H/grid, W/grid) tensor, optional
        Weights of the mean: a validity mask, or a centre-sensitive window repeated in every cell.

    Returns
    -------
    (n, grid², D) tensor
    """
    count, dim, height, width = embedding.shape
    if height % grid or width % grid:
        raise ValueError(f"map of {height} x {width} cells cannot be split in {grid} x {grid} equal patches")
    cells = embedding.float().reshape(count, dim, grid, height // grid, grid, width // grid)
    if weight is None:
        pooled = cells.mean((3, 5))
    elif weight.ndim == 2:
        pooled = torch.einsum("ndihjw,hw->ndij", cells, weight)
    else:
        pooled = (cells * weight.float().reshape(count, 1, *cells.shape[2:])).mean((3, 5))
    return unit(pooled.reshape(count, dim, grid * grid).transpose(1, 2), -1)


def patch_window(maps: Tensor, grid: int, kind: str) -> Tensor | None:
    """Weights of the pixels of one cell, ``(H/grid, W/grid)``, summing to 1; None for the plain mean.

    ``gauss`` is the bell of one-shot localisation, σ a fifth of the cell, in place of the mean [reconstruction: the
    paper's wording does not settle whether training uses it].
    """
    if kind not in WINDOWS:
        raise ValueError(f"unknown pooling {kind!r}: choose one of {', '.join(WINDOWS)}")
    if kind == "mean":
        return None
    lines = []
    for length in (maps.shape[-2] // grid, maps.shape[-1] // grid):
        offset = torch.arange(length, device=maps.device) - (length - 1) / 2
        bell = torch.exp(-0.5 * (offset / (length / 5)).square())
        lines.append(bell / bell.sum())
    return lines[0][:, None] * lines[1][None]


def patch_discrimination(vectors: Tensor, temperature: float = 0.1) -> Tensor:
    r"""Each vector finds its partner and none of the others.

    .. math:: P_{ij} = \frac{\exp(z_i \cdot sg(z_j) / τ)}{\sum_{m \neq i} \exp(z_i \cdot sg(z_m) / τ)}, \qquad
              L = -\frac{1}{N} \sum_i \Big[ \log P_{iπ(i)} + \sum_{j \neq i, π(i)} \log(1 - P_{ij}) \Big]

    with the partner π(i) = (i + N/2) mod N and sg the stop-gradient.

    Parameters
    ----------
    vectors : (N, D) tensor
        Unit vectors, first views in the first half, their partners in the same order in the second.
    temperature : float
        τ; 0.1 in the authors' code.

    Returns
    -------
    scalar tensor; computed in float32.
    """
    count = len(vectors)
    if count < 4 or count % 2:
        raise ValueError(f"{count} vectors: expected an even number of at least 4, partners in the second half")
    vectors = vectors.float()
    index = torch.arange(count, device=vectors.device)
    partner = (index + count // 2) % count
    itself = torch.eye(count, dtype=torch.bool, device=vectors.device)
    logits = (vectors @ vectors.detach().T / temperature).masked_fill(itself, -torch.inf)
    log_p = torch.log_softmax(logits, 1)
    # The partner is masked before the sum: subtracting its term afterwards gives NaN when P approaches 1.
    others = torch.ones_like(itself)
    others[index, index] = others[index, partner] = False
    rejected = torch.log((1 - log_p.exp()).clamp_min(_FLOOR)).masked_fill(~others, 0.0)
    return -(log_p[index, partner].sum() + rejected.sum()) / count
