"""Landmarks of a session to and from files, and its masks to files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image, Landmark, Match, Status
from napari_ld.errors import LandmarkError, StorageError
from napari_ld.proposals.regions import Region
from napari_ld.session import Session
from napari_ld.session.tracks import as_matches

SAVED_LANDMARKS = {"csv": "Tables (*.csv)", "mrk.json": "Points of 3D Slicer, in patient mm (*.mrk.json)"}
"""Ending to what the dialog calls it."""
LOADED_LANDMARKS = "Landmarks (*.csv *.mrk.json *.fcsv)"
_IN_SPACE = (".json", ".fcsv")
_MACHINE: dict[str, Status] = {"confident": "confident", "uncertain": "uncertain"}


def save_landmarks(path: str, session: Session) -> None:
    """Write every point with its score, margin and status; to ``.mrk.json`` the points in space.

    Raises
    ------
    LandmarkError
        When the ending is unknown, or points in space are wanted of an image that does not say where it lies.
    StorageError
        When the file cannot be written.
    """
    from napari_ld.io.landmarks import write_matches
    from napari_ld.io.markups import found_markups, write_markups

    found = as_matches(session.state, session.threshold)
    if path.lower().endswith(".mrk.json") and session.image is not None:
        write_markups(path, found_markups(found, session.image), name=session.stem or "landmarks")
        return
    if not path.lower().endswith(".csv"):
        raise LandmarkError(f"cannot save {path}: its ending is none of .csv, .mrk.json; choose one of them")
    matches = [(image_name(session), match) for match in found]
    write_matches(path, matches, with_plane=session.image is not None and session.image.is_stack)


def load_landmarks(path: str, session: Session) -> None:
    """Take the points of a file into the session; of a table that names images, those of this one.

    Raises
    ------
    LandmarkError
        When the file cannot be used, has no row for this image, or two points of one name on one plane.
    """
    from napari_ld.io.landmarks import read_landmarks
    from napari_ld.io.markups import landmarks_in, read_markups

    if path.lower().endswith(_IN_SPACE) and session.image is not None:
        points = landmarks_in(read_markups(path), session.image)
        _check_once(path, points)
        session.load([_known(point) for point in points])
        return
    rows = read_landmarks(path)
    name = image_name(session)
    found = _found_by_machine(path)
    matches = []
    for row in [row for row in rows if row.image in ("", name)] or rows:
        status, score, margin = found.get((row.image, row.name, row.plane or 0), ("verified", 1.0, 1.0))
        known = _known(row)
        matches.append(
            known if status == "verified" else Match(row.name, known.plane, row.position, score, margin, status)
        )
    if not matches:
        raise LandmarkError(
            f"{path} holds no positions; choose a table with the columns image,landmark,plane,row,column."
        )
    session.load(matches)


def _known(row: Landmark) -> Match:
    """A point that a person knows; between two planes it keeps its exact place."""
    point = None if row.depth is None else (row.depth, *row.position)
    return Match(row.name, row.plane or 0, row.position, 1.0, 1.0, "verified", point=point)


def _check_once(path: str, points: Sequence[Landmark]) -> None:
    """Refuse two points of one name on one plane, of which only one could be kept."""
    seen: set[tuple[str, int | None]] = set()
    for point in points:
        if (point.name, point.plane) in seen:
            raise LandmarkError(f"{path} has two points {point.name!r} on one plane; rename one of them in 3D Slicer")
        seen.add((point.name, point.plane))


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


def mask_place(image: Image) -> Path:
    """Where masks of an image go unless a person says otherwise: beside it, named after it, in its own format."""
    from napari_ld.io.labels import labels_path
    from napari_ld.io.parts import split_part

    folder = split_part(image.source)[0].parent if image.source else Path()
    return labels_path(image, folder if folder.is_dir() else Path())


def mask_formats(image: Image) -> dict[str, str]:
    """Endings in which masks of an image can be saved, that of its own format first, to what the dialog calls them."""
    from napari_ld.io.coco import COCO_ENDING, holds_pictures
    from napari_ld.io.dicom_seg_writer import is_dicom_source

    known = {
        "tif": "TIFF (*.tif *.tiff)",
        "nii.gz": "NIfTI (*.nii.gz *.nii)",
        "nrrd": "NRRD (*.nrrd)",
    }
    if is_dicom_source(image):
        known["dcm"] = "DICOM segmentation (*.dcm)"
    if holds_pictures(image):
        known[COCO_ENDING.lstrip(".")] = f"COCO (*{COCO_ENDING})"
    own = next(ending for ending in known if mask_place(image).name.endswith(f".{ending}"))
    return {own: known.pop(own), **known}


def save_masks(request: MasksToSave) -> str:
    """Write masks in the geometry of the image, and ``NAME_regions.csv`` beside them; returns what was written.

    Raises
    ------
    NapariLDError
        When the ending is unknown, a file cannot be written, or there is a table of that name whose masks are not
        those that are replaced.
    """
    from napari_ld.io.coco import COCO_ENDING, write_coco_of
    from napari_ld.io.labels import WRITERS, Segment, write_labels
    from napari_ld.proposals.table import write_regions

    path = Path(request.path)
    name = Path(request.image.source).name
    suffixes = [suffix for suffix in (*WRITERS, COCO_ENDING) if path.name.lower().endswith(suffix)]
    stem = path.name[: -len(max(suffixes, key=len))] if suffixes else path.stem
    table = path.with_name(f"{stem}_regions.csv")
    if suffixes and table.exists() and not path.exists():
        raise StorageError(f"cannot save {path.name}: {table.name} is there already and belongs to other masks; "
                           "choose another name")  # fmt: skip
    classes = {int(value): f"class {value}" for value in np.unique(request.labels) if value}
    if COCO_ENDING in suffixes:
        write_coco_of(path, request.labels, request.image, classes)
    else:
        segments = {value: Segment(text) for value, text in classes.items()}
        write_labels(path, request.labels, request.image, segments=segments)
    write_regions(table, [(name, request.image, request.regions)])
    return f"Saved {path.name} and {table.name} in {path.parent}."
