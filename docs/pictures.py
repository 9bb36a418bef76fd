"""Take the pictures of these pages, on a display or under xvfb-run: ``python docs/pictures.py regions training``."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from scipy.ndimage import gaussian_filter

IMAGES = Path(__file__).parent / "images"
SIZE = (1366, 768)  # of a small laptop


class Window:
    """A viewer with the panel.

    Parameters
    ----------
    theme : str
    out : Path
        Folder of the pictures.
    """

    def __init__(self, theme: str, out: Path) -> None:
        import napari

        from napari_ld._gui.panel import LDPanel

        self.out = out
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = theme
        self.viewer.window.resize(*SIZE)
        self.panel: Any = LDPanel(self.viewer)
        self.viewer.window.add_dock_widget(self.panel, name="napari-ld", area="right")
        self.rest(500)

    def rest(self, milliseconds: int = 300) -> None:
        """Let events be handled."""
        from qtpy.QtTest import QTest

        QTest.qWait(milliseconds)

    def until(self, done: Callable[[], object], seconds: float = 1800.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.rest(50)

    def press(self, *names: str) -> None:
        """Press buttons of the panel."""
        for name in names:
            self.panel.findChild(object, name).click()
            self.rest()

    def save(self, name: str) -> None:
        """Save what the window shows."""
        self.rest(500)
        picture = PIL.Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)[..., :3])
        picture.quantize(128).save(self.out / f"{name}.png", optimize=True)

    def scroll(self, share: float) -> None:
        """Show the top (0) or the end (1) of the panel."""
        bar = self.panel.findChild(object, "ld_scroll").verticalScrollBar()
        bar.setValue(round(share * bar.maximum()))
        self.rest(100)


def regions(window: Window) -> None:
    """Review a few regions of a retina image."""
    from skimage import data

    window.viewer.add_image(np.ascontiguousarray(data.retina()[300:1100:2, 100:900:2]), name="retina", rgb=True)
    session = window.panel.session
    window.press("ld_regions_header", "ld_propose")
    window.until(lambda: bool(session.regions.book.items) and not session.proposing.running)
    window.press("ld_accept", "ld_reject", "ld_accept", "ld_accept", "ld_merge", "ld_accept")
    window.save("regions")


def training(window: Window) -> None:
    """The tutorial of docs/tutorial-training.md: speckled films, a few verified points, Quick, Compare."""
    from qtpy.QtTest import QTest

    from napari_ld._sample_data import phantom_stack

    films, sample = speckled_films(), phantom_stack(12, seed=3)
    truth = {(row.name, row.plane): row.position for row in sample.landmarks}
    window.viewer.add_image(films, name="films")
    panel, session = window.panel, window.panel.session
    window.rest(500)
    window.panel.show_plane(0)
    for name in ("menton", "sella"):
        landmark = session.add_landmark(name)
        session.place(landmark, 0, truth[name, 0])
    window.until(lambda: not session.work.running and not session.open_tracks())
    panel.show_plane(6)
    window.save("training-before")
    for landmark, track in list(session.state.items()):
        for plane in range(1, 5):
            session.place(landmark, plane, truth[track.name, plane])
    window.until(lambda: not session.work.running and not session.open_tracks())
    window.press("ld_train_header", "ld_train_estimate")
    window.until(lambda: not panel._training.estimating)
    window.save("training-start")
    window.press("ld_train_details")
    window.until(lambda: panel.findChild(object, "ld_settings_general") is not None)
    window.press("ld_settings_general")
    kept = panel.findChild(object, "ld_setting_kept")
    kept.selectAll()
    QTest.keyClicks(kept, "0")
    window.press("ld_train_details", "ld_train_start")
    run = lambda: panel._training.run  # noqa: E731 - it is another one after the start
    window.until(lambda: run() and run().phase == "running" and run().step > 10)
    window.until(lambda: panel._train.previews.preview is not None)
    window.scroll(1)
    window.save("training-running")
    window.until(lambda: run().phase == "finished" and not run().held)
    window.press("ld_train_compare")
    window.until(lambda: not panel._training.comparing)
    window.scroll(1)
    window.save("training-compared")
    print(panel.findChild(object, "ld_train_verdict").text())
    window.press("ld_train_use", "ld_landmarks_header")
    window.until(lambda: session.encoder == run().path.name)
    panel._desk.propagate()
    window.until(lambda: not session.work.running and not session.open_tracks())
    window.scroll(0)
    window.save("training-after")


def speckled_films() -> np.ndarray[Any, Any]:
    """Twelve drawn heads under coarse speckle, as ultrasound has it: (12, 256, 256) uint8."""
    from napari_ld._sample_data import phantom_stack

    films = []
    for number, plane in enumerate(phantom_stack(12, seed=3).image.array):
        speckle = gaussian_filter(np.random.default_rng(number).normal(size=plane.shape), 1.2)
        pixels = plane.astype(float)
        films.append(np.clip(0.6 * pixels + 60 + 40 * speckle / speckle.std() * (0.4 + pixels / 160), 0, 255))
    return np.stack(films).astype(np.uint8)


PICTURES = {"regions": regions, "training": training}


def main() -> None:
    """Take the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", choices=list(PICTURES))
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        for kind in ("SESSIONS", "RUNS", "ENCODERS"):
            os.environ[f"NAPARI_LD_{kind}"] = f"{name}/{kind.lower()}"
        for wanted in options.pictures:
            window = Window(options.theme, options.out)
            PICTURES[wanted](window)
            window.viewer.close()


if __name__ == "__main__":
    main()
