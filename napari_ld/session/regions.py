"""The regions of one image as a session remembers them: proposals, decisions, and the pixels that were accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import numpy.typing as npt

from napari_ld._types import Box, Image
from napari_ld.proposals.regions import Region, Regions
from napari_ld.session.canvas import Canvas, Patch
from napari_ld.session.region_changes import Change, Item


@dataclass(frozen=True, slots=True)
class Statistics:
    """How the annotation goes.

    Attributes
    ----------
    accepted, rejected, left : int
        Regions by decision.
    seconds : float or None
        Median time per decision that was made one by one.
    """

    accepted: int
    rejected: int
    left: int
    seconds: float | None

    @property
    def accept_rate(self) -> float | None:
        """Accepted share of the decided regions; None before the first decision."""
        decided = self.accepted + self.rejected
        return self.accepted / decided if decided else None

    @property
    def text(self) -> str:
        """One line for people."""
        parts = [f"{self.accepted} accepted", f"{self.rejected} rejected", f"{self.left} left"]
        if self.accept_rate is not None:
            parts.append(f"{self.accept_rate:.0%} accept rate")
        if self.seconds is not None:
            parts.append(f"{self.seconds:.1f} s per decision")
        return " · ".join(parts)


class RegionBook:
    """Regions and accepted pixels of one image; changed only by what is logged.

    Parameters
    ----------
    shape : (rows, columns)
        Of a plane.

    Attributes
    ----------
    items : dict of id to Item
        In the order in which they were proposed.
    canvas : Canvas
    classes : dict of id to int
        Class of each accepted region.
    shape_version : int
        Another number whenever regions came, went or got another mask.
    """

    def __init__(self, shape: tuple[int, int] = (0, 0)) -> None:
        self.items: dict[int, Item] = {}
        self.canvas = Canvas(shape)
        self.classes: dict[int, int] = {}
        self.shape_version = 0
        self._highest = 0

    def __bool__(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self.items) or bool(self.canvas.planes)

    def new_id(self) -> int:
        """An id that was never used."""
        self._highest += 1
        return self._highest

    def apply(self, change: Change) -> None:
        """Make a change; its ``before`` must be what is here."""
        for before, after in change.items:
            if after is not None:
                self._put(after)
            elif before is not None:
                self._remove(before.region.id)
        self.canvas.apply(change.patch)

    def add(self, items: Iterable[Item]) -> None:
        """Take proposals in."""
        for item in items:
            self._put(item)

    def drop(self, ids: Iterable[int]) -> None:
        """Forget proposals that nobody decided about."""
        for one in ids:
            self._remove(one)

    def _put(self, item: Item) -> None:
        region, old = item.region, self.items.get(item.region.id)
        if old is None or old.region.mask is not region.mask or old.gone != item.gone:
            self.shape_version += 1
        self.items[region.id] = item
        self._highest = max(self._highest, region.id)
        if region.decision == "accepted" and not item.gone:
            self.classes[region.id] = region.label
        else:
            self.classes.pop(region.id, None)

    def _remove(self, one: int) -> None:
        self.shape_version += self.items.pop(one, None) is not None
        self.classes.pop(one, None)

    def present(self) -> Iterator[Region]:
        """Regions that are in the queue."""
        return (item.region for item in self.items.values() if not item.gone)

    def table(self) -> Regions:
        """Regions that are in the queue, as a frozen table."""
        return Regions(tuple(self.present()))

    def labels(self, plane: int, box: Box | None = None) -> npt.NDArray[np.uint8]:
        """``(rows, columns)`` classes of the accepted pixels of a plane, or of a box of it; 0 where there are none."""
        return self.canvas.labels(plane, self.classes, box)

    def masks(self, image: Image) -> npt.NDArray[np.uint8]:
        """Classes of all accepted pixels, in the shape of the image without its channels."""
        stack = np.zeros((image.n_planes, *image.plane_shape), np.uint8)
        for plane in self.canvas.planes:
            stack[plane] = self.labels(plane)
        return stack if image.is_stack else stack[0]

    def as_change(self) -> Change:
        """All of it as one step from an empty book."""
        parts = []
        for plane in self.canvas.planes:
            owners = self.canvas.owners(plane).reshape(-1)
            pixels = np.flatnonzero(owners)
            parts.append(Patch.between(plane, pixels, np.zeros(len(pixels), np.int32), owners[pixels]))
        return Change(tuple((None, item) for item in self.items.values()), Patch.join(parts))

    @property
    def statistics(self) -> Statistics:
        """Counts and pace."""
        items = [item for item in self.items.values() if not item.gone]
        decisions = [item.region.decision for item in items]
        seconds = [item.seconds for item in items if item.seconds is not None]
        return Statistics(
            decisions.count("accepted"),
            decisions.count("rejected"),
            decisions.count("undecided"),
            median(seconds) if seconds else None,
        )


def renumbered(regions: Iterable[Region], book: RegionBook) -> list[Item]:
    """Proposals as items with ids of their own; parents among them follow.

    Embeddings are rounded as the log keeps them, so that a restored session ranks as the first one did.
    """
    rows = list(regions)
    ids: Mapping[int, int] = {region.id: book.new_id() for region in rows}
    return [
        Item(
            replace(
                region,
                id=ids[region.id],
                parent=ids.get(region.parent) if region.parent is not None else None,
                embedding=region.embedding.astype(np.float16).astype(np.float32),
                score=round(float(region.score), 6),
            )
        )
        for region in rows
    ]
