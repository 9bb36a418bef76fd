"""Hypersphere mixup of Local Discrimination (arXiv 2108.09440; authors' code)."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ld.model.encoder import unit
from src_train.losses.patch import patch_discrimination


def mixup_target(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """``sg(l2(λ z1 + (1 - λ) z2))``.

    Parameters
    ----------
    first, second : (B, P, D) tensor
        Patch embeddings of the two images of an item.
    share : (B,) tensor
        λ, the share of the first image.

    Returns
    -------
    (B, P, D) tensor without gradient.
    """
    weight = share[:, None, None].to(first.dtype)
    return unit(weight * first + (1 - weight) * second, -1).detach()


def hypersphere_mixup(mixed: Tensor, first: Tensor, second: Tensor, share: Tensor, temperature: float = 0.1) -> Tensor:
    """Patch discrimination between the patches of the mixed image and the mixed patches: ``l_pd([m | t])``.

    Parameters
    ----------
    mixed : (B, P, D) tensor
        Patch embeddings of ``λ x1 + (1 - λ) x2``; the only argument that receives a gradient.
    first, second, share
        See :func:`mixup_target`.
    """
    target = mixup_target(first, second, share)
    return patch_discrimination(torch.cat([mixed.flatten(0, 1), target.flatten(0, 1)]), temperature)
