"""Labelled planes of the development sets: those that settings are chosen on, and those that figures are given for.

Images stand in the order of the sha256 of "set/name". The first ``tuning`` of a set are for tuning, the others for
the report; of a patient who is among those for tuning no image is reported. Of volumes the plane with the most labels
is taken. A set of one volume gives planes, evenly spread: for tuning from the first half of the labelled ones, for the
report from the second.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image
from napari_ld.io.images import read_image

Labels = npt.NDArray[np.integer[Any]]
SPLITS = ("tuning", "report")


def parser(description: str, known: Sequence[str], sets: Sequence[str], images: int) -> argparse.ArgumentParser:
    """Command line of what is measured on planes of a split; ``sets`` and ``images`` are taken where none are named."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--sets", nargs="+", choices=list(known), default=list(sets))
    found.add_argument("--images", type=int, default=images)
    found.add_argument("--split", choices=SPLITS, default="report")
    found.add_argument("--encoder", help="a bundled encoder or a file")
    found.add_argument("--output")
    return found


def labelled_planes(
    root: Path, name: str, given: dict[str, Any], split: str, count: int
) -> Iterator[tuple[str, Image, Labels]]:
    """Name, picture and label map (rows, columns) of at most ``count`` planes of a split.

    Parameters
    ----------
    root : Path
        Folder of the development data.
    name : str
        Set.
    given : dict
        Its settings: ``tuning``, the number of images for tuning; ``patient``, the text before which a name stands for
        the patient; or ``one_volume``.
    split : {"tuning", "report"}
    count : int
    """
    with open(root / name / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"]]
    rows.sort(key=lambda row: hashlib.sha256(f"{name}/{row['image']}".encode()).hexdigest())
    found = (
        _slices(root, name, rows, split, count) if given.get("one_volume") else _images(root, name, rows, given, split)
    )
    return itertools.islice(found, count)


def _images(
    root: Path, name: str, rows: list[dict[str, str]], given: dict[str, Any], split: str
) -> Iterator[tuple[str, Image, Labels]]:
    seen: set[str] = set()
    used = 0
    for row in rows:
        patient = row["image"].split(given["patient"])[0] if "patient" in given else row["image"]
        tuning = used < given["tuning"]
        if not tuning and (split == "tuning" or patient in seen):
            continue
        mask = read_image(root / name / row["mask"])
        shown = [np.count_nonzero(mask.plane(plane)) for plane in range(mask.n_planes)]
        if not max(shown):
            continue
        if tuning:
            used += 1
            seen.add(patient)
        if tuning == (split == "tuning"):
            image = read_image(root / name / "images" / row["image"])
            yield _plane(row["image"], image, mask, int(np.argmax(shown)))


def _slices(
    root: Path, name: str, rows: list[dict[str, str]], split: str, count: int
) -> Iterator[tuple[str, Image, Labels]]:
    image, mask = (read_image(root / name / place) for place in (f"images/{rows[0]['image']}", rows[0]["mask"]))
    labelled = [plane for plane in range(mask.n_planes) if np.count_nonzero(mask.plane(plane))]
    half = len(labelled) // 2
    chosen = labelled[:half] if split == "tuning" else labelled[half:]
    for place in np.unique(np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)):
        yield _plane(f"{rows[0]['image']} {chosen[place]}", image, mask, chosen[place])


def _plane(name: str, image: Image, mask: Image, plane: int) -> tuple[str, Image, Labels]:
    axes = "yxc" if image.has_channels else "yx"
    return name, Image(image.plane(plane), axes), np.asarray(mask.plane(plane)).astype(np.int64)
