"""Options that several commands share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_ld.errors import StorageError


class Device(StrEnum):
    """Where the encoder runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGES", help="Images, or folders of images; their sizes may differ.")
]
Encoder = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="A bundled encoder (see 'napari-ld encoders') or a file of your own."),
]
DeviceOption = Annotated[Device, typer.Option(help="Where the encoder runs.")]


LandmarkFile = Annotated[
    Path,
    typer.Option(
        metavar="LANDMARKS.csv",
        help="Table with columns image, landmark, plane, row, column; or .mrk.json or .fcsv of 3D Slicer.",
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(metavar="ROW,COLUMN|PLANE,ROW,COLUMN", help="Millimetres per pixel, instead of what files say."),
]
Window = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET|LOW,HIGH", help="What the encoder sees of CT, e.g. lung or -160,240; default: percentiles."
    ),
]
Adapt = Annotated[
    bool | None,
    typer.Option(
        "--adapt/--no-adapt",
        help="'images': learn from the templates what tells each landmark from its surroundings; where there is only "
        "one, from the surest answers on IMAGES too. Takes seconds.",
        show_default="on from 12 planes on",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there already.")]


def parse_spacing(text: str | None) -> tuple[float, ...] | None:
    """Read ``ROW,COLUMN`` or ``PLANE,ROW,COLUMN`` in millimetres.

    Raises
    ------
    typer.BadParameter
        When it is not two or three positive numbers.
    """
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 3) or not all(0 < number < math.inf for number in numbers):
        raise typer.BadParameter(
            f"{text!r}; expected two or three positive numbers in mm, as in 0.1,0.1 or 2.5,0.1,0.1",
            param_hint="--spacing",
        )
    return numbers


def check_output(path: Path, inputs: Sequence[Path] = (), *, overwrite: bool = False) -> None:
    """Refuse a file that cannot be written before the work is done, not after it.

    Parameters
    ----------
    path : Path
        File to be written.
    inputs : sequence of Path
        Files that the command reads, which must outlive it.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    StorageError
        When the folder is missing or may not be written to, or the path is a folder, no regular file, an input, or
        there already.
    """
    folder = path.parent
    if os.path.isdir(path):
        raise StorageError(f"cannot write {path}: it is a folder; add a file name")
    if os.path.exists(path) and not os.path.isfile(path):
        raise StorageError(f"cannot write {path}: it is not a regular file; choose another name")
    if any(path.resolve() == given.resolve() for given in inputs):
        raise StorageError(f"cannot write {path}: it is one of the files to be read; choose another name")
    if not overwrite and os.path.exists(path):
        raise StorageError(f"cannot write {path}: it exists already; choose another name or add --overwrite")
    if not os.path.isdir(folder):
        raise StorageError(f"cannot write {path}: there is no folder {folder}; create it first or correct the path")
    if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StorageError(f"cannot write {path}: no permission; choose a folder that you may write to")


def make_folder(folder: Path) -> None:
    """Make a folder for results, where it is missing.

    Raises
    ------
    StorageError
        When it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {error.strerror}; choose another one") from error
