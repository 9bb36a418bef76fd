"""What an encoder with a shape prior finds: two outputs, a soft label and where it is unsure.

Local Discrimination (arXiv 2108.09440 v1; authors' code) has the two outputs; the soft label over turned and mirrored
views and its uncertainty are ours [reconstruction]: of the refinement stage only its existence is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from napari_ld.embedding.tiling import check_cancelled
from napari_ld.model.encoder import Dense, unit

__all__ = ["VIEWS", "SoftLabel", "label_of_views", "shape_outputs", "soft_label", "uncertainty"]

VIEWS = 8  # quarter turns, mirrored or not
_TEMPERATURE = 0.2


class SoftLabel(NamedTuple):
    """``label`` (B, h, w) in [0, 1], ``spread``: variance over outputs and views, ``unsure``: its entropy in bits."""

    label: Tensor
    spread: Tensor
    unsure: Tensor


def shape_outputs(clusters: Tensor, embedding: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The first cluster, and the share of the first region among all by their embedding.

    Parameters
    ----------
    clusters : (..., K, h, w) tensor
        a; non-negative, sums to 1 along K.
    embedding : (..., D, h, w) tensor
        v, of unit length along D.
    inside : (..., h, w) bool tensor
        Field of view; 0 beyond it.

    Returns
    -------
    clustering, embedding : (..., h, w) tensors in [0, 1]
        ``a_0`` and ``softmax_k(r_k . v(p) / 0.2)_0`` with the regions ``r_k = l2(mean_p a_k v)`` of this image.
    """
    shown = clusters.float() * inside[..., None, :, :]
    pixels = inside.shape[-2] * inside.shape[-1]
    regions = unit(torch.einsum("...khw,...dhw->...kd", shown, embedding.float()) / pixels, -1)
    shares = torch.softmax(torch.einsum("...kd,...dhw->...khw", regions, embedding.float()) / _TEMPERATURE, -3)
    return shown[..., 0, :, :], shares[..., 0, :, :] * inside


def uncertainty(label: Tensor) -> Tensor:
    """Binary entropy in bits: 1 at 0.5, 0.46900 at 0.9, 0 at 0 and 1."""
    y = label.float().clamp(0, 1)
    return -(torch.xlogy(y, y) + torch.xlogy(1 - y, 1 - y)) / torch.log(torch.tensor(2.0))


@torch.no_grad()
def soft_label(
    encoder: Callable[[Tensor], Dense],
    images: Tensor,
    inside: Tensor,
    cancelled: Callable[[], bool] | None = None,
    views: Sequence[int] = range(VIEWS),
) -> SoftLabel:
    """Mean of both outputs over the turned and mirrored views of images, each turned back.

    Parameters
    ----------
    encoder : callable
        A :class:`DenseEncoder` with clusters, or another network with its outputs, in evaluation mode.
    images : (B, C, H, W) tensor
        Model input, H and W multiples of the encoder's stride.
    inside : (B, H/s, W/s) bool tensor
        Field of view on the grid of the outputs.
    cancelled : callable, optional
    views : sequence of int
        Which of the eight views; from 4 on they are mirrored.

    Returns
    -------
    SoftLabel
        Of (B, H/s, W/s) tensors.

    Raises
    ------
    ValueError
        When the encoder has no clusters.
    """

    def ask(view: Tensor, shown: Tensor) -> tuple[Tensor, ...]:
        dense = encoder(view)
        if dense.clusters is None:
            raise ValueError("this encoder has no clusters: train it with the add-on 'shapes'")
        return shape_outputs(dense.clusters, dense.embedding, shown)

    return label_of_views(ask, images, inside, cancelled, views)


@torch.no_grad()
def label_of_views(
    ask: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    images: Tensor,
    inside: Tensor,
    cancelled: Callable[[], bool] | None = None,
    views: Sequence[int] = range(VIEWS),
) -> SoftLabel:
    """The same of any outputs: ``ask(images, inside)`` gives one (B, h, w) map or more in [0, 1]."""
    found = []
    for code in views:
        check_cancelled(cancelled)
        found += [_back(output, code) for output in ask(_moved(images, code), _moved(inside, code))]
    stacked = torch.stack(found)
    label = stacked.mean(0)
    return SoftLabel(label, stacked.var(0, unbiased=False), uncertainty(label))


def _moved(maps: Tensor, code: int) -> Tensor:
    turned = torch.rot90(maps, code % 4, (-2, -1))
    return turned.flip(-1) if code >= 4 else turned


def _back(maps: Tensor, code: int) -> Tensor:
    return torch.rot90(maps.flip(-1) if code >= 4 else maps, -(code % 4), (-2, -1))
