"""What examples mark on a plane: outlines and clicks as masks, beside the black margin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld._types import Position
from napari_ld.embedding import FeatureSource
from napari_ld.proposals.evidence import PlaneEvidence, plane_evidence
from napari_ld.proposals.examples import Example
from napari_ld.proposals.margins import margin_of, without_margin
from napari_ld.proposals.outlines import outline_of
from napari_ld.proposals.spots import spot_outline

__all__ = ["Marked", "by_plane", "marked_plane"]

BoolMask = npt.NDArray[np.bool_]

_IN_MARGIN = 0.05  # part of an example, or of the plane; with more in a black margin, that is searched like the rest
_PLANES = 6  # of one example


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """One plane with examples: what lies inside positive ones, inside negative ones, and in the black margin."""

    evidence: PlaneEvidence
    inside: BoolMask
    counter: BoolMask
    margin: BoolMask

    def can_be_framed(self) -> bool:
        """Whether the examples lie beside the black margin, and other pixels too."""
        marks = self.inside | self.counter
        return float(self.margin[marks].mean()) <= _IN_MARGIN and float((~marks & ~self.margin).mean()) > _IN_MARGIN

    def within_frame(self) -> Marked:
        """The same without the margin."""
        return Marked(
            without_margin(self.evidence, self.margin),
            self.inside & ~self.margin,
            self.counter & ~self.margin,
            self.margin,
        )


def by_plane(examples: Sequence[Example]) -> dict[tuple[FeatureSource, int], list[Example]]:
    """Examples by source and plane; of an outline over many planes the largest parts."""
    found: dict[tuple[FeatureSource, int], list[Example]] = defaultdict(list)
    for example in examples:
        planes: Sequence[int] = [example.plane]
        if example.mask is not None:
            mask = example.mask
            planes = sorted(mask.planes, key=lambda plane: (-mask.on_plane(plane).area, plane))[:_PLANES]
        for plane in sorted(planes):
            found[example.source, plane].append(example)
    return found


def marked_plane(
    source: FeatureSource, plane: int, examples: Sequence[Example], cancelled: Callable[[], bool] | None
) -> Marked:
    """What the examples on a plane mark there."""
    evidence = plane_evidence(source, plane, cancelled)
    inside, counter = (np.zeros(evidence.shape, bool) for _ in range(2))
    for example in examples:
        if example.mask is not None:
            outline = example.mask.to_array(plane)
        else:
            outline = _clicked(evidence, example.position or (0.0, 0.0))
        target = inside if example.positive else counter
        target |= outline
    return Marked(evidence, inside & ~counter, counter, margin_of(evidence.channels))


def _clicked(evidence: PlaneEvidence, position: Position) -> BoolMask:
    """Outline of what was clicked: a spot, or else the region of the hierarchy that stands out."""
    spot = spot_outline(evidence, position)
    return outline_of(evidence, position) if spot is None else spot
