"""Two encoders on the same image: which one finds a person's own work better, before anything is switched.

With landmarks that a person verified on two planes or more, each of up to three planes in turn is the click and the
answers on the other verified planes are judged; with masks accepted on two planes or more, each plane is told from the
others. Without either, both encoders look for points again on copies of the image that were turned, scaled and
brightened by known amounts. What an encoder unlearned shows on the embedded samples. [reconstruction: ours]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld._types import Position
from napari_ld.session.comparison_measures import MEASURES, Answer, CompareRequest
from napari_ld.session.tracks import State
from napari_ld.torch_loading import load_torch

__all__ = ["CompareRequest", "Compared", "Comparing", "Judgement", "Score", "Worse", "compare", "verified_points"]

JUDGED_PLANES = 20  # of one landmark: the first by number
_WORSE = 12  # answers that are listed
IsCancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Comparing:
    """Which encoder is being looked at, 1 or 2."""

    number: int


@dataclass(frozen=True, slots=True)
class Score:
    """What one encoder reached: a mean, its 95 % interval, and how many answers it is the mean of."""

    value: float
    low: float
    high: float
    answers: int


@dataclass(frozen=True, slots=True)
class Worse:
    """An answer that became worse: a landmark or class, the plane, and its value before and after."""

    name: str
    plane: int
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """Both encoders by one measure.

    Attributes
    ----------
    kind : str
        A key of :data:`napari_ld.session.comparison_measures.MEASURES`.
    old, new : Score
    difference : Score
        New minus old, answer by answer.
    unit : {"mm", "px", "%"}
    worse : tuple of Worse
        The worst first; only on what the person made.
    """

    kind: str
    old: Score
    new: Score
    difference: Score
    unit: str
    worse: tuple[Worse, ...] = ()

    @property
    def more_is_better(self) -> bool:
        """Whether the values are successes rather than errors."""
        return self.kind in ("masks", "warps")

    @property
    def verdict(self) -> str:
        """Better, worse, or neither for certain."""
        low, high = self.difference.low, self.difference.high
        if low <= 0 <= high or math.isnan(low):
            return "no clear difference"
        return "better" if (low > 0) == self.more_is_better else "worse"

    @property
    def text(self) -> str:
        """The judgement in plain words."""
        old, new, half = self.old.value, self.new.value, (self.new.high - self.new.low) / 2
        if self.kind == "warps":
            return (
                f"Points found again after turning and scaling: {old:.0f} % → {new:.0f} % ({self.verdict}; "
                f"{self.new.answers} points). Verify a landmark on two planes for a comparison on your own points."
            )
        if self.kind == "masks":
            return (
                f"Overlap with your accepted masks (Dice): {old:.0f} % → {new:.0f} ± {half:.0f} % ({self.verdict}; "
                f"{self.new.answers} masks)."
            )
        if self.kind == "samples":
            grown = 100 * (new / old - 1) if old else 0.0
            return f"Not forgotten? On the embedded samples the error went {old:.2f} → {new:.2f} % of the side " + (
                f"({grown:+.0f} %; {self.verdict})."
            )
        return (
            f"Error on your verified points: {old:.1f} → {new:.1f} ± {half:.1f} {self.unit} "
            f"({self.verdict}; {self.new.answers} answers)."
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """All judgements: of the person's own work, or of known warps; that of the samples last."""

    judgements: tuple[Judgement, ...]

    @property
    def text(self) -> str:
        """The result in plain words, a line each."""
        return "\n".join(judgement.text for judgement in self.judgements)

    @property
    def worse(self) -> tuple[tuple[Judgement, Worse], ...]:
        """What became worse of the person's own work."""
        return tuple((judgement, one) for judgement in self.judgements for one in judgement.worse)


def verified_points(state: State) -> dict[str, dict[int, Position]]:
    """Positions a person verified, by landmark and plane; landmarks on fewer than two planes are left out."""
    found = {
        track.name: {
            plane: point.match.position
            for plane, point in sorted(track.points.items())
            if point.verified and point.match.position is not None
        }
        for track in state.values()
    }
    return {name: dict(list(points.items())[:JUDGED_PLANES]) for name, points in found.items() if len(points) > 1}


def compare(request: CompareRequest, cancelled: IsCancelled) -> Iterator[Comparing | Compared]:
    """Measure the old, then the new encoder, and yield :class:`Compared` last.

    Raises
    ------
    Cancelled
        Between two planes, after ``cancelled`` turned true.
    NapariLDError
        When an encoder or the image cannot be used.
    """
    load_torch()
    own = [kind for kind, there in (("landmarks", request.points), ("masks", request.masks)) if there]
    kinds = [*(own or ["warps"]), "samples"]
    measured = []
    for number, encoder in enumerate((request.old, request.new), 1):
        yield Comparing(number)
        measured.append({kind: MEASURES[kind](request, encoder, cancelled) for kind in kinds})
    old, new = measured
    yield Compared(tuple(_judged(request, kind, old[kind], new[kind]) for kind in kinds if old[kind]))


def _judged(request: CompareRequest, kind: str, old: dict[Answer, float], new: dict[Answer, float]) -> Judgement:
    answers = [answer for answer in old if answer in new]
    before, after = (np.array([values[answer] for answer in answers]) for values in (old, new))
    # All points of the few warped planes count singly: an interval of three groups would say nothing.
    groups = [number if kind == "warps" else answer[2] for number, answer in enumerate(answers)]
    scores = [_score(values, groups) for values in (before, after, after - before)]
    unit = "%" if kind != "landmarks" else "mm" if request.image.pixel_spacing else "px"
    judgement = Judgement(kind, scores[0], scores[1], scores[2], unit)
    if kind not in ("landmarks", "masks"):
        return judgement
    losses = (before - after) if judgement.more_is_better else (after - before)
    order = [index for index in np.argsort(-losses, kind="stable").tolist() if losses[index] > 0][:_WORSE]
    worse = [Worse(answers[i][0], answers[i][2], float(before[i]), float(after[i])) for i in order]
    return Judgement(kind, scores[0], scores[1], scores[2], unit, tuple(worse))


def _score(values: npt.NDArray[np.float64], groups: list[int]) -> Score:
    from napari_ld.evaluation import bootstrap_interval

    low, high = bootstrap_interval(values, groups)
    return Score(float(values.mean()) if len(values) else math.nan, low, high, len(values))
