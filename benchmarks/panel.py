"""How long the panel takes to open in a running napari; run in a fresh process on a display, prints JSON.

``python -m benchmarks.panel``; ``benchmarks.speed`` starts it, with an Xvfb of its own where there is no display.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main() -> None:
    """Open napari with an image, then an empty dock widget, then the panel; print what each took."""
    import napari
    from qtpy.QtWidgets import QApplication, QWidget

    application = QApplication.instance() or QApplication([])
    viewer = napari.Viewer(show=True)
    viewer.add_image(np.random.default_rng(0).integers(0, 256, (4, 512, 512), dtype=np.uint8))
    _settle(application)
    started = time.perf_counter()
    viewer.window.add_dock_widget(QWidget(), name="empty")
    application.processEvents()
    empty = time.perf_counter() - started
    _settle(application)
    started = time.perf_counter()
    from napari_ld._gui.panel import LDPanel

    viewer.window.add_dock_widget(LDPanel(viewer), name="napari-ld")
    application.processEvents()
    panel = time.perf_counter() - started
    _settle(application)
    loaded = "torch" in sys.modules
    viewer.close()
    print(json.dumps({"empty_dock_s": empty, "panel_s": panel, "torch_loaded": loaded}))


def _settle(application: object, seconds: float = 1.0) -> None:
    """Let the window finish what it has begun."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        application.processEvents()  # type: ignore[attr-defined]
        time.sleep(0.01)


if __name__ == "__main__":
    main()
