"""Our way for the simulated annotator: the real session, driven by the steps that the panel offers.

It begins with a region that the image's boundaries give (Propose, the slider, a click, A), on the plane where that
gains most per cost, and stays there, with further regions and the brush, until the Dice is 0.8. Then what was accepted
is given as an example and the like is looked for on all other planes (Shift+L); again later, when it helps and the Dice
is 0.8 on all planes that were worked on. Proposals of at least the score of the slider count, as they will be accepted
by the last key (Shift+A). The search is for any number on a plane, or for one when the box "one on each plane" is
ticked. Until the end the slider can be moved, and proposals can be rejected (R), grown and shrunk (G, Shift+G), or
accepted (A) to be corrected with the brush. A region that is not the current one is selected first, with a click on its
row, which also shows its plane. A click into the middle of the largest part offers a region, and further clicks others:
on planes without proposals, and with the box ticked on all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.annotator_ways import Action, PaintWay
from benchmarks.lesions import click_in
from benchmarks.painter import Mask, dice
from napari_ld._types import Image
from napari_ld.proposals import Mask as RunMask
from napari_ld.proposals import Region
from napari_ld.session import Session
from napari_ld.session.compute import Sources
from napari_ld.session.queue import Filter
from napari_ld.session.region_compute import Trees, offer, propose, region_similarity
from napari_ld.session.requests import Offered, Proposed, ProposeRequest
from napari_ld.session.reshaping import Similarity, grown
from napari_ld.session.review import CLICKED

COUNTS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400)  # places of the slider that are tried
DEFAULT_COUNT = 100
THRESHOLDS = tuple(place / 20 for place in range(20))  # places of the slider of the score
DRAWN = 0.8  # Dice from which on a mask is given as an example
LIKE = "like_examples"


@dataclass(eq=False)
class QueueWay(PaintWay):
    """With our review queue, and the brush.

    Parameters
    ----------
    image : Image
        The planes as one stack.
    encoder : str
        Name or file.
    folder : Path
        For the log of the session.
    """

    image: Image | None = None
    encoder: str = ""
    folder: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.session = Session(self.folder)
        self.session.choose_encoder(self.encoder)
        self.session.open_image(self.image, "annotated")
        self._review = self.session.regions
        self._sources, self._trees = Sources(), Trees()
        self._kind = ""
        self._first, self._threshold = 0, 0.0
        self._asked: list[int] = []
        self._answers: dict[bool, list[Proposed]] = {}
        self._single = False
        self._start: Action | None = None
        self._offers: dict[int, Offered] = {}
        self._arrays: dict[int, tuple[RunMask, Mask]] = {}
        self.changed()
        self._grown: dict[tuple[int, int], Mask] = {}

    # --- what there is ------------------------------------------------------------------------------------------------

    def _accepted(self, plane: int) -> Mask:
        return np.asarray(self._review.book.labels(plane) > 0)

    def changed(self) -> None:
        """Forget what was derived from the state before."""
        self._masks: dict[int, Mask] = {}
        self._undecided: dict[int, list[Region]] = {}
        self._dice: dict[tuple[int, tuple[int, ...]], float] = {}

    def _waiting(self, plane: int) -> list[Region]:
        """Proposals like the examples that wait for a decision."""
        if self._kind != LIKE:
            return []
        if plane not in self._undecided:
            here = self._review.queue.on_plane(plane)
            self._undecided[plane] = [region for region in here if region.decision == "undecided"]
        return self._undecided[plane]

    def _pending(self, plane: int) -> list[Region]:
        """Those that are listed."""
        return [one for one in self._waiting(plane) if self._review.queue.score(one.id) >= self._threshold]

    def _array(self, region: Region, plane: int) -> Mask:
        """Pixels of a region; kept, since regions are asked for them over and over."""
        found = self._arrays.get(region.id)
        if found is None or found[0] is not region.mask:
            found = self._arrays[region.id] = region.mask, region.mask.to_array(plane)
        return found[1]

    def mask(self, plane: int) -> Mask:
        """Accepted pixels, and those of the proposals where nobody owns or erased a pixel."""
        if plane not in self._masks:
            self._masks[plane] = self._with(plane, [self._array(one, plane) for one in self._pending(plane)])
        return self._masks[plane]

    @property
    def _planes(self) -> range:
        return range(len(self.truths))

    def _with(self, plane: int, more: Sequence[Mask]) -> Mask:
        found = self._accepted(plane)
        free = self._review.book.canvas.owners(plane) == 0
        for mask in more:
            found |= mask & free
        return found

    def last_cost(self) -> int:
        """One key accepts all."""
        return int(any(self._pending(plane) for plane in self._planes))

    def check(self) -> None:
        """Accept all and compare; then undo.

        Raises
        ------
        ValueError
            When the session makes other masks than those that were counted.
        """
        expected = self.masks()
        if self.last_cost():
            self._review.accept_all(self._threshold)
            made = [self._accepted(plane) for plane in self._planes]
            self.session.undo()
            if not all(np.array_equal(one, other) for one, other in zip(expected, made, strict=True)):
                raise ValueError("the session accepted other pixels than those that were counted")

    def paint(self, plane: int, mask: Mask) -> None:
        """Let the accepted masks of a plane look like this."""
        self._review.paint({plane: mask.astype(np.uint8)})

    # --- what can be done ---------------------------------------------------------------------------------------------

    def actions(self) -> Iterator[Action]:
        """Everything that the panel offers."""
        if not self._kind:
            yield from self._beginnings()
            return
        propagations = list(self._propagations())
        yield from propagations
        if self._kind == "hierarchy":
            if not propagations:  # the first time it is not weighed against other actions
                yield from self._pieces()
                yield from self.dabs(self._first)
            return
        yield from self._thresholds()
        for plane in self._planes:
            pending = self._pending(plane)
            for region in pending:
                yield from self._decisions(plane, region, pending)
            if not pending or self._single:
                yield from self._clicks(plane)
            if not pending:
                yield from self.dabs(plane)
            else:
                cost = min(2 * len(pending) + int(len(pending) > 1), 3) + 1
                yield from self.dabs(plane, cost, partial(self._adopt, plane))

    def _clicks(self, plane: int) -> Iterator[Action]:
        """Click where nothing is listed, until the region that serves best is offered."""
        if plane not in self._offers:
            request = self.session.request_offer(plane, click_in(self.truths[plane]))
            assert request is not None
            [answer] = offer(request, self._sources, self._trees, lambda: False)
            assert isinstance(answer, Offered)
            self._offers[plane] = answer
        if any(region.kind == CLICKED for region in self._waiting(plane)):
            return
        now = dice(self.mask(plane), self.truths[plane])
        row, column = (round(place) for place in click_in(self.truths[plane]))
        # the first click into a proposal that is not the current one selects that
        before = sum(
            one.mask.contains(plane, row, column) and one.id != self._review.current for one in self._pending(plane)
        )
        for further, region in enumerate(self._offers[plane].regions):
            after = self._with(plane, [region.mask.to_array(plane)])
            gain = (dice(after, self.truths[plane]) - now) / len(self.truths)
            clicks = before + 1 + further
            cost = int(plane != self.hand.plane) + int(self.hand.tool != "") + clicks
            if gain > 0:
                yield Action("click", gain, cost, partial(self._click, plane, further, clicks))

    def _click(self, plane: int, further: int, clicks: int) -> int:
        cost = self.hand.go_to(plane) + self.hand.take("") + clicks
        row, column = (round(place) for place in click_in(self.truths[plane]))
        self.session.accept(self._offers[plane])
        for _ in range(further):
            if not self._review.offer_another(plane, row, column):
                raise ValueError("the session offered fewer regions than were counted")
        return cost

    def _thresholds(self) -> Iterator[Action]:
        """Move the slider of the score."""
        now = self._mean_at(self._threshold)
        for threshold in THRESHOLDS:
            gain = self._mean_at(threshold) - now
            if gain > 0:
                yield Action("threshold", gain, 1, partial(self._move, threshold))

    def _mean_at(self, threshold: float) -> float:
        """Mean Dice if all proposals of at least a score were accepted."""
        total = 0.0
        for plane in self._planes:
            listed = [region for region in self._waiting(plane) if self._review.queue.score(region.id) >= threshold]
            key = plane, tuple(region.id for region in listed)
            if key not in self._dice:
                found = self._with(plane, [self._array(one, plane) for one in listed])
                self._dice[key] = dice(found, self.truths[plane])
            total += self._dice[key]
        return total / len(self.truths)

    def _move(self, threshold: float) -> int:
        self._threshold = threshold
        self._review.filter(Filter(min_score=threshold))
        self._look()
        return 1

    def _beginnings(self) -> Iterator[Action]:
        """Propose regions by their boundaries, so many that one of them serves best, and accept that one."""
        if self._start is None:
            found = [self._beginning(plane, count) for plane in self._planes for count in COUNTS]
            self._start = max(found, key=lambda one: one.rate)
        yield self._start

    def _beginning(self, plane: int, count: int) -> Action:
        request = self.session.request_proposals("hierarchy", count, plane, only=True)
        regions = [region for answer in self._run(request) for region in answer.regions]
        gain = max(self._gain(plane, region) for region in regions)
        cost = 3 + int(count != DEFAULT_COUNT) + int(plane != self.hand.plane)
        return Action("begin", gain / len(self.truths), cost, partial(self._begin, plane, count))

    def _gain(self, plane: int, region: Region) -> float:
        """By how much one more region would raise the Dice of a plane; what was accepted before is kept."""
        pixels = region.mask.pixels(plane)
        more = pixels[~self.mask(plane).reshape(-1)[pixels]]
        truth, mask = self.truths[plane], self.mask(plane)
        shared = int((mask & truth).sum()) + int(truth.reshape(-1)[more].sum())
        return 2 * shared / (int(mask.sum()) + len(more) + int(truth.sum())) - dice(mask, truth)

    def _begin(self, plane: int, count: int) -> int:
        cost = self.hand.go_to(plane)
        request = self.session.request_proposals("hierarchy", count, plane)
        self._take(self._run(request))
        self._kind, self._first = "hierarchy", plane
        best = max(self._review.queue.on_plane(plane), key=lambda region: self._gain(plane, region))
        self._review.select(best.id)
        self._review.accept()
        self._look()
        return cost + 3 + int(count != DEFAULT_COUNT)

    def _pieces(self) -> Iterator[Action]:
        """Further regions of the plane that it began with."""
        for region in self._review.queue.on_plane(self._first):
            if region.decision == "undecided":
                gain = self._gain(self._first, region) / len(self.truths)
                cost = int(self.hand.plane != self._first) + int(region.id != self._review.current) + 1
                if gain > 0:
                    yield Action("piece", gain, cost, partial(self._accept_piece, region.id))

    def _accept_piece(self, one: int) -> int:
        cost = self.hand.go_to(self._first) + int(one != self._review.current) + 1
        self._review.select(one)
        self._review.accept()
        self._look()
        return cost

    def _propagations(self) -> Iterator[Action]:
        """Look for the like of what was accepted; tried whenever another plane was worked on."""
        worked = [plane for plane in self._planes if self._accepted(plane).any()]
        if not worked or min(dice(self._accepted(plane), self.truths[plane]) for plane in worked) < DRAWN:
            return
        if worked != self._asked:
            self._asked = worked
            self.session.mark_accepted()
            self._answers = {single: self._search(single) for single in (False, True)}
            self.session.choose_single(self._single)
        for single, answers in self._answers.items():
            cost = 1 + int(self._threshold > 0) + int(single != self._single)
            yield Action("propagate", self._promise(worked, answers), cost, partial(self._propagate, single))

    def _search(self, single: bool) -> list[Proposed]:
        self.session.choose_single(single)
        return self._run(self.session.request_proposals(LIKE, DEFAULT_COUNT, self.hand.plane, rest=True))

    def _promise(self, worked: Sequence[int], answers: Sequence[Proposed]) -> float:
        """By how much the mean Dice is better with the answers."""
        regions = [region for answer in answers for region in answer.regions]
        total = 0.0
        for plane, now in enumerate(self.masks()):
            found = [region.mask.to_array(plane) for region in regions if plane in region.planes]
            clicked = [self._array(one, plane) for one in self._waiting(plane) if one.kind == CLICKED]
            after = self._with(plane, clicked if plane in worked or clicked else found)
            total += dice(after, self.truths[plane]) - dice(now, self.truths[plane])
        return total / len(self.truths)

    def _propagate(self, single: bool) -> int:
        cost = 1 + int(single != self._single)
        self._single = single
        self._take(self._search(single))
        self._kind = LIKE
        cost += self._move(0.0) if self._threshold else 0
        self._look()
        return cost

    def _decisions(self, plane: int, region: Region, pending: Sequence[Region]) -> Iterator[Action]:
        """Reject, grow or shrink a proposal."""
        others = [self._array(one, plane) for one in pending if one.id != region.id]
        now = dice(self.mask(plane), self.truths[plane])
        cost = int(region.id != self._review.current) + 1
        choices: dict[str, tuple[list[Mask], Callable[[], None]]] = {"reject": (others, self._review.reject)}
        for name, by in (("grow", 1), ("shrink", -1)):
            choices[name] = [*others, self._reshaped(region.id, plane, by)], partial(self._review.grow, by)
        for name, (masks, act) in choices.items():
            gain = (dice(self._with(plane, masks), self.truths[plane]) - now) / len(self.truths)
            if gain > 0:
                yield Action(name, gain, cost, partial(self._act_on, region.id, act))

    def _reshaped(self, one: int, plane: int, by: int) -> Mask:
        """A proposal after one more step of growing or shrinking."""
        item = self._review.book.items[one]
        key = one, item.steps + by
        if key not in self._grown:
            origin = item.origin or item.region.mask
            self._grown[key] = grown(origin, item.steps + by, self._similarity(one)).to_array(plane)
        return self._grown[key]

    def _similarity(self, one: int) -> Mapping[int, Similarity]:
        """Similarity map of a region, as the panel asks for it while the region is looked at."""
        before = self._review.current
        self._review.select(one)
        request = self.session.request_similarity()
        if request is not None:
            for answer in region_similarity(request, self._sources, lambda: False):
                self.session.accept(answer)
        if before is not None:
            self._review.select(before)
        return self._review.similarity[one]

    def _act_on(self, one: int, act: Callable[[], None]) -> int:
        cost = int(one != self._review.current) + 1
        self._similarity(one)
        self._review.select(one)
        act()
        self._look()
        return cost

    def _adopt(self, plane: int) -> int:
        """Accept the proposals of a plane, one by one or by the filter for the plane, so that they can be painted."""
        pending = self._pending(plane)
        if len(pending) == 1:
            return self._act_on(pending[0].id, self._review.accept)
        cost = self.hand.go_to(plane) + 3  # this plane, accept all, no longer this plane
        before = self._review.queue.filter
        self._review.filter(replace(before, plane=plane))
        self._review.accept_all(self._threshold)
        self._review.filter(before)
        self.hand.plane = plane
        return cost

    # --- the session --------------------------------------------------------------------------------------------------

    def _run(self, request: ProposeRequest | None) -> list[Proposed]:
        if request is None:
            return []
        answers = propose(request, self._sources, self._trees, lambda: False)
        return [answer for answer in answers if isinstance(answer, Proposed)]

    def _take(self, answers: Sequence[Proposed]) -> None:
        for answer in answers:
            self.session.accept(answer)
        self.session.proposing_ended()

    def _look(self) -> None:
        """The panel shows the plane of the region that is current now."""
        region = self._review.region
        if region is not None:
            self.hand.go_to(region.planes[0])
