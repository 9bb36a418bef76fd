"""How far off an answer probably is: a calibrated distance instead of a cosine.

The expected error is ``exp(b . x)`` pixels of the working scale, where x holds a constant and what the coarse search
has seen of an answer (:class:`Evidence`). The coefficients b were fitted by Poisson regression to the errors of
encoders on images that they had never seen (``python -m benchmarks.confidence``, which also says how well coefficients
from the other image sets serve on each set). [reconstruction: ours]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.confidence import absolute
from napari_ld.localization.query import Query

__all__ = ["COEFFICIENTS", "Evidence", "ExpectedError"]

# Of (1, level, margin), for the coarse and for the refined answer.
COEFFICIENTS: dict[str, tuple[float, float, float]] = {
    "coarse": (5.21, -3.61, -1.69),
    "fine": (5.27, -3.64, -2.01),
}
_LARGEST = 0.5  # of the longest side


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the coarse search has seen of an answer.

    Attributes
    ----------
    level : float
        Score on the way from the background level, 0, to that of the template itself, 1; see
        :mod:`napari_ld.localization.confidence`.
    margin : float
        Lead over the best other peak.
    """

    level: float
    margin: float


class ExpectedError:
    """Expected errors of the answers of one search for different subjects.

    Parameters
    ----------
    query : Query
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._scales = [absolute(query, landmark) for landmark in range(len(query.landmarks))]

    def evidence(self, coarse: CoarseMatch) -> Evidence:
        """What is known of the coarse answer; the refinement adds nothing that holds on images of other kinds."""
        return Evidence(self._scales[coarse.landmark].level(coarse.score), coarse.margin)

    def of(self, coarse: CoarseMatch, stage: str) -> float:
        """Expected distance of the answer from the truth.

        Parameters
        ----------
        coarse : CoarseMatch
            What the coarse search said.
        stage : {"coarse", "fine"}
            Which answer is meant: its own or the refined one.

        Returns
        -------
        float
            In millimetres where the spacing is known, else in stored pixels.
        """
        seen, source = self.evidence(coarse), self._query.source
        constant, level, margin = COEFFICIENTS[stage]
        pixels = min(math.exp(constant + level * seen.level + margin * seen.margin), _LARGEST * source.working_size)
        spacing = source.spacing(coarse.plane) or (1.0, 1.0)
        return float(np.mean(pixels / np.array(source.scale(coarse.plane)) * np.array(spacing)))
