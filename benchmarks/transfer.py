"""Few-label segmentation from pre-trained encoders and from random weights, with the same total number of steps.

``python -m benchmarks.transfer --work runs --output benchmarks/results/transfer.json --minutes 30`` goes on where the
last slice stopped: a run is a folder of the trainer, a finished cell an entry of the JSON. Settings stand in
``transfer.toml``. Measured is the product: ``finetune``, then its model file on whole images that it has not seen.

The bundled encoder and those of the folds have seen the images without labels: no fold leaves these sets out. Others
can be added with ``--encoder NAME=FILE``. ``--protocol`` trains by the transfer protocol of LD instead, on all images
that are not held back; its network is ``ld-paper``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.folds import data_root
from benchmarks.machine import write_results
from napari_ld.errors import NapariLDError
from napari_ld.evaluation import dice
from napari_ld.io.images import read_image
from napari_ld.segmentation import segment
from src_train.run import resume_training, run_training, set_threads
from src_train.task_config import TaskConfig, load_task_config

SETTINGS_FILE = Path(__file__).with_name("transfer.toml")

Results = dict[str, dict[str, float]]  # "task, labels, arm" -> seed -> mean Dice


@dataclass(frozen=True)
class Arm:
    """A row of the table: where the encoder comes from, and whether it is trained."""

    name: str
    encoder: str = ""
    frozen: bool = False


def arms_of(encoders: Sequence[str]) -> list[Arm]:
    """Random weights, and each ``NAME=FILE`` frozen and fine-tuned."""
    arms = [Arm("random")]
    for entry in encoders:
        name, _, file = entry.partition("=")
        arms += [Arm(f"{name}, frozen", file or name, True), Arm(f"{name}, fine-tuned", file or name)]
    return arms


def images_of(folder: Path, value: int, held_back: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of ``images.csv`` whose mask shows a label: to learn from, and held back for the test."""
    with open(folder / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"]]
    shown = [row for row in rows if bool((read_image(folder / row["mask"]).plane(0) == value).any())]
    shown.sort(key=lambda row: hashlib.sha256(f"{folder.name}/{row['image']}".encode()).hexdigest())
    return shown[:-held_back], shown[-held_back:]


class Benchmark:
    """Cells of the table, each kept as soon as it is done."""

    def __init__(self, options: argparse.Namespace, settings: dict[str, Any]) -> None:
        self.options, self.settings = options, settings
        self.until = time.monotonic() + 60 * options.minutes
        self.arms = arms_of(options.encoder)
        self.results: Results = {}
        self.seconds: dict[str, float] = {}
        if options.output.is_file():
            document = json.loads(options.output.read_text())
            if (document["settings"], document["protocol"]) != (settings, options.protocol):
                raise ValueError(f"{options.output} was made with other settings: choose another --output")
            self.results, self.seconds = document["results"], document["seconds"]

    def cells(self) -> Iterator[tuple[str, int, Arm, int]]:
        """Task, labels, arm and seed, seed by seed."""
        for seed in self.options.seeds:
            for task in self.options.tasks:
                for labels in (0,) if self.options.protocol else self.options.labels:
                    for arm in self.arms:
                        yield task, labels, arm, seed

    def run(self) -> bool:
        """Do what is missing until the time is up; returns whether all is done."""
        for task, labels, arm, seed in self.cells():
            key = f"{task}, {labels or 'all'}, {arm.name}"
            done = self.results.setdefault(key, {})
            if str(seed) in done:
                continue
            began = time.process_time()
            model = self._trained(task, labels, arm, seed)
            if model is None:
                return False
            done[str(seed)] = round(self._dice(task, model), 4)
            self.seconds[f"{key}, seed {seed}"] = round(time.process_time() - began, 1)
            print(f"{key}, seed {seed}: {done[str(seed)]:.4f}", file=sys.stderr, flush=True)
            write_results(self.options.output, self.document())
        return True

    def document(self) -> dict[str, Any]:
        """What is written."""
        return {
            "settings": self.settings,
            "protocol": self.options.protocol,
            "seconds": self.seconds,
            "results": {key: cells for key, cells in self.results.items() if cells},
        }

    def config(self, task: str, labels: int, arm: Arm, seed: int) -> TaskConfig:
        """How a cell is trained."""
        given, s = self.settings["tasks"][task], self.settings
        folder = data_root() / given["folder"]
        pool, _ = images_of(folder, given["value"], s["held_back"])
        order = np.random.default_rng(seed).permutation(len(pool))[: labels or None]
        rows = [pool[i] for i in order]
        files: dict[str, Any] = {
            "data": tuple(str(folder / "images" / row["image"]) for row in rows),
            "labels": tuple(str(folder / row["mask"]) for row in rows),
        }
        common = [f"seed={seed}", f"segmentation.values=[{given['value']}]", f"device={self.options.device}"]
        if self.options.protocol:
            first = "schedule.first_phase=" + ("0.0" if not arm.encoder else "1.0" if arm.frozen else "0.5")
            return load_task_config("ld-protocol", settings=[*common, first], init=arm.encoder, **files)
        fixed = {
            "working_size": given["working_size"],
            "crops.size": given["crop"],
            "precision": s["precision"],
            "schedule.steps": s["steps"],
            "schedule.couples": s["couples"],
            "schedule.learning_rate": s["learning_rate"],
            "schedule.warmup": s["steps"] // 10,
            "schedule.first_phase": 1.0 if arm.frozen else 0.0,
            "segmentation.encoder_rate": s["encoder_rate"] if arm.encoder else 1.0,
            "validation.share": 0.0,
        }
        words = [*common, *(f"{key}={value}" for key, value in fixed.items())]
        return load_task_config("standard", settings=words, init=arm.encoder, **files)

    def _trained(self, task: str, labels: int, arm: Arm, seed: int) -> Path | None:
        """Model file of a cell; None when the time is up, even in the middle of its training."""
        left = (self.until - time.monotonic()) / 60
        if left <= 0:
            return None
        run = self.options.work / f"{task}-{labels or 'all'}-{arm.name}-{seed}".replace(" ", "-").replace(",", "")
        limit = f"schedule.minutes={left}"
        if (run / "last.ckpt").is_file():
            model = resume_training(run, settings=[limit], quiet=True)
        else:
            config = self.config(task, labels, arm, seed)
            model = run_training(load_limited(config, left), run, quiet=True)
        last = (run / "events.jsonl").read_text().splitlines()[-1]
        return model if json.loads(last)["event"] == "finished" else None

    def _dice(self, task: str, model: Path) -> float:
        """Mean over the images held back, whole and at their own size."""
        given = self.settings["tasks"][task]
        folder = data_root() / given["folder"]
        _, held = images_of(folder, given["value"], self.settings["held_back"])
        scores = []
        for row in held:
            found = segment(read_image(folder / "images" / row["image"]), model, device=self.options.device)[0]
            truth = read_image(folder / row["mask"]).plane(0) == given["value"]
            scores.append(dice(found == given["value"], truth))
        return float(np.mean(scores))


def load_limited(config: TaskConfig, minutes: float) -> TaskConfig:
    """The same run, stopped with a checkpoint after some minutes."""
    from dataclasses import replace

    return replace(config, schedule=replace(config.schedule, minutes=minutes))


def table(results: Results, tasks: Sequence[str], labels: Sequence[int | str], arms: Sequence[Arm]) -> str:
    """One row an arm; mean over seeds and their number."""
    columns = [(task, count) for task in tasks for count in labels]
    heads = [f"{task}, {count} label{'s' if count != 1 else ''}" for task, count in columns]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for arm in arms:
        cells = []
        for task, count in columns:
            values = list(results.get(f"{task}, {count}, {arm.name}", {}).values())
            cells.append(f"{np.mean(values):.3f} ({len(values)})" if values else "–")
        lines.append(f"| {arm.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; finished ones stay")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after this time; the same command goes on")
    parser.add_argument("--encoder", nargs="+", default=["ours=ld-general"], metavar="NAME=FILE")
    parser.add_argument("--tasks", nargs="+", default=["disc", "vessels", "hard exudates"])
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--protocol", action="store_true", help="the transfer protocol of LD, on all images")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a slice and print what is there; 2 for options or files that cannot be used."""
    options = parser().parse_args(arguments)
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    set_threads(options.threads)
    try:
        unknown = [task for task in options.tasks if task not in settings["tasks"]]
        if unknown:
            raise ValueError(f"unknown task {unknown[0]!r}: choose of {', '.join(settings['tasks'])}")
        benchmark = Benchmark(options, settings)
        if not benchmark.run():
            print("the time is up; the same command goes on", file=sys.stderr)
    except (NapariLDError, ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    labels: list[int | str] = ["all"] if options.protocol else list(options.labels)
    print(table(benchmark.results, options.tasks, labels, benchmark.arms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
