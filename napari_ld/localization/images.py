"""Stack kind ``images``: every plane is another subject; the whole plane is searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from napari_ld.localization.coarse import CoarseMatch, candidates, reorder_by_cycle
from napari_ld.localization.confidence import absolute, status_of
from napari_ld.localization.query import Query

__all__ = ["search_images"]


def search_images(query: Query, planes: Sequence[int]) -> Iterator[CoarseMatch]:
    """The best place of every landmark on each of ``planes``, plane by plane."""
    params = query.params
    scales = [absolute(query, landmark) for landmark in range(len(query.landmarks))]
    count = params.candidates if params.cycle_weight > 0 else 1
    for found_on_plane in candidates(query.source, query, planes, count):
        if params.cycle_weight > 0:
            found_on_plane = reorder_by_cycle(query, found_on_plane)
        for found in found_on_plane:
            score = float(found.scores[0])
            status = status_of(score, found.margin, scales[found.landmark], params)
            position = None if status == "absent" else (float(found.positions[0, 0]), float(found.positions[0, 1]))
            yield CoarseMatch(found.landmark, found.plane, position, score, found.margin, status)
