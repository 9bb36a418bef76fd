"""Geometry of views: which pixel of the stored image every pixel of a view shows.

Points are ``(x, y)`` = (column, row) pixels, the centre of the first pixel at 0, because that is the order in which
matrices and :func:`torch.nn.functional.grid_sample` take them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Geometry:
    """Views to stored images, for a batch.

    Attributes
    ----------
    matrix : (B, 2, 3) tensor
        Affine from view pixels to image pixels.
    size : int
        Rows and columns of the (square) views.
    displacement : (B, size, size, 2) tensor or None
        Smooth shift in image pixels, added after the affine; None for purely affine views.
    """

    matrix: Tensor
    size: int
    displacement: Tensor | None = None

    def grid(self) -> Tensor:
        """Image position of every view pixel, ``(B, size, size, 2)``."""
        positions = transform(self.matrix, pixel_grid(self.size, 1, self.matrix.device))
        return positions if self.displacement is None else positions + self.displacement

    def cells(self, stride: int) -> Tensor:
        """Image position of the centres of the cells of a map with this stride, ``(B, n, n, 2)``, n = size/stride."""
        centres = pixel_grid(self.size // stride, stride, self.matrix.device)
        positions = transform(self.matrix, centres)
        if self.displacement is None:
            return positions
        shift = self.displacement.permute(0, 3, 1, 2)
        return positions + sample(shift, centres.expand(len(shift), -1, -1, -1)).permute(0, 2, 3, 1)

    def to_view(self, points: Tensor) -> Tensor:
        """Image positions ``(B, …, 2)`` to view pixels; exact, hence for affine views only."""
        if self.displacement is not None:
            raise ValueError("a displaced view has no closed inverse; use an affine view as the target")
        return transform(invert(self.matrix), points)


def affine(
    centre: Tensor, scale: Tensor, angle: Tensor, size: int, stretch: Tensor | None = None, mirror: Tensor | None = None
) -> Tensor:
    """Matrices that put the centre of a view of ``size`` pixels onto ``centre``.

    Parameters
    ----------
    centre : (B, 2) tensor
        ``(x, y)`` in image pixels.
    scale : (B,) tensor
        Image pixels per view pixel.
    angle : (B,) tensor
        Rotation in radians.
    size : int
        Rows and columns of the view.
    stretch : (B,) tensor, optional
        Factor on x, its inverse on y.
    mirror : (B,) tensor of bool, optional
        Flips x.

    Returns
    -------
    (B, 2, 3) tensor
    """
    stretch = torch.ones_like(scale) if stretch is None else stretch
    sign = torch.ones_like(scale) if mirror is None else 1 - 2 * mirror.to(scale.dtype)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    first = torch.stack([sign * stretch * cos, sign * stretch * sin], -1)
    second = torch.stack([-sin / stretch, cos / stretch], -1)
    linear = torch.stack([first, second], -1)
    middle = torch.full((2,), (size - 1) / 2, dtype=scale.dtype, device=scale.device)
    return torch.cat([linear, (centre - linear @ middle)[..., None]], -1)


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply ``(B, 2, 3)`` to points ``(B or 1, …, 2)``."""
    shape = (matrix.shape[0], *points.shape[1:])
    flat = points.reshape(points.shape[0], -1, 2)
    return (flat @ matrix[..., :2].transpose(1, 2) + matrix[:, None, :, 2]).reshape(shape)


def invert(matrix: Tensor) -> Tensor:
    """Inverse of ``(B, 2, 3)`` affine matrices."""
    linear = torch.linalg.inv(matrix[..., :2])
    return torch.cat([linear, -linear @ matrix[..., 2:]], -1)


def pixel_grid(size: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Centres of ``size`` x ``size`` cells of ``stride`` pixels, ``(1, size, size, 2)``."""
    line = torch.arange(size, dtype=torch.float32, device=device) * stride + (stride - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)[None]


def sample(maps: Tensor, points: Tensor, stride: int = 1, mode: str = "bilinear") -> Tensor:
    """Read maps at view pixels.

    Parameters
    ----------
    maps : (B, C, h, w) tensor
        A map whose cells are ``stride`` view pixels wide.
    points : (B, m, n, 2) tensor
        View pixels.

    Returns
    -------
    (B, C, m, n) tensor; beyond the border the edge value.
    """
    extent = torch.tensor([maps.shape[-1], maps.shape[-2]], dtype=points.dtype, device=points.device) * stride
    return F.grid_sample(maps, (points * 2 + 1) / extent - 1, mode=mode, padding_mode="border", align_corners=False)


def smooth_displacement(knots: Tensor, size: int, amplitude: Tensor) -> Tensor:
    """Smooth shifts, ``(B, size, size, 2)``, from standard normal ``knots`` (B, 2, n, n).

    ``amplitude`` (B,) is the standard deviation in pixels.
    """
    coarse = knots * amplitude[:, None, None, None]
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
