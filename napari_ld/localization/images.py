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
from napari_ld.localization.params import LocateParams
from napari_ld.localization.query import Query

__all__ = ["search_images"]


def search_images(query: Query, planes: Sequence[int]) -> Iterator[CoarseMatch]:
    """The best place of every landmark on each of ``planes``, plane by plane.

    Planes of which all together say something else than each by itself come a second time, at the end.
    """
    plain = _search(query, planes)
    if not query.params.mirror:
        yield from (match for on_plane in plain for match in on_plane)
        return
    found: dict[int, dict[bool, list[CoarseMatch]]] = {}
    votes: dict[int, bool] = {}
    leads: dict[int, float] = {}
    for straight, mirrored in zip(plain, _search(query.mirrored, planes), strict=True):
        plane, lead = straight[0].plane, sum(m.score for m in mirrored) - sum(m.score for m in straight)
        found[plane] = {False: straight, True: [replace(match, mirrored=True) for match in mirrored]}
        leads[plane], votes[plane] = lead, lead > query.params.mirror_margin * len(straight)
        yield from found[plane][votes[plane]]
    for plane, turned in judged_together(query, votes, leads).items():
        if turned != votes[plane]:
            yield from found[plane][turned]


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
