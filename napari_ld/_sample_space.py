"""A volume with known truth, made on the spot: structures that begin and end somewhere along the slices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld._sample_data import Sample
from napari_ld._types import Image, Landmark

__all__ = ["phantom_volume"]

Floats = npt.NDArray[np.float64]


def phantom_volume(
    n_planes: int = 40, shape: tuple[int, int] = (160, 160), seed: int = 0, structures: int = 4, spacing: float = 2.0
) -> Sample:
    """Textured rods that run through some slices of a textured body, each with its own course.

    Parameters
    ----------
    n_planes : int
        Slices.
    shape : (rows, columns)
    seed : int
        Equal seeds give equal volumes.
    structures : int
        Rods, at most four.
    spacing : float
        Millimetres between slices; within a slice 1.

    Returns
    -------
    Sample
        ``"zyx"``, uint8; a landmark ``"rod k"`` with the centre of the rod on every slice that it runs through.
    """
    rng = np.random.default_rng([seed, 4])
    body = ndimage.gaussian_filter(rng.normal(size=(n_planes, *shape)), (3 / spacing, 5, 5))
    volume = 90 + body * (18 / body.std())
    rows, columns = np.indices(shape)
    landmarks: list[Landmark] = []
    for k in range(structures):
        centre = (np.array([(0.3, 0.3), (0.3, 0.7), (0.7, 0.3), (0.7, 0.7)])[k]) * shape
        length = int(rng.integers(n_planes // 4, n_planes // 2))
        first = int(rng.integers(2, n_planes - length - 2))
        drift, texture = rng.uniform(-0.6, 0.6, 2) * spacing, _texture(rng)
        for plane in range(first, first + length):
            row, column = centre + drift * (plane - first - length / 2)
            volume[plane] = _drawn(volume[plane], (rows - row, columns - column), texture)
            landmarks.append(Landmark(f"rod {k + 1}", plane, (float(row), float(column))))
    noisy = volume + rng.normal(0, 4, volume.shape)
    pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return Sample("Rods", Image(pixels, "zyx", spacing=(spacing, 1.0, 1.0)), landmarks, None, "Drawn by napari-ld.")


def _texture(rng: np.random.Generator, side: int = 31) -> Floats:
    noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2)
    return np.asarray(150 + noise * (40 / noise.std()), np.float64)


def _drawn(picture: Floats, away: tuple[Floats, Floats], texture: Floats) -> Floats:
    """The slice with the cross-section of a rod on it; ``away`` is the distance from its centre, along each axis."""
    half = (len(texture) - 1) / 2
    share = 1 / (1 + np.exp((np.hypot(*away) - 0.8 * half) * 1.5))
    values = ndimage.map_coordinates(texture, np.stack(away) + half, order=1, mode="nearest")
    return np.asarray(picture * (1 - share) + values * share, np.float64)
