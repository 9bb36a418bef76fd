"""How far off an answer probably is: a calibrated distance instead of a cosine.

The expected error is ``exp(b . x)`` pixels of the working scale, where x holds a constant and what the search has seen
of an answer (:class:`Evidence`). The coefficients b were fitted by Poisson regression to the errors of encoders on
images that they had never seen (``python -m benchmarks.confidence``, which also says how well coefficients from the
other image sets serve on each set). [reconstruction: ours]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.confidence import absolute
from napari_ld.localization.query import Query

__all__ = ["COEFFICIENTS", "Evidence", "ExpectedError"]

# Of (1, level, margin), for the refined answer also of the spread in units of 20 pixels.
COEFFICIENTS: dict[str, tuple[float, ...]] = {
    "coarse": (4.69, -3.12, -1.48),
    "fine": (3.65, -1.94, -1.73, 0.35),
}
_SPREAD_UNIT = 20.0  # pixels of the working scale
_LARGEST = 0.5  # of the longest side


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the search has seen of an answer.

    Attributes
    ----------
    level : float
        Score on the way from the background level, 0, to that of the template itself, 1; see
        :mod:`napari_ld.localization.confidence`.
    margin : float
        Lead over the best other peak.
    spread : float or None
        How far from the place others score nearly as well, in pixels of the working scale; None before the refinement.
    """

    level: float
    margin: float
    spread: float | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """What the coefficients stand for, without the constant."""
        known = () if self.spread is None else (self.spread / _SPREAD_UNIT,)
        return (self.level, self.margin, *known)


class ExpectedError:
    """Expected errors of the answers of one search for different subjects.

    Parameters
    ----------
    query : Query
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._scales = [absolute(query, landmark) for landmark in range(len(query.landmarks))]

    def evidence(self, coarse: CoarseMatch, refined: CoarseMatch | None = None) -> Evidence:
        """What is known of an answer: of the coarse one alone, or after the refinement."""
        level = self._scales[coarse.landmark].level(coarse.score)
        return Evidence(level, coarse.margin, None if refined is None else refined.spread)

    def of(self, coarse: CoarseMatch, refined: CoarseMatch | None = None) -> float:
        """Expected distance of the answer from the truth.

        Parameters
        ----------
        coarse : CoarseMatch
            What the coarse search said.
        refined : CoarseMatch, optional
            What the refinement made of it; without, the coarse answer itself is meant.

        Returns
        -------
        float
            In millimetres where the spacing is known, else in stored pixels.
        """
        seen, source = self.evidence(coarse, refined), self._query.source
        constant, *slopes = COEFFICIENTS["coarse" if seen.spread is None else "fine"]
        exponent = constant + sum(slope * value for slope, value in zip(slopes, seen.values, strict=True))
        pixels = min(math.exp(exponent), _LARGEST * source.working_size)
        spacing = source.spacing(coarse.plane) or (1.0, 1.0)
        return float(np.mean(pixels / np.array(source.scale(coarse.plane)) * np.array(spacing)))
