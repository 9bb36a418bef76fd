"""A time-lapse with known truth, made on the spot: a landmark that moves, turns, changes, and is hidden for a while."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld._sample_data import Sample
from napari_ld._types import Image, Landmark

__all__ = ["phantom_timelapse"]

Floats = npt.NDArray[np.float64]


def phantom_timelapse(
    n_planes: int = 30, shape: tuple[int, int] = (192, 192), seed: int = 0, hidden: tuple[int, int] = (12, 17)
) -> Sample:
    """Textured cells that drift over a quiet ground, turn and slowly change; a bar passes over one of them.

    Parameters
    ----------
    n_planes : int
        Frames.
    shape : (rows, columns)
    seed : int
        Equal seeds give equal films.
    hidden : (first, end)
        Frames on which the landmark ``"cell"`` is hidden, ``end`` not included; it has no true place there.

    Returns
    -------
    Sample
        ``"tyx"``, uint8; the landmarks ``"cell"`` and ``"other cell"`` on the frames on which they can be seen.
    """
    rng = np.random.default_rng([seed, 3])
    ground = ndimage.gaussian_filter(rng.normal(size=shape), 6)
    ground *= 12 / ground.std()
    cells = [_cell(rng, shape, k) for k in range(6)]
    frames = np.empty((n_planes, *shape), np.uint8)
    landmarks: list[Landmark] = []
    for plane in range(n_planes):
        picture = 70 + ground
        for cell in cells:
            picture = _drawn(picture, cell, plane)
        visible = not hidden[0] <= plane < hidden[1]
        places = [_place(cell, plane) for cell in cells[:2]]
        if not visible:
            _cover(picture, places[0])
        frames[plane] = np.clip(np.rint(picture + rng.normal(0, 3, shape)), 0, 255)
        for name, place, seen in zip(("cell", "other cell"), places, (visible, True), strict=True):
            if seen:
                landmarks.append(Landmark(name, plane, place))
    return Sample("Time-lapse phantom", Image(frames, "tyx"), landmarks, None, "Drawn by napari-ld.")


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """A patch with its own texture, and another one that it turns into; places in pixels."""

    start: Floats
    speed: Floats
    swing: float
    turn: float  # radians per frame
    first: Floats  # (side, side)
    second: Floats
    change: float  # per frame


def _cell(rng: np.random.Generator, shape: tuple[int, int], k: int, side: int = 41) -> _Cell:
    textures = []
    for _ in range(2):
        noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2.5)
        textures.append(noise / noise.std() * 38)
    spots = np.array([(0.3, 0.25), (0.65, 0.6), (0.2, 0.75), (0.8, 0.25), (0.5, 0.9), (0.85, 0.8)])
    return _Cell(
        spots[k] * shape,
        rng.uniform(-0.9, 0.9, 2) if k else np.array([1.1, 1.5]),
        float(rng.uniform(1, 3)),
        float(rng.uniform(-0.02, 0.02)),
        textures[0],
        textures[1],
        0.012,
    )


def _place(cell: _Cell, plane: int) -> tuple[float, float]:
    row, column = cell.start + cell.speed * plane + cell.swing * np.array([np.sin(plane / 4), np.cos(plane / 5)])
    return float(row), float(column)


def _drawn(picture: Floats, cell: _Cell, plane: int) -> Floats:
    """The picture with the cell on it."""
    rows, columns = np.indices(picture.shape)
    place = _place(cell, plane)
    angle = cell.turn * plane
    down, right = rows - place[0], columns - place[1]
    turned = np.cos(angle) * down - np.sin(angle) * right, np.sin(angle) * down + np.cos(angle) * right
    half = (len(cell.first) - 1) / 2
    share = min(cell.change * plane, 1.0)
    texture = (1 - share) * cell.first + share * cell.second
    inside = np.hypot(down, right)
    soft = 1 / (1 + np.exp((inside - half * 0.8) * 1.5))
    values = ndimage.map_coordinates(texture, np.stack(turned) + half, order=1, mode="nearest")
    return np.asarray(picture * (1 - soft) + (130 + values) * soft, np.float64)


def _cover(picture: Floats, place: tuple[float, float], half: int = 24) -> None:
    """Put an even patch over a place."""
    rows, columns = (slice(max(0, round(at) - half), max(0, round(at) + half + 1)) for at in place)
    picture[rows, columns] = 95
