"""From what the detectors of a search learn: the person's points, or, where there is one only, the stack itself.

A detector learns from what several images have in common. With a single template the search is made once without
detectors, and its surest answers stand in for corrections: self-training.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from napari_ld.embedding.tiling import check_cancelled
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.expected_error import ExpectedError
from napari_ld.localization.fine import refine_plane
from napari_ld.localization.images import search_images
from napari_ld.localization.query import Query, Template

__all__ = ["lessons"]

_MOST_ASKED = 24  # planes that are searched for sure answers
_MOST_TAKEN = 12
_SHARE = 0.5  # of the planes asked: the surer half


def lessons(query: Query) -> tuple[Template, ...]:
    """The templates that teach, and for landmarks with only one of them the surest answers of a search with that one.

    The surest planes are those of the smallest mean expected error of these landmarks. Planes that look mirrored, or on
    which one of them is absent, teach nothing.
    """
    count = Counter(template.landmark for template in query.lessons)
    alone = [template for template in query.lessons if count[template.landmark] == 1]
    return (*query.lessons, *(_sure_answers(query, alone) if alone else ()))


def _sure_answers(query: Query, templates: list[Template]) -> list[Template]:
    plain = Query(query.source, templates, replace(query.params, adapt=None), query.cancelled)
    marked = {template.plane for template in templates if template.source is query.source}
    others = [plane for plane in range(query.source.n_planes) if plane not in marked]
    spread = np.unique(np.linspace(0, len(others) - 1, _MOST_ASKED).round().astype(int)).tolist() if others else []
    asked = [others[k] for k in spread]
    found = {(match.plane, match.landmark): match for match in search_images(plain, asked)}
    by_plane: dict[int, list[CoarseMatch]] = {}
    for match in found.values():
        by_plane.setdefault(match.plane, []).append(match)
    expected = ExpectedError(plain)
    sure: list[tuple[float, int]] = []
    for plane, matches in by_plane.items():
        if all(match.position is not None and not match.mirrored for match in matches):
            sure.append((float(np.mean([expected.of(match) for match in matches])), plane))
    taken = sorted(sure)[: min(_MOST_TAKEN, int(len(asked) * _SHARE))]
    return [answer for _, plane in taken for answer in _answers(plain, by_plane[plane])]


def _answers(query: Query, matches: list[CoarseMatch]) -> list[Template]:
    """Refined answers of one plane as templates."""
    check_cancelled(query.cancelled)
    refined = refine_plane(query, matches, query.params.search_sigma)
    return [
        Template(query.landmarks[match.landmark], query.source, match.plane, match.position)
        for match in refined
        if match.position is not None
    ]
