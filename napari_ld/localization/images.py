"""Stack kind ``images``: every plane is another subject; the whole plane is searched.

Left and right eyes, hands or feet often share a stack. Each plane is therefore also searched with mirrored templates,
and judged to be mirrored as a whole: when all landmarks together score higher so, and, once all planes are known, when
they say so together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from napari_ld.localization.coarse import Candidates, CoarseMatch, candidates, reorder_by_cycle
from napari_ld.localization.confidence import Scale, absolute, status_of
from napari_ld.localization.laterality import judged_together
from napari_ld.localization.layout import looked_for_again
from napari_ld.localization.params import LocateParams
from napari_ld.localization.query import Query

__all__ = ["search_images"]


def search_images(query: Query, planes: Sequence[int]) -> Iterator[CoarseMatch]:
    """The best place of every landmark on each of ``planes``, plane by plane.

    Planes of which all together say something else than each by itself come a second time, at the end, and then answers
    that lie where the others of their plane do not expect them.
    """
    chosen: dict[int, list[CoarseMatch]] = {}
    for matches in _both_sides(query, planes) if query.params.mirror else _search(query, planes):
        chosen[matches[0].plane] = matches
        yield from matches
    if query.params.layout:
        yield from looked_for_again(query, chosen)


def _both_sides(query: Query, planes: Sequence[int]) -> Iterator[list[CoarseMatch]]:
    """Answers of the search or of the mirrored one, plane by plane; then those of planes that are judged anew."""
    found: dict[int, dict[bool, list[CoarseMatch]]] = {}
    votes: dict[int, bool] = {}
    leads: dict[int, float] = {}
    for straight, mirrored in zip(_search(query, planes), _search(query.mirrored, planes), strict=True):
        plane, lead = straight[0].plane, sum(m.score for m in mirrored) - sum(m.score for m in straight)
        found[plane] = {False: straight, True: [replace(match, mirrored=True) for match in mirrored]}
        leads[plane], votes[plane] = lead, lead > query.params.mirror_margin * len(straight)
        yield found[plane][votes[plane]]
    together = judged_together(query, votes, leads) if query.params.mirror_together else votes
    yield from (found[plane][turned] for plane, turned in together.items() if turned != votes[plane])


def _search(query: Query, planes: Sequence[int]) -> Iterator[list[CoarseMatch]]:
    params = query.params
    scales = [absolute(query, landmark) for landmark in range(len(query.landmarks))]
    count = params.candidates if params.cycle_weight > 0 else 1
    for found_on_plane in candidates(query.source, query, planes, count):
        if params.cycle_weight > 0:
            found_on_plane = reorder_by_cycle(query, found_on_plane)
        yield [_decide(found, scales[found.landmark], params) for found in found_on_plane]


def _decide(found: Candidates, scale: Scale, params: LocateParams) -> CoarseMatch:
    score = float(found.scores[0])
    status = status_of(score, found.margin, scale, params)
    position = None if status == "absent" else (float(found.positions[0, 0]), float(found.positions[0, 1]))
    return CoarseMatch(found.landmark, found.plane, position, score, found.margin, status)
