"""What happens to regions in one step, small enough to be kept for undo and written to the log."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_ld.errors import StorageError
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region
from napari_ld.session.canvas import Patch


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A proposed region in the queue.

    Attributes
    ----------
    region : Region
        With its mask, class and decision as they are now.
    seconds : float or None
        How long the person looked before deciding; None where nobody decided, or several were decided at once.
    steps : int
        How often it was grown (> 0) or shrunk (< 0).
    origin : Mask or None
        Mask before it was grown or shrunk.
    gone : bool
        Merged into another region or split into several: no longer in the queue.
    """

    region: Region
    seconds: float | None = None
    steps: int = 0
    origin: Mask | None = None
    gone: bool = False

    @property
    def size(self) -> int:
        """Bytes, about."""
        return 400 + self.region.mask.runs.nbytes + self.region.embedding.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One step: items before and after (None: there is none), pixels that changed owners, and the current region."""

    items: tuple[tuple[Item | None, Item | None], ...] = ()
    patch: Patch = field(default_factory=Patch.empty)
    current: tuple[int | None, int | None] = (None, None)

    @property
    def inverse(self) -> Change:
        """Change that takes this one back."""
        back = tuple((after, before) for before, after in self.items)
        return Change(back, self.patch.inverse, (self.current[1], self.current[0]))

    @property
    def size(self) -> int:
        """Bytes that only this change holds, about."""
        return int(self.patch.segments.nbytes) + sum(_added(before, after) for before, after in self.items)


def _added(before: Item | None, after: Item | None) -> int:
    """Bytes of an item that are not shared with the one before it."""
    if after is None:
        return 0
    return 300 if before is not None and before.region.mask is after.region.mask else after.size


def to_json(change: Change) -> dict[str, Any]:
    """What the log keeps of a change; :func:`from_json` is its inverse where the items before are known."""
    items = []
    for before, after in change.items:
        if after is not None:
            items.append(item_to_json(after, before))
        elif before is not None:
            items.append({"id": before.region.id, "removed": True})
    return {"items": items, "patch": change.patch.to_text(), "current": list(change.current)}


def from_json(entry: dict[str, Any], known: dict[int, Item]) -> Change:
    """Change that the log tells of; ``known`` are the items before it."""
    items = []
    for part in entry["items"]:
        before = known.get(part["id"])
        items.append((before, None if part.get("removed") else item_from_json(part, before)))
    return Change(tuple(items), Patch.from_text(entry["patch"]), (entry["current"][0], entry["current"][1]))


def item_to_json(item: Item, before: Item | None = None) -> dict[str, Any]:
    """An item as JSON; of one that was known ``before`` only what differs."""
    region, old = item.region, before.region if before is not None else None
    entry: dict[str, Any] = {"id": region.id, "decision": region.decision, "label": region.label}
    entry |= {"seconds": item.seconds, "steps": item.steps, "gone": item.gone, "score": round(region.score, 6)}
    if old is None or old.mask is not region.mask:
        entry |= {"mask": region.mask.to_text(), "area_mm2": region.area_mm2}
        entry["origin"] = item.origin.to_text() if item.origin is not None else None
    if old is None:
        vector = base64.b64encode(region.embedding.astype("<f2").tobytes()).decode("ascii")
        entry |= {"image": region.image, "embedding": vector, "parent": region.parent, "kind": region.kind}
        entry["cluster"] = region.cluster
    return entry


def item_from_json(entry: dict[str, Any], before: Item | None = None) -> Item:
    """Inverse of :func:`item_to_json`.

    Raises
    ------
    StorageError
        When only differences were kept and the item before is unknown.
    """
    if before is None and "embedding" not in entry:
        raise StorageError(f"Saved work speaks of region {entry['id']}, which it never proposed; it is damaged.")
    if before is None:
        vector = np.frombuffer(base64.b64decode(entry["embedding"]), "<f2").astype(np.float32)
        mask = Mask.from_text(entry["mask"])
        fresh = Region(entry["id"], entry["image"], mask, entry["score"], vector, entry["area_mm2"])
        before = Item(replace(fresh, parent=entry["parent"], kind=entry["kind"], cluster=entry["cluster"]))
    region = replace(before.region, decision=entry["decision"], label=entry["label"], score=entry["score"])
    origin = before.origin
    if "mask" in entry:
        region = replace(region, mask=Mask.from_text(entry["mask"]), area_mm2=entry["area_mm2"])
        origin = Mask.from_text(entry["origin"]) if entry["origin"] else None
    return Item(region, entry["seconds"], entry["steps"], origin, entry["gone"])
