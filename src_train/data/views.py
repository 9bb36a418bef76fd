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
from src_train.data.draws import Draws
from src_train.data.extras import ViewExtras
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
    clean : (B, 3, V, V) tensor or None
        View 1 before intensity changes and corruption, in [0, 1]; only where a method asks for it.
    labels : pair of (B, V, V) int tensors, or None
        Super-pixel of every pixel of each view, -1 for none; only where a method asks for them.
    turns : (B,) int tensor or None
        How view 2 was turned (:func:`src_train.data.published.turned`); only of the published views.
    """

    first: Tensor
    second: Tensor
    partner: Tensor
    overlap: Tensor
    inside_first: Tensor
    inside_second: Tensor
    clean: Tensor | None = None
    labels: tuple[Tensor, Tensor] | None = None
    turns: Tensor | None = None

    @property
    def images(self) -> int:
        """Views of both kinds."""
        return 2 * len(self.first)


class ViewMaker:
    """Pure: ``(couples of planes, generator) -> ViewBatch``.

    Parameters
    ----------
    params : ViewParams
    mean, std : float
        Of the model's input, for intensities in [0, 1].
    device : torch.device
        Where views are resampled and handed out.
    extras : ViewExtras
        What else the method asks for; without it the views are the same.
    """

    stride = 4

    def __init__(
        self,
        params: ViewParams,
        mean: float,
        std: float,
        device: torch.device | str = "cpu",
        extras: ViewExtras | None = None,
    ) -> None:
        self.params = params
        self.extras = extras or ViewExtras()
        self.mean = mean
        self.std = std
        self.device = torch.device(device)

    def __call__(
        self, couples: list[tuple[Plane, Plane]], rng: np.random.Generator, share: slice | None = None
    ) -> ViewBatch:
        """Draw geometry, resample, change intensities; ``share``: the couples of this process (default: all)."""
        planes = [plane for couple in couples for plane in couple]
        rows = slice(0, len(planes)) if share is None else slice(2 * share.start, 2 * share.stop)
        draws = Draws(int(rng.integers(2**62)), len(planes), rows, self.device)
        planes = planes[rows]
        first, second = self._geometries(planes, draws)
        views = [self._resample(planes, geometry) for geometry in (first, second)]
        inside = [_inside(planes, geometry.cells(self.stride)) for geometry in (first, second)]
        partner = second.to_view(first.cells(self.stride))
        within = ((partner >= 2) & (partner <= self.params.size - 3)).all(-1)
        changed = [change_intensity(view, draws) for view in views]
        images = [(self.extras.corrupted(view, draws) - self.mean) / self.std for view in changed]
        return ViewBatch(
            images[0],
            images[1],
            partner,
            within & inside[0],
            inside[0],
            inside[1],
            self.extras.clean(views[0]),
            self.extras.labels(planes, (first, second)),
        )

    def _geometries(self, planes: list[Plane], draws: Draws) -> tuple[Geometry, Geometry]:
        p = self.params

        def own(limit: float) -> Tensor:
            return draws.uniform(-limit, limit)

        shared = draws.of_couples
        sizes = _extents(planes, self.device)
        working = sizes.max(-1).values / p.working_size
        fine = shared(0, 1) < p.fine_share
        zoom = torch.where(fine, torch.exp(shared(math.log(1.4), math.log(p.max_zoom))), torch.exp(shared(-0.35, 0.1)))
        relative = torch.stack([shared(0.1, 0.9), shared(0.1, 0.9)], -1)
        relative = torch.where(fine[:, None], relative, 0.5 + 0.5 * (relative - 0.5))
        turned, base = shared(0, 1) < p.turn, shared(-math.pi, math.pi)
        base = torch.where(turned, base, torch.zeros_like(base))
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
        amplitude = draws.uniform(0, p.elastic) * p.size * working / zoom
        shift = smooth_displacement(draws.normal(2, 5, 5), p.size, amplitude)
        return Geometry(matrices[0], p.size, shift), Geometry(matrices[1], p.size)

    def _resample(self, planes: list[Plane], geometry: Geometry) -> Tensor:
        """One bilinear resample a view, from the copy whose pixels are nearest in size to the view's."""
        grid = geometry.grid()
        steps = torch.linalg.det(geometry.matrix[:, :, :2]).abs().sqrt().tolist()
        views = []
        for plane, positions, step in zip(planes, grid, steps, strict=True):
            level = plane.levels[1] if step > 1.5 else plane.levels[0]
            ratio = (level.shape[2] / plane.size[1], level.shape[1] / plane.size[0])
            points = (positions + 0.5) * torch.tensor(ratio, device=self.device) - 0.5
            extent = torch.tensor([level.shape[2], level.shape[1]], dtype=torch.float32, device=self.device)
            pixels = (level.to(self.device, non_blocking=True).float() / 255).expand(3, -1, -1)[None]
            normal = ((points * 2 + 1) / extent - 1)[None]
            views.append(F.grid_sample(pixels, normal, padding_mode="border", align_corners=False))
        return torch.cat(views)


def _extents(planes: list[Plane], device: torch.device) -> Tensor:
    """``(x, y)`` = columns and rows of every plane."""
    return torch.tensor([plane.size for plane in planes], dtype=torch.float32).flip(-1).to(device)


def _inside(planes: list[Plane], positions: Tensor) -> Tensor:
    limits = _extents(planes, positions.device)[:, None, None]
    return ((positions >= 0) & (positions <= limits - 1)).all(-1)


def change_intensity(views: Tensor, draws: Draws) -> Tensor:
    """Contrast, brightness, gamma, colour, a smooth bias field, blur, noise, inversion and cut-outs, per view.

    ``(B, 3, V, V)`` in [0, 1] to the same shape and range.
    """
    size = views.shape[-1]

    def column(low: float, high: float, channels: int = 1) -> Tensor:
        return draws.uniform(low, high, channels, 1, 1)

    def chance(probability: float) -> Tensor:
        return draws.uniform(0, 1, 1, 1, 1) < probability

    views = views.clamp(0, 1) ** torch.exp(column(-0.5, 0.5))
    field = draws.normal(1, 4, 4) * column(0, 0.25)
    views = views * torch.exp(F.interpolate(field, size=(size, size), mode="bicubic", align_corners=True))
    views = (views - 0.5) * torch.exp(column(-0.4, 0.4)) + 0.5 + column(-0.15, 0.15)
    views = torch.where(chance(0.5), views * torch.exp(column(-0.15, 0.15, 3)), views)
    views = torch.where(chance(0.2), views.mean(1, keepdim=True), views)
    views = torch.where(chance(0.1), 1 - views, views)
    blurred = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, 1)
    views = torch.where(chance(0.3), blurred, views)
    views = views + draws.noise(*views.shape[1:]) * column(0, 0.05) * chance(0.5)
    return _cut_out(views.clamp(0, 1), draws)


def _cut_out(views: Tensor, draws: Draws) -> Tensor:
    """Hide one rectangle of up to 30 % of the side in half of the views."""
    size = views.shape[-1]
    for view, draw in zip(views, draws.uniform(0, 1, 5).tolist(), strict=True):
        if draw[0] < 0.5:
            height, width = (int(size * (0.05 + 0.25 * d)) for d in draw[1:3])
            top, left = int(draw[3] * (size - height)), int(draw[4] * (size - width))
            view[:, top : top + height, left : left + width] = draw[0] * 2
    return views
