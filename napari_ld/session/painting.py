"""Which pixels change hands when regions are accepted, rejected or get other masks.

A newly accepted region takes its pixels from other regions; what a person painted by hand stays. Pixels that a region
gives up go to the smallest accepted region below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from napari_ld._types import Box
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region
from napari_ld.session.canvas import ERASED, Owners, Patch
from napari_ld.session.region_changes import Change, Item
from napari_ld.session.regions import RegionBook

Pairs = tuple[tuple[Item | None, Item | None], ...]
Pixels = npt.NDArray[np.int64]


def repainted(book: RegionBook, pairs: Pairs) -> Patch:
    """Patch that goes with items that change, one after the other; ``book`` is as before."""
    items = [item for pair in pairs for item in pair if item is not None]
    changing = {item.region.id for item in items}
    accepted = [book.items[one].region for one in book.classes if one not in changing]
    parts = []
    for plane in sorted({plane for item in items for plane in item.region.planes}):
        pixels = np.unique(np.concatenate([item.region.mask.pixels(plane) for item in items]))
        before = book.canvas.owners(plane).reshape(-1)[pixels]
        after = before.copy()
        below = sorted((r for r in accepted if plane in r.planes), key=lambda region: (-region.area, -region.id))
        for old, new in pairs:
            if old is not None and _shows(old):
                _give_up(after, pixels, old.region.id, plane, below)
            if new is not None and _shows(new):
                _take(after, pixels, new.region, plane, again=old is not None and _shows(old))
        parts.append(Patch.between(plane, pixels, before, after))
    return Patch.join(parts)


def painted_over_free(book: RegionBook, regions: Sequence[Region]) -> Patch:
    """Patch of several regions on pixels that nobody owns or painted; the last ones lie on top."""
    parts = []
    for plane in sorted({plane for region in regions for plane in region.planes}):
        before = book.canvas.owners(plane).reshape(-1)
        after = before.copy()
        for region in regions:
            pixels = region.mask.pixels(plane)
            after[pixels[before[pixels] == 0]] = region.id
        changed = np.flatnonzero(before != after)
        parts.append(Patch.between(plane, changed, before[changed], after[changed]))
    return Patch.join(parts)


def touched(change: Change, columns: int) -> dict[int, Box]:
    """Box on each plane inside which the accepted pixels may look different after a change."""
    found: dict[int, list[tuple[int, int, int, int]]] = {}
    segments = change.patch.segments
    for plane in change.patch.planes:
        _, start, stop, _, _ = segments[segments[:, 0] == plane].T
        one_row = start // columns == (stop - 1) // columns
        left, right = (
            (start % columns, (stop - 1) % columns + 1) if one_row.all() else (np.array([0]), np.array([columns]))
        )
        box = start.min() // columns, left.min(), (stop.max() - 1) // columns + 1, right.max()
        found.setdefault(plane, []).append((int(box[0]), int(box[1]), int(box[2]), int(box[3])))
    for before, after in change.items:
        if before is not None and after is not None and before.region.label != after.region.label and _shows(after):
            for plane in after.region.planes:
                _, top, edge, _, bottom, end = after.region.mask.on_plane(plane).bbox
                found.setdefault(plane, []).append((top, edge, bottom, end))
    return {plane: _around(boxes) for plane, boxes in found.items()}


def _around(boxes: Iterable[tuple[int, int, int, int]]) -> Box:
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))


def _shows(item: Item) -> bool:
    return item.region.decision == "accepted" and not item.gone


def _give_up(after: Owners, pixels: Pixels, own: int, plane: int, below: Sequence[Region]) -> None:
    mine = after == own
    after[mine] = 0
    for region in below:
        after[mine & members(pixels, region.mask, plane)] = region.id


def _take(after: Owners, pixels: Pixels, region: Region, plane: int, *, again: bool) -> None:
    # What was erased is free for another region, but not for the one that it was erased from.
    free = (after >= 0) if again else (after >= 0) | (after == ERASED)
    after[free & members(pixels, region.mask, plane)] = region.id


def members(pixels: Pixels, mask: Mask, plane: int) -> npt.NDArray[np.bool_]:
    """Which of these flat pixel indices a mask holds on a plane."""
    runs = mask.on_plane(plane).runs
    if not len(runs):
        return np.zeros(len(pixels), bool)
    place = np.searchsorted(runs[:, 1], pixels, side="right") - 1
    return np.asarray((place >= 0) & (pixels < runs[np.maximum(place, 0), 2]))
