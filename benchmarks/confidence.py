"""What the status *confident* is worth: how many answers carry it, and how many of those are wrong.

    python -m benchmarks.confidence --fold-encoders benchmarks/encoders/fold-a.safetensors \
        benchmarks/encoders/fold-b.safetensors --output benchmarks/results/confidence.json

Out of fold, with the product's settings; at most ten images a fold and template. Wrong is further than 4 mm from the
truth on cephalograms, else than 5 % of the reference length.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.folds import load_folds
from benchmarks.machine import write_results
from benchmarks.outcomes import benchmark_store, evenly
from napari_ld.embedding import FeatureSource
from napari_ld.localization import Template, locate
from napari_ld.model.checkpoint import LoadedModel, load_model

TEMPLATES = {"ceph": 3, "hand": 2, "fundus_disc": 4, "fundus_fovea": 4}  # the first ones of landmarks.toml
IMAGES = 10


def answers(model: LoadedModel, data: EvaluationSet, template: str, names: list[str]) -> list[tuple[bool, bool]]:
    """(confident, wrong) of every landmark on every image; absent ones count as neither and are left out."""
    source = FeatureSource(data.images, model, store=benchmark_store())
    at, limit = data.names.index(template), 4.0 if data.unit == "mm" else 5.0
    points = zip(data.landmarks, data.truth[at], strict=True)
    clicks = [Template(landmark, source, at, (float(row), float(column))) for landmark, (row, column) in points]
    found = []
    for match in locate(source, clicks, planes=[data.names.index(name) for name in names]):
        if match.stage == "fine" and match.position is not None:
            positions = np.zeros((len(data.landmarks), 2))
            positions[data.landmarks.index(match.landmark)] = match.position
            error = data.errors(match.plane, positions)[data.landmarks.index(match.landmark)]
            found.append((match.status == "confident", bool(error > limit)))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print one row per set and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fold-encoders", nargs=2, required=True, metavar=("A", "B"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    settings, folds, rows = load_settings(), load_folds(), list[dict[str, Any]]()
    encoders = {fold: load_model(path) for fold, path in zip("ab", options.fold_encoders, strict=True)}
    for name, count in TEMPLATES.items():
        data, pairs = load_set(name, settings), list[tuple[bool, bool]]()
        for template in data.templates[:count]:
            for fold, model in encoders.items():
                inside = [n for n in data.names if n in folds[data.folder][fold] and n != template]
                pairs += answers(model, data, template, evenly(inside, IMAGES))
        confident, wrong = np.array(pairs).T
        row = {"set": name, "answers": len(pairs), "confident": float(confident.mean())}
        row |= {"wrong_if_confident": float(wrong[confident].mean()), "wrong_if_not": float(wrong[~confident].mean())}
        rows.append(row)
        print(row, flush=True)
    if options.output:
        write_results(options.output, {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
