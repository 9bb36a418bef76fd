"""New masks from old ones: neighbours that can be merged, parts that a region falls into, growing and shrinking."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region
from napari_ld.session.region_changes import Item

Similarity = tuple[tuple[int, int], npt.NDArray[np.float32]]
"""``((top, left), (rows, columns) values)``: likeness of the pixels around a region to the region, one plane."""

STEP = 1.25  # growing or shrinking by one step changes the area by this factor
_MARGIN = 2.0  # a region may grow into a window that its box, widened by this share, fills
_LEAST_MARGIN = 12  # pixels


def window(mask: Mask, plane: int, margin: float = _MARGIN) -> tuple[int, int, int, int]:
    """Half-open ``(top, left, bottom, right)`` around a mask on one plane: where it may grow."""
    _, top, left, _, bottom, right = mask.on_plane(plane).bbox
    rows = max(_LEAST_MARGIN, round((bottom - top) * margin / 2))
    columns = max(_LEAST_MARGIN, round((right - left) * margin / 2))
    return (
        max(0, top - rows), max(0, left - columns),
        min(mask.shape[0], bottom + rows), min(mask.shape[1], right + columns),
    )  # fmt: skip


def grown(origin: Mask, steps: int, similarity: Mapping[int, Similarity]) -> Mask:
    """Mask after some steps of growing (> 0) or shrinking (< 0) along its similarity map.

    Growing lowers the threshold: it adds the connected pixels most like the region. Shrinking raises it: it takes away
    those least like it. Each step changes the area by the factor :data:`STEP`, all steps are nested, and 0 gives the
    mask back (reconstruction). Planes without a similarity map stay as they are.
    """
    parts = [_grown_plane(origin, plane, steps, similarity.get(plane)) for plane in origin.planes]
    return Mask.join(parts) if parts else origin


def _grown_plane(origin: Mask, plane: int, steps: int, similarity: Similarity | None) -> Mask:
    own = origin.on_plane(plane)
    if similarity is None or steps == 0:
        return own
    (top, left), values = similarity
    box = slice(top, top + values.shape[0]), slice(left, left + values.shape[1])
    full = own.to_array(plane)
    inside = full[box]
    target = max(1, own.area + steps if steps > 0 else 1, round(own.area * STEP**steps))
    full[box] = _flooded(inside, values, target - own.area) if steps > 0 else _best(inside, values, target)
    return Mask.from_array(full, plane)


def _best(inside: npt.NDArray[np.bool_], values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.bool_]:
    """The ``count`` pixels of a region most like it; ties by position."""
    pixels = np.flatnonzero(inside)
    order = np.argsort(-values.reshape(-1)[pixels], kind="stable")[:count]
    kept = np.zeros(inside.size, bool)
    kept[pixels[order]] = True
    return kept.reshape(inside.shape)


def _flooded(inside: npt.NDArray[np.bool_], values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.bool_]:
    """Region and the ``count`` pixels that a flood from its border reaches first, the most alike before the others.

    Of pixels as alike, those in the inner ring come first, so that a uniform surround is taken evenly.
    """
    width = inside.shape[1] + 2
    taken = np.pad(inside, 1, constant_values=True).reshape(-1)
    heights = np.pad(-values, 1).reshape(-1).tolist()
    seen = taken.tolist()
    steps = (-width, -1, 1, width)
    border = np.flatnonzero(np.pad(inside & ~ndimage.binary_erosion(inside), 1).reshape(-1)).tolist()
    heap: list[tuple[float, int, int]] = []

    def reach(pixel: int, ring: int) -> None:
        for step in steps:
            if not seen[pixel + step]:
                seen[pixel + step] = True
                heapq.heappush(heap, (heights[pixel + step], ring, pixel + step))

    for pixel in border:
        reach(pixel, 1)
    while heap and count > 0:
        _, ring, pixel = heapq.heappop(heap)
        taken[pixel] = True
        count -= 1
        reach(pixel, ring + 1)
    return np.asarray(taken.reshape(-1, width)[1:-1, 1:-1])


def parts_of(mask: Mask) -> list[Mask]:
    """Parts that a mask falls into, largest first; a single mask when it is one pixel.

    Parts that do not touch are separated; a connected mask is cut at its waist, found by a watershed of the distance to
    its border, or across its longer axis where it has none. Of a mask on several planes the planes are cut one by one
    where they fall apart, else between the planes.
    """
    pieces = _components(mask)
    if len(pieces) == 1 and len(mask.planes) > 1:
        middle = mask.planes[len(mask.planes) // 2]
        cut = np.searchsorted(mask.runs[:, 0], middle)
        pieces = [Mask(mask.shape, mask.runs[:cut]), Mask(mask.shape, mask.runs[cut:])]
    elif len(pieces) == 1 and mask.area > 1:
        pieces = _halves(mask)
    return sorted(pieces, key=lambda piece: -piece.area)


def _cropped(mask: Mask) -> tuple[npt.NDArray[np.bool_], tuple[int, int, int]]:
    """``(planes, rows, columns)`` pixels inside the box of a mask, and where the box begins."""
    plane, top, left, last, bottom, right = mask.bbox
    box = np.zeros((last - plane, bottom - top, right - left), bool)
    for one in mask.planes:
        row, column = np.divmod(mask.pixels(one), mask.shape[1])
        box[one - plane, row - top, column - left] = True
    return box, (plane, top, left)


def _placed(box: npt.NDArray[np.bool_], corner: tuple[int, int, int], shape: tuple[int, int]) -> Mask:
    plane, top, left = corner
    parts = []
    for index, pixels in enumerate(box):
        if pixels.any():
            full = np.zeros(shape, bool)
            full[top : top + box.shape[1], left : left + box.shape[2]] = pixels
            parts.append(Mask.from_array(full, plane + index))
    return Mask.join(parts)


def _components(mask: Mask) -> list[Mask]:
    box, corner = _cropped(mask)
    labels, count = ndimage.label(box, np.ones((3, 3, 3)))
    return [mask] if count == 1 else [_placed(labels == one, corner, mask.shape) for one in range(1, count + 1)]


def _halves(mask: Mask) -> list[Mask]:
    """A connected mask of one plane in two."""
    from skimage import segmentation

    watershed: Any = segmentation.watershed  # is not annotated
    box, corner = _cropped(mask)
    inside = np.pad(box[0], 1)
    depth = ndimage.distance_transform_edt(inside)
    seeds = _two_seeds(inside, depth)
    parts = watershed(-depth, seeds, connectivity=2, mask=inside)[1:-1, 1:-1]
    return [_placed((parts == one)[None], corner, mask.shape) for one in (1, 2)]


def _two_seeds(inside: npt.NDArray[np.bool_], depth: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The deepest pixel on either side of the middle of the longer axis."""
    places = np.argwhere(inside)
    centred = places - places.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    along = centred @ axes[0]
    side = along > np.median(along)
    if not side.any() or side.all():
        side = np.arange(len(places)) >= len(places) // 2
    seeds = np.zeros(inside.shape, np.int32)
    for number, members in ((1, ~side), (2, side)):
        candidates = places[members]
        # Ties go to the pixel farther from the cut, so that a bar without a waist is halved evenly.
        rank = np.lexsort((-np.abs(along[members]), -depth[tuple(candidates.T)]))
        seeds[tuple(candidates[rank[0]])] = number
    return seeds


