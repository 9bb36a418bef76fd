"""Similarity of two views without negatives (SimSiam: Chen and He 2021), written anew from the equation."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def simsiam(predicted: tuple[Tensor, Tensor], projected: tuple[Tensor, Tensor]) -> Tensor:
    r"""Each view's prediction points where the other view's projection does.

    .. math:: L = -\tfrac12 [\cos(p_1, sg(z_2)) + \cos(p_2, sg(z_1))]

    Parameters
    ----------
    predicted : two (n, D) tensors
        ``p``: predictor of the projection, of view 1 and of view 2.
    projected : two (n, D) tensors
        ``z``: projections; they receive no gradient.

    Returns
    -------
    scalar tensor in [-1, 1], float32; -1 when all agree.
    """
    first = F.cosine_similarity(predicted[0].float(), projected[1].detach().float(), dim=1).mean()
    second = F.cosine_similarity(predicted[1].float(), projected[0].detach().float(), dim=1).mean()
    return -(first + second) / 2
