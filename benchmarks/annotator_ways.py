"""Ways to annotate a stack, as :mod:`benchmarks.annotator` compares them: what can be done next, and its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from benchmarks.litemedsam import Box
from benchmarks.painter import Brush, Dab, Mask, Painter, dice

BRUSH_SIZE = 10  # that napari begins with
_TOUCHING = np.ones((3, 3), int)


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done: its name, by how much it raises the mean Dice, what it costs, and how to do it.

    ``do`` returns what it did cost.
    """

    name: str
    gain: float
    cost: int
    do: Callable[[], int]

    @property
    def rate(self) -> float:
        """Gain per cost."""
        return self.gain / self.cost


@dataclass(slots=True)
class Hand:
    """Where the hand is: the plane that is shown, the tool, the size of the brush, and where its last dab ended."""

    plane: int = 0
    tool: str = ""
    size: int = BRUSH_SIZE
    end: tuple[int, int] | None = None

    def go_to(self, plane: int) -> int:
        """Show a plane; returns the cost."""
        moved = plane != self.plane
        if moved:
            self.plane, self.end = plane, None
        return int(moved)

    def take(self, tool: str, size: int | None = None) -> int:
        """Take a tool, or a brush of a size; returns the cost."""
        changes = int(tool != self.tool) + int(size is not None and size != self.size)
        if changes:
            self.tool, self.end = tool, None
            self.size = self.size if size is None else size
        return changes


def tool_of(brush: Brush) -> str:
    """Tool of a brush in napari."""
    return "eraser" if brush.erases else "brush"


@dataclass(eq=False)
class PaintWay:
    """With a brush only.

    Parameters
    ----------
    truths : sequence of (rows, columns) bool arrays
        One per plane.
    """

    truths: Sequence[Mask]
    hand: Hand = field(default_factory=Hand)

    def __post_init__(self) -> None:
        self._painted = [np.zeros_like(truth) for truth in self.truths]
        self._painters = [Painter(truth) for truth in self.truths]

    # --- what a way is asked ------------------------------------------------------------------------------------------

    def masks(self) -> list[Mask]:
        """Mask of every plane, once the annotator stops."""
        return [self.mask(plane) for plane in range(len(self.truths))]

    def mask(self, plane: int) -> Mask:
        """Mask of one plane."""
        return self._painted[plane]

    def changed(self) -> None:
        """Take notice that an action was made."""

    def last_cost(self) -> int:
        """What it costs to stop."""
        return 0

    def check(self) -> None:
        """Make sure that :meth:`masks` is what the person has."""

    def actions(self) -> Iterator[Action]:
        """All that can be done now."""
        for plane in range(len(self.truths)):
            yield from self.dabs(plane)

    # --- the brush ----------------------------------------------------------------------------------------------------

    def paint(self, plane: int, mask: Mask) -> None:
        """Let a plane look like this."""
        self._painted[plane] = mask

    def dabs(self, plane: int, before: int = 0, prepare: Callable[[], int] | None = None) -> Iterator[Action]:
        """Dabs on a plane, with what has to be done ``before`` each of them, and its cost."""
        hand, mask = self.hand, self.mask(plane)
        found: list[Dab] = list(self._painters[plane].clicks(mask).values())
        if prepare is None and hand.plane == plane and hand.end is not None and hand.tool in ("brush", "eraser"):
            dragged = self._painters[plane].drag(mask, Brush(hand.size, hand.tool == "eraser"), hand.end)
            found += [] if dragged is None else [dragged]
        for dab in found:
            if dab.gain > 0:
                tool, size = tool_of(dab.brush), dab.brush.size
                cost = before + 1 + int(tool != hand.tool) + int(size != hand.size)
                cost += int(prepare is None and plane != hand.plane)
                yield Action("dab", dab.gain / len(self.truths), cost, self._dabbing(plane, dab, prepare))

    def _dabbing(self, plane: int, dab: Dab, prepare: Callable[[], int] | None) -> Callable[[], int]:
        def do() -> int:
            cost = prepare() if prepare is not None else 0
            cost += self.hand.go_to(plane) + self.hand.take(tool_of(dab.brush), dab.brush.size) + 1
            self.paint(plane, dab.mask)
            self.hand.end = dab.end
            return cost

        return do


@dataclass(eq=False)
class BoxWay(PaintWay):
    """With boxes around what is wanted, and the brush.

    Parameters
    ----------
    drawn : sequence of lists of (rows, columns) bool arrays
        Masks that the boxes of each plane give.
    """

    drawn: Sequence[list[Mask]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._left = [list(masks) for masks in self.drawn]

    def actions(self) -> Iterator[Action]:
        """Boxes that were not drawn yet, and dabs."""
        for plane, masks in enumerate(self._left):
            for place, mask in enumerate(masks):
                before, after = self.mask(plane), self.mask(plane) | mask
                gain = dice(after, self.truths[plane]) - dice(before, self.truths[plane])
                cost = int(plane != self.hand.plane) + int(self.hand.tool != "box") + 2
                yield Action("box", gain / len(self.truths), cost, self._boxing(plane, place))
        yield from super().actions()

    def _boxing(self, plane: int, place: int) -> Callable[[], int]:
        def do() -> int:
            cost = self.hand.go_to(plane) + self.hand.take("box") + 2
            self.paint(plane, self.mask(plane) | self._left[plane].pop(place))
            return cost

        return do


def boxes_of(truth: Mask) -> list[Box]:
    """Box around each connected structure, those of one pixel left out."""
    labels, _ = ndimage.label(truth, _TOUCHING)
    found = []
    for number, slices in enumerate(ndimage.find_objects(labels), start=1):
        if np.count_nonzero(labels[slices] == number) > 1:
            rows, columns = slices
            found.append((rows.start, columns.start, rows.stop, columns.stop))
    return found