def neighbours(region: Region, others: Iterable[Region], reach: int = 2) -> list[Region]:
    """Regions that touch or overlap a region, the most alike first.

    Parameters
    ----------
    region : Region
    others : iterable of Region
    reach : int
        Pixels that may lie between them.
    """
    plane, top, left, last, bottom, right = region.bbox
    found = []
    widened: dict[int, npt.NDArray[np.bool_]] = {}
    for other in others:
        p0, r0, c0, p1, r1, c1 = other.bbox
        if other.id == region.id or p1 <= plane or p0 >= last or r1 <= top - reach or r0 >= bottom + reach:
            continue
        if c1 <= left - reach or c0 >= right + reach or other.image != region.image:
            continue
        shared = set(region.planes) & set(other.planes)
        if any(_touches(region.mask, other.mask, one, reach, widened) for one in sorted(shared)):
            found.append(other)
    return sorted(found, key=lambda other: (-_alike(region, other), other.id))


def _touches(mask: Mask, other: Mask, plane: int, reach: int, widened: dict[int, npt.NDArray[np.bool_]]) -> bool:
    if plane not in widened:
        widened[plane] = _widened(mask, plane, reach)
    return bool(widened[plane].reshape(-1)[other.pixels(plane)].any())


def _widened(mask: Mask, plane: int, reach: int) -> npt.NDArray[np.bool_]:
    full = mask.to_array(plane)
    _, top, left, _, bottom, right = mask.on_plane(plane).bbox
    box = slice(max(0, top - reach), bottom + reach), slice(max(0, left - reach), right + reach)
    full[box] = ndimage.binary_dilation(full[box], np.ones((3, 3)), iterations=reach)
    return full


def _alike(one: Region, other: Region) -> float:
    return float(one.embedding @ other.embedding) if len(one.embedding) == len(other.embedding) else 0.0


def derived(one: int, mask: Mask, sources: Sequence[Region]) -> Item:
    """Item with the id ``one`` and a mask made of others: decision and class of the first source, means of all."""
    weights = np.array([region.area for region in sources], float)
    alike = all(len(region.embedding) == len(sources[0].embedding) for region in sources)  # made by one encoder
    vectors = [region.embedding for region in (sources if alike else sources[:1])]
    vector = np.average(vectors, axis=0, weights=weights[: len(vectors)])
    region = replace(
        sources[0],
        id=one,
        mask=mask,
        score=round(float(np.average([region.score for region in sources], weights=weights)), 6),
        embedding=(vector / max(float(np.linalg.norm(vector)), 1e-10)).astype(np.float16).astype(np.float32),
        area_mm2=area_of(sources[0], mask),
    )
    return Item(region)


def area_of(region: Region, mask: Mask) -> float | None:
    """Area of another mask in mm², by the size that a pixel of the region has."""
    return None if region.area_mm2 is None or not region.area else region.area_mm2 / region.area * mask.area
