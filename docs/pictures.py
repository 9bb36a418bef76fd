"""Take the pictures of these pages: ``python docs/pictures.py``, on a display or under ``xvfb-run``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

IMAGES = Path(__file__).parent / "images"
SIZE = (1366, 768)  # of a small laptop


def main(theme: str = "dark", out: Path = IMAGES / "regions.png") -> None:
    """Review a few regions of a retina image and save what the window shows."""
    os.environ["NAPARI_LD_SESSIONS"] = tempfile.mkdtemp()
    import napari
    from qtpy.QtTest import QTest
    from skimage import data

    from napari_ld._gui.panel import LDPanel

    viewer = napari.Viewer(show=True)
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    viewer.add_image(np.ascontiguousarray(data.retina()[300:1100:2, 100:900:2]), name="retina", rgb=True)
    panel = LDPanel(viewer)
    viewer.window.add_dock_widget(panel, name="napari-ld", area="right")

    def until(done: Callable[[], bool], seconds: float = 300.0) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            QTest.qWait(50)

    def press(*names: str) -> None:
        for name in names:
            panel.findChild(object, name).click()
            QTest.qWait(300)

    QTest.qWait(500)
    press("ld_regions_header", "ld_propose")
    until(lambda: bool(panel.session.regions.book.items) and not panel.session.proposing.running)
    press("ld_accept", "ld_reject", "ld_accept", "ld_accept", "ld_merge", "ld_accept")
    picture = PIL.Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
    picture.quantize(128).save(out, optimize=True)
    viewer.close()


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(Path, sys.argv[2:3]))
