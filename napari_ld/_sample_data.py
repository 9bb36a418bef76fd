"""Samples with known truth, made on the spot: nothing is downloaded.

Both are stacks whose planes show the same structures in another pose, so one click can be checked on every plane.
The truth is exact: a landmark is carried to a plane by solving the equation that also warps the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld._types import Image, Landmark

__all__ = ["SAMPLES", "Sample", "phantom_stack", "retina_stack"]

Floats = npt.NDArray[np.float64]
Point = tuple[float, float]

# The phantom, a head seen from its side with the face to the right: (row, column), -1 to 1, (0, 0) is the centre.
_PHANTOM_LANDMARKS: dict[str, Point] = {
    "sella": (0.03, 0.03),
    "nasion": (-0.08, 0.52),
    "orbitale": (0.145, 0.42),
    "porion": (0.125, -0.14),
    "basion": (0.30, -0.12),
    "anterior nasal spine": (0.30, 0.60),
    "upper incisor": (0.47, 0.59),
    "gonion": (0.58, 0.00),
    "menton": (0.78, 0.44),
}
_PHANTOM_SPACING = 0.8  # millimetres per pixel of a 256-pixel plane, the size of a head
_DRAWN = 1.3  # the head is drawn up to here, so that no plane looks beyond the drawing
_BRAIN = ((-0.25, -0.12), (0.53, 0.64))  # centre, radii

# Positions in the 1411 x 1411 pixels of skimage.data.retina(), read off the picture.
_RETINA_PIXELS = 1411
_RETINA_LANDMARKS: dict[str, Point] = {
    "disc centre": (656.0, 219.0),
    "fovea": (700.0, 710.0),
    "upper arcade, ascending branch": (320.0, 531.0),
    "upper arcade, descending branch": (422.0, 808.0),
    "lower arcade, ascending branch": (1215.0, 794.0),
    "lower arcade, descending branch": (1209.0, 466.0),
    "lower temporal fork": (994.0, 909.0),
    "lower fork": (1290.0, 700.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A stack and what is known about it.

    Attributes
    ----------
    name : str
        What a person reads in a menu.
    image : Image
        ``"pyx"`` or ``"pyxc"``, uint8; every plane stands for another patient.
    landmarks : list of Landmark
        True positions of every landmark on every plane.
    masks : (planes, rows, columns) uint8 array or None
        Lesions, numbered from 1 on each plane; 0 is background.
    note : str
        Where the pixels come from.
    """

    name: str
    image: Image
    landmarks: list[Landmark]
    masks: npt.NDArray[np.uint8] | None
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class _Warp:
    """Where a plane takes its pixels from: ``source = matrix @ target + shift + waves(target)``, all in -1 to 1."""

    matrix: Floats  # (2, 2)
    shift: Floats  # (2,)
    amplitudes: Floats  # (2, waves)
    frequencies: Floats  # (2, waves), radians per unit
    phases: Floats  # (waves,)

    def source(self, target: Floats) -> Floats:
        """``(2, ...)`` positions on the plane to positions in the picture."""
        linear = np.tensordot(self.matrix, target, 1) + self.shift.reshape(2, *[1] * (target.ndim - 1))
        return linear + self._waves(target)

    def target(self, source: Floats) -> Floats:
        """``(2, n)`` positions in the picture to positions on the plane, to 1e-12."""
        # The waves are gentle, so that this contracts: each step divides the error by two at least.
        inverse, position = np.linalg.inv(self.matrix), source
        for _ in range(60):
            position = inverse @ (source - self.shift[:, None] - self._waves(position))
        return position

    def _waves(self, target: Floats) -> Floats:
        angles = np.tensordot(self.frequencies, target, ((0,), (0,))) + self.phases.reshape(
            -1, *[1] * (target.ndim - 1)
        )
        return np.tensordot(self.amplitudes, np.sin(angles), 1)


