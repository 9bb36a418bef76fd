"""Regions to review in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_ld._types import Image
from napari_ld.proposals import Mask, Region
from napari_ld.session import Session

SHAPE = (20, 30)


def box(top: int, left: int, bottom: int, right: int, plane: int = 0) -> Mask:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return Mask.from_array(mask, plane)


def region(one: int, mask: Mask, score: float = 0.5, vector: tuple[float, ...] = (1, 0), **more: object) -> Region:
    return Region(one, 0, mask, score, np.array(vector, np.float32), **more)  # type: ignore[arg-type]


def open_session(folder: Path, planes: int = 3) -> Session:
    session = Session(folder)
    session.open_image(Image(np.zeros((planes, *SHAPE), np.uint8), "zyx", spacing=(2.0, 0.5, 0.5)), "film")
    return session
