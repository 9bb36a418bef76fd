"""Corruption of views that a network shall restore: cut-out, its reverse, and swapped patches (DiRA's 2D setting).

Drawn first, applied afterwards; both act on pixels in place, never on geometry, so the clean view stays the exact
target. Sides are given for 224-pixel views, as published, and scale with the view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Box = tuple[int, int, int, int]  # top, left, height, width
_REFERENCE = 224

FILLS = ("zero", "noise")


@dataclass(frozen=True)
class CorruptionParams:
    """How often and how much; the defaults are those of the authors' code.

    Attributes
    ----------
    cut_out, outer, swap : float
        Probabilities of the three kinds; the rest stays whole.
    boxes : int
        Most rectangles of a cut-out, and windows of an outer cut-out.
    stop : float
        Probability to stop after each rectangle or window.
    shortest, longest : int
        Sides of the rectangles.
    outer_shortest, outer_longest : int
        What the sides of a window lack of the whole view.
    swaps : int
        Pairs of patches that change places.
    swap_shortest, swap_longest : int
        Sides of the patches.
    fill : {"zero", "noise"}
        What hidden pixels become; "noise" is the in- and out-painting of Models Genesis.
    """

    cut_out: float = 0.30
    outer: float = 0.05
    swap: float = 0.30
    boxes: int = 10
    stop: float = 0.1
    shortest: int = 10
    longest: int = 70
    outer_shortest: int = 50
    outer_longest: int = 70
    swaps: int = 10
    swap_shortest: int = 10
    swap_longest: int = 15
    fill: str = "zero"


@dataclass(frozen=True)
class Corruption:
    """What happens to one view: ``kind`` of ``KINDS``, and its boxes; swaps come as neighbours 2i and 2i + 1."""

    kind: str
    boxes: tuple[Box, ...] = ()


def draw_corruption(size: int, params: CorruptionParams, generator: torch.Generator) -> Corruption:
    """Draw what happens to a view of ``size`` x ``size`` pixels."""
    chance = float(torch.rand((), generator=generator))
    for kind, share in (("cut_out", params.cut_out), ("outer", params.outer), ("swap", params.swap)):
        if chance < share:
            return Corruption(kind, tuple(KINDS[kind].draw(size, params, generator)))
        chance -= share
    return Corruption("none")


def apply_corruption(view: Tensor, corruption: Corruption, fill: str, generator: torch.Generator) -> Tensor:
    """Corrupt one view ``(C, V, V)`` in [0, 1]; the given tensor is left alone."""
    if corruption.kind == "none":
        return view.clone()
    noise = torch.rand(view.shape, generator=generator).to(view.device) if fill == "noise" else None
    hidden = torch.zeros_like(view) if noise is None else noise
    return KINDS[corruption.kind].apply(view, corruption.boxes, hidden)


def corrupt(views: Tensor, params: CorruptionParams, seeds: Sequence[int]) -> Tensor:
    """Corrupt each view of ``(B, C, V, V)`` in [0, 1] by its own seed; a new tensor of the same shape and range."""
    result = []
    for view, seed in zip(views, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        corruption = draw_corruption(views.shape[-1], params, generator)
        result.append(apply_corruption(view, corruption, params.fill, generator))
    return torch.stack(result)


def _draw_rectangles(size: int, params: CorruptionParams, generator: torch.Generator) -> list[Box]:
    return _boxes(size, params, (params.shortest, params.longest), generator)


def _draw_windows(size: int, params: CorruptionParams, generator: torch.Generator) -> list[Box]:
    lack = params.outer_shortest, params.outer_longest
    return _boxes(size, params, (_REFERENCE - lack[1], _REFERENCE - lack[0]), generator)


def _draw_pairs(size: int, params: CorruptionParams, generator: torch.Generator) -> list[Box]:
    """Pairs of equal boxes, no two of all of them overlapping; a pair that finds no room is left out."""
    pairs: list[Box] = []
    for _ in range(params.swaps):
        height, width = (_side(size, (params.swap_shortest, params.swap_longest), generator) for _ in range(2))
        found: list[Box] = []
        for _ in range(50):
            box = _place(size, height, width, generator)
            if not any(overlap(box, other) for other in (*pairs, *found)):
                found.append(box)
            if len(found) == 2:
                pairs += found
                break
    return pairs


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes share a pixel."""
    rows = first[0] < second[0] + second[2] and second[0] < first[0] + first[2]
    columns = first[1] < second[1] + second[3] and second[1] < first[1] + first[3]
    return rows and columns


def _boxes(size: int, params: CorruptionParams, sides: tuple[int, int], generator: torch.Generator) -> list[Box]:
    boxes: list[Box] = []
    while len(boxes) < params.boxes:
        boxes.append(_place(size, _side(size, sides, generator), _side(size, sides, generator), generator))
        if float(torch.rand((), generator=generator)) < params.stop:
            break
    return boxes


def _side(size: int, limits: tuple[int, int], generator: torch.Generator) -> int:
    drawn = int(torch.randint(limits[0], limits[1] + 1, (), generator=generator))
    return min(size, max(1, round(drawn * size / _REFERENCE)))


def _place(size: int, height: int, width: int, generator: torch.Generator) -> Box:
    top = int(torch.randint(size - height + 1, (), generator=generator))
    return top, int(torch.randint(size - width + 1, (), generator=generator)), height, width


def _hide_boxes(view: Tensor, boxes: tuple[Box, ...], hidden: Tensor) -> Tensor:
    inside = _mask(view, boxes)
    return torch.where(inside, hidden, view)


def _hide_outside(view: Tensor, boxes: tuple[Box, ...], hidden: Tensor) -> Tensor:
    return torch.where(_mask(view, boxes), view, hidden)


def _swap(view: Tensor, boxes: tuple[Box, ...], hidden: Tensor) -> Tensor:
    result = view.clone()
    for first, second in zip(boxes[::2], boxes[1::2], strict=True):
        result[_slices(first)], result[_slices(second)] = view[_slices(second)], view[_slices(first)]
    return result


def _mask(view: Tensor, boxes: tuple[Box, ...]) -> Tensor:
    mask = torch.zeros(view.shape[-2:], dtype=torch.bool, device=view.device)
    for box in boxes:
        mask[_slices(box)[1:]] = True
    return mask


def _slices(box: Box) -> tuple[slice, slice, slice]:
    return slice(None), slice(box[0], box[0] + box[2]), slice(box[1], box[1] + box[3])


@dataclass(frozen=True)
class Kind:
    """How the boxes of a corruption are drawn, and what they do to a view and its hidden pixels' substitute."""

    draw: Callable[[int, CorruptionParams, torch.Generator], list[Box]]
    apply: Callable[[Tensor, tuple[Box, ...], Tensor], Tensor]


KINDS: dict[str, Kind] = {
    "cut_out": Kind(_draw_rectangles, _hide_boxes),
    "outer": Kind(_draw_windows, _hide_outside),
    "swap": Kind(_draw_pairs, _swap),
}
