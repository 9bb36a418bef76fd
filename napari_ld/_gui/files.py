"""Landmarks of a session to and from files, and its masks to files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image, Match, Status
from napari_ld.errors import LandmarkError
from napari_ld.proposals.regions import Region
from napari_ld.session import Session
from napari_ld.session.tracks import as_matches

_MACHINE: dict[str, Status] = {"confident": "confident", "uncertain": "uncertain"}


def save_landmarks(path: str, session: Session) -> None:
    """Write every point with its score, margin and status."""
    from napari_ld.io.landmarks import write_matches

    matches = [(image_name(session), match) for match in as_matches(session.state, session.threshold)]
    write_matches(path, matches, with_plane=session.image is not None and session.image.is_stack)


def load_landmarks(path: str, session: Session) -> None:
    """Take the points of a file into the session; of a file that names images, those of this one.

    Raises
    ------
    LandmarkError
        When the file cannot be used or has no row for this image.
    """
    from napari_ld.io.landmarks import read_landmarks

    rows = read_landmarks(path)
    name = image_name(session)
    found = _found_by_machine(path)
    matches = []
    for row in [row for row in rows if row.image in ("", name)] or rows:
        known = found.get((row.image, row.name, row.plane or 0), ("verified", 1.0, 1.0))
        matches.append(Match(row.name, row.plane or 0, row.position, known[1], known[2], known[0]))
    if not matches:
        raise LandmarkError(
            f"{path} holds no positions; choose a table with the columns image,landmark,plane,row,column."
        )
    session.load(matches)


def _found_by_machine(path: str) -> dict[tuple[str, str, int], tuple[Status, float, float]]:
    """Status, score and margin of the rows that an encoder found; the table was checked before."""
    found: dict[tuple[str, str, int], tuple[Status, float, float]] = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            status = _MACHINE.get(row.get("status") or "")
            if status is not None:
                key = (row["image"], row["landmark"], int(float(row["plane"] or 0)))
                found[key] = (status, float(row["score"]), float(row["margin"]))
    return found


def image_name(session: Session) -> str:
    """File name of the image, or the name of its layer when it came from no file."""
    source = session.image.source if session.image else ""
    return Path(source).name if source else session.stem


@dataclass(frozen=True, slots=True, eq=False)
class MasksToSave:
    """Masks, and the table beside them, as they are now."""

    path: str
    labels: npt.NDArray[np.uint8]
    image: Image
    regions: Sequence[Region]


def save_masks(request: MasksToSave) -> str:
    """Write masks in the geometry of the image, and ``NAME_regions.csv`` beside them; returns what was written.

    Raises
    ------
    NapariLDError
        When the ending is unknown or a file cannot be written.
    """
    from napari_ld.io.labels import WRITERS, write_labels
    from napari_ld.proposals.table import write_regions

    path = Path(request.path)
    write_labels(path, request.labels, request.image)
    suffix = max((suffix for suffix in WRITERS if path.name.lower().endswith(suffix)), key=len)
    table = path.with_name(f"{path.name[: -len(suffix)]}_regions.csv")
    name = Path(request.image.source).name
    write_regions(table, [(name, request.image, request.regions)])
    return f"Saved {path.name} and {table.name} in {path.parent}."
