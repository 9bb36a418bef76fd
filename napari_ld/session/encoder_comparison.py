"""Two encoders on the same image: which one finds a person's own points better, before anything is switched.

With landmarks that a person verified on two planes or more, each of up to :data:`TEMPLATES` planes in turn is the click
and the answers on the other verified planes are judged. Without them both encoders look for points again on copies of
the image that were turned, scaled and brightened by known amounts. [reconstruction: ours]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image, Position
from napari_ld.errors import Cancelled
from napari_ld.session.tracks import State

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource

__all__ = ["CompareRequest", "Compared", "Comparing", "Score", "compare", "verified_points"]

TEMPLATES = 3
JUDGED_PLANES = 20  # of one landmark: the first by number
WARPED_PLANES = 3
_POINTS = 12  # looked for again on each warped plane
_NEAR = 3.0  # % of the longest side
_ANGLE, _ZOOM, _GAMMA = 15.0, 0.1, 0.3
IsCancelled = Callable[[], bool]
Points = Mapping[str, Mapping[int, Position]]


@dataclass(frozen=True, slots=True, eq=False)
class CompareRequest:
    """Compare encoders ``old`` and ``new`` (names or paths) on ``image``.

    ``points`` are verified positions by landmark and plane, see :func:`verified_points`.
    """

    image: Image
    old: str
    new: str
    points: Points
    stack_kind: str = "images"
    device: str = "auto"
    mirror: bool = True


@dataclass(frozen=True, slots=True)
class Comparing:
    """Which encoder is being looked at, 1 or 2."""

    number: int


@dataclass(frozen=True, slots=True)
class Score:
    """What one encoder reached: a mean, its 95 % interval, and how many answers it is the mean of."""

    value: float
    low: float
    high: float
    answers: int


@dataclass(frozen=True, slots=True)
class Compared:
    """Both scores.

    Attributes
    ----------
    old, new : Score
    difference : Score
        New minus old, answer by answer.
    unit : {"mm", "px", "%"}
        Lengths are errors on verified landmarks (less is better); ``%`` is the share of points found again.
    worse : tuple of (landmark, plane, old, new)
        Answers that became worse, the worst first; empty for ``%``.
    """

    old: Score
    new: Score
    difference: Score
    unit: str
    worse: tuple[tuple[str, int, float, float], ...] = ()

    @property
    def text(self) -> str:
        """The result in plain words."""
        if self.unit == "%":
            return (
                f"Points found again after turning and scaling: {self.old.value:.0f} % → {self.new.value:.0f} % "
                f"({self._verdict(more_is_better=True)}; {self.new.answers} points). Verify a landmark on two planes "
                "for a comparison on your own points."
            )
        half = (self.new.high - self.new.low) / 2
        text = (
            f"Error on your verified points: {self.old.value:.1f} → {self.new.value:.1f} ± {half:.1f} {self.unit} "
            f"({self._verdict(more_is_better=False)}; {self.new.answers} answers)."
        )
        if self.worse:
            name, plane, before, after = self.worse[0]
            text += f" Worse on {len(self.worse)}, most on {name}, plane {plane}: {before:.1f} → {after:.1f}."
        return text

    def _verdict(self, *, more_is_better: bool) -> str:
        low, high = self.difference.low, self.difference.high
        if low <= 0 <= high:
            return "no clear difference"
        return "better" if (low > 0) == more_is_better else "worse"


def verified_points(state: State) -> dict[str, dict[int, Position]]:
    """Positions a person verified, by landmark and plane; landmarks on fewer than two planes are left out."""
    found = {
        track.name: {
            plane: point.match.position
            for plane, point in sorted(track.points.items())
            if point.verified and point.match.position is not None
        }
        for track in state.values()
    }
    return {name: dict(list(points.items())[:JUDGED_PLANES]) for name, points in found.items() if len(points) > 1}


def compare(request: CompareRequest, cancelled: IsCancelled) -> Iterator[Comparing | Compared]:
    """Measure the old, then the new encoder, and yield :class:`Compared` last.

    Raises
    ------
    Cancelled
        Between two planes, after ``cancelled`` turned true.
    NapariLDError
        When an encoder or the image cannot be used.
    """
    measured = []
    for number, encoder in enumerate((request.old, request.new), 1):
        yield Comparing(number)
        measure = _landmark_errors if request.points else _warp_errors
        measured.append(measure(request, encoder, cancelled))
    yield _summary(request, *measured)


Answer = tuple[str, int, int]
"""Landmark, plane it was clicked on, plane it was looked for on."""


def _landmark_errors(request: CompareRequest, encoder: str, cancelled: IsCancelled) -> dict[Answer, float]:
    """Error of each answer in mm, or in pixels where the spacing is unknown; an absent answer counts half the side."""
    from napari_ld.localization import LocateParams, Template, locate

    source = _source(request, request.image, encoder)
    spacing = np.array(request.image.pixel_spacing or (1.0, 1.0))
    half = max(np.array(request.image.plane_shape) * spacing) / 2
    errors = {}
    for name, points in request.points.items():
        for clicked in list(points)[:TEMPLATES]:
            others = [plane for plane in points if plane != clicked]
            template = Template(name, source, clicked, points[clicked])
            for match in locate(
                source,
                [template],
                stack_kind=request.stack_kind,
                params=LocateParams(mirror=request.mirror),
                planes=others,
                cancelled=cancelled,
            ):
                miss = half if match.position is None else _distance(match.position, points[match.plane], spacing)
                errors[name, clicked, match.plane] = float(miss)
    return errors


def _warp_errors(request: CompareRequest, encoder: str, cancelled: IsCancelled) -> dict[Answer, float]:
    """Error of each point in % of the longest side, on warped copies of a few planes."""
    from napari_ld.localization import LocateParams, Template, locate

    image = request.image
    errors = {}
    for plane in np.unique(np.linspace(0, image.n_planes - 1, WARPED_PLANES).astype(int)).tolist():
        if cancelled():
            raise Cancelled("The comparison was cancelled.")
        pixels, warped, points, goals = _warped(image.plane(plane), plane)
        pair = Image(np.stack([pixels, warped]), "pyxc" if pixels.ndim == 3 else "pyx", window=image.window)
        source = _source(request, pair, encoder)
        templates = [Template(str(number), source, 0, point) for number, point in enumerate(points)]
        params = LocateParams(mirror=False)
        for match in locate(source, templates, params=params, planes=[1], refine=False, cancelled=cancelled):
            goal = goals[int(match.landmark)]
            miss = 0.5 if match.position is None else math.dist(match.position, goal) / max(image.plane_shape)
            errors[match.landmark, 0, plane] = 100 * miss
    return errors


def _warped(
    pixels: npt.NDArray[Any], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[Position], list[Position]]:
    """A plane, its copy turned, scaled and with another gamma, and points of both; only on structure, none outside."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    rng = np.random.default_rng(seed)
    plain = pixels.astype(np.float32)
    low, high = np.nanmin(plain), np.nanmax(plain)
    plain = np.nan_to_num((plain - low) / max(float(high - low), 1e-9))
    shape = np.array(plain.shape[:2])
    angle, zoom = np.radians(rng.uniform(-_ANGLE, _ANGLE)), 1 + rng.uniform(-_ZOOM, _ZOOM)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (shape - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    # Pixel p of the copy shows pixel turn (p - middle) + middle of the plane.
    places = np.tensordot(turn, grid - middle[:, None, None], 1) + middle[:, None, None]
    channels = plain[..., None] if plain.ndim == 2 else plain
    copy = np.stack([map_coordinates(c, places, order=1, mode="nearest") for c in np.moveaxis(channels, -1, 0)], -1)
    copy = copy.reshape(plain.shape) ** np.float32(1 + rng.uniform(-_GAMMA, _GAMMA))
    grey = channels.mean(-1)
    structure = np.abs(grey - gaussian_filter(grey, max(float(shape.max()) / 50, 1)))
    candidates = np.argwhere(structure >= np.quantile(structure, 0.8)).astype(float)
    goals = (candidates - middle) @ np.linalg.inv(turn).T + middle
    inside = np.all((goals >= 0) & (goals <= shape - 1), 1)
    chosen = rng.choice(np.flatnonzero(inside), min(_POINTS, int(inside.sum())), replace=False)
    first, second = (
        [(float(row), float(column)) for row, column in positions[chosen]] for positions in (candidates, goals)
    )
    return plain, copy.astype(np.float32), first, second


def _source(request: CompareRequest, image: Image, encoder: str) -> FeatureSource:
    from napari_ld.embedding import FeatureSource
    from napari_ld.model.zoo import load_encoder
    from napari_ld.storage import Store

    shared = request.stack_kind != "images"
    # Features of the image itself are kept: whoever switches need not wait for them again.
    store = Store() if image is request.image else None
    return FeatureSource(image, load_encoder(encoder), device=request.device, store=store, shared_limits=shared)


def _distance(first: Position, second: Position, spacing: npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm((np.array(first) - np.array(second)) * spacing))


def _summary(request: CompareRequest, old: dict[Answer, float], new: dict[Answer, float]) -> Compared:
    answers = [answer for answer in old if answer in new]
    before, after = (np.array([errors[answer] for answer in answers]) for errors in (old, new))
    groups = [plane for _, _, plane in answers]
    if not request.points:
        before, after = (100.0 * (errors <= _NEAR) for errors in (before, after))
        # All points of the few planes count singly: an interval of three groups would say nothing.
        groups = list(range(len(answers)))
    scores = [_score(values, groups) for values in (before, after, after - before)]
    if not request.points:
        return Compared(scores[0], scores[1], scores[2], "%")
    unit = "mm" if request.image.pixel_spacing else "px"
    gains = sorted(range(len(answers)), key=lambda index: before[index] - after[index])
    worse = tuple(
        (answers[index][0], answers[index][2], float(before[index]), float(after[index]))
        for index in gains
        if after[index] > before[index]
    )
    return Compared(scores[0], scores[1], scores[2], unit, worse)


def _score(values: npt.NDArray[np.float64], groups: list[int]) -> Score:
    from napari_ld.evaluation import bootstrap_interval

    low, high = bootstrap_interval(values, groups)
    return Score(float(values.mean()) if len(values) else math.nan, low, high, len(values))
