"""Volumes that are too large to be refined at once are refined in slabs of planes that overlap."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ld.errors import RegionError
from napari_ld.refinement.problem import Survey

__all__ = ["MEMORY", "Slab", "slabs"]

MEMORY = 4_000_000_000
"""Bytes that refining may take for one slab, roughly; a single plane that needs more is refused."""
# Bytes. On 12 planes of 320 x 320 pixels of one channel 520 to 560 in all were measured, for one to four labels.
_PER_PIXEL, _PER_CHANNEL, _PER_LABEL = 400, 120, 150
_OVERLAP = 3  # planes on either side that are looked at and not changed


@dataclass(frozen=True, slots=True)
class Slab:
    """Planes that are looked at together, and those of them that are changed."""

    seen: slice
    changed: slice


def slabs(given: Survey, memory: int | None = None) -> list[Slab]:
    """Divide the labelled planes so that each part fits into memory; one slab where all of them do.

    Parameters
    ----------
    given : Survey
    memory : int, optional
        Bytes, in place of :data:`MEMORY`.

    Raises
    ------
    RegionError
        When a single plane does not fit.
    """
    limit = MEMORY if memory is None else memory
    planes = given.planes
    _, rows, columns = given.box(planes)
    pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
    channels = int(given.image.array.shape[-1]) if given.image.has_channels else 1
    need = pixels * (_PER_PIXEL + _PER_CHANNEL * min(channels, 3) + _PER_LABEL * len(given.values))
    count = planes.stop - planes.start
    if need * count <= limit:
        return [Slab(planes, planes)]
    own = limit // need - 2 * _OVERLAP
    if own < 1 and need > limit:
        raise RegionError(
            f"{len(given.values)} label(s) and their surroundings cover {rows.stop - rows.start} x "
            f"{columns.stop - columns.start} pixels of a plane: refining them would take about {need / 1e9:.1f} GB, "
            f"expected at most {limit / 1e9:.1f} GB; refine fewer labels, a part of the image, or a smaller copy of it"
        )
    overlap, own = (_OVERLAP, own) if own >= 1 else (0, 1)
    return [
        Slab(
            slice(max(planes.start, start - overlap), min(planes.stop, start + own + overlap)),
            slice(start, min(planes.stop, start + own)),
        )
        for start in range(planes.start, planes.stop, own)
    ]
