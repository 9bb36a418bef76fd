"""Times of answers on embedded stacks: coarse and refined, one landmark and a set of 19, and a point in space.

The bundled encoder answers: with random weights most landmarks would count as absent, and those are not refined.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.subjects import model_of, texture
from napari_ld._types import Image

if TYPE_CHECKING:
    from napari_ld.embedding.source import FeatureSource

ENCODER = "ld-general"
# What is measured, and the most that the project allows itself in milliseconds.
ANSWERS: dict[str, float] = {
    "click to coarse points, one 512² image": 50,
    "click to coarse points, 512² stack, bundled encoder": 150,
    "click to refined points, 512² stack": 1500,
    "19 landmarks to coarse points, 512² stack": 1000,
    "19 landmarks to refined points, 512² stack": 12000,
    "point to point in another volume, coarse": 1000,
}

Times = dict[str, list[float]]


def answer_times(planes: int, side: int, rounds: int) -> Times:
    """Milliseconds of each of :data:`ANSWERS`, ``rounds`` times.

    Parameters
    ----------
    planes : int
        Of the stack of 512 x 512 images.
    side : int
        Of the cubic volumes.
    """
    from napari_ld.embedding.source import FeatureSource

    model, rng = model_of(ENCODER), np.random.default_rng(0)
    found: Times = {what: [] for what in ANSWERS}
    stack = FeatureSource(np.stack([texture(seed) for seed in range(planes)]), model)
    volumes = [FeatureSource(_volume(seed, side), model) for seed in (0, 1)]
    for source in (stack, *volumes):
        source.embed_all()
    for _ in range(rounds):
        one, many = (_clicks(stack, rng.uniform(51, 460, (count, 2))) for count in (1, 19))
        point = _clicks(volumes[0], rng.uniform(0.2 * side, 0.8 * side, (1, 2)), side // 2)
        questions: dict[str, tuple[FeatureSource, Any, dict[str, Any]]] = {
            "click to coarse points, one 512² image": (stack, one, {"refine": False, "planes": [planes - 1]}),
            "click to coarse points, 512² stack, bundled encoder": (stack, one, {"refine": False}),
            "click to refined points, 512² stack": (stack, one, {}),
            "19 landmarks to coarse points, 512² stack": (stack, many, {"refine": False}),
            "19 landmarks to refined points, 512² stack": (stack, many, {}),
            "point to point in another volume, coarse": (volumes[1], point, {"refine": False, "stack_kind": "volumes"}),
        }
        for what, (source, clicks, options) in questions.items():
            found[what].append(_milliseconds(source, clicks, options))
    return found


def _volume(seed: int, side: int) -> Image:
    """A smooth random volume of 1 mm voxels."""
    slices = np.stack([texture(1000 * seed + at // 8, side) for at in range(side)])
    return Image(slices, "zyx", spacing=(1.0, 1.0, 1.0))


def _clicks(source: FeatureSource, places: Any, plane: int = 0) -> list[Any]:
    from napari_ld.localization import Template

    return [
        Template(f"point {k}", source, plane, (float(row), float(column))) for k, (row, column) in enumerate(places)
    ]


def _milliseconds(source: FeatureSource, clicks: Sequence[Any], options: dict[str, Any]) -> float:
    from napari_ld.localization import locate

    started = time.perf_counter()
    matches = list(locate(source, clicks, **options))
    if not matches:
        raise AssertionError("nothing was answered")
    return (time.perf_counter() - started) * 1e3
