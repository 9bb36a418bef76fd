"""Stack kind ``timelapse``: planes are moments of one scene; a landmark is tracked both ways from its click.

On every frame the place is looked for with a vector of the click and with a running one, the mean of what was tracked
with confidence before. So slow changes of appearance are followed, and half of every score still belongs to the click,
which keeps the track from wandering off to something else. A place costs by how far it lies from where the movement so
far leads. Where even the best place scores too little the landmark is absent (hidden, or outside the picture); the
longer it stays so, the wider it is looked for, and to count as found again it must score more than to stay. Between two
clicks each frame belongs to the nearer one. (Our own choice throughout; a running template that is anchored to the
first one is that of Matthews et al., "The template update problem", IEEE TPAMI 26:810, 2004.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Position
from napari_ld.embedding.tiling import check_cancelled
from napari_ld.localization.coarse import CoarseMatch, coarse_map, exclusion_radius, to_cell, to_pixels
from napari_ld.localization.confidence import Scale, background, neighbour, status_of
from napari_ld.localization.query import Query
from napari_ld.similarity import cosine_rows, find_peaks, sample

__all__ = ["search_timelapse"]

Array = npt.NDArray[np.float64]

_MOTION = 10.0  # sigma, in pixels of the model input, of what the movement does unforeseen from frame to frame
_DISTANCE_COST = 0.05  # score that one sigma costs, times its square by two
_LARGEST_COST = 0.4  # score that any distance costs at most
_CLICK_SHARE = 0.5  # of the score that belongs to the click, the rest to the running vector
_UPDATE = 0.2  # share of the newest frame in the running vector
_UPDATE_LEVEL = 0.7  # a frame enters the running vector from this level of its score …
_UPDATE_CLICK_LEVEL = 0.4  # … and this level of likeness to the click
_STAY_LEVEL = 0.7  # a tracked landmark is absent below this level
_RETURN_LEVEL = 0.75  # and a lost one found again from this level
_DAMPING = 0.5  # weight of the newest movement in the velocity


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What is known of a track after a frame; places in stored pixels."""

    place: Array
    velocity: Array
    running: Tensor
    level_one: float
    lost: int = 0


def search_timelapse(query: Query, planes: Sequence[int]) -> Iterator[CoarseMatch]:
    """The place of every landmark on each of ``planes``, or that it is absent, frame by frame.

    All frames between the first and last of ``planes`` and of the clicks are walked through.
    """
    wanted = set(planes)
    columns = [_track(query, landmark, wanted) for landmark in range(len(query.landmarks))]
    for plane in planes:
        yield from (column[plane] for column in columns)


def _track(query: Query, landmark: int, wanted: set[int]) -> dict[int, CoarseMatch]:
    """All frames of one landmark."""
    scale = Scale(background(query, landmark), 1.0)
    clicks = {t.plane: t.position for t in query.of(landmark) if t.source is query.source}
    starts = {plane: _clicked(query, landmark, plane, place) for plane, place in sorted(clicks.items())}
    first, last = min(wanted | set(clicks)), max(wanted | set(clicks))
    if not starts:
        seed = _best_frame(query, landmark, sorted(wanted), scale)
        starts = {seed.plane: seed}
    found: dict[int, CoarseMatch] = dict(starts)
    known = sorted(starts)
    for k, plane in enumerate(known):
        # of the frames between two clicks, those in the middle go to the earlier one
        end = last if k == len(known) - 1 else (plane + known[k + 1]) // 2
        begin = first if k == 0 else (known[k - 1] + plane) // 2 + 1
        for frames in (range(plane + 1, end + 1), range(plane - 1, begin - 1, -1)):
            found.update(_walk(query, landmark, starts[plane], frames, scale))
    return found


def _clicked(query: Query, landmark: int, plane: int, place: Position) -> CoarseMatch:
    return CoarseMatch(landmark, plane, place, 1.0, 1.0, "verified")


def _best_frame(query: Query, landmark: int, planes: Sequence[int], scale: Scale) -> CoarseMatch:
    """Where a landmark that was clicked in another source is seen best; ties go to the first frame."""
    best: CoarseMatch | None = None
    for plane in planes:
        check_cancelled(query.cancelled)
        peaks = find_peaks(_click_map(query, landmark, plane)[None], exclusion_radius(query.source, query))
        score, margin = float(peaks.scores[0, 0]), float(peaks.margins[0])
        if best is None or score > best.score:
            row, column = to_pixels(query.source, plane, peaks.cells[0])[0]
            status = status_of(score, margin, scale, query.params)
            best = CoarseMatch(landmark, plane, (float(row), float(column)), score, margin, status)
    if best is None:
        raise ValueError("no frame to look for the landmark on")
    return best if best.status != "absent" else replace(best, position=None)


