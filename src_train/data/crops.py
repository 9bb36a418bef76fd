"""Views of labelled planes: cut, turned, mirrored, and changed in intensity; the labels go with the geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from src_train.data.draws import Draws
from src_train.data.geometry import affine, pixel_grid, transform
from src_train.data.labelled import LabelledPlane


@dataclass(frozen=True)
class CropParams:
    """Ranges of the augmentation; all [reconstruction] but those of the preset ``ld-protocol``.

    Attributes
    ----------
    size : int
        Rows and columns of a crop in pixels of the working size, divisible by 32.
    whole : bool
        The crop is the whole plane, which must be as large as it.
    on_labels : float
        How often a crop is put onto a labelled pixel.
    rotation : float
        Degrees; uniform within ± this.
    scale : float
        Log-scale, uniform within ± this.
    mirror, upside_down : float
        Probability of a mirrored, and of an upside-down image.
    intensity : float
        Strength of changes of brightness, contrast, gamma and noise; 0: none, 1: those of the views of pre-training.
    """

    size: int = 256
    whole: bool = False
    on_labels: float = 0.7
    rotation: float = 20.0
    scale: float = 0.2
    mirror: float = 0.5
    upside_down: float = 0.0
    intensity: float = 0.6


@dataclass(frozen=True)
class LabelledBatch:
    """Images with what is known of them.

    Attributes
    ----------
    first : (B, 3, V, V) float tensor
        Model input.
    target : (B, V, V) int tensor, or (B,) int tensor
        Class of every pixel, -1 beyond the image; or of every image.
    """

    first: Tensor
    target: Tensor

    @property
    def images(self) -> int:
        """Crops."""
        return len(self.first)


class CropMaker:
    """Pure: ``(planes, generator) -> LabelledBatch``.

    Parameters
    ----------
    params : CropParams
    mean, std : float
        Of the model's input, for intensities in [0, 1].
    device : torch.device
    """

    def __init__(self, params: CropParams, mean: float, std: float, device: torch.device | str = "cpu") -> None:
        self.params, self.mean, self.std = params, mean, std
        self.device = torch.device(device)

    def __call__(
        self, planes: list[LabelledPlane], rng: np.random.Generator, share: slice | None = None
    ) -> LabelledBatch:
        """Draw geometry, resample, change intensities; ``share``: the couples of this process (default: all)."""
        _, changed, targets = self.both(planes, rng, share)
        return LabelledBatch(changed, targets)

    def both(
        self, planes: list[LabelledPlane], rng: np.random.Generator, share: slice | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Model input before and after intensities are changed, and the targets."""
        rows = slice(0, len(planes)) if share is None else slice(2 * share.start, 2 * share.stop)
        draws = Draws(int(rng.integers(2**62)), len(planes), rows, self.device)
        planes = planes[rows]
        matrix = self._matrix(planes, draws)
        points = transform(matrix, pixel_grid(self.params.size, 1, self.device))
        views = torch.cat([_sampled(plane.pixels.to(self.device), p) for plane, p in zip(planes, points, strict=True)])
        changed = changed_intensity(views, draws, self.params.intensity)
        return (views - self.mean) / self.std, (changed - self.mean) / self.std, self._targets(planes, points)

    def _matrix(self, planes: list[LabelledPlane], draws: Draws) -> Tensor:
        """Affine from pixels of the crop to pixels of the plane, (B, 2, 3)."""
        p = self.params
        extents = torch.tensor([plane.pixels.shape[-2:] for plane in planes], dtype=torch.float32).flip(-1)
        extents = extents.to(self.device)
        scale = torch.exp(draws.uniform(-p.scale, p.scale))
        angle = draws.uniform(-math.radians(p.rotation), math.radians(p.rotation))
        mirror, upside = draws.uniform(0, 1) < p.mirror, draws.uniform(0, 1) < p.upside_down
        # Upside down is mirrored and turned by half a circle.
        angle = angle + math.pi * upside
        mirror = mirror ^ upside
        place, on, which = draws.uniform(0, 1, 2), draws.uniform(0, 1) < p.on_labels, draws.uniform(0, 1, 3)
        centres = (extents - 1) / 2
        if not p.whole:
            # A crop in the plane where it fits into it, else in its middle.
            room = (extents - p.size * scale[:, None]).clamp_min(0)
            centres = centres + (place - 0.5) * room
            for row, plane in enumerate(planes):
                if bool(on[row]) and plane.filled:
                    centres[row] = _on_label(plane, which[row].cpu(), p.size / 3).to(self.device)
        return affine(centres, scale, angle, p.size, mirror=mirror)

    def _targets(self, planes: list[LabelledPlane], points: Tensor) -> Tensor:
        if not isinstance(planes[0].target, Tensor):
            return torch.tensor([int(plane.target) for plane in planes], device=self.device)
        found = []
        for plane, places in zip(planes, points, strict=True):
            target = torch.as_tensor(plane.target, device=self.device)
            height, width = target.shape
            x, y = places.round().long().unbind(-1)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            read = target[y.clamp(0, height - 1), x.clamp(0, width - 1)].long()
            found.append(torch.where(inside, read, torch.full_like(read, -1)))
        return torch.stack(found)


def _on_label(plane: LabelledPlane, drawn: Tensor, spread: float) -> Tensor:
    """A place ``(x, y)`` near a random pixel of a random label of a plane; ``drawn``: three numbers in [0, 1)."""
    target = torch.as_tensor(plane.target)
    labels = torch.unique(target[target > 0])
    label = labels[min(int(drawn[0] * len(labels)), len(labels) - 1)]
    places = torch.nonzero(target == label)
    row, column = places[min(int(drawn[1] * len(places)), len(places) - 1)].tolist()
    turn = 2 * math.pi * float(drawn[2])
    shift = spread * float(drawn[0])
    return torch.tensor([column + shift * math.cos(turn), row + shift * math.sin(turn)])


def _sampled(pixels: Tensor, points: Tensor) -> Tensor:
    """``(C, h, w)`` uint8 at points (V, V, 2), as ``(1, 3, V, V)`` in [0, 1]; beyond the border its value."""
    extent = torch.tensor([pixels.shape[2], pixels.shape[1]], dtype=torch.float32, device=pixels.device)
    grid = ((points * 2 + 1) / extent - 1)[None]
    values = (pixels.float() / 255).expand(3, -1, -1)[None]
    return F.grid_sample(values, grid, padding_mode="border", align_corners=False)


def changed_intensity(views: Tensor, draws: Draws, strength: float) -> Tensor:
    """Gamma, contrast, brightness, colour and noise, per view; ``(B, 3, V, V)`` in [0, 1] to the same."""
    if strength <= 0:
        return views.clamp(0, 1)

    def column(limit: float, channels: int = 1) -> Tensor:
        return draws.uniform(-limit * strength, limit * strength, channels, 1, 1)

    views = views.clamp(0, 1) ** torch.exp(column(0.5))
    views = (views - 0.5) * torch.exp(column(0.4)) + 0.5 + column(0.15)
    views = views * torch.exp(column(0.15, 3))
    views = views + draws.noise(*views.shape[1:]) * column(0.05).abs()
    return views.clamp(0, 1)
