"""``napari-ld demo``: the main job on a sample whose truth is known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ld.cli.display import a_display, has_display
from napari_ld.cli.options import make_folder
from napari_ld.cli.progress import tell
from napari_ld.errors import NapariLDError

if TYPE_CHECKING:
    from napari_ld._sample_data import Sample
    from napari_ld._types import Match

SAMPLE = "phantom"
# In a process of its own: Qt ends its process where it finds no display, and nothing can catch that.
_WITH_WINDOW = "import sys; from napari_ld.cli.demo import with_window; with_window(sys.argv[1])"
_SECONDS = 600.0


def demo(
    headless: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Open no window: write screenshot.png and landmarks.csv into DIR."),
    ] = None,
) -> None:
    """Show one click, found on every plane of a sample."""
    if headless is not None:
        _headless(headless)
    elif has_display():
        from napari_ld._gui.demo import run_demo, stay_open

        run_demo(SAMPLE)
        stay_open()
    else:
        raise NapariLDError("there is no display to open a window on; use --headless DIR, or xvfb-run napari-ld demo")


def with_window(folder: str | Path) -> None:
    """Open the window, wait for all answers, and write ``screenshot.png`` and ``landmarks.csv`` into ``folder``."""
    from napari_ld._gui.demo import run_demo, screenshot

    opened = run_demo(SAMPLE, wait=_SECONDS)
    screenshot(Path(folder) / "screenshot.png", opened.viewer)
    _write_table(Path(folder), opened.matches)
    opened.viewer.close()


def without_window(folder: Path) -> None:
    """Do the same without Qt: the picture is drawn from the arrays."""
    from napari_ld._sample_data import SAMPLES
    from napari_ld.cli.windowless import contact_sheet, propagate, write_png

    sample = SAMPLES[SAMPLE]()
    matches = propagate(sample)
    write_png(folder / "screenshot.png", contact_sheet([sample.image.plane(m.plane) for m in matches], matches))
    _write_table(folder, matches)


def _headless(folder: Path) -> None:
    from napari_ld._sample_data import SAMPLES

    make_folder(folder)
    trouble = _try_window(folder)
    if trouble:
        tell(f"no window could be made ({trouble}); the picture is drawn without one")
        without_window(folder)
    print(_accuracy(folder, SAMPLES[SAMPLE]()))


def _try_window(folder: Path) -> str:
    """Let a child process open the window; returns what went wrong, or nothing."""
    written = [folder / "screenshot.png", folder / "landmarks.csv"]
    for path in written:
        path.unlink(missing_ok=True)
    with a_display() as display:
        if display is None:
            return "there is no display, and no Xvfb to make one: install xvfb"
        command = [sys.executable, "-c", _WITH_WINDOW, str(folder)]
        done = subprocess.run(command, env={**os.environ, **display}, capture_output=True, text=True)
    if all(path.is_file() for path in written):
        return ""
    lines = done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"]
    # Qt says first why it ends its process; Python says last why it gives up
    return lines[0] if done.returncode < 0 else lines[-1]


def _write_table(folder: Path, matches: list[Match]) -> None:
    from napari_ld.io.landmarks import write_matches

    write_matches(folder / "landmarks.csv", [(SAMPLE, match) for match in matches], with_plane=True)


def _accuracy(folder: Path, sample: Sample) -> str:
    """Compare the table with the sample's known truth, leaving out the plane that was clicked."""
    import numpy as np

    from napari_ld.io.landmarks import read_landmarks

    click = sample.landmarks[0]
    truth = {landmark.plane: landmark.position for landmark in sample.landmarks if landmark.name == click.name}
    found = {row.plane: row.position for row in read_landmarks(folder / "landmarks.csv") if row.plane != click.plane}
    errors = [float(np.hypot(*np.subtract(position, truth[plane]))) for plane, position in found.items()]
    planes = f"{click.name!r}: found on {len(errors)} of the {len(truth) - 1} planes that were not clicked"
    if not errors:
        return planes
    figures = f"mean error {np.mean(errors):.2f} px, median {np.median(errors):.2f} px, worst {np.max(errors):.2f} px"
    spacing = sample.image.pixel_spacing
    in_mm = "" if spacing is None else f" (mean {np.mean(errors) * spacing[0]:.2f} mm)"
    return f"{planes}; {figures}{in_mm}"
