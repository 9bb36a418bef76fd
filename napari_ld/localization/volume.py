"""Stack kind ``volume``: ordered slices of one subject; positions are continuous from slice to slice.

A landmark is visible on some slices and absent on the others. For each landmark the best path through the slices is
found by dynamic programming (Viterbi): on every slice it either passes through one of the best peaks, which earns the
peak's score above a threshold, or is absent, which earns nothing. Movement between slices and changes between present
and absent cost. The path passes through the user's own points.

The threshold lies ``slice_absent_level`` of the way from the background level of the template's plane to what the
landmark scores one slice away from the template, so it follows the encoder and the thickness of the slices. A structure
is one piece: of the runs of slices on which the path is present, those with the user's own points stay, or else the one
that earns most; runs a few millimetres apart are one. Beyond its ends a structure's neighbours look alike for many
slices, and the best place of a slice scores half of that scale even where nothing is; the level of 0.65 was chosen on
tumours, lungs, a spinal cord, atria and points of brain templates whose extent is known, see
``benchmarks/presence.py``.

All answers of a landmark carry its point in space: the user's own where there is one, otherwise the place between the
slices at which the score has its summit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from napari_ld._types import Position
from napari_ld.embedding.source import FeatureSource
from napari_ld.localization.coarse import Candidates, CoarseMatch, candidates
from napari_ld.localization.confidence import Scale, background, neighbour, status_of
from napari_ld.localization.query import Query

__all__ = ["allowed_gap", "best_path", "one_piece", "point_in_space", "search_volume"]

Array = npt.NDArray[np.float64]
_ANCHOR_REWARD = 1e6  # a path through a point that the user has set beats any other
_GAP_MM, _GAP = 5.0, 2  # runs are one across so many millimetres, or slices where the spacing is unknown
_LARGEST_MOVE = 8.0  # in units of the cost of a typical movement: a jump costs no more, however far


def search_volume(query: Query, planes: Sequence[int]) -> Iterator[CoarseMatch]:
    """The place of every landmark on each of ``planes``, or that it is absent, slice by slice.

    All slices between the first and last of ``planes`` and of the templates are searched, since a path needs them.
    """
    wanted = set(planes)
    anchors = {template.plane for template in query.templates if template.source is query.source}
    slices = range(min(wanted | anchors), max(wanted | anchors) + 1)
    found = list(candidates(query.source, query, slices, query.params.slice_candidates))
    columns = [
        _search_one(query, landmark, [on_slice[landmark] for on_slice in found])
        for landmark in range(len(query.landmarks))
    ]
    for on_slice in zip(*columns, strict=True):
        yield from (match for match in on_slice if match.plane in wanted)


def _search_one(query: Query, landmark: int, found: list[Candidates]) -> list[CoarseMatch]:
    """Path of one landmark through consecutive slices."""
    params = query.params
    zero, one = background(query, landmark), neighbour(query, landmark)
    scale = Scale(zero, 1.0 if one is None else max(one, zero))
    threshold = scale.zero + params.slice_absent_level * (scale.one - scale.zero)
    positions, rewards = [], []
    for at in found:
        click = query.click(landmark, at.plane)
        if click is None:
            positions.append(at.positions)
            rewards.append(at.scores - threshold)
        else:
            positions.append(np.array([click]))
            rewards.append(np.array([_ANCHOR_REWARD]))
    moved = [_in_sigmas(query, at.plane, place) for at, place in zip(found, positions, strict=True)]
    path = best_path(moved, rewards, params.slice_continuity, params.slice_switch)
    path = one_piece(path, rewards, allowed_gap(query.source))
    decided = [
        _decide(at, place, state, query.click(landmark, at.plane), scale, query)
        for at, place, state in zip(found, positions, path, strict=True)
    ]
    point = point_in_space(decided)
    return [replace(match, point=point) for match in decided]


def best_path(positions: Sequence[Array], rewards: Sequence[Array], continuity: float, switch: float) -> list[int]:
    """Dearest path through slices, each with some candidates and the state *absent*.

    Parameters
    ----------
    positions : one (K, 2) array per slice
        In units of the typical movement from slice to slice.
    rewards : one (K,) array per slice
        What each candidate earns; *absent* earns 0.
    continuity : float
        Cost of a typical movement.
    switch : float
        Cost of appearing or vanishing.

    Returns
    -------
    list of int
        Index of the candidate on each slice, -1 for absent. Among equal paths the earlier candidate wins, and absent
        loses.
    """
    value = np.append(rewards[0], 0.0)
    back: list[npt.NDArray[np.intp]] = []
    for k in range(1, len(rewards)):
        moves = positions[k - 1][:, None] - positions[k][None]
        cost = np.full((len(rewards[k - 1]) + 1, len(rewards[k]) + 1), switch)
        cost[:-1, :-1] = continuity * np.minimum((moves**2).sum(-1) / 2, _LARGEST_MOVE)
        cost[-1, -1] = 0.0
        total = value[:, None] - cost
        back.append(total.argmax(axis=0))
        value = total.max(axis=0) + np.append(rewards[k], 0.0)
    states = [int(value.argmax())]
    for pointer in reversed(back):
        states.append(int(pointer[states[-1]]))
    states.reverse()
    return [-1 if state == len(reward) else state for state, reward in zip(states, rewards, strict=True)]


def allowed_gap(source: FeatureSource) -> int:
    """Slices on which a structure may be missed without being two."""
    spacing = source.plane_spacing()
    return _GAP if spacing is None else int(_GAP_MM // spacing)


def one_piece(path: Sequence[int], rewards: Sequence[Array], gap: int = 0) -> list[int]:
    """Keep the runs of a path that hold a point of the user, or else the one that earns most; the rest is absent.

    Parameters
    ----------
    path : sequence of int
        State on each slice, -1 for absent.
    rewards : one (K,) array per slice
    gap : int
        Runs with at most so many slices between them are one; the slices between stay absent.
    """
    runs: list[list[int]] = []
    for k, state in enumerate(path):
        if state >= 0:
            if not runs or k - runs[-1][-1] > gap + 1:
                runs.append([])
            runs[-1].append(k)
    earned = [sum(float(rewards[k][path[k]]) for k in run) for run in runs]
    kept = {k for run, sum_ in zip(runs, earned, strict=True) if sum_ >= _ANCHOR_REWARD / 2 for k in run}
    if not kept and runs:
        kept = set(runs[earned.index(max(earned))])
    return [state if k in kept else -1 for k, state in enumerate(path)]


def point_in_space(matches: Sequence[CoarseMatch]) -> tuple[float, float, float] | None:
    """Place between the slices where the score of consecutive slices has its summit; the first verified one if any.

    The summit is that of a parabola through the best slice and its neighbours; the place is interpolated along them.
    """
    present = [match for match in matches if match.position is not None]
    if not present:
        return None
    best = next((match for match in present if match.status == "verified"), max(present, key=lambda m: m.score))
    row, column = best.position or (0.0, 0.0)
    around = {match.plane - best.plane: match for match in present if abs(match.plane - best.plane) == 1}
    if best.status == "verified" or len(around) < 2:
        return float(best.plane), row, column
    low, high = around[-1].score, around[1].score
    bend = low - 2 * best.score + high
    offset = 0.5 * (low - high) / bend if bend < 0 else 0.0
    neighbour_row, neighbour_column = around[1 if offset > 0 else -1].position or (row, column)
    share = abs(offset)
    return (
        best.plane + offset,
        row + share * (neighbour_row - row),
        column + share * (neighbour_column - column),
    )


def _in_sigmas(query: Query, plane: int, positions: Array) -> Array:
    """Stored pixels (K, 2) to units of the typical movement from one slice to the next."""
    source, params = query.source, query.params
    scale = np.array(source.scale(plane))
    spacing, gap = source.spacing(plane), source.plane_spacing()
    typical = params.slice_drift_pixels
    if spacing is not None and gap is not None:
        typical = max(typical, params.slice_drift * gap * float(scale[0]) / spacing[0])
    return np.asarray(positions * scale / typical, np.float64)


def _decide(
    found: Candidates, positions: Array, state: int, click: Position | None, scale: Scale, query: Query
) -> CoarseMatch:
    if click is not None:
        return CoarseMatch(found.landmark, found.plane, click, 1.0, found.margin, "verified")
    if state < 0:
        return CoarseMatch(found.landmark, found.plane, None, float(found.scores[0]), found.margin, "absent")
    score = float(found.scores[state])
    margin = found.margin if state == 0 else score - float(found.scores[0])
    status = status_of(score, margin, scale, query.params)
    position = float(positions[state, 0]), float(positions[state, 1])
    return CoarseMatch(
        found.landmark, found.plane, position, score, margin, "uncertain" if status == "absent" else status
    )
