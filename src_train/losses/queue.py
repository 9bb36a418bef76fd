"""Instance contrast against a queue of earlier keys (MoCo-v2: He et al. 2020, Chen et al. 2020), written anew."""

from __future__ import annotations

import torch
from torch import Tensor


def queue_contrast(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    r"""Each query finds its own key among the keys of the queue.

    .. math:: L = -\frac{1}{n} \sum_i \log \frac{\exp(q_i \cdot sg(k_i) / τ)}
              {\exp(q_i \cdot sg(k_i) / τ) + \sum_m \exp(q_i \cdot sg(u_m) / τ)}

    Parameters
    ----------
    queries : (n, D) tensor
        Unit vectors; the only argument that receives a gradient.
    keys : (n, D) tensor
        Unit vectors, row ``i`` the positive of query ``i``.
    queue : (K, D) tensor
        Unit vectors u, the negatives of all queries.
    temperature : float
        τ; 0.2 in MoCo-v2.

    Returns
    -------
    scalar tensor, float32; ``log(K + 1)`` when all vectors are equal.
    """
    queries = queries.float()
    positive = (queries * keys.detach().float()).sum(1, keepdim=True)
    logits = torch.cat([positive, queries @ queue.detach().float().T], 1) / temperature
    return (logits.logsumexp(1) - logits[:, 0]).mean()
