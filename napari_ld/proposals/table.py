"""Regions as a table for other programs: ``regions.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from napari_ld.proposals.regions import Region
from napari_ld.storage import atomic_write

__all__ = ["COLUMNS", "write_regions"]

COLUMNS = ("id", "image", "plane", "area", "score", "bbox", "centroid", "class", "decision")


def write_regions(path: str | Path, rows: Iterable[tuple[str, Region]]) -> None:
    """Write a table with one row per region; an older file is replaced in one step.

    ``plane`` is the first plane, and ``bbox`` holds ``plane row column plane row column``, half-open, ``centroid``
    ``plane row column``, both in pixels from the centre of the first one; ``area`` is in pixels over all planes, and
    ``class`` is empty where a person gave none.

    Parameters
    ----------
    path : str or Path
    rows : iterable of (str, Region)
        File name of the image, and the region.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image, region in rows:
        bbox = " ".join(str(edge) for edge in region.bbox)
        centroid = " ".join(f"{place:.2f}" for place in region.centroid)
        label = region.label or ""
        writer.writerow(
            (region.id, image, region.mask.first_plane, region.area, f"{region.score:.4f}", bbox, centroid, label,
             region.decision)
        )  # fmt: skip
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
