"""Redundancy reduction (Barlow Twins: Zbontar et al. 2021), written anew from the equation."""

from __future__ import annotations

import torch
from torch import Tensor

# Added to the variance of a dimension: one that is constant over the batch gives 0, not NaN.
_FLOOR = 1e-5


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of every dimension of view 1 with every one of view 2 over the batch: (n, D) twice -> (D, D)."""
    return _standardised(first).T @ _standardised(second) / len(first)


def redundancy(correlation: Tensor, off_diagonal: float = 0.0051) -> Tensor:
    r"""``sum_i (1 - C_ii)² + λ sum_{i≠j} C_ij²`` of a (D, D) matrix; 0 for the identity, ``λ D (D - 1)`` for ones."""
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum() + off_diagonal * (correlation.square().sum() - diagonal.square().sum())


def barlow_twins(first: Tensor, second: Tensor, off_diagonal: float = 0.0051) -> Tensor:
    """Dimensions agree between views and say different things.

    Parameters
    ----------
    first, second : (n, D) tensor
        Projections of the two views, not normalised; n of at least 2. Both receive a gradient.
    off_diagonal : float
        λ; 0.0051 in the authors' recipe.

    Returns
    -------
    scalar tensor, float32: :func:`redundancy` of :func:`cross_correlation`.
    """
    if len(first) < 2:
        raise ValueError(f"{len(first)} items: a correlation over the batch needs at least 2")
    return redundancy(cross_correlation(first, second), off_diagonal)


def _standardised(x: Tensor) -> Tensor:
    centred = x.float() - x.float().mean(0)
    return centred / torch.sqrt(centred.square().mean(0) + _FLOOR)
