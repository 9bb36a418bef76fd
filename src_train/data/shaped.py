"""Images without labels beside unpaired masks of another modality: read, checked, and cut to batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.errors import ConfigError
from napari_ld.io.images import read_images
from napari_ld.model.heads import HeadConfig
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.data.crops import CropMaker
from src_train.data.geometry import affine, pixel_grid, transform
from src_train.data.labelled import LabelledPlane, LabelledSet, Prepared
from src_train.data.shapes import load_shapes

_LEVEL = 0.5  # above which an interpolated pixel belongs to a mask
_JITTER = 0.2  # of a crop: how far it is moved on a mask that is no larger


@dataclass(frozen=True, eq=False)
class ShapedSet(LabelledSet):
    """Planes whose target is 1 in the field of view, and masks ``(1, rows, columns)`` of another modality."""

    masks: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class ShapedBatch:
    """Crops of images and, of no relation to them, of masks.

    Attributes
    ----------
    first, clean : (B, 3, V, V) float tensors
        Model input, with intensities changed and as they are.
    inside : (B, 1, V, V) float tensor
        1 in the field of view.
    masks : (B, 1, V, V) float tensor of 0 and 1
    """

    first: Tensor
    clean: Tensor
    inside: Tensor
    masks: Tensor

    @property
    def images(self) -> int:
        """Crops."""
        return len(self.first)


def load_shaped(
    images: Sequence[str],
    masks: Sequence[str],
    head: HeadConfig,
    normalization: IntensityNormalization,
    *,
    field: float,
) -> ShapedSet:
    """Read images, and masks that belong to none of them.

    Parameters
    ----------
    images, masks : sequence of path
        Files and folders; their names do not matter.
    head : HeadConfig
        Says at which size planes are kept.
    normalization : IntensityNormalization
    field : float
        Pixels whose every channel is below this share of the intensities lie outside the field of view; 0: none does.

    Raises
    ------
    ConfigError
        No masks, masks of more than two values, none with an inside and an outside, images without a field of view.
    """
    if not masks:
        raise ConfigError("no masks to take shapes from: give files or folders of another modality with --masks")
    _check_two_values(masks)
    shapes = load_shapes(masks)
    planes = []
    for group, image in enumerate(read_images(list(images), several="all")):
        prepared = Prepared(image, head, normalization)
        for index in range(image.n_planes):
            pixels = prepared.pixels(index)
            inside = (pixels.amax(0) >= 255 * field).to(torch.uint8)
            if bool(inside.any()):
                planes.append(LabelledPlane(pixels, inside, Path(image.source).name, group))
    if not planes:
        raise ConfigError(f"no image in {', '.join(images)} has a field of view; lower shapes.field = {field:g}")
    return ShapedSet(tuple(planes), masks=shapes)


class ShapeMaker:
    """Pure: ``(planes, generator) -> ShapedBatch``.

    Parameters
    ----------
    crops : CropMaker
    masks : sequence of (1, rows, columns) tensor
    span : float
        Longest side of every mask, in sides of a crop; 1 as published.
    spread : float
        Log-scale, uniform within ± this.

    Raises
    ------
    ConfigError
        When nothing is left of the masks at this scale.
    """

    def __init__(self, crops: CropMaker, masks: Sequence[Tensor], span: float, spread: float) -> None:
        self.crops, self.spread = crops, spread
        self.masks = [_resized(mask, span * crops.params.size / max(mask.shape[-2:])) for mask in masks]
        if not any(bool((mask > _LEVEL).any()) and min(mask.shape[-2:]) > 1 for mask in self.masks):
            raise ConfigError(f"shapes.span = {span:g}: nothing is left of the masks; raise it")

    def __call__(
        self, planes: list[LabelledPlane], rng: np.random.Generator, share: slice | None = None
    ) -> ShapedBatch:
        """Crops of the planes, as many of random masks; ``share``: the couples of this process (default: all)."""
        clean, changed, targets = self.crops.both(planes, rng, share)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        drawn = self.draw(len(planes), generator)
        drawn = drawn if share is None else drawn[2 * share.start : 2 * share.stop]
        return ShapedBatch(changed, clean, (targets == 1)[:, None].float(), drawn.to(clean.device))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Masks mirrored, turned by any angle, scaled and moved: ``(count, 1, V, V)`` of 0 and 1.

        Beyond their border they are mirrored, so that it shows nowhere.
        """
        size = self.crops.params.size
        chosen = torch.randint(len(self.masks), (count,), generator=generator).tolist()
        angle = torch.rand(count, generator=generator) * 2 * math.pi
        scale = torch.exp((torch.rand(count, generator=generator) * 2 - 1) * self.spread)
        mirror = torch.rand(count, generator=generator) < 0.5
        place = torch.rand(count, 2, generator=generator) - 0.5
        extents = torch.tensor([self.masks[k].shape[-2:] for k in chosen], dtype=torch.float32).flip(-1)
        room = (extents - size / scale[:, None]).clamp_min(_JITTER * size)
        matrix = affine((extents - 1) / 2 + place * room, 1 / scale, angle, size, mirror=mirror)
        points = transform(matrix, pixel_grid(size, 1))
        drawn = []
        for k, extent, at in zip(chosen, extents, points, strict=True):
            grid = ((at * 2 + 1) / extent - 1)[None]
            drawn.append(F.grid_sample(self.masks[k][None], grid, padding_mode="reflection", align_corners=False))
        return (torch.cat(drawn) > _LEVEL).float()


def _check_two_values(masks: Sequence[str]) -> None:
    for image in read_images(list(masks), several="all"):
        values = set[float]()
        for index in range(image.n_planes):
            values |= set(np.unique(image.plane(index)).tolist())
        if len(values) > 2:
            shown = ", ".join(f"{value:g}" for value in sorted(values)[:4])
            raise ConfigError(
                f"{image.source}: {len(values)} values ({shown} …); expected masks of two values, 0 outside the shape "
                "and another inside: keep one label of a label map, and no JPEG"
            )


def _resized(mask: Tensor, factor: float) -> Tensor:
    size = [max(1, round(n * factor)) for n in mask.shape[-2:]]
    return F.interpolate(mask[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
