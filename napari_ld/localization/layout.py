"""How the landmarks of a set lie to each other, learnt from the answers on the stack itself; no label is used.

The answers on each plane are laid over the template's points by a similarity transform that outliers hardly move. What
remains has a mean and a covariance over the planes, and with these the others on a plane tell where a landmark ought to
lie, and how exactly they can tell. An answer that lies elsewhere than they say is looked for again there.
[reconstruction: ours]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_ld._types import Position
from napari_ld.localization.coarse import CoarseMatch, coarse_map, to_cell
from napari_ld.localization.query import Query
from napari_ld.similarity import sample

__all__ = ["looked_for_again"]

Complex = npt.NDArray[np.complex128]
_FEWEST_LANDMARKS = 5  # a transform follows fewer wherever they lie
_FEWEST_PLANES = 12
_OUTLIER = 15.0  # pixels of the working scale at which an answer counts half in the alignment
_ROUNDS = 10  # of reweighting
_LIMIT = 3.0  # deviations to which residuals are cut before mean and covariance are taken
_RIDGE = 0.3  # of the variances, added to them: planes are few
_FLOOR = 0.05  # pixels or their square, where planes do not differ at all
_MAD = 1.4826  # deviations in a median distance from the median
_SMALLEST = 1e-3  # factor of a transform; all answers in one place make none
_FAR = 4.0  # deviations from where the others expect an answer, beyond which it is looked for again
_VAGUE = 20.0  # pixels by which planes differ, from which on a landmark has no common place
_UNRELATED = 10.0  # the same of half of the landmarks, from which on the planes have nothing in common


@dataclass(frozen=True, slots=True, eq=False)
class _Similarity:
    """``at + factor * (point - centre)``, points being complex numbers: column + i row."""

    centre: complex
    at: complex
    factor: complex

    def __call__(self, points: Complex) -> Complex:
        return self.at + self.factor * (points - self.centre)

    def inverse(self, points: Complex) -> Complex:
        return self.centre + (points - self.at) / self.factor


def looked_for_again(query: Query, found: Mapping[int, Sequence[CoarseMatch]]) -> Iterator[CoarseMatch]:
    """Matches that lie where the others on their plane do not expect them, with the place where they do.

    Their score is that of the new place, their margin the lead, below 0, over the old one, and they are *uncertain*.
    Nothing is said with fewer than five landmarks on a template, with fewer than twelve planes on which all were found,
    or where planes have no layout in common.

    Parameters
    ----------
    query : Query
    found : dict of int to sequence of CoarseMatch
        By plane, one for each landmark of the query.
    """
    layout = _layout(query)
    known = {
        plane: places for plane, matches in found.items() if (places := _places(query, matches, layout)) is not None
    }
    if len(layout) < _FEWEST_LANDMARKS or len(known) < _FEWEST_PLANES:
        return
    points = np.array(list(layout.values()))
    fits = [_aligned(points, places) for places in known.values()]
    rest = np.array([fit.inverse(places) - points for fit, places in zip(fits, known.values(), strict=True)])
    expected, far = _judged(rest)
    for fit, wanted, wrong, plane in zip(fits, points + expected, far, known, strict=True):
        places = fit(wanted)
        for match in found[plane]:
            at = list(layout).index(match.landmark) if match.landmark in layout else None
            if at is not None and wrong[at]:
                yield _moved(query, match, places[at])


def _layout(query: Query) -> dict[int, complex]:
    """Places of the landmarks, by index, on the template plane that shows most of them."""
    by_plane: dict[tuple[int, int], dict[int, complex]] = {}
    for template in query.templates:
        scale = template.source.scale(template.plane)
        place = complex(template.position[1] * scale[1], template.position[0] * scale[0])
        home = id(template.source), template.plane
        by_plane.setdefault(home, {})[query.landmarks.index(template.landmark)] = place
    return max(by_plane.values(), key=len)


def _places(query: Query, matches: Sequence[CoarseMatch], layout: Mapping[int, complex]) -> Complex | None:
    """Places (L,) of the landmarks at the working scale, those of a mirrored plane turned; None if one is absent."""
    places = {match.landmark: _place(query, match) for match in matches if match.position is not None}
    return np.array([places[landmark] for landmark in layout]) if layout.keys() <= places.keys() else None


def _place(query: Query, match: CoarseMatch) -> complex:
    row, column = match.position or (0.0, 0.0)
    scale = query.source.scale(match.plane)
    last = query.source.shape(match.plane)[1] - 1
    return complex((last - column if match.mirrored else column) * scale[1], row * scale[0])


def _aligned(points: Complex, places: Complex) -> _Similarity:
    """The similarity transform from the template to a plane; what does not fit counts little."""
    weights = np.ones(len(points))
    for _ in range(_ROUNDS):
        weights /= weights.sum()
        centre, at = complex(weights @ points), complex(weights @ places)
        spread = float(weights @ np.abs(points - centre) ** 2)
        factor = complex((weights * np.conj(points - centre)) @ (places - at)) / max(spread, _FLOOR)
        fit = _Similarity(centre, at, factor if abs(factor) > _SMALLEST else 1.0)
        weights = 1 / (1 + (np.abs(fit(points) - places) / _OUTLIER) ** 2)
    return fit


def _judged(rest: Complex) -> tuple[Complex, npt.NDArray[np.bool_]]:
    """What is left of each landmark (N, L) according to the others of its plane, and where it is far from that."""
    count, landmarks = rest.shape
    flat = np.stack([rest.real, rest.imag], axis=2).reshape(count, -1)  # (N, 2 * L)
    middle = np.median(flat, axis=0)
    spread = _MAD * np.median(np.abs(flat - middle), axis=0)
    reach = _LIMIT * (spread + _FLOOR)
    cut = np.clip(flat, middle - reach, middle + reach)
    mean, covariance = cut.mean(axis=0), np.cov(cut.T)
    covariance += np.diag(_RIDGE * np.diag(covariance) + _FLOOR)
    expected, far = np.zeros_like(flat), np.zeros((count, landmarks), bool)
    for landmark in range(landmarks):
        own = np.array([2 * landmark, 2 * landmark + 1])
        others = np.delete(np.arange(2 * landmarks), own)
        shared = covariance[others][:, own]
        gain = np.linalg.solve(covariance[others][:, others], shared)
        left = covariance[own][:, own] - shared.T @ gain
        expected[:, own] = mean[own] + (cut[:, others] - mean[others]) @ gain
        away = flat[:, own] - expected[:, own]
        deviations = np.sqrt((away * np.linalg.solve(left, away.T).T).sum(axis=1))
        far[:, landmark] = (deviations > _FAR) & bool(spread[own].max() < _VAGUE)
    # Where half of a plane's landmarks are far, no one can tell which half is wrong.
    far &= (far.sum(axis=1, keepdims=True) < landmarks / 2) & bool(np.median(spread) < _UNRELATED)
    return expected[:, ::2] + 1j * expected[:, 1::2], far


def _moved(query: Query, match: CoarseMatch, place: complex) -> CoarseMatch:
    """The match at a place of the working scale, kept inside the plane."""
    scale, (rows, columns) = query.source.scale(match.plane), query.source.shape(match.plane)
    column = min(max(place.real / scale[1], 0.0), columns - 1.0)
    row = min(max(place.imag / scale[0], 0.0), rows - 1.0)
    position: Position = float(row), float(columns - 1 - column if match.mirrored else column)
    side = query.mirrored if match.mirrored else query
    similar = side.combine(coarse_map(query.source, match.plane, side), match.landmark)
    score = float(sample(similar, to_cell(query.source, match.plane, position)))
    margin = min(0.0, score - match.score)
    return replace(match, position=position, score=score, margin=margin, status="uncertain")
