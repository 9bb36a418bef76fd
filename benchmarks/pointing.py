"""Weakly supervised localisation: whether the map of a classifier, which saw classes only, points at the lesion.

``python -m benchmarks.pointing --work runs --output benchmarks/results/pointing.json`` trains on breast ultrasound with
the classes benign, malignant and normal of its table, in two folds by the hash of the names, and asks on the other
fold: is the highest place of the log-odds of a lesion against ``normal`` inside the lesion? Beside it: a random place
(the share of the image that lesions cover), the middle of the image, and random weights with the same budget. Finished
runs and cells stay. The bundled encoder has seen the images, without classes. That log-odds are taken, not the map of
one class, was decided on these images.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.folds import data_root
from benchmarks.machine import write_results
from napari_ld.errors import NapariLDError
from napari_ld.io.images import read_image
from napari_ld.segmentation import Predictor
from napari_ld.segmentation.windows import rows_of
from src_train.run import resume_training, run_training, set_threads
from src_train.task_config import load_task_config

SETTINGS: dict[str, Any] = {
    "working_size": 256,
    "crops.size": 224,
    "crops.rotation": 10.0,
    "precision": "bfloat16",
    "schedule.couples": 2,
    "schedule.warmup": 10,
    "schedule.learning_rate": 2e-3,
    "validation.share": 0.0,
    "classification.background": "normal",
}
ENCODERS = {"ours": "ld-general", "random": ""}
FOLDS = 2

Row = dict[str, str]


def folds_of(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows dealt to the folds by the hash of their names, class by class."""
    folds: list[list[Row]] = [[] for _ in range(FOLDS)]
    ordered = sorted(rows, key=lambda row: hashlib.sha256(row["image"].encode()).hexdigest())
    for name in sorted({row["note"] for row in rows}):
        for place, row in enumerate(row for row in ordered if row["note"] == name):
            folds[place % FOLDS].append(row)
    return folds


def peak_of(predictor: Predictor, plane: int) -> tuple[int, int]:
    """Row and column of the highest place of the map of what speaks for a lesion."""
    _, _, odds = predictor.evidence(plane)
    window = predictor.window(plane)
    shown = rows_of(odds[None], window, 0, window.box.shape[0])[0]
    row, column = np.unravel_index(int(shown.argmax()), shown.shape)
    return int(row), int(column)


def answers(folder: Path, held: Sequence[Row], model: Path) -> dict[str, list[float]]:
    """On each image held back: was the class right, and of lesions: was it pointed at, by chance, by the middle."""
    found: dict[str, list[float]] = {"class": [], "pointing": [], "chance": [], "middle": []}
    for row in held:
        predictor = Predictor(read_image(folder / "images" / row["image"]), model, device="cpu", kinds=("classifier",))
        names = [name for _, name in predictor.model.head.classes]
        found["class"].append(float(names[int(predictor.activations(0)[0].argmax())] == row["note"]))
        mask: npt.NDArray[np.bool_] = np.asarray(read_image(folder / row["mask"]).plane(0)) > 0
        if mask.any():
            found["pointing"].append(float(mask[peak_of(predictor, 0)]))
            found["chance"].append(float(mask.mean()))
            found["middle"].append(float(mask[mask.shape[0] // 2, mask.shape[1] // 2]))
    return found


def train(folder: Path, rows: Sequence[Row], encoder: str, seed: int, steps: int, run: Path) -> Path:
    """Model file of a classifier; a run that was broken off goes on."""
    if (run / "last.ckpt").is_file():
        return resume_training(run, quiet=True)
    table = run.with_suffix(".csv")
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("image,label\n" + "".join(f"{row['image']},{row['note']}\n" for row in rows))
    rate = 0.3 if encoder else 1.0
    more = {"schedule.steps": steps, "schedule.first_phase": 0.0, "classification.encoder_rate": rate, "seed": seed}
    config = load_task_config(
        "standard",
        settings=[f"{key}={value}" for key, value in (SETTINGS | more).items()],
        task="classification",
        init=encoder,
        data=tuple(str(folder / "images" / row["image"]) for row in rows),
        labels=(str(table),),
    )
    return run_training(config, run, quiet=True)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All cells; those in the output file are kept."""
    document: dict[str, Any] = {"settings": SETTINGS, "steps": options.steps, "results": {}}
    if options.output.is_file():
        before = json.loads(options.output.read_text())
        if (before["settings"], before["steps"]) != (SETTINGS, options.steps):
            raise ValueError(f"{options.output} was made with other settings: choose another --output")
        document["results"] = before["results"]
    folder = data_root() / "busi"
    with open(folder / "images.csv", newline="") as stream:
        folds = folds_of(list(csv.DictReader(stream)))
    for seed in options.seeds:
        for name in options.encoders:
            for fold, held in enumerate(folds):
                key = f"{name}, fold {fold}, seed {seed}"
                if key not in document["results"]:
                    rows = [row for other, part in enumerate(folds) if other != fold for row in part]
                    run = options.work / f"pointing-{name}-{fold}-{seed}"
                    model = train(folder, rows, ENCODERS[name], seed, options.steps, run)
                    document["results"][key] = answers(folder, held, model)
                    write_results(options.output, document)
    return document


def table(results: dict[str, dict[str, list[float]]]) -> str:
    """One row an encoder: over all folds and seeds, the share of the classes told and of the lesions pointed at."""
    lines = ["| | class right | points at the lesion | lesions |", "|---|---|---|---|"]
    for name in dict.fromkeys(key.partition(",")[0] for key in results):
        cells = [cell for key, cell in results.items() if key.startswith(f"{name},")]
        joined = {kind: np.concatenate([cell[kind] for cell in cells]) for kind in cells[0]}
        counts = f"{len(joined['pointing'])}"
        lines.append(f"| {name} | {joined['class'].mean():.3f} | {joined['pointing'].mean():.3f} | {counts} |")
    name = next(iter(results)).partition(",")[0]
    first = [cell for key, cell in results.items() if key.startswith(f"{name},")]
    for kind, title in (("chance", "a random place"), ("middle", "the middle of the image")):
        values = np.concatenate([cell[kind] for cell in first])
        lines.append(f"| {title} | | {values.mean():.3f} | {len(values)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write the results; 2 for options or files that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pointing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; finished ones stay")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    set_threads(options.threads)
    try:
        print(table(measured(options)["results"]))
    except (NapariLDError, ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
