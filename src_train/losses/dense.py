"""Dense contrast of DenseCL (Wang et al. 2021), written anew from its description."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ld.model.encoder import unit
from src_train.losses.queue import queue_contrast


@torch.no_grad()
def best_cells(query_features: Tensor, key_features: Tensor) -> Tensor:
    """For every cell of view 1 the cell of view 2 whose backbone features are most similar, wherever it lies.

    ``(n, D, h, w)`` twice -> ``(n, h*w)`` flat indices. Positions play no part, so left and right twins may be taken
    for each other: a property of the method, not of this code.
    """
    similarity = unit(query_features).flatten(2).transpose(1, 2) @ unit(key_features).flatten(2)
    return similarity.argmax(2)


def dense_contrast(
    query_features: Tensor,
    key_features: Tensor,
    queries: Tensor,
    keys: Tensor,
    queue: Tensor,
    temperature: float = 0.2,
) -> Tensor:
    """Queue contrast cell by cell: the positive of a cell is its :func:`best_cells` partner.

    Parameters
    ----------
    query_features, key_features : (n, D, h, w) tensor
        Backbone maps of the two views, which choose the partners; no gradient.
    queries, keys : (n, E, h, w) tensor
        Unit vectors along E from the dense projector and from its momentum twin.
    queue : (K, E) tensor
        Unit vectors: pooled dense keys of earlier images.
    temperature : float
        0.2 in the authors' code.

    Returns
    -------
    scalar tensor, float32; ``log(K + 1)`` when all vectors are equal.
    """
    partner = best_cells(query_features, key_features)
    flat = keys.flatten(2)
    positives = flat.gather(2, partner[:, None].expand(-1, flat.shape[1], -1))
    vectors = [x.transpose(1, 2).flatten(0, 1) for x in (queries.flatten(2), positives)]
    return queue_contrast(vectors[0], vectors[1], queue, temperature)
