"""What the encoder in training sees of the visible plane, as two small pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from napari.utils.colormaps import ensure_colormap
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_ld._gui.picture import Picture
from napari_ld._gui.preview_desk import PreviewDesk


class TrainingPreview(QWidget):
    """Colours of the embedding, and likeness to the clicked landmark."""

    def __init__(self, desk: PreviewDesk) -> None:
        super().__init__()
        self.setObjectName("ld_train_preview")
        self._desk = desk
        self.embedding = Picture(
            "ld_preview_embedding",
            "What the encoder sees of the visible plane by now: places of like colour look alike to it. Colours keep "
            "their meaning while it learns.",
        )
        self.likeness = Picture(
            "ld_preview_likeness",
            "How much each place of the visible plane looks like the current landmark to the encoder by now; the ring "
            "is the best one. It should be one bright spot at the right place.",
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.embedding)
        row.addWidget(self.likeness)
        desk.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the preview as it is."""
        found = self._desk.preview
        if found is None:
            self.embedding.show_pixels(None, self._desk.error or "embedding: not yet")
            self.likeness.hide()
            return
        self.embedding.show_pixels(found.colours, f"embedding · plane {found.request.plane}")
        self.likeness.setVisible(found.likeness is not None)
        if found.likeness is not None:
            best = np.unravel_index(int(found.likeness.argmax()), found.likeness.shape)
            self.likeness.show_pixels(
                _heat(found.likeness), f"like {found.request.landmark}", (float(best[0]), float(best[1]))
            )

    @property
    def filled(self) -> bool:
        """Whether there is something to see."""
        return self._desk.preview is not None


def _heat(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colours of cosines, black for 0 and below."""
    colors = ensure_colormap("inferno").map(np.clip(cosines, 0, 1).reshape(-1))
    return np.asarray(colors[:, :3] * 255, np.uint8).reshape(*cosines.shape, 3)
