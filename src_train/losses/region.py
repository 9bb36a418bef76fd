"""Region discrimination of Local Discrimination (arXiv 2108.09440; authors' code) and its companions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_ld.model.encoder import unit


def region_vectors(clusters: Tensor, embedding: Tensor) -> Tensor:
    """Soft-mask pooling ``r = l2(mean_p a_k(p) v(p))``: (n, K, h, w), (n, D, h, w) -> (n, K, D).

    One contraction; the naive product would materialise n x K x D x h x w numbers.
    """
    pooled = torch.einsum("nkhw,ndhw->nkd", clusters.float(), embedding.float())
    return unit(pooled / (clusters.shape[-1] * clusters.shape[-2]), -1)


def region_discrimination(clusters: Tensor, embedding: Tensor, temperature: float = 0.2) -> tuple[Tensor, Tensor]:
    r"""Region k of every image is nearest to the common prototype k.

    .. math:: T_k = l2(\mathrm{mean}_n r_{nk}), \qquad
              L = -\mathrm{mean}_{nk} \log \frac{\exp(r_{nk} \cdot T_k / τ)}{\sum_j \exp(r_{nk} \cdot T_j / τ)}

    The gradient flows through the prototypes; there is no memory, no moving average.

    Parameters
    ----------
    clusters : (n, K, h, w) tensor
        Non-negative, sums to 1 along K.
    embedding : (n, D, h, w) tensor
    temperature : float
        0.2 in the authors' code.

    Returns
    -------
    loss : scalar tensor
    prototypes : (K, D) tensor
    """
    return region_contrast(region_vectors(clusters, embedding), temperature)


def region_contrast(regions: Tensor, temperature: float = 0.2) -> tuple[Tensor, Tensor]:
    """:func:`region_discrimination` of region vectors (n, K, D) that are pooled already."""
    prototypes = unit(regions.mean(0), -1)
    log_p = torch.log_softmax(regions @ prototypes.T / temperature, -1)
    return -log_p.diagonal(dim1=1, dim2=2).mean(), prototypes


def cluster_entropy(clusters: Tensor) -> Tensor:
    """Mean over pixels and channels of the binary entropy of ``a`` in bits; 0 for one-hot maps (authors' code)."""
    a = clusters.float().clamp(1e-7, 1 - 1e-7)
    return -(a * torch.log2(a) + (1 - a) * torch.log2(1 - a)).mean()


def cluster_balance(clusters: Tensor) -> Tensor:
    """``log K - H(mean area)`` in nats: 0 when all channels cover the same area over the batch [reconstruction].

    The published losses are blind to a channel's area (region vectors have unit length), so channels can die;
    this term keeps them alive. (n, K, h, w) -> scalar.
    """
    return area_balance(clusters.float().mean((0, 2, 3)))


def area_balance(area: Tensor) -> Tensor:
    """:func:`cluster_balance` of mean areas (K,) that are known already."""
    area = area.clamp_min(1e-12)
    return math.log(len(area)) + (area * area.log()).sum()
