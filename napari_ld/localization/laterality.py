"""Left and right: among the planes of a stack, and among the templates themselves.

A stack of left and right eyes or hands is searched with the templates and with their mirrored twins. Which of the two
is right is asked of all planes together, since a poor template says little about a single plane
(:func:`judged_together`). Where templates come from both sides, neither of the two searches is of one side, and what
would be learnt from them is a mixture (:func:`of_both_sides`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from napari_ld.embedding.source import FeatureSource
from napari_ld.localization.gradients import template_vectors, usable_zooms
from napari_ld.localization.query import Query, Template

__all__ = ["judged_together", "of_both_sides", "two_sides"]

_FEWEST = 12  # planes below which nothing is said of them together
_SHARE = 0.4  # of what the planes differ by that must be one difference: eyes 0.4 to 0.7, other images 0.2 to 0.35
_ERRORS = 2.0  # a group whose leads contradict it by more standard errors than this is not believed
_CLEAR = 0.25  # of the mean length: planes with less of that difference are on neither side


def judged_together(query: Query, votes: Mapping[int, bool], leads: Mapping[int, float]) -> dict[int, bool]:
    """Which planes are mirrored against the templates, when all planes together have been looked at.

    The planes themselves must fall into two mirrored groups (:func:`two_sides`); that of the templates is then the one
    that is not mirrored. The votes stand for planes that lie between the groups, and for all where they are unanimous,
    where templates lie in both groups, or where the leads of a group on the whole contradict it.

    Parameters
    ----------
    query : Query
    votes : dict of int to bool
        Whether a plane, judged by itself, counts as mirrored.
    leads : dict of int to float
        By how much the plane scores higher as a mirrored one.
    """
    if len(set(votes.values())) < 2:
        return dict(votes)
    homes = list(dict.fromkeys((template.source, template.plane) for template in query.templates))
    places = list(dict.fromkeys([*homes, *((query.source, plane) for plane in votes)]))
    sides = two_sides(np.stack([_asymmetry(source, plane) for source, plane in places]))
    of_place = dict(zip(places, sides.tolist(), strict=True))
    of_templates = {of_place[home] for home in homes}
    if len(of_templates) > 1 or 0 in of_templates:
        return dict(votes)
    straight = of_templates.pop()
    grouped = {plane: side != straight for plane in votes if (side := of_place[query.source, plane]) != 0}
    others = {plane: mirrored for plane, mirrored in grouped.items() if (query.source, plane) not in homes}
    return dict(votes) if _contradict(leads, others) else {**votes, **grouped}


def _contradict(leads: Mapping[int, float], grouped: Mapping[int, bool]) -> bool:
    """Whether the planes of a group on the whole look as if they were of the other, by more than two standard errors.

    So a stack that falls into two groups for another reason is left alone by a template that says clearly which planes
    are mirrored, and so is one where a group has no two planes.
    """
    for group, sign in ((False, -1), (True, 1)):
        own = sign * np.array([leads[plane] for plane, mirrored in grouped.items() if mirrored == group])
        if len(own) < 2 or own.mean() < -_ERRORS * own.std(ddof=1) / np.sqrt(len(own)):
            return True
    return False


def two_sides(asymmetries: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Split images into those that look one way and those that look the other.

    What the left-right asymmetries of all images have in common, such as the light of the camera, does not count. Of
    the rest the cosines of all pairs are taken: positive for two that agree as they are, negative for two that agree
    when one is mirrored. The leading eigenvector of this signed graph tells the sides. [reconstruction: ours]

    Parameters
    ----------
    asymmetries : (N, F) array
        One row per image, which changes its sign when the image is mirrored.

    Returns
    -------
    (N,) int64 array
        1 and -1 for the sides (which is which means nothing), 0 where an image is on neither; all 0 when there are
        fewer than 12 images or no two sides explain most of how they differ.
    """
    count, centred = len(asymmetries), asymmetries - asymmetries.mean(axis=0)
    undecided = np.zeros(count, np.int64)
    if count < _FEWEST:
        return undecided
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    agreement = unit @ unit.T
    np.fill_diagonal(agreement, 0.0)
    strengths, vectors = np.linalg.eigh(agreement)
    if strengths[-1] < _SHARE * count:
        return undecided
    leading = vectors[:, -1] * np.sqrt(count)
    return np.where(np.abs(leading) < _CLEAR, undecided, np.sign(leading).astype(np.int64))


def _asymmetry(source: FeatureSource, plane: int) -> npt.NDArray[np.float64]:
    """How much brighter the left half of a plane is than the mirrored right half, cell by cell."""
    cells = source.thumbnail(plane).astype(np.float64)
    return np.asarray((cells - cells[:, ::-1])[:, : cells.shape[1] // 2].ravel())


def of_both_sides(query: Query) -> bool:
    """Whether the plane of some template looks more like the first one's when it is mirrored.

    Planes are compared by the gradient descriptors of the landmarks that they have in common with the first.
    """
    first = query.templates[0]
    zooms = usable_zooms(query, 0, query.params.gradient_zooms)
    known = {t.landmark: k for k, t in enumerate(query.templates) if _home(t) == _home(first)}
    leads: dict[tuple[int, int], float] = {}
    for k, template in enumerate(query.templates):
        if template.landmark in known and _home(template) != _home(first):
            one = known[template.landmark]
            straight, mirrored = (
                _likeness([template_vectors(side, zoom)[k] for zoom in zooms], query, zooms, one)
                for side in (query, query.mirrored)
            )
            leads[_home(template)] = leads.get(_home(template), 0.0) + mirrored - straight
    return any(lead > 0 for lead in leads.values())


def _home(template: Template) -> tuple[int, int]:
    return id(template.source), template.plane


def _likeness(own: Sequence[torch.Tensor], query: Query, zooms: Sequence[float], one: int) -> float:
    """Square of the mean cosine with a template over the zooms, as in the search."""
    cosines = [float(vector @ template_vectors(query, zoom)[one]) for vector, zoom in zip(own, zooms, strict=True)]
    return max(sum(cosines) / len(cosines), 0.0) ** 2
