"""Distance of the restored image from the clean one (DiRA: Haghighi et al. 2022, arXiv 2204.10437)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

# The authors' code uses the squared distance.
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "l1": F.l1_loss}


def restoration(restored: Tensor, clean: Tensor, distance: str = "mse") -> Tensor:
    """``mean dist(x, x')`` over pixels and batch.

    Parameters
    ----------
    restored : (n, 1, H, W) tensor
        Output of the restoring decoder, in [0, 1].
    clean : (n, 1, H, W) tensor
        The same view before intensity changes and corruption, in [0, 1]; without gradient.
    distance : str
        A name of ``DISTANCES``.

    Returns
    -------
    scalar tensor, float32
    """
    if distance not in DISTANCES:
        raise ValueError(f"unknown distance {distance!r}: choose one of {', '.join(DISTANCES)}")
    if restored.shape != clean.shape:  # broadcasting would hide a wrong target
        raise ValueError(f"restored {tuple(restored.shape)} and clean {tuple(clean.shape)} differ in shape")
    return DISTANCES[distance](restored.float(), clean.detach().float())
