"""A viewer with a sample on which one click has been propagated: what ``napari-ld demo`` shows."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ld._gui.panel import LDPanel
from napari_ld._gui.samples import add_sample
from napari_ld._sample_data import SAMPLES
from napari_ld._types import Match
from napari_ld.errors import ConfigError, NapariLDError
from napari_ld.session.tracks import as_matches

if TYPE_CHECKING:
    from napari import Viewer

    from napari_ld._sample_data import Sample

_SIZE = (1366, 768)  # of a small laptop's screen

HINT = (
    "1  Look through the planes (slider below).\n"
    "2  Drag a point that is off: others learn.\n"
    "3  Press + Add, click your own structure."
)


@dataclass(frozen=True)
class Demo:
    """What :func:`run_demo` opened.

    Attributes
    ----------
    viewer, panel, sample
    """

    viewer: Viewer
    panel: LDPanel
    sample: Sample

    @property
    def matches(self) -> list[Match]:
        """All points of the panel, as they would be saved."""
        return as_matches(self.panel.session.state, self.panel.session.threshold)

    @property
    def errors(self) -> dict[int, float]:
        """Plane to distance from the sample's known truth in pixels, for the planes that the encoder answered."""
        truth = {(landmark.name, landmark.plane or 0): landmark.position for landmark in self.sample.landmarks}
        return {
            match.plane: float(np.hypot(*np.subtract(match.position, truth[match.landmark, match.plane])))
            for match in self.matches
            if match.status != "verified" and match.position is not None and (match.landmark, match.plane) in truth
        }


def run_demo(sample: str = "phantom", *, encoder: str = "", show: bool = True, wait: float = 0.0) -> Demo:
    """Open a viewer with a sample, dock the panel and place one landmark through the panel's own session.

    Parameters
    ----------
    sample : str
        A name of :data:`napari_ld._sample_data.SAMPLES`.
    encoder : str
        Name or path; the panel's own choice by default.
    show : bool
        Show the window. The event loop is not started: call :func:`stay_open` afterwards.
    wait : float
        Seconds to wait until all planes are answered; 0 returns at once while the work goes on.

    Raises
    ------
    ConfigError
        For an unknown sample.
    NapariLDError
        When ``wait`` is over before the last plane was answered, or the encoder stopped.
    """
    import napari

    if sample not in SAMPLES:
        raise ConfigError(f"unknown sample {sample!r}: expected one of {', '.join(SAMPLES)}")
    viewer = napari.Viewer(title="napari-ld demo", show=show)
    viewer.window.resize(*_SIZE)
    panel = LDPanel(viewer, _own_sessions())
    viewer.window.add_dock_widget(panel, name="napari-ld", area="right")
    known = SAMPLES[sample]()
    add_sample(viewer, sample)
    if encoder:
        panel.use_encoder(encoder)
    overlay = viewer.canvas.overlays.text
    overlay.text = HINT
    overlay.position, overlay.font_size = "top_left", 9  # where it hides least of the image
    overlay.visible = True
    demo = Demo(viewer, panel, known)
    _click_first_landmark(demo)
    if wait:
        _wait_until_answered(panel, wait)
    return demo


def stay_open() -> None:
    """Run the event loop until the last window is closed."""
    import napari

    napari.run()


def screenshot(path: str | Path, viewer: Viewer) -> None:
    """Save a picture of the whole window."""
    viewer.screenshot(str(path), canvas_only=False, flash=False)


def _own_sessions() -> Path:
    """Folder of the demo alone, gone when the process ends: each demo begins afresh."""
    folder = Path(tempfile.mkdtemp(prefix="napari-ld-demo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _click_first_landmark(demo: Demo) -> None:
    first = demo.sample.landmarks[0]
    landmark = demo.panel.session.add_landmark(first.name)
    demo.panel.show_plane(first.plane or 0)
    demo.panel.session.place(landmark, first.plane or 0, first.position)


def _wait_until_answered(panel: LDPanel, seconds: float) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    session = panel.session
    while session.work.running or session.open_tracks():
        QApplication.processEvents()
        time.sleep(0.01)
        if session.work.error:
            raise NapariLDError(session.work.error)
        if time.monotonic() > end:
            raise NapariLDError(f"The sample was not finished within {seconds:.0f} s; try again with more time.")
    for _ in range(20):  # lets the last answers be drawn
        QApplication.processEvents()
        time.sleep(0.01)
