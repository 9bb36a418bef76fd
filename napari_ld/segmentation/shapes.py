"""What an encoder with a shape prior finds: two outputs, a soft label and where it is unsure.

Local Discrimination (arXiv 2108.09440 v1; authors' code) has the two outputs; the soft label over turned and mirrored
views and its uncertainty are ours [reconstruction]: of the refinement stage only its existence is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from napari_ld.embedding.tiling import check_cancelled
from napari_ld.model.encoder import DenseEncoder, unit

__all__ = ["SoftLabel", "shape_outputs", "soft_label", "uncertainty"]

_TEMPERATURE = 0.2


class SoftLabel(NamedTuple):
    """``label`` (h, w) in [0, 1], ``spread``: variance over outputs and views, ``unsure``: its entropy in bits."""

    label: Tensor
    spread: Tensor
    unsure: Tensor


def shape_outputs(clusters: Tensor, embedding: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The first cluster, and the share of the first region among all by their embedding.

    Parameters
    ----------
    clusters : (K, h, w) tensor
        a; non-negative, sums to 1 along K.
    embedding : (D, h, w) tensor
        v, of unit length along D.
    inside : (h, w) bool tensor
        Field of view; 0 beyond it.

    Returns
    -------
    clustering, embedding : (h, w) tensors in [0, 1]
        ``a_0`` and ``softmax_k(r_k . v(p) / 0.2)_0`` with the regions ``r_k = l2(mean_p a_k v)`` of this image.
    """
    shown = clusters.float() * inside
    regions = unit(torch.einsum("khw,dhw->kd", shown, embedding.float()) / inside.numel(), -1)
    shares = torch.softmax(torch.einsum("kd,dhw->khw", regions, embedding.float()) / _TEMPERATURE, 0)
    return shown[0], shares[0] * inside


def uncertainty(label: Tensor) -> Tensor:
    """Binary entropy in bits: 1 at 0.5, 0.46900 at 0.9, 0 at 0 and 1."""
    y = label.float().clamp(0, 1)
    return -(torch.xlogy(y, y) + torch.xlogy(1 - y, 1 - y)) / torch.log(torch.tensor(2.0))


@torch.no_grad()
def soft_label(
    encoder: DenseEncoder, image: Tensor, inside: Tensor, cancelled: Callable[[], bool] | None = None
) -> SoftLabel:
    """Mean of both outputs over the eight turned and mirrored views of an image, each turned back.

    Parameters
    ----------
    encoder : DenseEncoder
        In evaluation mode, with clusters.
    image : (1, C, H, W) tensor
        Model input, H and W multiples of the encoder's stride.
    inside : (H/s, W/s) bool tensor
        Field of view on the grid of the outputs.

    Raises
    ------
    ValueError
        When the encoder has no clusters.
    """
    found = []
    for code in range(8):
        check_cancelled(cancelled)
        dense = encoder(_moved(image, code))
        if dense.clusters is None:
            raise ValueError("this encoder has no clusters: train it with the add-on 'shapes'")
        outputs = shape_outputs(dense.clusters[0], dense.embedding[0], _moved(inside, code))
        found += [_back(output, code) for output in outputs]
    stacked = torch.stack(found)
    label = stacked.mean(0)
    return SoftLabel(label, stacked.var(0, unbiased=False), uncertainty(label))


def _moved(maps: Tensor, code: int) -> Tensor:
    turned = torch.rot90(maps, code % 4, (-2, -1))
    return turned.flip(-1) if code >= 4 else turned


def _back(maps: Tensor, code: int) -> Tensor:
    return torch.rot90(maps.flip(-1) if code >= 4 else maps, -(code % 4), (-2, -1))
