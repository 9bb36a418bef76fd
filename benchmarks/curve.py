"""From random weights: how soon a training beats the baselines that learn nothing, on images that it never saw.

    python -m benchmarks.curve --work runs --output benchmarks/results/curve.json        # 20 minutes

One run of a preset on the cephalograms of fold b, without labels; the encoder so far is kept every few steps and
answers afterwards for fold a, as a click in the panel would, beside the baselines on the same images. Minutes are those
of the training alone. A finished run in the work folder is used again.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import EvaluationSet, load_set, load_settings
from benchmarks.folds import data_root, load_folds
from benchmarks.machine import write_part
from benchmarks.outcomes import Outcome, evaluate, evaluate_baseline, evaluate_untrained, evaluated_names, evenly
from napari_ld.model.checkpoint import load_model, read_header
from napari_ld.storage import atomic_write
from src_train.config import PRESETS, load_config
from src_train.memory import keep_freed_memory
from src_train.run import run_training, set_threads

SET, LEARNED, ASKED = "ceph", "b", "a"
KEYS = ("method", "preset", "template", "steps")
_SECONDS = 1.0  # between two looks at whether there is a new encoder


def snapshots(work: Path, preset: str, every: int, threads: int) -> list[Path]:
    """Encoders of one training by the steps they have learned, the last one included."""
    run = work / f"curve-{preset}"
    kept = work / f"curve-{preset}-encoders"
    if not (run / "encoder.safetensors").is_file() or not any(kept.glob("*.safetensors")):
        folds = load_folds()
        hidden = {name for names in folds["exclude"].values() for name in names} | set(folds[SET][ASKED])
        settings = [f"schedule.save_every={every}"]
        images = str(data_root() / SET / "images")
        config = load_config(preset, settings=settings, data=(images,), exclude=tuple(sorted(hidden)))
        set_threads(threads)
        keep_freed_memory()
        with kept_encoders(run / "encoder.safetensors", kept):
            run_training(config, run)
    return sorted(kept.glob("*.safetensors"))


@contextmanager
def kept_encoders(encoder: Path, folder: Path) -> Iterator[None]:
    """Copy every new state of a file, named by its steps, until the training is over."""
    folder.mkdir(parents=True, exist_ok=True)
    over = threading.Event()

    def keep() -> None:
        seen = 0
        while True:
            last = over.wait(_SECONDS)
            if encoder.is_file() and encoder.stat().st_mtime_ns != seen:
                seen = encoder.stat().st_mtime_ns
                with atomic_write(folder / "newest") as stream:
                    stream.write(encoder.read_bytes())
                steps = read_header(folder / "newest").training["steps"]
                (folder / "newest").rename(folder / f"{steps:06}.safetensors")
            if last:
                return

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def row_of(outcome: Outcome, data: EvaluationSet, preset: str, **more: Any) -> dict[str, Any]:
    """Mean and median error of one method."""
    values = np.array(list(outcome.errors.values()))
    row = {"method": outcome.method, "preset": preset, "template": outcome.template, "images": len(values)}
    row |= {"mean": float(values.mean()), "median": float(np.median(values)), "unit": data.unit}
    coarse = np.array(list(outcome.coarse.values()))
    return row | {"coarse mean": float(coarse.mean()) if coarse.size else None, "steps": 0, "minutes": 0.0} | more


def rows_of(encoders: Sequence[Path], preset: str, limit: int | None) -> list[dict[str, Any]]:
    """Baselines, random weights, then the training from its first to its last encoder."""
    settings = load_settings()
    data = load_set(SET, settings)
    template = data.templates[0]
    names = evenly([n for n in evaluated_names(data, template, None) if n in load_folds()[SET][ASKED]], limit)
    found = [
        row_of(evaluate_baseline(method, data, template, settings, names=names), data, preset)
        for method in settings["baselines"]
    ]
    untrained = evaluate_untrained(load_model(encoders[-1]), settings["seed"], data, template, None, names=names)
    found.append(row_of(untrained, data, preset))
    for file in encoders:
        training: Mapping[str, Any] = read_header(file).training
        outcome = evaluate(file, data, template, names=names)
        found.append(row_of(outcome, data, preset, steps=training["steps"], minutes=training["minutes"]))
        print(found[-1], file=sys.stderr, flush=True)
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table, and when the training was first ahead of all that learn nothing and stayed so."""
    lines = ["| method | steps | minutes | mean / median | before refinement |", "|---" * 5 + "|"]
    for row in rows:
        coarse = "–" if row["coarse mean"] is None else f"{row['coarse mean']:.2f}"
        learned = [f"{row['steps']}", f"{row['minutes']:.1f}"] if row["method"] == "encoder" else ["–", "–"]
        cells = [row["method"], *learned, f"{row['mean']:.2f} / {row['median']:.2f}", coarse]
        lines.append(f"| {' | '.join(cells)} |")
    best = min(row["mean"] for row in rows if row["method"] not in ("encoder", "untrained"))
    curve = [row for row in rows if row["method"] == "encoder"]
    behind = [i for i, row in enumerate(curve) if row["mean"] >= best]
    first = behind[-1] + 1 if behind else 0
    words = f"ahead of {best:.2f} from minute {curve[first]['minutes']:.1f} on" if first < len(curve) else "not ahead"
    return "\n".join([*lines, "", f"{rows[0]['unit']}; {words}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--preset", default="standard", choices=sorted(set(PRESETS) - {"paper"}))
    parser.add_argument("--every", type=int, default=100, help="steps from one measured encoder to the next")
    parser.add_argument("--limit", type=int, help="at most so many images, evenly spread")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    encoders = snapshots(options.work, options.preset, options.every, options.threads)
    rows = rows_of(encoders, options.preset, options.limit)
    print(table(rows))
    if options.output:
        settings = {"seed": 0, "load_average_before": round(load, 1)}
        write_part(options.output, settings, "results", rows, KEYS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
