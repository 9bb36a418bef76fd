"""What a person verified and accepted, handed to a training run as a measure of the encoder while it learns.

It is a measure only: nothing is learned from it, and neither verifying nor accepting starts a training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image, Landmark, Position
from napari_ld.errors import StorageError
from napari_ld.session.regions import RegionBook
from napari_ld.session.training_settings import Value

__all__ = ["Labels", "accepted_masks", "write_labels"]

MOST_PLANES = 8  # measured again and again: few are enough to see a trend
_CELLS = 72  # of the features along an image's longest side, about
_LEAST_CELLS = 9
Masks = Mapping[int, npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Verified landmarks and accepted masks of one image.

    Attributes
    ----------
    image : Image
    points : mapping of landmark to mapping of plane to (row, column)
    masks : mapping of plane to (rows, columns) uint8 array
        Classes; 0 is background.
    """

    image: Image
    points: Mapping[str, Mapping[int, Position]] = field(default_factory=dict)
    masks: Masks = field(default_factory=dict)


def accepted_masks(book: RegionBook) -> dict[int, npt.NDArray[np.uint8]]:
    """Accepted masks of the first planes that have any; none of a single one, since one is needed to judge another."""
    found: dict[int, npt.NDArray[np.uint8]] = {}
    for plane in book.canvas.planes:
        mask = book.labels(plane)
        if mask.any():
            found[plane] = mask
        if len(found) == MOST_PLANES:
            break
    return found if len(found) > 1 else {}


def words_of(points: Mapping[str, Mapping[int, Position]], book: RegionBook) -> str:
    """How much there is to measure by, in words; ``""`` for nothing. Reads no pixels."""
    count, planes = sum(map(len, points.values())), len(book.canvas.planes)
    parts = [f"{count} verified points"] if count else []
    parts += [f"accepted masks on {planes} planes"] if book.classes and planes > 1 else []
    return " and ".join(parts)


def write_labels(labels: Labels, folder: Path) -> dict[str, Value]:
    """Write planes with their labels as training reads them, without names of images; returns the settings.

    The plane with most landmarks comes first: its points are the clicks.

    Raises
    ------
    StorageError
        When they cannot be written.
    """
    from napari_ld.io.labels import write_labels as write_mask
    from napari_ld.io.landmarks import write_landmarks

    named = {plane: [n for n, points in labels.points.items() if plane in points] for plane in _planes(labels)}
    marked = _judged(named)
    masked = [plane for plane, mask in sorted(labels.masks.items()) if _is_seen(mask)][:MOST_PLANES]
    names = {plane: f"{number:03}" for number, plane in enumerate(dict.fromkeys([*marked, *masked]))}
    if not names:
        return {}
    images, masks = folder / "images", folder / "masks"
    try:
        for path in (images, masks):
            path.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror}); free some space") from error
    _write_planes(labels.image, names, images)
    settings: dict[str, Value] = {"evaluation.images": str(images), "evaluation.most": MOST_PLANES}
    if len(marked) > 1:
        rows = [
            Landmark(name, None, labels.points[name][plane], f"{names[plane]}.zarr")
            for plane in marked
            for name in named[plane]
        ]
        write_landmarks(folder / "landmarks.csv", rows)
        settings["evaluation.landmarks"] = str(folder / "landmarks.csv")
    if len(masked) > 1:
        for plane in masked:
            like = Image(labels.image.plane(plane), "yxc" if labels.image.has_channels else "yx")
            write_mask(masks / f"{names[plane]}.tif", labels.masks[plane], like)
        settings["evaluation.masks"] = str(masks)
    return settings


def _judged(named: Mapping[int, list[str]]) -> list[int]:
    """The plane with most landmarks, then those that share most of them."""
    if not named:
        return []
    first = min(named, key=lambda plane: (-len(named[plane]), plane))
    shared = {plane: len({*names} & {*named[first]}) for plane, names in named.items() if plane != first}
    others = sorted((plane for plane, count in shared.items() if count), key=lambda plane: (-shared[plane], plane))
    return [first, *others][:MOST_PLANES] if others else []


def _is_seen(mask: npt.NDArray[np.uint8]) -> bool:
    """Whether object and background are large enough to be met at the resolution of the features."""
    cell = max(mask.shape) / _CELLS
    inside = int(np.count_nonzero(mask))
    return bool(min(inside, mask.size - inside) >= _LEAST_CELLS * cell**2)


def _planes(labels: Labels) -> list[int]:
    return sorted({plane for points in labels.points.values() for plane in points})


def _write_planes(image: Image, names: Mapping[int, str], folder: Path) -> None:
    from napari_ld.io.ome_zarr import write_zarr

    axes, spacing = ("yxc" if image.has_channels else "yx"), image.pixel_spacing
    for plane, name in names.items():
        write_zarr(folder / f"{name}.zarr", Image(image.plane(plane), axes, None, spacing, window=image.window))
