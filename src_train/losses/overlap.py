"""Losses of segmentation: soft Dice, cross-entropy, and the Dice of LD's transfer protocol.

Targets are class indices ``(B, H, W)``: 0 is background, 1 to K are labels, -1 does not count. One label has one logit,
several have K + 1 (the background before them).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.model.heads import foreground

_SMOOTH = 1.0


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    r"""One minus the mean over labels of the soft Dice of the whole batch.

    .. math:: 1 - \frac1K \sum_k \frac{2 \sum_p y_{kp} t_{kp} + 1}{\sum_p y_{kp} + \sum_p t_{kp} + 1}

    Parameters
    ----------
    logits : (B, 1 or K + 1, H, W) tensor
    target : (B, H, W) int tensor

    Returns
    -------
    scalar tensor in [0, 1]; 0 for a certain and right answer.
    """
    found, truth = _counted(logits, target)
    shared, sizes = (found * truth).sum((0, 2, 3)), found.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1 - ((2 * shared + _SMOOTH) / (sizes + _SMOOTH)).mean()


def published_dice(logits: Tensor, target: Tensor) -> Tensor:
    """``-2 TP / (G + P + 1)`` over the whole batch; without a labelled pixel, of the background (LD, authors' code).

    Parameters as :func:`soft_dice`; for n pixels that are all labelled and found: ``-2n / (2n + 1)``.
    """
    found, truth = _counted(logits, target)
    if not bool(truth.any()):
        counted = (target >= 0)[:, None].float()
        found, truth = (1 - found) * counted, counted.expand_as(truth)
    return -2 * (found * truth).sum() / (truth.sum() + found.sum() + 1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the pixels that count of the cross-entropy in nats; parameters as :func:`soft_dice`; 0 without any."""
    counted = target >= 0
    if not bool(counted.any()):
        return logits.float().sum() * 0
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0][counted].float(), (target[counted] > 0).float())
    return F.cross_entropy(logits.float(), target.long(), ignore_index=-1)


def _counted(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and truth (B, K, H, W), both 0 where a pixel does not count."""
    found = foreground(logits)
    values = torch.arange(1, found.shape[1] + 1, device=target.device)
    truth = (target[:, None] == values[:, None, None]).float()
    return found * (target >= 0)[:, None], truth
