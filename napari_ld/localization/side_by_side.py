"""Refinement of many planes, some at a time: a plane is many small sums, which one processor does as fast as two."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from napari_ld.embedding.tiling import check_cancelled
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.fine import refine_plane
from napari_ld.localization.query import Query

__all__ = ["refine_planes"]

_AT_ONCE = 2  # planes; each holds its pixels in memory meanwhile


def refine_planes(
    query: Query, planes: Sequence[Sequence[CoarseMatch]], search_sigma: float
) -> Iterator[list[CoarseMatch]]:
    """:func:`refine_plane` of the matches of each plane, in the order of the planes.

    Raises
    ------
    Cancelled
        When ``query.cancelled()`` is true before a plane.
    """
    check_cancelled(query.cancelled)
    if planes:
        yield refine_plane(query, planes[0], search_sigma)  # alone: it prepares what all share
    ahead: deque[Future[list[CoarseMatch]]] = deque()
    with ThreadPoolExecutor(_AT_ONCE, "refine") as pool:
        try:
            for matches in planes[1:]:
                check_cancelled(query.cancelled)
                ahead.append(pool.submit(refine_plane, query, matches, search_sigma))
                if len(ahead) > _AT_ONCE:
                    yield ahead.popleft().result()
            while ahead:
                check_cancelled(query.cancelled)
                yield ahead.popleft().result()
        finally:
            for waiting in ahead:
                waiting.cancel()
