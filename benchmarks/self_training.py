"""What the command line does from 12 images on: the search learns from its own surest answers on the stack.

    python -m benchmarks.self_training --fold-encoders benchmarks/encoders/fold-a.safetensors \
        benchmarks/encoders/fold-b.safetensors --output benchmarks/results/self_training.json

One template, no corrections, with and without ``--adapt``. Out of fold: the stack of a fold holds the images that its
encoder never saw, and the template. The fixed templates, the suggested one, and with ``--random`` those of
``benchmarks.templates``. Every row is written as soon as it is there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adaptation import ratio_interval
from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.machine import write_part
from benchmarks.outcomes import evaluate_out_of_fold, evenly
from benchmarks.templates import SETS, drawn_templates, suggested
from napari_ld.adaptation import AdaptParams
from napari_ld.localization import LocateParams
from napari_ld.model.checkpoint import LoadedModel, load_model
from napari_ld.model.zoo import resolve
from src_train.run import set_threads

Row = dict[str, Any]
KEYS = ("set", "which", "template")
WAYS = {"plain": LocateParams(), "self-trained": LocateParams(adapt=AdaptParams())}


def row_of(
    data: EvaluationSet, which: str, template: str, encoders: Mapping[str, LoadedModel], names: Sequence[str]
) -> Row:
    """Errors of both ways on the same images, and their ratio with its interval over images."""
    errors = {}
    for way, params in WAYS.items():
        found = evaluate_out_of_fold(encoders, data, template, params, names=names).errors
        errors[way] = np.array([found[name] for name in names if name in found])
    row: Row = {"set": data.name, "unit": data.unit, "which": which, "template": template}
    row["images"] = len(errors["plain"])
    for way, values in errors.items():
        row |= {f"{way}, mean": float(values.mean()), f"{way}, median": float(np.median(values))}
        row |= {f"{way}, within 2": float((values <= 2).mean())}
    before, after = (values.mean(axis=1) for values in errors.values())
    return row | {"ratio": float(after.mean() / before.mean()), "interval": ratio_interval(after, before)}


def templates_of(data: EvaluationSet, model: LoadedModel, seed: int, random: int) -> list[tuple[str, str]]:
    """What is asked for, and the template."""
    fixed = [("fixed", name) for name in data.templates]
    drawn = [("random", name) for name in drawn_templates(data, random, seed)]
    return [*fixed, ("suggested", suggested(data, model)), *drawn]


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line per set and way of choosing templates, means over templates."""
    lines = ["| set | template | plain | self-trained | ratio by template | within 2 |", "|---" * 6 + "|"]
    for key in dict.fromkeys((row["set"], row["which"]) for row in rows):
        own = [row for row in rows if (row["set"], row["which"]) == key]
        cells = [f"{own[0]['set']}, {own[0]['unit']}", f"{len(own)} {own[0]['which']}"]
        for way in WAYS:
            cells.append(" / ".join(f"{np.mean([row[f'{way}, {k}'] for row in own]):.2f}" for k in ("mean", "median")))
        ratios = " ".join(f"{row['ratio']:.2f}" for row in own)
        if len(own) == 1:
            ratios += " ({:.2f} to {:.2f})".format(*own[0]["interval"])
        shares = [100 * float(np.mean([row[f"{way}, within 2"] for row in own])) for way in WAYS]
        lines.append(f"| {' | '.join([*cells, ratios, '{:.0f} → {:.0f} %'.format(*shares)])} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fold-encoders", nargs=2, metavar=("A", "B"), required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--random", type=int, default=0, help="random templates a set")
    parser.add_argument("--limit", type=int, help="at most so many images a set; not for reports")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    set_threads(options.threads)
    settings = load_settings()
    encoders = {fold: load_model(resolve(file)) for fold, file in zip("ab", options.fold_encoders, strict=True)}
    rows: list[Row] = []
    for name in options.sets:
        data = load_set(name, settings)
        names = [n for n in evenly(data.names, options.limit) if n not in data.hard]
        for which, template in templates_of(data, encoders["a"], settings["seed"], options.random):
            rows.append(row_of(data, which, template, encoders, names))
            print(rows[-1], file=sys.stderr, flush=True)
            if options.output:
                write_part(options.output, {"seed": settings["seed"]}, "results", rows[-1:], KEYS)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
