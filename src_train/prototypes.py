"""Cluster prototypes and areas of a trained encoder, over views of its training set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import DenseEncoder, unit
from src_train.data.dataset import Dataset
from src_train.data.views import ViewMaker


def cluster_summary(encoder: DenseEncoder, dataset: Dataset, maker: ViewMaker, seed: int) -> dict[str, Any]:
    """``prototypes`` and ``areas`` as plain, rounded lists for a header; nothing for an encoder without clusters."""
    if not encoder.config.clusters:
        return {}
    prototypes, areas = prototypes_and_areas(encoder, dataset, maker, seed)
    rounded = [[round(float(x), 5) for x in row] for row in prototypes]
    return {"prototypes": rounded, "areas": [round(float(area), 5) for area in areas]}


@torch.no_grad()
def prototypes_and_areas(
    encoder: DenseEncoder, dataset: Dataset, maker: ViewMaker, seed: int, batches: int = 40
) -> tuple[Tensor, Tensor]:
    """Prototypes (K, D) and mean areas (K,) of the clusters, in evaluation mode; fewer batches of few images.

    Raises
    ------
    ConfigError
        When the encoder has no clustering head.
    """
    rng = np.random.default_rng(seed)
    regions, areas = (torch.zeros((), device=maker.device) for _ in range(2))
    weight = 0
    for _ in range(min(batches, 2 * len(dataset))):
        batch = maker(dataset.draw_couples(4, rng), rng)
        dense = encoder(batch.second)
        if dense.clusters is None:
            raise ConfigError("this encoder has no clustering head: it has no prototypes")
        # The network's cells may be finer than those of the views (full resolution).
        finer = dense.clusters.shape[-1] // batch.inside_second.shape[-1]
        inside = batch.inside_second.repeat_interleave(finer, 1).repeat_interleave(finer, 2)
        shown = dense.clusters.float() * inside[:, None]
        regions = regions + unit(torch.einsum("nkhw,ndhw->nkd", shown, dense.embedding), -1).sum(0)
        areas = areas + shown.sum((0, 2, 3))
        weight += int(inside.sum())
    return unit(regions, -1).cpu(), (areas / weight).cpu()
