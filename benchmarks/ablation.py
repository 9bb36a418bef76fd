"""What each loss is worth: short trainings that leave one out, from the same start, on images never seen.

    python -m benchmarks.ablation --init base.safetensors --work runs --output benchmarks/results/ablation.json

Every variant continues from ``--init`` for the same number of steps with the same seed and the settings of
``train_encoders fold-a``, and is evaluated on the images of fold a, which none of them has seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import train_encoders
from benchmarks.data import load_set, load_settings
from benchmarks.folds import load_folds
from benchmarks.machine import write_results
from benchmarks.outcomes import evaluate
from napari_ld.model.checkpoint import load_model, read_header

VARIANTS: dict[str, list[str]] = {
    "all losses": [],
    "without patch discrimination": ["weights.patch=0.0"],
    "without region discrimination": ["weights.region=0.0", "weights.entropy=0.0", "weights.balance=0.0"],
    "without pixel contrast": ["weights.pixel=0.0", "weights.level=0.0"],
    "without agreement across images": ["weights.mutual=0.0"],
    "patch and region discrimination alone": ["weights.pixel=0.0", "weights.level=0.0", "weights.mutual=0.0"],
}
SETS = ("ceph", "hand", "fundus_disc", "fundus_fovea")


def main(arguments: list[str] | None = None) -> int:
    """Train what is missing, evaluate everything, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--init", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training runs; finished ones are kept")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    rows = []
    for variant, settings in VARIANTS.items():
        encoder = _train(variant, settings, options)
        rows.append({"variant": variant, **_evaluate(encoder)})
        print(json.dumps(rows[-1]), flush=True)
    _print(rows)
    write_results(options.output, {"steps": options.steps, "rows": rows})
    return 0


def _train(variant: str, settings: list[str], options: argparse.Namespace) -> Path:
    name = "ablation-" + variant.replace(" ", "-")
    encoder = Path(options.work / name / "encoder.safetensors")
    if not encoder.is_file() or read_header(encoder).prototypes is None:
        words = [f"schedule.steps={options.steps}", "schedule.first_phase=0.0", "schedule.warmup=20"]
        words += ["schedule.average=0.98", *settings]
        where = ["--out", str(options.work), "--init", options.init, "--name", name, "--resume"]
        train_encoders.main(["fold-a", *where, "--threads", str(options.threads), "--set", *words])
    return encoder


def _evaluate(encoder: Path) -> dict[str, Any]:
    settings, folds, model = load_settings(), load_folds(), load_model(encoder)
    result: dict[str, Any] = {"smallest_area": min(model.header.areas or [0.0])}
    for name in SETS:
        data = load_set(name, settings)
        errors = []
        for template in settings["sets"][name]["templates"]:
            names = [n for n in data.names if n in folds[data.folder]["a"] and n != template and n not in data.hard]
            outcome = evaluate(model, data, template, names=names, refine=False)
            errors.append(np.array(list(outcome.errors.values())))
        result[name] = {"mean": float(np.mean([e.mean() for e in errors])), "unit": data.unit}
        result[name]["median"] = float(np.mean([np.median(e) for e in errors]))
    return result


def _print(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'coarse error on fold a, mean of 5 templates':40} "
        + " ".join(f"{name:>16}" for name in SETS)
        + "  smallest area"
    )
    for row in rows:
        cells = " ".join(f"{row[name]['mean']:8.2f} /{row[name]['median']:6.2f}" for name in SETS)
        print(f"{row['variant']:40} {cells}  {100 * row['smallest_area']:.1f} %")


if __name__ == "__main__":
    sys.exit(main())
