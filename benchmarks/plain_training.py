"""A plain but fair training loop to compare ours with: PIL in a DataLoader, views on the CPU, float32, eager.

Same network, same losses, same batch; what differs is how the data come and how the step is run. Views are affine
(no elastic part) and made with PIL's own operations, as most pipelines do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures
from PIL import ImageEnhance, ImageFilter, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from src_train.data.geometry import Geometry, affine
from src_train.data.views import ViewBatch, ViewParams
from src_train.engine import average
from src_train.protocol import Method

Item = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
_STRIDE = 4


class PictureViews(Dataset[Item]):
    """Item ``i``: two views of picture ``i``, the affines that made them, and its size ``(x, y)``.

    Parameters
    ----------
    files : sequence of Path
    params : ViewParams
    length : int
        Items; pictures come round again.
    """

    def __init__(self, files: Sequence[Path], params: ViewParams, length: int) -> None:
        self.files, self.params, self.length = files, params, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Item:
        generator = torch.Generator().manual_seed(index)
        with Pictures.open(self.files[index % len(self.files)]) as file:
            file.draft("RGB", (1200, 1200))
            picture = file.convert("RGB")
        picture.thumbnail((1200, 1200), Pictures.Resampling.BILINEAR)
        size = torch.tensor([picture.width, picture.height], dtype=torch.float32)
        matrices = [self._matrix(size, generator) for _ in range(2)]
        first, second = (self._view(picture, matrix, generator) for matrix in matrices)
        return first, second, matrices[0], matrices[1], size

    def _matrix(self, size: Tensor, generator: torch.Generator) -> Tensor:
        p = self.params

        def within(limit: float) -> Tensor:
            return (torch.rand(1, generator=generator) * 2 - 1) * limit

        zoom = torch.exp(torch.rand(1, generator=generator) * math.log(p.max_zoom))
        scale = size.max() / p.working_size / zoom * torch.exp(within(p.scale))
        centre = (0.5 + torch.cat([within(0.2), within(0.2)])) * (size - 1)
        turn, stretch = within(math.radians(p.rotation)), torch.exp(within(p.stretch))
        return affine(centre[None], scale, turn, p.size, stretch)[0]

    def _view(self, picture: Pictures.Image, matrix: Tensor, generator: torch.Generator) -> Tensor:
        view = resample(picture, matrix, self.params.size)
        chance = torch.rand(7, generator=generator).tolist()
        for enhancer, draw in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), chance, strict=False
        ):
            view = enhancer(view).enhance(0.6 + 0.8 * draw)
        if chance[3] < 0.3:
            view = view.filter(ImageFilter.GaussianBlur(1))
        if chance[4] < 0.1:
            view = ImageOps.invert(view)
        if chance[5] < 0.2:
            view = ImageOps.grayscale(view).convert("RGB")
        pixels = torch.from_numpy(np.asarray(view, dtype=np.float32) / 255).permute(2, 0, 1)
        noise = torch.randn(pixels.shape, generator=generator) * 0.05 * chance[6]
        changed: Tensor = (pixels + noise).clamp(0, 1)
        return changed


def resample(picture: Pictures.Image, matrix: Tensor, size: int) -> Pictures.Image:
    """View whose pixel ``p`` shows the picture at ``matrix p``."""
    (a, b, c), (d, e, f) = matrix.tolist()
    # PIL counts from the corner of the first pixel, we from its centre.
    corner = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
    return picture.transform((size, size), Pictures.Transform.AFFINE, corner, Pictures.Resampling.BILINEAR)


def collate(items: list[Item], mean: float, std: float) -> ViewBatch:
    """A batch with the partners of the cells of view 1, as our view maker gives it."""
    first, second, here, there, sizes = (torch.stack(parts) for parts in zip(*items, strict=True))
    side = first.shape[-1]
    geometries = Geometry(here, side), Geometry(there, side)
    cells = [geometry.cells(_STRIDE) for geometry in geometries]
    inside = [((at >= 0) & (at <= sizes[:, None, None] - 1)).all(-1) for at in cells]
    partner = geometries[1].to_view(cells[0])
    within = ((partner >= 2) & (partner <= side - 3)).all(-1)
    images = [(views - mean) / std for views in (first, second)]
    return ViewBatch(images[0], images[1], partner, within & inside[0], inside[0], inside[1])


def plain_batches(views: PictureViews, images: int, workers: int, mean: float, std: float) -> Iterator[ViewBatch]:
    """Batches of all items in order, made by worker processes."""

    def joined(items: list[Item]) -> ViewBatch:
        return collate(items, mean, std)

    yield from DataLoader(views, images, num_workers=workers, collate_fn=joined)


class PlainTraining:
    """The step of a plain loop: float32, eager, no memory layout; averaged weights as ours keeps them.

    Parameters
    ----------
    method : Method
    averaged : Module
        Copy of its encoder.
    device : torch.device
    """

    def __init__(self, method: Method, averaged: nn.Module, device: torch.device) -> None:
        self.method, self.averaged, self.device = method.to(device).train(), averaged.to(device), device
        self.optimizer = torch.optim.AdamW(method.encoder.parameters(), lr=2e-3, weight_decay=1e-4)
        self.steps = 0

    def advance(self, batch: ViewBatch) -> None:
        """One step of the last phase."""
        moved: dict[str, Any] = {
            name: value.to(self.device) for name, value in vars(batch).items() if isinstance(value, Tensor)
        }
        context = self.method.context(ViewBatch(**moved), step=self.steps)
        terms = self.method.terms(context, self.method.phases[-1].groups[0])
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.method.encoder.parameters(), 5.0)
        self.optimizer.step()
        average(self.averaged, self.method.encoder, 0.998)
        float(loss.detach())
        self.steps += 1
