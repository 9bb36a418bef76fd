"""What each ingredient of the search is worth: the same clicks with one of them left out or replaced.

    python -m benchmarks.landmarks --ablation --fold-encoders A B --output benchmarks/results/search.json

Out of fold, all templates of ``landmarks.toml``, images that are not listed as hard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.data import EvaluationSet
from benchmarks.outcomes import evaluate_out_of_fold, evaluate_untrained, evenly
from benchmarks.report import align
from napari_ld.adaptation import AdaptParams
from napari_ld.localization import FineStage, LocateParams
from napari_ld.model.checkpoint import LoadedModel

__all__ = ["INGREDIENTS", "ingredient_rows", "ingredient_table"]

Row = dict[str, Any]

_EMBEDDING_ONLY = FineStage(encoder_weight=1.0, gradient_weight=0.0)

# What is changed in the settings of the search.
INGREDIENTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "without the second search with gradients": {"gradient_weight": 0.0},
    "without the close look": {"fine": ()},
    "without both: the embedding alone": {"gradient_weight": 0.0, "fine": ()},
    "close look with the embedding instead of gradients": {
        "fine": (FineStage(encoder_weight=1.0, gradient_weight=0.0),)
    },
    "gradients at one scale": {"gradient_zooms": (2 / 3,), "fine": (FineStage(gradient_zooms=(8 / 3,)),)},
    "without the way back": {"cycle_weight": 0.0},
    "without the layout of the set": {"layout": False},
    "left and right judged image by image": {"mirror_together": False},
    "without mirrored copies": {"mirror": False},
    "one cosine of all scales": {"separate_levels": False},
    "with self-training: Adapt without corrections": {"adapt": AdaptParams()},
}
UNTRAINED = "everything, untrained encoder"


def ingredient_rows(
    sets: Sequence[EvaluationSet],
    encoders: Mapping[str, LoadedModel],
    settings: Mapping[str, Any],
    limit: int | None = None,
    params: LocateParams | None = None,
) -> list[Row]:
    """Mean and median error of every variant on every set, averaged over the set's templates."""
    rows = []
    for data in sets:
        names = [name for name in evenly(data.names, limit) if name not in data.hard]
        for variant in (*INGREDIENTS, UNTRAINED):
            changed = replace(params or LocateParams(), **INGREDIENTS.get(variant, {}))
            found = []
            for template in data.templates:
                if variant == UNTRAINED:
                    like = next(iter(encoders.values()))
                    outcome = evaluate_untrained(like, settings["seed"], data, template, changed, names=names)
                else:
                    outcome = evaluate_out_of_fold(encoders, data, template, changed, names=names)
                found.append(np.array(list(outcome.errors.values())))
            means, medians = [float(e.mean()) for e in found], [float(np.median(e)) for e in found]
            rows.append({"variant": variant, "set": data.name, "unit": data.unit, "n_images": len(names)})
            rows[-1] |= {"means": means, "medians": medians}
            print(f"{data.name:13} {variant:52} {np.mean(means):7.2f} {np.mean(medians):7.2f}", flush=True)
    return rows


def ingredient_table(rows: Sequence[Row]) -> str:
    """One line a variant, one column a set: mean / median error, averaged over the templates."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    lines = [["mean / median error, average over the templates", *sets]]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = {row["set"]: row for row in rows if row["variant"] == variant}
        cells = [f"{np.mean(own[name]['means']):.2f} / {np.mean(own[name]['medians']):.2f}" for name in sets]
        lines.append([variant, *cells])
    return align(lines)
