"""What a student learns from a soft label that is not sure everywhere (refinement stage of LD; our reconstruction).

Of the published stage only its existence is known: a soft label and a map of its uncertainty train a fresh network.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SURE = 0.5  # bits: soft Dice looks at pixels below
_SMOOTH = 1.0
_EPSILON = 1e-6


def sure_cross_entropy(logits: Tensor, label: Tensor, unsure: Tensor) -> Tensor:
    r"""Cross-entropy against the hardened label, weighted by how sure it is.

    .. math:: \frac{\sum_p (1 - u_p) \, \mathrm{BCE}(\hat y_p, [y_p > 0.5])}{\sum_p (1 - u_p) + ε}

    Parameters
    ----------
    logits, label, unsure : tensors of one shape
        Of the student; y in [0, 1]; u in [0, 1], 1 where nothing is known.

    Returns
    -------
    scalar tensor; for u = 0 the plain mean, for u = 1 zero.
    """
    each = F.binary_cross_entropy_with_logits(logits.float(), (label > 0.5).float(), reduction="none")
    weight = 1 - unsure
    return (weight * each).sum() / (weight.sum() + _EPSILON)


def sure_dice(logits: Tensor, label: Tensor, unsure: Tensor) -> Tensor:
    """One minus the soft Dice of the batch on the pixels with an uncertainty below half a bit; parameters as above."""
    counted = (unsure < _SURE).float()
    found, truth = torch.sigmoid(logits.float()) * counted, (label > 0.5).float() * counted
    return 1 - (2 * (found * truth).sum() + _SMOOTH) / (found.sum() + truth.sum() + _SMOOTH)
