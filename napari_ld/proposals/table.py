"""Regions as a table for other programs: ``regions.csv``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_ld._types import Image
from napari_ld.proposals.regions import Region
from napari_ld.storage import atomic_write

__all__ = ["COLUMNS", "write_regions"]

COLUMNS = ("id", "image", "plane", "area", "score", "bbox", "centroid", "class", "decision", "area_mm2")


def write_regions(path: str | Path, found: Sequence[tuple[str, Image, Iterable[Region]]]) -> None:
    """Write the table of all regions of some images; an older file is replaced in one step.

    ``plane`` is empty for single images and a range for regions of several slices; ``bbox`` holds the first row and
    column and those after the last, ``centroid`` row and column; both begin with the plane where there are several.
    ``area`` is in pixels over all planes; ``class`` is empty where a person gave none.

    Parameters
    ----------
    path : str or Path
    found : sequence of (str, Image, iterable of Region)
        Name of an image, the image, and its regions.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, image, regions in found:
            writer.writerows(_row(name, image, region) for region in regions)


def _row(name: str, image: Image, region: Region) -> list[str]:
    box: tuple[int, ...] = region.bbox
    centre: tuple[float, ...] = region.centroid
    planes = region.planes
    if not image.is_stack:
        box, centre = (*box[1:3], *box[4:]), centre[1:]
    plane = "" if not image.is_stack else str(planes[0]) if len(planes) == 1 else f"{planes[0]}-{planes[-1]}"
    return [
        str(region.id),
        name,
        plane,
        str(region.area),
        f"{region.score:.4f}",
        " ".join(str(edge) for edge in box),
        " ".join(f"{place:.2f}" for place in centre),
        str(region.label or ""),
        region.decision,
        "" if region.area_mm2 is None else f"{region.area_mm2:.4f}",
    ]
