"""What five corrections teach: the error on the planes that nobody corrected, before, with them as examples, adapted.

    python -m benchmarks.adaptation --fold-encoders benchmarks/encoders/fold-a.safetensors \
        benchmarks/encoders/fold-b.safetensors --output benchmarks/results/adaptation.json

The stack is one fold of a set and the template, its encoder never saw the fold. Corrected are, as a person would, the
planes with the largest mean expected error; of all their landmarks the true place is given. Sets, templates and units
are those of ``landmarks.toml``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import EvaluationSet, load_set, load_settings, subset
from benchmarks.folds import load_folds
from benchmarks.machine import write_results
from benchmarks.outcomes import benchmark_store, evenly
from benchmarks.volumes import untrained
from napari_ld.adaptation import AdaptParams
from napari_ld.embedding import FeatureSource
from napari_ld.localization import LocateParams, Template, locate
from napari_ld.model.checkpoint import LoadedModel, load_model

SETS = ("ceph", "hand", "fundus_disc", "fundus_fovea")
CORRECTIONS = 5
PLAIN, ADAPTED = LocateParams(), LocateParams(adapt=AdaptParams())
METHODS = {  # with the corrections or without them, and the settings
    "before": (False, PLAIN),
    "adapted, no corrections": (False, ADAPTED),
    "examples": (True, PLAIN),
    "adapted": (True, ADAPTED),
}

Errors = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trial:
    """One stack and template.

    Attributes
    ----------
    names : tuple of str
        Images that stay uncorrected.
    errors : dict of method to (images, landmarks) array
    seconds : dict of method to float
        Processor time of answering one plane that is embedded already; what ``adapted`` takes more than ``examples`` is
        the learning.
    """

    names: tuple[str, ...]
    errors: dict[str, Errors]
    seconds: dict[str, float]


def trial(model: LoadedModel, data: EvaluationSet, template: str, names: Sequence[str], corrections: int) -> Trial:
    """Answer a stack of ``names`` and the template, correct the least sure planes, and answer the others again."""
    stack = subset(data, [*names, template])
    source = FeatureSource(stack.images, model, store=benchmark_store())
    source.embed_all()
    at, planes = stack.names.index(template), [stack.names.index(name) for name in names]
    _, expected = answers(source, stack, [at], planes, PLAIN)
    corrected = sorted(planes, key=lambda plane: (-expected[plane], plane))[:corrections]
    rest = [plane for plane in planes if plane not in corrected]
    errors, seconds = dict[str, Errors](), dict[str, float]()
    for method, (with_corrections, params) in METHODS.items():
        known = [at, *corrected] if with_corrections else [at]
        started = time.process_time()
        answers(source, stack, known, rest[:1], params)
        seconds[method] = time.process_time() - started
        found, _ = answers(source, stack, known, rest, params)
        errors[method] = np.array([stack.errors(plane, found[plane]) for plane in rest])
    return Trial(tuple(stack.names[plane] for plane in rest), errors, seconds)


def answers(
    source: FeatureSource, stack: EvaluationSet, known: Sequence[int], planes: Sequence[int], params: LocateParams
) -> tuple[Errors, dict[int, float]]:
    """Refined positions (planes, landmarks, 2) from the truth of known planes, and the mean expected error by plane."""
    clicks = [
        Template(landmark, source, plane, (float(row), float(column)))
        for plane in known
        for landmark, (row, column) in zip(stack.landmarks, stack.truth[plane], strict=True)
    ]
    found = np.full(stack.truth.shape, np.nan)
    expected: dict[int, list[float]] = {plane: [] for plane in planes}
    for match in locate(source, clicks, params=params, planes=planes):
        if match.stage == "fine":
            # a landmark that is called absent is the least sure one
            expected[match.plane].append(np.inf if match.expected_error is None else match.expected_error)
            if match.position is not None:
                found[match.plane, stack.landmarks.index(match.landmark)] = match.position
    return found, {plane: float(np.mean(values)) for plane, values in expected.items()}


def trials(
    encoders: Mapping[str, LoadedModel], data: EvaluationSet, templates: Sequence[str], limit: int | None, count: int
) -> Iterator[tuple[str, Trial]]:
    """Every template on the stacks of both folds."""
    folds = load_folds()[data.folder]
    for template in templates:
        for fold, model in encoders.items():
            inside = [n for n in data.names if n in folds[fold] and n not in (template, *data.hard)]
            yield template, trial(model, data, template, evenly(inside, limit), count)


def row_of(data: EvaluationSet, encoder: str, template: str, found: Sequence[Trial]) -> dict[str, Any]:
    """Errors of one template, both folds together, and what is left of the error before."""
    errors = {method: np.concatenate([part.errors[method] for part in found]) for method in METHODS}
    names = [name for part in found for name in part.names]
    before = errors["before"].mean()
    return {
        "set": data.name,
        "unit": data.unit,
        "encoder": encoder,
        "template": template,
        "images": len(names),
        **{f"{method}, mean": float(values.mean()) for method, values in errors.items()},
        **{f"{method}, median": float(np.median(values)) for method, values in errors.items()},
        "adapted by before": float(errors["adapted"].mean() / before),
        "interval": ratio_interval(errors["adapted"].mean(axis=1), errors["before"].mean(axis=1)),
        "seconds": max(part.seconds["adapted"] - part.seconds["examples"] for part in found),
    }


def ratio_interval(after: Errors, before: Errors, samples: int = 2000, seed: int = 0) -> list[float]:
    """95 % bootstrap interval over images of the ratio of two mean errors, each (images,)."""
    drawn = np.random.default_rng(seed).integers(0, len(after), size=(samples, len(after)))
    return [
        float(value) for value in np.quantile(after[drawn].mean(axis=1) / before[drawn].mean(axis=1), [0.025, 0.975])
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table, one row per set, encoder and template, and one of the means over templates."""
    lines = [f"| set, encoder, template | {' | '.join(METHODS)} | adapted / before | s |"]
    lines.append("|---" * (len(METHODS) + 3) + "|")
    for key in dict.fromkeys((row["set"], row["encoder"]) for row in rows):
        own = [row for row in rows if (row["set"], row["encoder"]) == key]
        means = {k: float(np.mean([row[k] for row in own])) for k in own[0] if isinstance(own[0][k], float)}
        means |= {"adapted by before": means["adapted, mean"] / means["before, mean"]}
        means |= {"seconds": max(row["seconds"] for row in own)}
        for name, row in [*((Path(row["template"]).stem, row) for row in own), ("mean", means)]:
            cells = [f"{row[f'{method}, mean']:.2f} / {row[f'{method}, median']:.2f}" for method in METHODS]
            low = f" ({row['interval'][0]:.2f} to {row['interval'][1]:.2f})" if "interval" in row else ""
            cells += [f"{row['adapted by before']:.2f}{low}", f"{row['seconds']:.1f}"]
            lines.append(f"| {key[0]}, {key[1]}, {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fold-encoders", nargs=2, required=True, metavar=("A", "B"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--templates", type=int, default=5, help="the first so many of a set")
    parser.add_argument("--limit", type=int, help="at most so many images a fold, evenly spread")
    parser.add_argument("--corrections", type=int, default=CORRECTIONS)
    parser.add_argument("--untrained", action="store_true", help="also an untrained encoder, on the first template")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    settings, rows = load_settings(), list[dict[str, Any]]()
    folds = {fold: load_model(path) for fold, path in zip("ab", options.fold_encoders, strict=True)}
    kinds = {"out of fold": (folds, options.templates)}
    if options.untrained:
        random = {fold: untrained(model, settings["seed"]) for fold, model in folds.items()}
        kinds["untrained"] = random, 1
    for data in (load_set(name, settings) for name in options.sets):
        for kind, (encoders, count) in kinds.items():
            for template in data.templates[:count]:
                found = [part for _, part in trials(encoders, data, [template], options.limit, options.corrections)]
                rows.append(row_of(data, kind, template, found))
                print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    if options.output:
        content = {"corrections": options.corrections, "limit": options.limit, "seed": 0, "results": rows}
        write_results(options.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
