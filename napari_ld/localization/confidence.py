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
import numpy.typing as npt
import torch
from torch import Tensor

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
        query.backgrounds.update(_measured_backgrounds(query))
    return query.backgrounds[landmark]


def _measured_backgrounds(query: Query) -> dict[int, float]:
    """Background levels of all landmarks; those whose templates lie on one plane are looked for there together."""
    on_plane: dict[tuple[int, int], dict[int, Template]] = {}
    for template in query.templates:
        home, landmark = (id(template.source), template.plane), query.landmarks.index(template.landmark)
        on_plane.setdefault(home, {})[landmark] = template
    levels: dict[tuple[int, int], dict[int, float]] = {}
    for home, templates in on_plane.items():
        source = next(iter(templates.values())).source
        similar = coarse_map(source, home[1], query)
        grids = torch.stack([query.combine(similar, landmark) for landmark in templates])
        peaks = find_peaks(grids, exclusion_radius(source, query), _OTHER_PEAKS)
        levels[home] = {
            landmark: _median(scores[1:], grid)
            for landmark, scores, grid in zip(templates, peaks.scores, grids, strict=True)
        }
    return {
        landmark: float(np.mean([levels[id(t.source), t.plane][landmark] for t in query.of(landmark)]))
        for landmark in range(len(query.landmarks))
    }


def _median(others: npt.NDArray[np.float64], grid: Tensor) -> float:
    """Median of the other peaks; the lowest score where there are none."""
    known = others[np.isfinite(others)]
    return float(np.median(known)) if len(known) else float(grid.min())


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
