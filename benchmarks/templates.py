"""Which image to annotate, and how many: random templates, the suggested one, and five at once.

    python -m benchmarks.templates --fold-encoders A B --output benchmarks/results/templates.json

Templates are drawn by the seed of ``landmarks.toml`` among the images that are not listed as hard; the suggestion is
that of :func:`napari_ld.localization.suggest_template` on the whole set, without any label. Everything out of fold.
Five templates at once are compared with the same five one at a time, on the images that are none of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.machine import write_results
from benchmarks.outcomes import Outcome, benchmark_store, evaluate_out_of_fold, evenly
from benchmarks.report import align
from napari_ld.embedding.source import FeatureSource
from napari_ld.localization import suggest_template
from napari_ld.model.checkpoint import LoadedModel, load_model
from napari_ld.model.zoo import resolve

SETS = ("ceph", "fundus_disc", "fundus_fovea", "hand")
AT_ONCE = 5

Row = dict[str, Any]


def drawn_templates(data: EvaluationSet, count: int, seed: int) -> list[str]:
    """Draw different images, none of the hard ones."""
    proper = [name for name in data.names if name not in data.hard]
    return [proper[k] for k in np.random.default_rng(seed).permutation(len(proper))[:count]]


def suggested(data: EvaluationSet, model: LoadedModel) -> str:
    """Return the image that the product would propose to annotate."""
    proper = [k for k, name in enumerate(data.names) if name not in data.hard]
    source = FeatureSource([data.images[k] for k in proper], model, store=benchmark_store())
    return data.names[proper[suggest_template(source)[0]]]


def rows_of_set(
    data: EvaluationSet, encoders: Mapping[str, LoadedModel], seed: int, count: int, names: Sequence[str]
) -> list[Row]:
    """Errors with each random template, the suggested one, and five at once."""
    drawn = drawn_templates(data, count, seed)
    single = {name: evaluate_out_of_fold(encoders, data, name, names=names) for name in drawn}
    five = drawn[:AT_ONCE]
    others = [name for name in names if name not in five]
    together = evaluate_out_of_fold(encoders, data, five, names=others)
    best = suggested(data, encoders["a"])
    chosen = single.get(best) or evaluate_out_of_fold(encoders, data, best, names=names)
    alone = float(np.mean([_errors(single[name], others).mean() for name in five]))
    rows = [_row(data, "random", outcome) for outcome in single.values()]
    rows.append(_row(data, "suggested", chosen))
    rows.append(_row(data, f"{AT_ONCE} at once", together) | {"one_at_a_time": alone})
    return rows


def _errors(outcome: Outcome, names: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.array([outcome.errors[name] for name in names if name in outcome.errors])


def _row(data: EvaluationSet, which: str, outcome: Outcome) -> Row:
    errors = np.array(list(outcome.errors.values()))
    row = {"set": data.name, "unit": data.unit, "which": which, "template": outcome.template, "n_images": len(errors)}
    return row | {"mean": float(errors.mean()), "median": float(np.median(errors))}


def table(rows: Sequence[Row]) -> str:
    """One line a set."""
    head = [
        "mean / median error",
        "random, mean of",
        "least and most",
        "suggested",
        "its rank",
        f"{AT_ONCE} at once / 1",
    ]
    lines = [head]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        random = [row for row in own if row["which"] == "random"]
        best = next(row for row in own if row["which"] == "suggested")
        five = own[-1]
        means = [row["mean"] for row in random]
        rank = 1 + sum(row["mean"] < best["mean"] for row in random if row["template"] != best["template"])
        lines.append([
            f"{name}, {best['unit']}",
            f"{len(random)}: {np.mean(means):.2f} / {np.mean([row['median'] for row in random]):.2f}",
            f"{min(means):.2f} to {max(means):.2f}",
            f"{best['mean']:.2f} / {best['median']:.2f}",
            f"{rank} of {len({row['template'] for row in [*random, best]})}",
            f"{five['mean']:.2f} / {five['one_at_a_time']:.2f} = {five['mean'] / five['one_at_a_time']:.2f}",
        ])  # fmt: skip
    return align(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.templates", description=__doc__)
    parser.add_argument("--fold-encoders", nargs=2, metavar=("A", "B"), required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--count", type=int, default=10, help="random templates a set")
    parser.add_argument("--limit", type=int, help="at most so many images a set; not for reports")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    settings = load_settings()
    encoders = {fold: load_model(resolve(file)) for fold, file in zip("ab", options.fold_encoders, strict=True)}
    rows: list[Row] = []
    for name in options.sets:
        data = load_set(name, settings)
        names = [n for n in evenly(data.names, options.limit) if n not in data.hard]
        rows += rows_of_set(data, encoders, settings["seed"], options.count, names)
        print(table([row for row in rows if row["set"] == name]), flush=True)
    print(table(rows))
    if options.output:
        content = {"count": options.count, "limit": options.limit, "seed": settings["seed"], "results": rows}
        write_results(options.output, content | {"fold_encoders": [model.sha256 for model in encoders.values()]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
