"""The views of Local Discrimination as published (arXiv 2108.09440; authors' code), made with one resample each.

Stage A, shared by both views of an image: mirror, upside down, any rotation, a crop of 90 to 100 % of the area. Stage
B, each view's own: up to 2 degrees of rotation, which nobody undoes, and colour changes. Stage C, view 2 only: quarter
turns by index, undone exactly on the features. The original resamples for every operation; here one affine holds all
rotations and the crop, so views are slightly sharper [reconstruction]. Images that are not square lie in a square
with black beyond them [reconstruction]; the published ones were cut square beforehand.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from src_train.data.dataset import Plane
from src_train.data.draws import Draws
from src_train.data.extras import ViewExtras
from src_train.data.geometry import Geometry, pixel_grid
from src_train.data.views import ViewBatch, ViewMaker, ViewParams

_SMALL_ROTATION = math.radians(2)
_AREA, _RATIO = (0.9, 1.0), (3 / 4, 4 / 3)
_JITTER, _HUE, _GREY = 0.4, 0.02, 0.2
_LUMINANCE = (0.299, 0.587, 0.114)


def turned(maps: Tensor, codes: Tensor) -> Tensor:
    """Stage C: code ``4 f + k`` turns item b by 180° when f, then by k quarter turns; ``(B, …, n, n)``."""
    return torch.stack(
        [torch.rot90(item, int(code) // 4 * 2 + int(code) % 4, (-2, -1)) for item, code in _pairs(maps, codes)]
    )


def unturned(maps: Tensor, codes: Tensor) -> Tensor:
    """Exact inverse of :func:`turned`."""
    return torch.stack(
        [torch.rot90(item, -(int(code) // 4 * 2 + int(code) % 4), (-2, -1)) for item, code in _pairs(maps, codes)]
    )


class PublishedViewMaker(ViewMaker):
    """Views of the paper; ``ViewBatch.turns`` holds the code of stage C of every view 2.

    Of :class:`ViewParams` only ``size`` counts. ``partner`` takes the small rotations of stage B as nothing, as the
    published loss does.
    """

    def __call__(
        self, couples: list[tuple[Plane, Plane]], rng: np.random.Generator, share: slice | None = None
    ) -> ViewBatch:
        """Draw the stages, resample, change colours, turn."""
        planes = [plane for couple in couples for plane in couple]
        rows = slice(0, len(planes)) if share is None else slice(2 * share.start, 2 * share.stop)
        draws = Draws(int(rng.integers(2**62)), len(planes), rows, self.device)
        planes = planes[rows]
        shared = self._shared(planes, draws)
        geometries = [Geometry(_rotated(shared, draws, self.params.size), self.params.size) for _ in range(2)]
        codes = draws.uniform(0, 8).long().clamp_max(7)
        views = [self._with_black(planes, geometry) for geometry in geometries]
        images = [(change_colour(view, draws) - self.mean) / self.std for view in views]
        inside = [self._shown(planes, geometry) for geometry in geometries]
        return ViewBatch(
            images[0],
            turned(images[1], codes),
            _partners(codes, self.params.size, self.stride),
            inside[0] & inside[1],
            inside[0],
            turned(inside[1], codes),
            turns=codes,
        )

    def _shared(self, planes: list[Plane], draws: Draws) -> Tensor:
        """Stage A as matrices (B, 2, 3) from view pixels to image pixels."""
        size = self.params.size
        sides = torch.tensor([max(plane.size) for plane in planes], dtype=torch.float32, device=self.device)
        flips = torch.stack([draws.uniform(0, 1) < 0.5, draws.uniform(0, 1) < 0.5], -1)
        angle = draws.uniform(-math.pi, math.pi)
        area, ratio = draws.uniform(*_AREA), torch.exp(draws.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        # A crop of that area in a square: the ratio can only be what fits.
        ratio = ratio.clamp(area, 1 / area)
        extent = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], -1)
        corner = torch.stack([draws.uniform(0, 1), draws.uniform(0, 1)], -1) * (1 - extent)
        # View pixel -> relative position in the crop -> in the rotated square -> in the image.
        scale = extent / size
        shift = corner + 0.5 * scale - 0.5
        cos, sin = angle.cos(), angle.sin()
        rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        mirrored = (1 - 2 * flips.float())[:, :, None] * rotation
        linear = mirrored * scale[:, None, :] * sides[:, None, None]
        middle = torch.tensor([[(plane.size[1] - 1) / 2, (plane.size[0] - 1) / 2] for plane in planes])
        moved = (mirrored @ shift[..., None])[..., 0] * sides[:, None] + middle.to(self.device)
        return torch.cat([linear, moved[..., None]], -1)

    def _with_black(self, planes: list[Plane], geometry: Geometry) -> Tensor:
        views = self._resample(planes, geometry)
        shown = self._covers(planes, geometry.grid())
        return views * shown[:, None]

    def _shown(self, planes: list[Plane], geometry: Geometry) -> Tensor:
        return self._covers(planes, geometry.cells(self.stride))

    def _covers(self, planes: list[Plane], positions: Tensor) -> Tensor:
        extents = torch.tensor([plane.size for plane in planes], dtype=torch.float32).flip(-1).to(self.device)
        return ((positions >= -0.5) & (positions <= extents[:, None, None] - 0.5)).all(-1)


def view_maker(
    params: ViewParams,
    mean: float,
    std: float,
    device: torch.device | str = "cpu",
    extras: ViewExtras | None = None,
) -> ViewMaker:
    """The published views for a method that asks for ``turns``, else those with known geometry."""
    published = extras is not None and "turns" in extras.names
    return (PublishedViewMaker if published else ViewMaker)(params, mean, std, device, extras)


def change_colour(views: Tensor, draws: Draws) -> Tensor:
    """Brightness, contrast, saturation and hue of stage B, then grey with probability 0.2: ``(B, 3, V, V)`` in [0, 1].

    In this order; the original shuffles it, and turns the hue in HSV where here the chroma turns [reconstruction].
    """
    weights = torch.tensor(_LUMINANCE, device=views.device)[:, None, None]

    def factor() -> Tensor:
        return draws.uniform(1 - _JITTER, 1 + _JITTER, 1, 1, 1)

    views = (views * factor()).clamp(0, 1)
    contrast, saturation, hue = factor(), factor(), draws.uniform(-_HUE, _HUE)
    mean = (views * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    views = ((views - mean) * contrast + mean).clamp(0, 1)
    grey = (views * weights).sum(1, keepdim=True)
    chroma = torch.einsum("bij,bjhw->bihw", _about_grey(2 * math.pi * hue), views - grey)
    views = (grey + saturation * chroma).clamp(0, 1)
    chance = draws.uniform(0, 1, 1, 1, 1) < _GREY
    return torch.where(chance, (views * weights).sum(1, keepdim=True), views)


def _about_grey(angle: Tensor) -> Tensor:
    """Rotations of RGB about the grey axis, (B, 3, 3)."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    third = torch.full((3, 3), 1 / 3, device=angle.device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    return cos * torch.eye(3, device=angle.device) + (1 - cos) * third + sin * cross


def _rotated(matrix: Tensor, draws: Draws, size: int) -> Tensor:
    """Stage B's own small rotation about the middle of the view, before the shared matrix."""
    angle = draws.uniform(-_SMALL_ROTATION, _SMALL_ROTATION)
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    middle = torch.full((2, 1), (size - 1) / 2, device=matrix.device)
    linear = matrix[..., :2] @ rotation
    offset = matrix[..., 2:] + matrix[..., :2] @ (middle - rotation @ middle)
    return torch.cat([linear, offset], -1)


def _partners(codes: Tensor, size: int, stride: int) -> Tensor:
    """View-2 pixel that shows what each cell of view 1 shows, when stage B is ignored."""
    grid = pixel_grid(size, 1, codes.device)[0].permute(2, 0, 1)
    # Turning the map of positions backwards says where each upright pixel went.
    went = unturned(grid.expand(len(codes), -1, -1, -1), codes)
    return F.avg_pool2d(went, stride).permute(0, 2, 3, 1)


def _pairs(maps: Tensor, codes: Tensor) -> list[tuple[Tensor, int]]:
    return list(zip(maps, codes.tolist(), strict=True))