def _random_warp(rng: np.random.Generator, elastic: float) -> _Warp:
    """Rotation within 12 degrees, scale within 10 %, a shift of 4 % and waves of ``elastic``."""
    angle = np.deg2rad(rng.uniform(-12, 12))
    scales = rng.uniform(0.92, 1.1) * rng.uniform(0.97, 1.03, 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    waves = 4
    return _Warp(
        matrix=rotation * scales,
        shift=rng.uniform(-0.04, 0.04, 2),
        amplitudes=rng.uniform(-elastic, elastic, (2, waves)),
        frequencies=rng.uniform(-4.0, 4.0, (2, waves)),
        phases=rng.uniform(0, 2 * np.pi, waves),
    )


_STRAIGHT = _Warp(np.eye(2), np.zeros(2), np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(1))


def _grid(shape: tuple[int, int]) -> Floats:
    """``(2, rows, columns)`` positions of pixel centres; the shorter side goes from -1 to 1."""
    half = min(shape) / 2
    rows, columns = (np.arange(length) - (length - 1) / 2 for length in shape)
    return np.stack(np.meshgrid(rows / half, columns / half, indexing="ij"))


def _pixels(positions: Floats, shape: tuple[int, int]) -> Floats:
    """Positions in -1 to 1 to pixels; inverse of :func:`_grid`."""
    centre = (np.array(shape) - 1) / 2
    pixels: Floats = positions * (min(shape) / 2) + centre.reshape(2, *[1] * (positions.ndim - 1))
    return pixels


def _landmarks(points: dict[str, Point], plane: int, warp: _Warp, shape: tuple[int, int]) -> list[Landmark]:
    positions = _pixels(warp.target(np.array(list(points.values())).T), shape)
    return [
        Landmark(name, plane, (float(row), float(column)))
        for name, (row, column) in zip(points, positions.T, strict=True)
    ]


def phantom_stack(n_planes: int = 12, shape: tuple[int, int] = (256, 256), seed: int = 0) -> Sample:
    """A drawn head from the side, each plane with its own pose, shape, brightness, noise and lesions.

    Parameters
    ----------
    n_planes : int
        A longer stack begins with the planes of a shorter one.
    shape : (rows, columns)
    seed : int
        Equal seeds give equal stacks.

    Returns
    -------
    Sample
        Nine landmarks on every plane and one to three lesions with their masks.
    """
    picture = _head(np.random.default_rng([seed, 0]))
    grid = _grid(shape)
    planes = np.empty((n_planes, *shape), np.uint8)
    masks = np.zeros((n_planes, *shape), np.uint8)
    landmarks: list[Landmark] = []
    for plane in range(n_planes):
        rng = np.random.default_rng([seed, 1, plane])
        warp = _random_warp(rng, elastic=0.015)
        source = warp.source(grid)
        pixels = ndimage.map_coordinates(picture, _pixels(source / _DRAWN, picture.shape), order=1, mode="nearest")
        for number in range(1, rng.integers(1, 4) + 1):
            inside = _lesion(source, rng)
            pixels += rng.choice([-0.14, 0.2]) * ndimage.gaussian_filter(inside.astype(float), 0.7)
            masks[plane][inside] = number
        planes[plane] = _exposed(pixels, rng)
        landmarks += _landmarks(_PHANTOM_LANDMARKS, plane, warp, shape)
    step = _PHANTOM_SPACING * 256 / min(shape)
    return Sample(
        "Phantom heads",
        Image(planes, "pyx", spacing=(1.0, step, step)),
        landmarks,
        masks,
        "Drawn by napari-ld: not a real patient; the spacing is that of a head of usual size.",
    )


def _exposed(pixels: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Brightness, contrast, a slope of illumination and noise of one exposure."""
    slope = np.tensordot(rng.uniform(-0.06, 0.06, 2), _grid((pixels.shape[0], pixels.shape[1])), 1)
    shown = np.clip(pixels, 0, 1) ** rng.uniform(0.8, 1.3) * rng.uniform(0.75, 1.0) + slope + rng.uniform(0, 0.08)
    noisy = shown + rng.normal(0, rng.uniform(0.01, 0.035), pixels.shape)
    return np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)


def _lesion(position: Floats, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A lobed spot in the brain: which positions lie inside."""
    (row, column), (height, width) = _BRAIN
    angle, far = rng.uniform(0, 2 * np.pi), 0.55 * np.sqrt(rng.uniform())
    centre = row - 0.08 + far * height * np.sin(angle), column + far * width * np.cos(angle)
    down, across = position[0] - centre[0], (position[1] - centre[1]) * rng.uniform(0.7, 1.3)
    radius = rng.uniform(0.04, 0.09) * (1 + 0.2 * np.sin(3 * np.arctan2(down, across) + rng.uniform(0, 6)))
    inside: npt.NDArray[np.bool_] = np.hypot(down, across) < radius
    return inside


def _head(rng: np.random.Generator, size: int = 512) -> Floats:
    """The picture that all planes are warped from: ``(size, size)``, 0 to 1."""
    at = _DRAWN * _grid((size, size))
    tissue = np.maximum(_ellipse(at, (-0.22, -0.08), (0.66, 0.76)), _band(at, [(0.1, 0.3), (0.62, 0.3)], 0.36))
    tissue = np.maximum(tissue, _band(at, [(0.3, -0.25), (1.6, -0.42)], 0.3))
    picture = 0.05 + 0.2 * tissue + 0.08 * _ellipse(at, *_BRAIN)
    for brightness, shape in _bones(at):
        picture += brightness * shape
    for row, left, right in ((0.42, 0.24, 0.59), (0.52, 0.23, 0.56)):
        for column in np.linspace(left, right, 7):
            picture += 0.3 * _ellipse(at, (row, float(column)), (0.055, 0.022))
    coarse = ndimage.gaussian_filter(rng.normal(size=(size, size)), 9) * 9
    fine = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2) * 2
    picture *= 1 + 0.25 * coarse + 0.15 * fine
    clipped: Floats = np.clip(picture, 0, 1)
    return clipped


def _bones(at: Floats) -> list[tuple[float, Floats]]:
    """Brightness and shape of each bone; the landmarks lie on their corners, tips and centres."""
    marks = _PHANTOM_LANDMARKS
    row, column = marks["sella"]
    cup = [(row + 0.06 * np.sin(angle), column + 0.06 * np.cos(angle)) for angle in np.linspace(-0.3, 3.4, 9)]
    vertebrae = [(0.45, -0.30), (0.61, -0.33), (0.77, -0.36), (0.93, -0.39), (1.09, -0.41)]
    return [
        (0.45, _ring(at, *_BRAIN, 0.04)),
        (0.12, _band(at, [(-0.76, 0.0), (-0.45, 0.1), (-0.2, 0.02)], 0.008)),  # a suture
        (0.30, _band(at, [(0.0, 0.47), (0.05, 0.2), (-0.02, 0.1)], 0.022)),  # anterior skull base
        (0.35, _band(at, [(0.05, -0.04), marks["basion"]], 0.026)),  # clivus
        (0.40, _band(at, cup, 0.014)),
        (0.40, _band(at, [(-0.3, 0.5), marks["nasion"]], 0.04)),  # frontal bone
        (0.35, _band(at, [marks["nasion"], (0.06, 0.62)], 0.02)),  # nasal bone
        (0.30, _ring(at, (0.06, 0.42), (0.085, 0.10), 0.016)),  # orbit
        (0.45, _ring(at, (0.16, -0.14), (0.035, 0.035), 0.013)),  # ear canal
        (0.25, _ellipse(at, (0.14, -0.26), (0.13, 0.09))),  # mastoid
        (0.35, _band(at, [(0.30, 0.18), marks["anterior nasal spine"]], 0.018)),  # palate
        (0.18, _band(at, [(0.2, 0.33), (0.36, 0.4)], 0.08)),  # maxilla
        (0.40, _band(at, [(0.40, 0.565), marks["upper incisor"]], 0.022)),
        (0.30, _band(at, [(0.2, -0.05), marks["gonion"]], 0.055)),  # ramus
        (0.34, _band(at, [marks["gonion"], (0.72, 0.28), marks["menton"], (0.64, 0.5)], 0.05)),  # body and chin
        *((0.30, _ellipse(at, centre, (0.065, 0.11))) for centre in vertebrae),
    ]


def _soft(distance: Floats) -> Floats:
    """1 inside, 0 outside, with an edge of about a hundredth."""
    edge: Floats = 0.5 - 0.5 * np.tanh(distance / 0.008)
    return edge


def _ellipse(at: Floats, centre: Point, radii: Point) -> Floats:
    away = np.hypot((at[0] - centre[0]) / radii[0], (at[1] - centre[1]) / radii[1])
    return _soft((away - 1) * min(radii))


def _ring(at: Floats, centre: Point, radii: Point, thickness: float) -> Floats:
    away = np.hypot((at[0] - centre[0]) / radii[0], (at[1] - centre[1]) / radii[1])
    return _soft(np.abs(away - 1) * min(radii) - thickness / 2)


def _band(at: Floats, corners: Sequence[Point], radius: float) -> Floats:
    """All within ``radius`` of a line through the corners."""
    nearest = np.full(at.shape[1:], np.inf)
    for (top, left), (bottom, right) in pairwise(corners):
        down, across = bottom - top, right - left
        along = np.clip(((at[0] - top) * down + (at[1] - left) * across) / (down**2 + across**2), 0, 1)
        np.minimum(nearest, np.hypot(at[0] - top - along * down, at[1] - left - along * across), out=nearest)
    return _soft(nearest - radius)


def retina_stack(n_planes: int = 6, size: int = 512, seed: int = 0) -> Sample:
    """A photograph of a retina and warped copies of it, with other colours and brightness.

    Parameters
    ----------
    n_planes : int
        Plane 0 is the photograph itself, made smaller; all others are copies warped by software.
    size : int
        Rows and columns.
    seed : int
        Equal seeds give equal stacks.

    Returns
    -------
    Sample
        Eight landmarks, read off the photograph, on every plane. The spacing is unknown.
    """
    photograph = _photograph(size)
    middle, half = (_RETINA_PIXELS - 1) / 2, _RETINA_PIXELS / 2
    points = {name: ((at[0] - middle) / half, (at[1] - middle) / half) for name, at in _RETINA_LANDMARKS.items()}
    planes = np.empty((n_planes, size, size, 3), np.uint8)
    landmarks: list[Landmark] = []
    for plane in range(n_planes):
        rng = np.random.default_rng([seed, 2, plane])
        warp = _random_warp(rng, elastic=0.01) if plane else _STRAIGHT
        planes[plane] = _rephotographed(photograph, warp, rng) if plane else photograph
        landmarks += _landmarks(points, plane, warp, (size, size))
    return Sample(
        "Retina (warped copies)",
        Image(planes, "pyxc"),
        landmarks,
        None,
        "One real photograph (scikit-image's retina) as plane 0; the other planes are copies of it, warped and "
        "recoloured by napari-ld, not other patients.",
    )


def _photograph(size: int) -> npt.NDArray[np.uint8]:
    import PIL.Image
    from skimage import data

    load: Callable[[], Any] = data.retina  # ships inside scikit-image, which does not annotate it
    whole = PIL.Image.fromarray(load())
    return np.asarray(whole.resize((size, size), PIL.Image.Resampling.LANCZOS))


def _rephotographed(photograph: npt.NDArray[np.uint8], warp: _Warp, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    shape = photograph.shape[:2]
    where = _pixels(warp.source(_grid(shape)), shape)
    copy: npt.NDArray[Any] = np.empty_like(photograph)
    gamma = rng.uniform(0.75, 1.35) * rng.uniform(0.92, 1.08, 3)
    for channel in range(3):
        warped = ndimage.map_coordinates(photograph[..., channel].astype(np.float32), where, order=1, cval=0.0)
        noisy = 255 * (warped / 255) ** gamma[channel] + rng.normal(0, 2, shape)
        copy[..., channel] = np.clip(np.rint(noisy), 0, 255)
    return copy


SAMPLES: dict[str, Callable[[], Sample]] = {"phantom": phantom_stack, "retina": retina_stack}
"""Key, as the menu and the command line know it, to the function that makes the sample."""
