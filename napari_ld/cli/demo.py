"""``napari-ld demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    headless: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Open no window: write screenshot.png and landmarks.csv into DIR."),
    ] = None,
) -> None:
    """Show the whole path on an embedded sample: one click, found on every plane."""
