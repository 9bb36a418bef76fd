"""What the confidence is worth: whether likely wrong answers are flagged, and the expected error is the real one.

    python -m benchmarks.confidence --fold-encoders benchmarks/encoders/fold-a.safetensors \
        benchmarks/encoders/fold-b.safetensors --output benchmarks/results/confidence.json

Out of fold, with the product's settings. Wrong is further than 4 mm from the truth on cephalograms, else than 5 % of
the reference length. The expected error of each set is that of coefficients fitted to the *other* sets; the
coefficients of all sets together, which the product holds, are printed last.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.linear_model import PoissonRegressor

from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.folds import load_folds
from benchmarks.machine import write_results
from benchmarks.outcomes import benchmark_store, evenly
from napari_ld.embedding import FeatureSource
from napari_ld.localization import LocateParams, Template
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.expected_error import ExpectedError
from napari_ld.localization.fine import refine_plane
from napari_ld.localization.images import search_images
from napari_ld.localization.query import Query
from napari_ld.model.checkpoint import LoadedModel, load_model

IMAGES = {"ceph": 8, "hand": 8, "fundus_disc": 16, "fundus_fovea": 16}  # of each fold, for each template
LARGEST = 60.0  # errors in pixels of the working scale are cut here, so that the grossest do not rule the fit

# Columns: level, margin, spread, coarse and fine error in pixels of the working scale, fine error in the set's
# unit, confident.
SEEN = {"coarse": (2, 3), "fine": (3, 4)}  # by stage: how many columns are evidence, and which is the error
Answers = npt.NDArray[np.float64]


def answers(model: LoadedModel, data: EvaluationSet, template: str, names: Sequence[str]) -> Iterator[list[float]]:
    """Evidence and errors of every landmark on every image; absent ones are left out."""
    source = FeatureSource(data.images, model, store=benchmark_store())
    at = data.names.index(template)
    points = zip(data.landmarks, data.truth[at], strict=True)
    clicks = [Template(landmark, source, at, (float(row), float(column))) for landmark, (row, column) in points]
    query = Query(source, clicks, LocateParams())
    expected = ExpectedError(query)
    # a plane that all planes together judge otherwise comes twice: the second answer replaces the first
    planes = [data.names.index(name) for name in names]
    found = {(match.plane, match.landmark): match for match in search_images(query, planes)}
    by_plane: dict[int, list[CoarseMatch]] = {}
    for match in found.values():
        by_plane.setdefault(match.plane, []).append(match)
    for plane, matches in by_plane.items():
        scale = np.array(source.scale(plane))
        for coarse, fine in zip(matches, refine_plane(query, matches, query.params.search_sigma), strict=True):
            if coarse.position is not None and fine.position is not None:
                off = np.array([coarse.position, fine.position]) - data.truth[plane][coarse.landmark]
                seen = expected.evidence(coarse, fine)
                errors = (*np.hypot(*(off * scale).T), np.hypot(*(off[1] * data.scale(plane))))
                yield [*seen.values, *errors, float(coarse.status == "confident")]


def fit(sets: Sequence[Answers], stage: str) -> PoissonRegressor:
    """Expected error of the coarse or the fine answer from what is known of it; every set counts the same."""
    seen, column = SEEN[stage]
    x = np.concatenate([rows[:, :seen] for rows in sets])
    y = np.concatenate([rows[:, column] for rows in sets]).clip(max=LARGEST)
    weight = np.concatenate([np.full(len(rows), 1 / len(rows)) for rows in sets])
    return PoissonRegressor(alpha=1e-2, max_iter=2000).fit(x, y, sample_weight=weight / weight.mean())


def auroc(flag: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]) -> float:
    """Share of pairs of a wrong and a right answer in which the wrong one has the higher flag."""
    if wrong.all() or not wrong.any():
        return float("nan")
    ranks = stats.rankdata(flag)
    positives = int(wrong.sum())
    return float((ranks[wrong].sum() - positives * (positives + 1) / 2) / (positives * (~wrong).sum()))


def row_of(name: str, rows: Answers, others: Sequence[Answers], limit: float) -> dict[str, Any]:
    """Figures of one set, with coefficients from the others."""
    expected = fit(others, "fine").predict(rows[:, : SEEN["fine"][0]])
    real, wrong, confident = rows[:, 4].clip(max=LARGEST), rows[:, 5] > limit, rows[:, 6] > 0
    deciles = np.array_split(np.argsort(expected, kind="stable"), 10)
    sure = [wrong[np.argsort(expected, kind="stable")[: round(len(rows) * share)]] for share in (0.25, 0.5, 0.75, 1)]
    return {
        "set": name,
        "answers": len(rows),
        "wrong": int(wrong.sum()),
        "auroc": auroc(expected, wrong),
        "expected_by_real_error_per_decile": [float(expected[k].mean() / real[k].mean()) for k in deciles],
        "wrong_among_the_surest_25_50_75_100_percent": [float(part.mean()) for part in sure],
        "confident": float(confident.mean()),
        "wrong_if_confident": float(wrong[confident].mean()),
        "wrong_if_not": float(wrong[~confident].mean()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print one row per set, then the coefficients of all, and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fold-encoders", nargs=2, required=True, metavar=("A", "B"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    settings, folds, found = load_settings(), load_folds(), dict[str, Answers]()
    encoders = {fold: load_model(path) for fold, path in zip("ab", options.fold_encoders, strict=True)}
    sets = {name: load_set(name, settings) for name in IMAGES}
    for name, data in sets.items():
        rows: list[list[float]] = []
        for template in data.templates:
            for fold, model in encoders.items():
                inside = [n for n in data.names if n in folds[data.folder][fold] and n not in (template, *data.hard)]
                rows += answers(model, data, template, evenly(inside, IMAGES[name]))
        found[name] = np.array(rows)
        print(f"{name}: {len(rows)} answers", file=sys.stderr, flush=True)
    results = []
    for name, known in found.items():
        limit = 4.0 if sets[name].unit == "mm" else 5.0
        results.append(row_of(name, known, [rest for other, rest in found.items() if other != name], limit))
        print(results[-1])
    fits = {stage: fit(list(found.values()), stage) for stage in SEEN}
    coefficients = {stage: [float(f.intercept_), *map(float, f.coef_)] for stage, f in fits.items()}
    print(coefficients)
    if options.output:
        write_results(options.output, {"rows": results, "coefficients": coefficients})
    return 0


if __name__ == "__main__":
    sys.exit(main())
