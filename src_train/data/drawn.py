"""Shapes drawn into images that show none: pictures with known truth, made without a label.

Ours [reconstruction]; nothing like it is known of LD. The picture that is drawn on is the image without its structures:
what is left of it at a coarse scale, and its texture with the phases of the Fourier transform scrambled, which keeps
the spectrum and the colours and nothing else. So real structures are not taught as background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from src_train.data.draws import Draws

CONTRASTS = {"dark": (-1.0, -1.0), "bright": (1.0, 1.0), "both": (-1.0, 1.0)}
_COARSE = 8  # cells a side of what is left of an image
_CHANGE = 8  # cells a side of a field along which contrast changes
_SPOTS = 16


@dataclass(frozen=True)
class DrawParams:
    """How shapes are drawn; all [reconstruction].

    Attributes
    ----------
    contrast : {"dark", "bright", "both"}
        Whether the structures are darker or brighter than what surrounds them in the images, where that is known.
    strength : (float, float)
        Least and largest contrast, in standard deviations of the texture.
    texture : (float, float)
        Least and largest share of the texture that is kept.
    blur : (float, float)
        Standard deviation in pixels of the smoothing of the shapes' edges.
    spots : float
        Contrast of spots without the shape that are drawn as well, as a share of that of the shapes.
    """

    contrast: str = "both"
    strength: tuple[float, float] = (1.0, 5.0)
    texture: tuple[float, float] = (0.15, 0.7)
    blur: tuple[float, float] = (0.4, 1.5)
    spots: float = 1.0


@torch.no_grad()
def draw_into(images: Tensor, inside: Tensor, masks: Tensor, params: DrawParams, draws: Draws) -> Tensor:
    """Pictures that show the masks and none of the structures of the images.

    Parameters
    ----------
    images : (B, C, V, V) tensor
    inside : (B, 1, V, V) float tensor
        1 in the field of view; beyond it the image stays as it is.
    masks : (B, 1, V, V) tensor of 0 and 1
    params : DrawParams
    draws : Draws

    Returns
    -------
    (B, C, V, V) tensor
    """
    with torch.autocast(images.device.type, enabled=False):
        coarse = _coarse(images, inside)
        rest = (images - coarse) * inside
        spread = rest.square().mean((2, 3), keepdim=True).sqrt()  # per channel: shapes take the colours of the texture
        texture = scrambled(rest, draws.noise(1, *images.shape[-2:])) * draws.uniform(*params.texture, 1, 1, 1)
        edges = _blurred(masks.float(), draws.uniform(*params.blur))
        shapes = _contrast(params, draws) * edges * (0.4 + 0.6 * _field(_CHANGE, draws, images).clamp(0, 1))
        spots = (_field(_SPOTS, draws, images) > draws.uniform(0.75, 1.1, 1, 1, 1)).float()
        spots = _blurred(spots, draws.uniform(*params.blur)) * draws.uniform(-1, 1, 1, 1, 1)
        drawn = coarse + texture + spread * (shapes + spots * (1 - edges) * params.strength[1] * params.spots)
        return torch.where(inside > 0, drawn, images)


def scrambled(images: Tensor, noise: Tensor) -> Tensor:
    """Images ``(B, C, V, V)`` with the phases of noise ``(B, 1, V, V)`` added to theirs.

    Spectrum and correlation of the channels stay.
    """
    turn = torch.fft.rfft2(noise)
    turn = turn / turn.abs().clamp_min(1e-12)
    result: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * turn, s=images.shape[-2:])
    return result


def _contrast(params: DrawParams, draws: Draws) -> Tensor:
    """Signed contrast of each image, (B, 1, 1, 1), in standard deviations of the texture."""
    low, high = CONTRASTS[params.contrast]
    sign = torch.where(draws.uniform(0, 1, 1, 1, 1) < 0.5, low, high)
    return sign * torch.exp(draws.uniform(math.log(params.strength[0]), math.log(params.strength[1]), 1, 1, 1))


def _field(cells: int, draws: Draws, images: Tensor) -> Tensor:
    """Smooth random numbers (B, 1, V, V), in [0, 1] but for overshoots."""
    return F.interpolate(
        draws.uniform(0, 1, 1, cells, cells), size=images.shape[-2:], mode="bicubic", align_corners=False
    )


def _coarse(images: Tensor, inside: Tensor) -> Tensor:
    """The image at a few cells a side, of the pixels inside alone."""
    cells = F.adaptive_avg_pool2d(images * inside, _COARSE) / F.adaptive_avg_pool2d(inside, _COARSE).clamp_min(1e-3)
    share = F.adaptive_avg_pool2d(inside, _COARSE)
    mean = (images * inside).sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp_min(1)
    cells = torch.where(share > 0.05, cells, mean)
    return F.interpolate(cells, size=images.shape[-2:], mode="bicubic", align_corners=False)


def _blurred(maps: Tensor, sigmas: Tensor) -> Tensor:
    """Maps ``(B, 1, V, V)`` smoothed by a Gaussian of their own each."""
    reach = torch.arange(-4, 5, device=maps.device, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (reach / sigmas[:, None].clamp_min(0.1)) ** 2)
    kernels = kernels / kernels.sum(1, keepdim=True)
    moved = F.pad(maps.transpose(0, 1), (4, 4, 4, 4), mode="replicate")
    rows = F.conv2d(moved, kernels[:, None, :, None], groups=len(maps))
    return F.conv2d(rows, kernels[:, None, None, :], groups=len(maps)).transpose(0, 1)
