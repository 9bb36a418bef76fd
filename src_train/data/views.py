"""Two views of every image, made with one resample each, whose pixels know their partners.

View 1 carries a smooth displacement on top of its affine, view 2 is affine: so the partner of any pixel of view 1
in view 2 has a closed form. Intensity changes come after the geometry and never touch it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from src_train.data.dataset import Plane
from src_train.data.geometry import Geometry, affine, smooth_displacement


@dataclass(frozen=True)
class ViewParams:
    """Ranges of the random views; all [reconstruction], chosen on the development images.

    Attributes
    ----------
    size : int
        Rows and columns of a view, divisible by 32.
    working_size : int
        Longest side of an image at scale 1.
    fine_share : float
        Share of couples drawn at a magnification between 1.4 and ``max_zoom``, as the refinement crops are.
    max_zoom : float
        Largest magnification relative to the working scale.
    rotation, scale, stretch : float
        Each view's own rotation (degrees), log-scale and log-stretch are uniform within ± these.
    elastic : float
        Standard deviation of view 1's smooth displacement, as a share of the view.
    flip, turn : float
        Probability that a couple is mirrored, and that it is turned by any angle; shared by all its views.
    """

    size: int = 256
    working_size: int = 288
    fine_share: float = 0.4
    max_zoom: float = 4.2
    rotation: float = 15.0
    scale: float = 0.2
    stretch: float = 0.1
    elastic: float = 0.025
    flip: float = 0.3
    turn: float = 0.15


@dataclass(frozen=True)
class ViewBatch:
    """``2 * couples`` images, neighbours 2i and 2i+1 being a couple of the same group and frame.

    Attributes
    ----------
    first, second : (B, 3, V, V) float tensor
        Model input.
    partner : (B, V/4, V/4, 2) tensor
        View-2 pixel ``(x, y)`` of the centre of each stride-4 cell of view 1.
    overlap : (B, V/4, V/4) bool tensor
        Cells of view 1 that show the image and whose partner lies in view 2.
    inside_first, inside_second : (B, V/4, V/4) bool tensor
        Cells that show the image rather than what lies beyond its border.
    """

    first: Tensor
    second: Tensor
    partner: Tensor
    overlap: Tensor
    inside_first: Tensor
    inside_second: Tensor


class ViewMaker:
    """Pure: ``(couples of planes, generator) -> ViewBatch``."""

    stride = 4

    def __init__(self, params: ViewParams, mean: float, std: float) -> None:
        self.params = params
        self.mean = mean
        self.std = std

    def __call__(self, couples: list[tuple[Plane, Plane]], rng: np.random.Generator) -> ViewBatch:
        """Draw geometry, resample, change intensities."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        planes = [plane for couple in couples for plane in couple]
        first, second = self._geometries(planes, generator)
        views = [self._resample(planes, geometry) for geometry in (first, second)]
        inside = [_inside(planes, geometry.cells(self.stride)) for geometry in (first, second)]
        partner = second.to_view(first.cells(self.stride))
        within = ((partner >= 2) & (partner <= self.params.size - 3)).all(-1)
        images = [(change_intensity(view, generator) - self.mean) / self.std for view in views]
        return ViewBatch(images[0], images[1], partner, within & inside[0], inside[0], inside[1])

    def _geometries(self, planes: list[Plane], generator: torch.Generator) -> tuple[Geometry, Geometry]:
        p, count = self.params, len(planes)

        def shared(low: float, high: float) -> Tensor:  # one value a couple
            return _uniform(count // 2, low, high, generator).repeat_interleave(2)

        def own(limit: float) -> Tensor:
            return _uniform(count, -limit, limit, generator)

        sizes = torch.tensor([plane.size for plane in planes], dtype=torch.float32).flip(-1)  # (x, y)
        working = sizes.max(-1).values / p.working_size
        fine = shared(0, 1) < p.fine_share
        zoom = torch.where(fine, torch.exp(shared(math.log(1.4), math.log(p.max_zoom))), torch.exp(shared(-0.35, 0.1)))
        relative = torch.stack([shared(0.1, 0.9), shared(0.1, 0.9)], -1)
        relative = torch.where(fine[:, None], relative, 0.5 + 0.5 * (relative - 0.5))
        base = torch.where(shared(0, 1) < p.turn, shared(-math.pi, math.pi), torch.zeros(count))
        mirror = shared(0, 1) < p.flip
        matrices = []
        for _ in range(2):
            jitter = torch.stack([own(0.08), own(0.08)], -1) * p.size * (working / zoom)[:, None]
            matrices.append(
                affine(
                    relative * (sizes - 1) + jitter,
                    working / zoom * torch.exp(own(p.scale)),
                    base + own(math.radians(p.rotation)),
                    p.size,
                    torch.exp(own(p.stretch)),
                    mirror,
                )
            )
        amplitude = _uniform(count, 0, p.elastic, generator) * p.size * working / zoom
        shift = smooth_displacement(count, p.size, amplitude, generator)
        return Geometry(matrices[0], p.size, shift), Geometry(matrices[1], p.size)

    def _resample(self, planes: list[Plane], geometry: Geometry) -> Tensor:
        """One bilinear resample a view, from the copy whose pixels are nearest in size to the view's."""
        grid = geometry.grid()
        views = []
        for index, plane in enumerate(planes):
            step = float(torch.linalg.det(geometry.matrix[index, :, :2]).abs().sqrt())
            level = plane.levels[1] if step > 1.5 else plane.levels[0]
            scale = torch.tensor([level.shape[2] / plane.size[1], level.shape[1] / plane.size[0]])
            points = (grid[index] + 0.5) * scale - 0.5
            extent = torch.tensor([level.shape[2], level.shape[1]], dtype=torch.float32)
            pixels = (level.float() / 255).expand(3, -1, -1)[None]
            normal = ((points * 2 + 1) / extent - 1)[None]
            views.append(F.grid_sample(pixels, normal, padding_mode="border", align_corners=False))
        return torch.cat(views)


def _inside(planes: list[Plane], positions: Tensor) -> Tensor:
    limits = torch.tensor([plane.size for plane in planes], dtype=torch.float32).flip(-1)[:, None, None]
    return ((positions >= 0) & (positions <= limits - 1)).all(-1)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def change_intensity(views: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast, brightness, gamma, colour, a smooth bias field, blur, noise, inversion and cut-outs, per view.

    ``(B, 3, V, V)`` in [0, 1] to the same shape and range.
    """
    count, size = views.shape[0], views.shape[-1]

    def column(low: float, high: float, channels: int = 1) -> Tensor:
        return (torch.rand(count, channels, 1, 1, generator=generator) * (high - low)) + low

    def chance(probability: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) < probability

    views = views.clamp(0, 1) ** torch.exp(column(-0.5, 0.5))
    field = torch.randn(count, 1, 4, 4, generator=generator) * column(0, 0.25)
    views = views * torch.exp(F.interpolate(field, size=(size, size), mode="bicubic", align_corners=True))
    views = (views - 0.5) * torch.exp(column(-0.4, 0.4)) + 0.5 + column(-0.15, 0.15)
    views = torch.where(chance(0.5), views * torch.exp(column(-0.15, 0.15, 3)), views)
    views = torch.where(chance(0.2), views.mean(1, keepdim=True), views)
    views = torch.where(chance(0.1), 1 - views, views)
    blurred = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, 1)
    views = torch.where(chance(0.3), blurred, views)
    views = views + torch.randn(views.shape, generator=generator) * column(0, 0.05) * chance(0.5)
    return _cut_out(views.clamp(0, 1), generator)


def _cut_out(views: Tensor, generator: torch.Generator) -> Tensor:
    """Hide one rectangle of up to 30 % of the side in half of the views."""
    size = views.shape[-1]
    for view in views:
        draw = torch.rand(5, generator=generator).tolist()
        if draw[0] < 0.5:
            height, width = (int(size * (0.05 + 0.25 * d)) for d in draw[1:3])
            top, left = int(draw[3] * (size - height)), int(draw[4] * (size - width))
            view[:, top : top + height, left : left + width] = draw[0] * 2
    return views
