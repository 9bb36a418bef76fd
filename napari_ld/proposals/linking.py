"""Join the regions of neighbouring slices that continue each other into regions of the volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from napari_ld.embedding import FeatureSource
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region, Regions

__all__ = ["linked", "numbered", "placed"]


def numbered(source: FeatureSource, batches: Iterable[list[Region]]) -> Regions:
    """One table of the regions of all batches."""
    rows: list[Region] = []
    for batch in batches:
        first = len(rows)
        rows += [placed(source, region, first) for region in batch]
    return Regions(tuple(rows))


def placed(source: FeatureSource, region: Region, offset: int) -> Region:
    """The region of a batch under its final number, with its area in mm²."""
    spacing = source.spacing(region.mask.first_plane)
    area = None if spacing is None else region.area * spacing[0] * spacing[1]
    parent = None if region.parent is None else region.parent + offset
    return replace(region, id=region.id + offset, parent=parent, area_mm2=area)


@dataclass(slots=True)
class _Chain:
    """Parts of one region, slice by slice; ``ends`` are those on the latest slice."""

    parts: list[Region] = field(default_factory=list)
    ends: list[Region] = field(default_factory=list)

    def region(self) -> Region:
        """All parts as one region: area-weighted score and embedding."""
        if len(self.parts) == 1:
            return replace(self.parts[0], parent=None)
        areas = np.array([part.area for part in self.parts], np.float64)
        share = areas / areas.sum()
        vector = sum(weight * part.embedding for weight, part in zip(share, self.parts, strict=True))
        vector = np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-10), np.float32)
        score = float(sum(weight * part.score for weight, part in zip(share, self.parts, strict=True)))
        mask = Mask.join(part.mask for part in self.parts)
        return replace(self.parts[0], mask=mask, score=min(1.0, score), embedding=vector, parent=None)


def linked(batches: Iterable[list[Region]]) -> Iterator[list[Region]]:
    """Join regions that overlap on neighbouring slices of one image, and are of one kind and cluster.

    A region is handed on once no further slice continues it, so that memory holds only the regions still open.

    Parameters
    ----------
    batches : iterable of list of Region
        One list per plane, planes in ascending order.

    Yields
    ------
    list of Region
        As many lists as came in, and one more; numbered from 1 in each.
    """
    open_chains: list[_Chain] = []
    last = -2
    for batch in batches:
        plane = batch[0].mask.first_plane if batch else -2
        follows = plane == last + 1 and bool(open_chains) and open_chains[0].parts[0].image == batch[0].image
        closed = [] if follows else open_chains
        chains = _continued(open_chains, batch) if follows else [_Chain([region], [region]) for region in batch]
        open_chains = [chain for chain in chains if chain.ends]
        closed = [*closed, *(chain for chain in chains if not chain.ends)]
        last = plane
        yield _numbered(closed)
    yield _numbered(open_chains)


def _continued(chains: list[_Chain], batch: list[Region]) -> list[_Chain]:
    """Chains with the regions of the next slice; chains that one region touches become one."""
    groups: dict[int, _Chain] = {id(chain): chain for chain in chains}
    before = {id(chain): chain.ends for chain in chains}
    home = {id(chain): id(chain) for chain in chains}
    for chain in chains:
        chain.ends = []
    for region in batch:
        touched = [key for key, ends in before.items() if any(_continues(end, region) for end in ends)]
        keys = list(dict.fromkeys(home[key] for key in touched))
        target = groups[keys[0]] if keys else _Chain()
        for other in keys[1:]:
            target.parts += groups[other].parts
            target.ends += groups.pop(other).ends
            home.update({key: keys[0] for key, place in home.items() if place == other})
        target.parts.append(region)
        target.ends.append(region)
        groups.setdefault(keys[0] if keys else id(target), target)
    return list(groups.values())


def _continues(end: Region, region: Region) -> bool:
    """Whether the two share a pixel position."""
    if end.kind != region.kind or end.cluster != region.cluster:
        return False
    (_, top, left, _, bottom, right), (_, top2, left2, _, bottom2, right2) = end.bbox, region.bbox
    if top >= bottom2 or top2 >= bottom or left >= right2 or left2 >= right:
        return False
    shifted = end.mask.runs.copy()
    shifted[:, 0] = region.mask.first_plane
    return Mask(end.mask.shape, shifted).intersection(region.mask) > 0


def _numbered(chains: list[_Chain]) -> list[Region]:
    return [replace(chain.region(), id=number) for number, chain in enumerate(chains, start=1)]
