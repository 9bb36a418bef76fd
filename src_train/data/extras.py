"""What a method can ask of the view maker: clean targets, corruption, super-pixel labels, quarter turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_ld.storage import Store
from src_train.data.corruption import CorruptionParams, corrupt
from src_train.data.dataset import Plane
from src_train.data.draws import Draws
from src_train.data.geometry import Geometry
from src_train.data.superpixels import SuperpixelParams, regions_of, warp_labels

NAMES = frozenset({"clean", "corruption", "labels", "turns"})


@dataclass(frozen=True)
class ViewExtras:
    """Which of ``NAMES`` are made, and how.

    Attributes
    ----------
    names : frozenset of str
        ``clean``: view 1 before intensity changes; ``corruption``: both views are corrupted after them; ``labels``:
        the super-pixels of the image under each view's geometry; ``turns``: the published views of LD instead
        (:mod:`src_train.data.published`).
    corruption : CorruptionParams
    superpixels : SuperpixelParams
    store : Store or None
        Where super-pixels are kept; None: the user's cache folder.
    """

    names: frozenset[str] = frozenset()
    corruption: CorruptionParams = field(default_factory=CorruptionParams)
    superpixels: SuperpixelParams = field(default_factory=SuperpixelParams)
    store: Store | None = None

    def __post_init__(self) -> None:
        if self.names - NAMES:
            raise ValueError(f"unknown extras {sorted(self.names - NAMES)}: choose of {', '.join(sorted(NAMES))}")
        if self.store is None and "labels" in self.names:
            object.__setattr__(self, "store", Store())

    def clean(self, view: Tensor) -> Tensor | None:
        """View 1 as resampled, ``(B, 3, V, V)`` in [0, 1]: it has the geometry of what the network sees, flips too."""
        return view.clamp(0, 1) if "clean" in self.names else None

    def corrupted(self, views: Tensor, draws: Draws) -> Tensor:
        """Corrupt ``(B, 3, V, V)`` in [0, 1] when asked to."""
        return corrupt(views, self.corruption, draws.seeds()) if "corruption" in self.names else views

    def labels(self, planes: Sequence[Plane], geometries: Sequence[Geometry]) -> tuple[Tensor, Tensor] | None:
        """Super-pixel of every pixel of both views, ``(B, V, V)`` int32 each, -1 where there is none."""
        if "labels" not in self.names or self.store is None:
            return None
        # The smaller copy: super-pixels are made on less than that.
        maps = [regions_of(plane.levels[1], self.superpixels, self.store) for plane in planes]
        views = []
        for geometry in geometries:
            grid = geometry.grid()
            warped = [
                warp_labels(labels.to(grid.device), positions, plane.size)
                for labels, positions, plane in zip(maps, grid, planes, strict=True)
            ]
            views.append(torch.stack(warped))
        return views[0], views[1]
