"""From scores to a status: simple rules until a calibration on data exists.

An absolute cosine says little, since each encoder has its own level. Scores are therefore judged on a scale that the
template itself gives:

* 0 is the *background level*: the median of the other peaks on the template's plane, that is, what a typical wrong
  place scores;
* 1 is the score of the template itself, 1.0 (``images``), or what the landmark scores one slice away (``volume``).

``images``: *absent* at or below ``absent_level``; *confident* from ``confident_level`` with a lead of at least
``confident_margin`` over the best other peak; *uncertain* otherwise. ``volume``: whether the landmark is present is
decided along the slices (:mod:`napari_ld.localization.volume`); a present one is judged as above.

The level of 0.7 was chosen on development images that the encoder had not seen: 68 % of the points of hands, 54 % of
optic discs, 45 % of foveae and 73 % of cephalometric points reach it, and of these 0.4 %, 0 %, 4 % and 18 % were wrong
by more than 5 % of the image or, on cephalograms, 4 mm; of the others 12 %, 33 %, 22 % and 29 %: see
``benchmarks/confidence.py``. So *confident* says little about small errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ld._types import Status
from napari_ld.localization.coarse import coarse_map, exclusion_radius, to_cell
from napari_ld.localization.params import LocateParams
from napari_ld.localization.query import Query, Template
from napari_ld.similarity import find_peaks, sample

__all__ = ["Scale", "absolute", "background", "neighbour", "status_of"]

_OTHER_PEAKS = 24


@dataclass(frozen=True, slots=True)
class Scale:
    """Scores that count as 0 and as 1."""

    zero: float
    one: float

    def level(self, score: float) -> float:
        """Where a score lies on the scale."""
        return (score - self.zero) / max(self.one - self.zero, 1e-6)


def status_of(score: float, margin: float, scale: Scale, params: LocateParams) -> Status:
    """*confident* or *uncertain* for a landmark that is present, *absent* where its score is at the background."""
    level = scale.level(score)
    if level <= params.absent_level:
        return "absent"
    return "confident" if level >= params.confident_level and margin >= params.confident_margin else "uncertain"


def absolute(query: Query, landmark: int) -> Scale:
    """Scale for stacks of different subjects: from the background level to 1."""
    return Scale(background(query, landmark), 1.0)


def background(query: Query, landmark: int) -> float:
    """What a typical wrong place scores: the median of the other peaks, over the templates' own planes."""
    if landmark not in query.backgrounds:
        query.backgrounds[landmark] = _measured_background(query, landmark)
    return query.backgrounds[landmark]


def _measured_background(query: Query, landmark: int) -> float:
    levels = []
    for template in query.of(landmark):
        grid = query.combine(coarse_map(template.source, template.plane, query), landmark)
        peaks = find_peaks(grid[None], exclusion_radius(template.source, query), _OTHER_PEAKS)
        others = peaks.scores[0, 1:]
        others = others[np.isfinite(others)]
        levels.append(float(np.median(others)) if len(others) else float(grid.min()))
    return float(np.mean(levels))


def neighbour(query: Query, landmark: int) -> float | None:
    """What the landmark scores one slice away from its templates; None where there is no such slice."""
    levels = [_near(query, landmark, template, step) for template in query.of(landmark) for step in (-1, 1)]
    known = [level for level in levels if level is not None]
    return float(np.mean(known)) if known else None


def _near(query: Query, landmark: int, template: Template, step: int) -> float | None:
    """Best score within the exclusion radius of the template's point, on the plane ``step`` away in the same image."""
    source, plane = template.source, template.plane + step
    if not 0 <= plane < source.n_planes or source.address(plane)[0] != source.address(template.plane)[0]:
        return None
    grid = query.combine(coarse_map(source, plane, query), landmark)
    row, column = to_cell(source, plane, template.position)
    reach = exclusion_radius(source, query)
    top, left = (max(0, int(np.floor(value - reach))) for value in (row, column))
    bottom, right = (int(np.ceil(value + reach)) + 1 for value in (row, column))
    window = grid[top:bottom, left:right]
    return float(window.max()) if window.numel() else float(sample(grid, (row, column)))
