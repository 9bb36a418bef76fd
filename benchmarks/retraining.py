"""What retraining on a new kind of image is worth, and what it costs elsewhere: landmark errors before and after.

    python -m benchmarks.retraining --encoders hand=runs/nohand/encoder.safetensors \
        ceph=runs/noceph/encoder.safetensors --work runs --presets quick standard \
        --output benchmarks/results/retraining.json

The encoder has never seen an image of the set (``benchmarks.train_encoders nohand``, ``noceph``). It is trained as the
panel does it, by the preset and on all images of the set without their labels: the question of a person who retrains
on the stack that is annotated. What it unlearned shows on the embedded samples, measured as the panel does. A finished
run in the work folder is used again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adaptation import Errors, ratio_interval
from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.folds import data_root
from benchmarks.machine import write_part
from benchmarks.outcomes import evaluate, evaluated_names, evenly
from napari_ld._types import Image
from napari_ld.localization import LocateParams
from napari_ld.model.checkpoint import read_header
from napari_ld.session.comparison_measures import CompareRequest, sample_errors
from src_train.config import PRESETS, load_config
from src_train.memory import keep_freed_memory
from src_train.run import run_training, set_threads

KEYS = ("set", "preset", "settings", "template")


def retrained(init: Path, data: EvaluationSet, preset: str, settings: Sequence[str], work: Path) -> Path:
    """Train an encoder on the images of a set, or take the one that was trained before."""
    run = work / "-".join(["retrained", data.name, preset, *(text.replace("/", "_") for text in settings)])
    file = run / "encoder.safetensors"
    if not file.is_file():
        images = str(data_root() / data.folder / "images")
        run_training(load_config(preset, settings=list(settings), data=(images,), init=str(init)), run)
    return file


def errors_of(encoder: Path, data: EvaluationSet, template: str, names: Sequence[str]) -> tuple[Errors, Errors]:
    """Refined and coarse errors (images, landmarks); a mirrored template is not looked for, as the sets have none."""
    found = evaluate(encoder, data, template, LocateParams(mirror=False), names=names)
    refined, coarse = (np.array([errors[name] for name in names]) for errors in (found.errors, found.coarse))
    return refined, coarse


def forgetting(old: Path, new: Path) -> tuple[float, float]:
    """Mean error on the embedded samples in % of the side, before and after."""
    values = []
    for encoder in (old, new):
        request = CompareRequest(Image(np.zeros((2, 2), np.float32), "yx"), str(old), str(new), {})
        values.append(float(np.mean(list(sample_errors(request, str(encoder), lambda: False).values()))))
    return values[0], values[1]


def row_of(
    data: EvaluationSet, template: str, before: tuple[Errors, Errors], after: tuple[Errors, Errors]
) -> dict[str, Any]:
    """Means, medians and the ratio of the mean errors with its interval over images."""
    return {
        "set": data.name,
        "unit": data.unit,
        "template": template,
        "images": len(before[0]),
        **{f"{when}, mean": float(errors[0].mean()) for when, errors in (("before", before), ("after", after))},
        **{f"{when}, median": float(np.median(errors[0])) for when, errors in (("before", before), ("after", after))},
        "coarse ratio": float(after[1].mean() / before[1].mean()),
        "ratio": float(after[0].mean() / before[0].mean()),
        "interval": ratio_interval(after[0].mean(axis=1), before[0].mean(axis=1)),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table, one row per set, preset and template."""
    lines = ["| set, template | preset | before | after | after / before | before refinement | embedded samples |"]
    lines.append("|---" * 7 + "|")
    for row in rows:
        low, high = row["interval"]
        cells = [f"{row['set']}, {Path(row['template']).stem}", " ".join([row["preset"], *row["settings"].split()])]
        cells += [f"{row[f'{when}, mean']:.2f} / {row[f'{when}, median']:.2f}" for when in ("before", "after")]
        cells += [f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})", f"{row['coarse ratio']:.2f}"]
        cells += [f"{row['samples before']:.2f} → {row['samples after']:.2f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoders", nargs="+", required=True, metavar="SET=FILE", help="that have not seen the set")
    parser.add_argument("--presets", nargs="+", default=["quick"], choices=sorted(PRESETS))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="on top of the presets")
    parser.add_argument("--templates", type=int, default=2, help="the first so many of a set")
    parser.add_argument("--limit", type=int, help="at most so many images a set, evenly spread")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    set_threads(options.threads)
    keep_freed_memory()
    settings, rows = load_settings(), list[dict[str, Any]]()
    for name, file in (text.split("=", 1) for text in options.encoders):
        data, old = load_set(name, settings), Path(file)
        for preset in options.presets:
            new = retrained(old, data, preset, options.set, options.work)
            samples = forgetting(old, new)
            training = read_header(new).training
            for template in data.templates[: options.templates]:
                wanted = [n for n in evaluated_names(data, template, None) if n not in data.hard]
                names = evenly(wanted, options.limit)
                row = row_of(data, template, *(errors_of(file, data, template, names) for file in (old, new)))
                row |= {"preset": preset, "settings": " ".join(options.set), "minutes": training["minutes"]}
                rows.append(row | {"samples before": samples[0], "samples after": samples[1]})
                print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    if options.output:
        write_part(options.output, {"seed": 0}, "results", rows, KEYS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
