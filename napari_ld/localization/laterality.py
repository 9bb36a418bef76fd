"""Left and right among the templates themselves.

A stack of left and right eyes or hands is searched with the templates and with their mirrored twins. Where templates
come from both sides, neither of the two searches is of one side, and what would be learnt from them is a mixture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_ld.localization.gradients import template_vectors, usable_zooms
from napari_ld.localization.query import Query, Template

__all__ = ["of_both_sides"]


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
