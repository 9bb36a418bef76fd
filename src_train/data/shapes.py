"""Masks of another modality as examples of a shape, without images (LD, arXiv 2108.09440 v1; authors' code)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.errors import ConfigError
from napari_ld.io.images import read_images

_CUT = 0.1  # of each side, at most
_LEVEL = 0.1  # above which an interpolated pixel belongs to the mask: slightly thickens
_LONGEST = 1024


def load_shapes(paths: Sequence[str]) -> tuple[Tensor, ...]:
    """Masks of files and folders, each ``(1, rows, columns)`` float in [0, 1]; any nonzero value belongs to them.

    Raises
    ------
    ConfigError
        Without paths, or without a mask that has an inside and an outside.
    """
    if not paths:
        raise ConfigError("no masks to take shapes from: give files or folders with shapes.masks")
    found = []
    for image in read_images(list(paths), several="all"):
        for index in range(image.n_planes):
            plane = image.plane(index)
            inside = np.asarray(plane[..., 0] if plane.ndim == 3 else plane) > 0
            if inside.any() and not inside.all():
                found.append(_reduced(torch.from_numpy(inside)[None].float()))
    if not found:
        raise ConfigError(f"no mask with an inside and an outside in {', '.join(paths)}; give others")
    return tuple(found)


def draw_shapes(masks: Sequence[Tensor], count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random masks, mirrored, turned by any angle, cut at each side, resized: ``(count, 1, size, size)`` of 0 and 1.

    Two neighbours come of the same mask, as two views of one image do.
    """
    chosen = torch.randint(len(masks), (-(-count // 2),), generator=generator).repeat_interleave(2)[:count].tolist()
    flips = torch.randint(0, 2, (count, 2), generator=generator) * 2.0 - 1
    angle = torch.rand(count, generator=generator) * 2 * math.pi
    cut = torch.rand(count, 4, generator=generator) * _CUT
    drawn = []
    for index, mask in enumerate(chosen):
        low, high = cut[index, :2] * 2 - 1, 1 - cut[index, 2:] * 2
        scale, shift = (high - low) / 2, (high + low) / 2
        cos, sin = angle[index].cos(), angle[index].sin()
        turn = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])]) * flips[index][:, None]
        # From the drawn mask to the cut one, and from there to the mask as it was.
        matrix = torch.cat([turn * scale, (turn @ shift)[:, None]], 1)[None]
        grid = F.affine_grid(matrix, [1, 1, size, size], align_corners=False)
        source = _near(masks[mask], size)[None]
        drawn.append(F.grid_sample(source, grid, padding_mode="zeros", align_corners=False))
    return (torch.cat(drawn) > _LEVEL).float()


def _reduced(mask: Tensor) -> Tensor:
    factor = _LONGEST / max(mask.shape[-2:])
    if factor >= 1:
        return mask
    size = [max(1, round(n * factor)) for n in mask.shape[-2:]]
    return F.interpolate(mask[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]


def _near(mask: Tensor, size: int) -> Tensor:
    """The mask as large as what is drawn of it, should it be larger: thin lines must not fall between pixels."""
    if max(mask.shape[-2:]) <= size:
        return mask
    factor = size / max(mask.shape[-2:])
    goal = [max(1, round(n * factor)) for n in mask.shape[-2:]]
    return F.interpolate(mask[None], size=goal, mode="bilinear", antialias=True, align_corners=False)[0]