def _walk(
    query: Query, landmark: int, start: CoarseMatch, frames: range, scale: Scale
) -> Iterator[tuple[int, CoarseMatch]]:
    """Follow the landmark from one frame through others, in their order."""
    if start.position is None:
        for plane in frames:
            yield plane, CoarseMatch(landmark, plane, None, start.score, start.margin, "absent")
        return
    running = _vector(query, start.plane, start.position)
    near = neighbour(query, landmark)
    one = 1.0 if near is None else max(near, scale.zero)
    state = _State(np.array(start.position), np.zeros(2), running, one)
    for plane in frames:
        check_cancelled(query.cancelled)
        match, state = _step(query, landmark, plane, state, scale)
        yield plane, match


def _step(query: Query, landmark: int, plane: int, state: _State, scale: Scale) -> tuple[CoarseMatch, _State]:
    """The landmark on the next frame."""
    click_map = _click_map(query, landmark, plane)
    index = query.source.index(query.params.coarse_sigma)
    running_map = cosine_rows(index.rows(plane), state.running[None], query.levels, index.norms(plane))[:, 0]
    score_map = _CLICK_SHARE * click_map + (1 - _CLICK_SHARE) * running_map.view_as(click_map)
    ahead = state.place + state.velocity
    cost = torch.from_numpy(_cost(query, plane, ahead, click_map.shape, state.lost)).float()
    cell = find_peaks((score_map - cost)[None], radius=0.0).cells[0, 0]
    at = float(cell[0]), float(cell[1])
    score, likeness = float(sample(score_map, at)), float(sample(click_map, at))
    margin = score - _best_elsewhere(query, score_map, at)
    level = Scale(scale.zero, state.level_one).level(score)
    if level < (_RETURN_LEVEL if state.lost else _STAY_LEVEL):
        absent = CoarseMatch(landmark, plane, None, score, margin, "absent")
        return absent, replace(
            state, place=_inside(query, plane, ahead), velocity=state.velocity * _DAMPING, lost=state.lost + 1
        )
    row, column = to_pixels(query.source, plane, np.array([at]))[0]
    place = np.array([row, column])
    status = status_of(score, margin, scale, query.params)
    match = CoarseMatch(
        landmark, plane, (float(row), float(column)), score, margin, "uncertain" if status == "absent" else status
    )
    moved = np.zeros(2) if state.lost else place - state.place
    velocity = (1 - _DAMPING) * state.velocity + _DAMPING * moved
    running, one = state.running, state.level_one
    if level >= _UPDATE_LEVEL and scale.level(likeness) >= _UPDATE_CLICK_LEVEL:
        newest = _vector(query, plane, (float(row), float(column)))
        running = _unit((1 - _UPDATE) * running + _UPDATE * newest)
        one = (1 - _UPDATE) * one + _UPDATE * score
    return match, _State(place, velocity, running, one)


def _click_map(query: Query, landmark: int, plane: int) -> Tensor:
    """Likeness of every cell of a frame to the clicks, (rows, columns)."""
    return query.combine(coarse_map(query.source, plane, query), landmark)


def _cost(query: Query, plane: int, ahead: Array, shape: Sequence[int], lost: int) -> Array:
    """What each cell of a frame costs for its distance from where the movement leads, (rows, columns)."""
    sigma = _MOTION * (1 + lost)
    origin, step = query.source.index_geometry(plane)
    scale = query.source.scale(plane)
    rows, columns = (
        (start + np.arange(count) * between - centre) * pixels
        for start, count, between, centre, pixels in zip(origin, shape, step, ahead, scale, strict=True)
    )
    squared = (rows[:, None] ** 2 + columns[None] ** 2) / (2 * sigma**2)
    return np.asarray(np.minimum(_DISTANCE_COST * squared, _LARGEST_COST / (1 + lost)), np.float64)


def _best_elsewhere(query: Query, score_map: Tensor, at: Position) -> float:
    """The best score of a frame beyond the surroundings of the place that was chosen."""
    radius = exclusion_radius(query.source, query)
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in score_map.shape), indexing="ij")
    far = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 > radius**2
    return float(score_map[far].max()) if bool(far.any()) else float(score_map.min())


def _inside(query: Query, plane: int, place: Array) -> Array:
    return np.clip(place, 0.0, np.array(query.source.shape(plane)) - 1.0)


def _vector(query: Query, plane: int, place: Position) -> Tensor:
    """Pooled vector (D,) of a frame, of length 1, linear between the cells of the coarse index."""
    index = query.source.indexed(plane, query.params.coarse_sigma, query.cancelled)
    rows = index.rows(plane).view(*index.grid(plane), -1).permute(2, 0, 1)
    return _unit(sample(rows, to_cell(query.source, plane, place)))


def _unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=0)
