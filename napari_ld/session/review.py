"""Reviewing regions: one decision after the other, each a level of undo and a line of the log.

Free of Qt and napari; part of a :class:`napari_ld.session.Session`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_ld._types import Image
from napari_ld.errors import RegionError
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Decision, Region
from napari_ld.session.canvas import ERASED, Patch
from napari_ld.session.painting import Pairs, painted_over_free, repainted, touched
from napari_ld.session.queue import Filter, Queue
from napari_ld.session.region_changes import Change, Item, item_to_json
from napari_ld.session.regions import RegionBook, renumbered
from napari_ld.session.repaint import Repaint
from napari_ld.session.reshaping import Similarity, area_of, derived, grown, neighbours, parts_of

MAX_CLASS = 9
CLICKED = "clicked"  # kind of the regions that a person clicked
_LONGEST_LOOK = 120.0  # seconds; who looks longer has had a coffee, which is no decision time


class RegionReview:
    """The queue of one image, the current region, and what a person does to them.

    Parameters
    ----------
    commit : callable
        ``commit(label, change)`` makes a change, as a level of undo and a line of the log.
    save : callable
        ``save(entry)`` writes a line of the log that is no level of undo.
    clock : callable
        Seconds; for the time per decision.
    """

    changed: ClassVar[Signal] = Signal()
    """Regions, their decisions, the order, the filter or the class."""
    current_changed: ClassVar[Signal] = Signal()
    """Another region is current, or it has another mask."""
    painted: ClassVar[Signal] = Signal(object)
    """Accepted pixels changed: a box by plane, or None: all may have."""

    def __init__(
        self,
        commit: Callable[[str, Change], None],
        save: Callable[[dict[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._commit, self._save, self._clock = commit, save, clock
        self.image: Image | None = None
        self.label = 1
        self.note = ""
        self.load(RegionBook())

    def open_image(self, image: Image | None) -> None:
        """Start empty on another image."""
        self.image = image
        self.load(RegionBook(image.plane_shape if image else (0, 0)))

    def load(self, book: RegionBook, current: int | None = None) -> None:
        """Go on with these regions."""
        self.book = book
        self.queue = Queue(book)
        self.similarity: dict[int, dict[int, Similarity]] = {}
        self._passed: set[int] = set()
        self._offers: tuple[int, tuple[Region, ...]] = (0, ())
        self._awaited: tuple[int | None, int] = (None, 0)
        self._unsaved: dict[int, Item] = {}
        self._unsaved_drops: list[int] = []
        self._made_by: dict[str, Any] = {}
        self.note = ""
        self._look_at(current if current in book.items else self._best())
        self.changed.emit()
        self.painted.emit(None)

    # --- what is shown ------------------------------------------------------------------------------------------------

    @property
    def current(self) -> int | None:
        """Id of the region that is looked at; None without one."""
        return self._current

    @property
    def item(self) -> Item | None:
        """The current region with all that is known about it."""
        return self.book.items.get(self._current) if self._current is not None else None

    @property
    def region(self) -> Region | None:
        """The current region."""
        item = self.item
        return item.region if item is not None else None

    def _look_at(self, one: int | None) -> None:
        self._current = one
        self._since = self._clock()
        self.current_changed.emit()

    def _best(self) -> int | None:
        """Best open region of the list that was not passed over; all over again when each was."""
        fresh = next((one for one in self.queue.open_ids() if one not in self._passed), None)
        if fresh is None:
            self._passed.clear()
            fresh = next(self.queue.open_ids(), None)
        return fresh

    def select(self, one: int) -> None:
        """Look at a region."""
        if one != self._current and one in self.book.items:
            self.note = ""
            self._look_at(one)

    def select_at(self, plane: int, row: int, column: int) -> bool:
        """Look at the smallest listed region that holds a pixel; returns whether there is another one."""
        here = (region for region in self.queue.on_plane(plane) if self.queue.place(region.id) >= 0)
        found = [region for region in here if region.mask.contains(plane, row, column)]
        if not found or [region.id for region in found] == [self._current]:
            return False
        found.sort(key=lambda region: (region.area, region.id))
        ids = [region.id for region in found]
        # A further click on the same place goes on to the next larger one.
        self.select(ids[(ids.index(self._current) + 1) % len(ids)] if self._current in ids else ids[0])
        return True

    def next(self) -> None:
        """Go on without a decision."""
        place = self.queue.place(self._current)
        if self._current is not None:
            self._passed.add(self._current)
        if 0 <= place < len(self.queue) - 1:
            self.select(int(self.queue.order[place + 1]))
        elif len(self.queue):
            self.select(int(self.queue.order[0]))

    def previous(self) -> None:
        """Go back in the list."""
        place = self.queue.place(self._current)
        if len(self.queue):
            self.select(int(self.queue.order[place - 1 if place > 0 else -1 if place < 0 else 0]))

    def filter(self, wanted: Filter) -> None:
        """List other regions."""
        if wanted == self.queue.filter:
            return
        self.queue.refilter(wanted)
        self._passed.clear()
        if self.queue.place(self._current) < 0:
            self._look_at(self._best())
        self.changed.emit()

    # --- proposals ----------------------------------------------------------------------------------------------------

    def propose(
        self, regions: Iterable[Region], replacing: Iterable[int] = (), made_by: Mapping[str, Any] | None = None
    ) -> list[int]:
        """Take proposals in; returns their ids. Of those in ``replacing`` the undecided ones go.

        Nothing that a person decided, merged or split is lost; this is no level of undo. ``made_by`` is kept in the
        log: method, parameters, hash of the encoder.
        """
        dropped = [one for one in replacing if self.queue.is_open(one)]
        items = renumbered(regions, self.book)
        if not items and not dropped:
            return []
        self.book.drop(dropped)
        self.book.add(items)
        self._unsaved_drops += [one for one in dropped if self._unsaved.pop(one, None) is None]
        self._unsaved |= {item.region.id: item for item in items}
        self._made_by = dict(made_by or {})
        self.queue.rebuild()
        if self._current not in self.book.items:
            self._look_at(self._best())
        self.changed.emit()
        return [item.region.id for item in items]

    def offer(self, regions: Sequence[Region], replacing: Iterable[int] = ()) -> None:
        """Propose the first of some nested regions at a clicked place and look at it; undecided ones make room."""
        [one] = self.propose(regions[:1], replacing)
        self._offers = one, tuple(regions)
        self.select(one)

    def offer_another(self, plane: int, row: int, column: int) -> bool:
        """For a further click into what was offered last, if undecided: the next one; returns whether there is one."""
        one, regions = self._offers
        region = self.region if one == self._current and len(regions) > 1 else None
        if region is None or not self.queue.is_open(one) or not region.mask.contains(plane, row, column):
            return False
        self.offer((*regions[1:], regions[0]), replacing=[one])
        return True

    def flush(self) -> None:
        """Write the proposals to the log that are not there yet; those that were replaced meanwhile never will be."""
        if self._unsaved or self._unsaved_drops:
            added = [item_to_json(item) for item in self._unsaved.values()]
            self._save({"op": "proposals", "by": self._made_by, "add": added, "drop": self._unsaved_drops})
            self._unsaved, self._unsaved_drops = {}, []

    # --- decisions ----------------------------------------------------------------------------------------------------

    def accept(self) -> None:
        """The current region is right; its pixels get the present class."""
        self._decide("accepted")

    def reject(self) -> None:
        """The current region is wrong; regions like it go down in the list."""
        self._decide("rejected")

    def _decide(self, decision: Decision) -> None:
        item = self.item
        if item is None or item.gone:
            return
        seconds = round(min(self._clock() - self._since, _LONGEST_LOOK), 2)
        label = (item.region.label or self.label) if decision == "accepted" else item.region.label
        after = replace(item, region=replace(item.region, decision=decision, label=label), seconds=seconds)
        self._step(f"{decision[:-2]} region {item.region.id}", ((item, after),), onwards=True)

    def set_class(self, label: int) -> None:
        """Class of the current region, and of those that will be accepted next.

        Raises
        ------
        RegionError
            When the class is not 1 to 9.
        """
        if not 1 <= label <= MAX_CLASS:
            raise RegionError(f"class {label}: expected a number from 1 to {MAX_CLASS}")
        self.label = label
        item = self.item
        if item is None or item.gone or item.region.label == label:
            self.changed.emit()
            return
        after = replace(item, region=replace(item.region, label=label))
        self._step(f"class {label} for region {item.region.id}", ((item, after),))

    def accept_all(self, score: float) -> int:
        """Accept the listed undecided regions of at least this learned score in one step; returns how many.

        They take only pixels that have no owner: no decision and no stroke of a person is painted over.
        """
        ids = self.queue.above(score)
        pairs = []
        for one in ids:
            item = self.book.items[one]
            region = replace(item.region, decision="accepted", label=item.region.label or self.label)
            pairs.append((item, replace(item, region=region)))
        if pairs:
            patch = painted_over_free(self.book, [after.region for _, after in pairs])
            self._step(f"accept {len(ids)} regions", tuple(pairs), patch, onwards=True)
        return len(ids)

    # --- other masks --------------------------------------------------------------------------------------------------

    def merge(self) -> None:
        """Make one region of the current one and the neighbour most like it."""
        item = self.item
        if item is None or item.gone:
            return
        planes = item.region.planes
        there = {region.id: region for plane in planes for region in self.queue.on_plane(plane)}
        listed = (region for region in there.values() if region.decision != "rejected")
        near = neighbours(item.region, listed)
        if not near:
            self._tell("No region touches this one; there is nothing to merge with.")
            return
        other = self.book.items[near[0].id]
        both = [item, other] if item.region.decision == "accepted" else sorted([item, other], key=_is_undecided)
        mask = Mask.join([item.region.mask, other.region.mask])
        piece = derived(self.book.new_id(), mask, [one.region for one in both])
        self._replace(f"merge regions {item.region.id} and {other.region.id}", [item, other], [piece])

    def split(self) -> None:
        """Make several regions of the current one: its separate parts, or its two halves."""
        item = self.item
        if item is None or item.gone:
            return
        masks = parts_of(item.region.mask)
        if len(masks) == 1:
            self._tell("This region is a single pixel; it cannot be split.")
            return
        pieces = [derived(self.book.new_id(), mask, [item.region]) for mask in masks]
        self._replace(f"split region {item.region.id}", [item], pieces)

    def _replace(self, label: str, olds: list[Item], pieces: list[Item]) -> None:
        gone = tuple((old, replace(old, gone=True)) for old in olds)
        self._step(label, (*gone, *((None, piece) for piece in pieces)), current=pieces[0].region.id)

    def grow(self, by: int = 1) -> None:
        """Grow (> 0) or shrink (< 0) the current region along its similarity map, as soon as that is known."""
        item = self.item
        if item is None or item.gone:
            return
        known = self.similarity.get(item.region.id)
        if known is None:
            self._awaited = item.region.id, by + (self._awaited[1] if self._awaited[0] == item.region.id else 0)
            self._tell("The similarity map of this region is being computed …")
            return
        origin = item.origin or item.region.mask
        mask = grown(origin, item.steps + by, known)
        if mask.same_as(item.region.mask):
            self._tell("It cannot grow further here." if by > 0 else "It cannot shrink further.")
            return
        region = replace(item.region, mask=mask, area_mm2=area_of(item.region, mask))
        after = replace(item, region=region, steps=item.steps + by, origin=origin)
        self._step(f"{'grow' if by > 0 else 'shrink'} region {item.region.id}", ((item, after),))

    @property
    def wants_similarity(self) -> int | None:
        """Id of the current region while its similarity map is unknown; else None."""
        item = self.item
        known = item is None or item.gone or item.region.id in self.similarity
        return None if known else self._current

    @property
    def awaits_similarity(self) -> bool:
        """Whether the person wants to grow or shrink a region whose similarity map is not known yet."""
        return self._awaited[0] is not None and self._awaited[0] == self.wants_similarity

    def set_similarity(self, one: int, maps: Mapping[int, Similarity]) -> None:
        """Take the similarity maps of a region in, plane by plane; only a few regions' maps are kept."""
        self.similarity[one] = dict(maps)
        while len(self.similarity) > 8:
            del self.similarity[next(iter(self.similarity))]
        awaited, self._awaited = self._awaited, (None, 0)
        if awaited[0] == one == self._current and awaited[1]:
            self.grow(awaited[1])

    # --- by hand ------------------------------------------------------------------------------------------------------

    def paint(self, planes: Mapping[int, npt.NDArray[np.integer]]) -> bool:
        """Take over what a person painted, filled or erased; returns whether anything differs.

        Parameters
        ----------
        planes : mapping of plane to (rows, columns) classes
            How these planes look now; classes 0 to 255.
        """
        canvas, classes = self.book.canvas, self.book.classes
        patch = Patch.join([canvas.stroke(plane, labels, classes) for plane, labels in sorted(planes.items())])
        if len(patch.segments):
            erased = bool((patch.segments[:, 4] == ERASED).all())
            self._commit("erase by hand" if erased else "paint by hand", Change((), patch))
        return bool(len(patch.segments))

    def repaint(self, label: str, repaints: Iterable[Repaint]) -> None:
        """Take over as one step, called ``label``, what a refiner changed; to what follows it is painted by hand."""
        patch = Patch.join([self.book.canvas.repainting(one, self.book.classes) for one in repaints])
        if len(patch.segments):
            self._commit(label, Change((), patch))

    # --- how a step is made -------------------------------------------------------------------------------------------

    def _step(
        self,
        label: str,
        items: Pairs,
        patch: Patch | None = None,
        *,
        current: int | None = None,
        onwards: bool = False,
    ) -> None:
        self.note = ""
        seen = self._current
        self._commit(
            label, Change(items, repainted(self.book, items) if patch is None else patch, (seen, current or seen))
        )
        if onwards:
            self._look_at(self._best())
        self.changed.emit()

    def _tell(self, note: str) -> None:
        self.note = note
        self.changed.emit()

    def applied(self, change: Change) -> None:
        """Take notice of a change that was just made to the book, new, undone or redone."""
        ids = dict.fromkeys(item.region.id for pair in change.items for item in pair if item is not None)
        if ids:
            self.queue.update(list(ids))
        boxes = touched(change, self.book.canvas.shape[1])
        if boxes:
            self.painted.emit(boxes)
        if change.current[1] is not None and change.current[1] in self.book.items:
            self._look_at(change.current[1])


def _is_undecided(item: Item) -> bool:
    return item.region.decision == "undecided"
