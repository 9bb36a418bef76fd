"""Two players: a discriminator tells clean from restored, the restorer fools it (DiRA, arXiv 2204.10437).

The paper's equation has logarithms, the authors' code least squares (Mao et al. 2017); ``lsgan`` is the default and
``bce`` the alternative. Scores carry no activation; ``bce`` reads them as logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def _least_squares(scores: Tensor, real: bool) -> Tensor:
    return (scores.float() - float(real)).square().mean()


def _cross_entropy(scores: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores.float(), torch.full_like(scores, float(real), dtype=torch.float32))


GAMES: dict[str, Callable[[Tensor, bool], Tensor]] = {"lsgan": _least_squares, "bce": _cross_entropy}


def fool(scores_of_fake: Tensor, game: str = "lsgan") -> Tensor:
    """Loss of the restorer: ``mean((D(x') - 1)²)``, or the cross-entropy of D(x') against "real" (non-saturating).

    Parameters
    ----------
    scores_of_fake : tensor of any shape
        ``D(x')``, with the gradient of x'.
    game : str
        A name of ``GAMES``.

    Returns
    -------
    scalar tensor; lsgan: 1 for D = 0, 0 for D = 1; bce: 0.693147 for logits 0.
    """
    return _game(game)(scores_of_fake, True)


def discriminate(scores_of_real: Tensor, scores_of_fake: Tensor, game: str = "lsgan") -> Tensor:
    """Loss of the discriminator: ``½ [mean((D(x) - 1)²) + mean(D(sg x')²)]``, or the mean of the two cross-entropies.

    Parameters
    ----------
    scores_of_real, scores_of_fake : tensor of any shape
        ``D(x)`` and ``D(x')``; x' must have been detached by the caller.
    game : str
        A name of ``GAMES``.

    Returns
    -------
    scalar tensor; lsgan: 0.25 for D = 0.5, 0.5 for D = 0 or 1 on both; bce: 0.693147 for logits 0.
    """
    loss = _game(game)
    return (loss(scores_of_real, True) + loss(scores_of_fake, False)) / 2


def _game(name: str) -> Callable[[Tensor, bool], Tensor]:
    if name not in GAMES:
        raise ValueError(f"unknown adversarial loss {name!r}: choose one of {', '.join(GAMES)}")
    return GAMES[name]
