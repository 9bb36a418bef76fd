"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where the encoder runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGES...", help="Images, or folders of images; their sizes may differ.")
]
Encoder = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="A bundled encoder (see 'napari-ld encoders') or a file of your own."),
]
DeviceOption = Annotated[Device, typer.Option(help="Where the encoder runs.")]
