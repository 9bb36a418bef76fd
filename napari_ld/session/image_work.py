"""The ground of a session: the image, the encoder that looks at it, the autosave log and the undo history."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from psygnal import Signal

from napari_ld._types import Image
from napari_ld.errors import StorageError
from napari_ld.session.history import History
from napari_ld.session.log import SessionLog, geometry, sessions_folder


@dataclass(frozen=True, slots=True)
class Work:
    """What the workers are doing, for the progress bar and the status line."""

    running: bool = False
    embedded: int = 0
    total: int = 0
    encoder: str = ""
    device: str = ""
    reason: str = ""
    error: str = ""


class ImageWork:
    """Image, encoder, log and history; knows nothing of landmarks or regions.

    Parameters
    ----------
    sessions : Path or None
        Folder of the autosave logs; None: ``NAPARI_LD_SESSIONS`` or the user's data directory.
    """

    image_changed: ClassVar[Signal] = Signal()
    """Another image, or none."""
    work_changed: ClassVar[Signal] = Signal()
    """Progress, device, errors, or the offer to restore."""

    def __init__(self, sessions: Path | None = None) -> None:
        self.sessions = sessions or sessions_folder()
        self._serials = itertools.count(1)
        self.encoder = ""
        self.device = "auto"
        self.stack_kind = "images"
        self.mirror = True
        self.obstacle = ""
        self._take(None, "")

    def _take(self, image: Image | None, stem: str) -> None:
        """Begin with an image, or with none: a new log, no history, no work."""
        self.serial = next(self._serials)
        self.image = image
        self.window: str | None = None
        self.stem = stem
        self.history = History()
        self.autosave_error = ""
        self.work = Work(total=image.n_planes if image else 0)
        self._log = SessionLog(self.sessions, geometry(image) if image else {})

    @property
    def context(self) -> str:
        """Hash of encoder, stack kind and window; tells present answers from older ones and holds no path."""
        kind = self.stack_kind if self.mirror else f"{self.stack_kind}, not mirrored"
        kind = kind if self.window is None else f"{kind}, {self.window}"
        return hashlib.sha256(f"{self.encoder}|{kind}".encode()).hexdigest()[:12]

    @property
    def n_planes(self) -> int:
        """Planes of the image; 0 without one."""
        return self.image.n_planes if self.image else 0

    def save(self, *entries: dict[str, Any]) -> None:
        """Write lines of the log; what cannot be written is told and kept in memory."""
        try:
            self._log.append(*entries)
            self.autosave_error = ""
        except StorageError as error:
            self.autosave_error = str(error)
            self.work_changed.emit()

    def set_obstacle(self, text: str) -> None:
        """Say why clicks cannot be taken just now (``""``: they can)."""
        if text != self.obstacle:
            self.obstacle = text
            self.work_changed.emit()
