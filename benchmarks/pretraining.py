"""Self-supervised methods beside each other: one backbone, the same images, the same number of image forwards.

``python -m benchmarks.pretraining --work runs --output benchmarks/results/pretraining.json --minutes 30`` goes on
where the last slice stopped: a finished training is a file in the work folder, a finished measure an entry of the
JSON. Seed 0 is done for all variants before seed 1. Measures, all on frozen weights:

* landmark errors before refinement of fold a, which no variant has seen (first template of ``landmarks.toml``);
* Dice of a linear probe with 1, 5 and 20 labelled images (vessels: 1, 5 and 10, there are 20 in all);
* mean IoU of the clusters after the best assignment; encoders without clusters get k-means on their features;
* the share of a training step spent waiting for data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data import load_set, load_settings
from benchmarks.folds import data_root, load_folds
from benchmarks.machine import write_results
from benchmarks.outcomes import evaluate, evenly
from benchmarks.probes import Features, cluster_iou, features_of, mean_and_range, probe_dice, read_labelled
from napari_ld.errors import NapariLDError
from napari_ld.model.checkpoint import LoadedModel, ModelHeader, load_model, save_model
from napari_ld.model.encoder import CONFIGURATIONS, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.storage import Store
from src_train.batches import Batches
from src_train.config import TrainConfig, load_config
from src_train.data.dataset import Dataset, load_dataset
from src_train.data.extras import ViewExtras
from src_train.data.views import ViewMaker
from src_train.engine import Progress, Trainer, train
from src_train.methods import build_method, parts_of
from src_train.prototypes import cluster_summary


@dataclass(frozen=True)
class Variant:
    """A row of the table: a method's name and settings on top of the common ones; None: random weights."""

    method: str | None
    settings: tuple[str, ...] = ()
    forwards: float = 4.0  # images encoded per couple and step


_LD = ("weights.pixel=0.0", "weights.level=0.0", "weights.patch=1.0", "weights.mixup=1.0", "weights.mutual=0.0")
_PUBLISHED = (*_LD, "weights.region=10.0", "weights.entropy=0.1", "weights.balance=0.0", "schedule.first_phase=0.2")

VARIANTS: dict[str, Variant] = {
    "random": Variant(None),
    "MoCo-v2": Variant("moco"),
    "DenseCL": Variant("densecl"),
    "DiRA": Variant("dira"),
    "MoCo-v2+LRC": Variant("moco+lrc"),
    "LD phase 1": Variant("ld", (*_LD, "schedule.first_phase=1.0"), 5.0),
    "LD": Variant("ld", _PUBLISHED, 5.0),
    "LD+LRC": Variant("ld+lrc", _PUBLISHED, 5.0),
    "ours": Variant("ld"),
}

# Folder below NAPARI_LD_DATA and how often it is drawn. The images of the probes and of the disc and cup are not here.
GROUPS = {
    "ceph": 0.3,
    "hand": 0.1,
    "idrid_points": 0.1,
    "idrid_unlabelled": 0.2,
    "fundus_unlabelled": 0.1,
    "acdc": 0.1,
    "lung_ct": 0.1,
}
LANDMARK_SETS = ("ceph", "fundus_disc", "fundus_fovea")
PROBES = {  # name: folder, label, numbers of labelled images, planes held back for the test
    "disc": ("idrid_segmentation", 5, (1, 5, 20), 12),
    "hard exudates": ("idrid_segmentation", 3, (1, 5, 20), 12),
    "vessel": ("drive", 255, (1, 5, 10), 10),
}
CLUSTERS = {  # name: folder, labels, volumes or images, planes of each
    "cardiac": ("acdc", (1, 2, 3), 5, 2),
    "chest CT": ("lung_ct", (1, 2, 3), 1, 10),
    "disc and cup": ("drishti_gs", (1, 2), 10, 1),
}

Results = dict[str, dict[str, dict[str, float]]]  # variant -> seed -> measure -> value


class OutOfTime(Exception):
    """The slice is over."""


class Benchmark:
    """Trainings and measures, each kept as soon as it is done."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.until = time.monotonic() + 60 * options.minutes
        self.settings = load_settings()
        self.folds = load_folds()
        self.results: Results = {}
        self._dataset: Dataset | None = None
        if options.output.is_file():
            document = json.loads(options.output.read_text())
            if document["budget"] != self.budget:
                raise ValueError(f"{options.output} was made with {document['budget']}: choose another --output")
            self.results = document["results"]

    @property
    def budget(self) -> dict[str, Any]:
        """What all variants share."""
        o = self.options
        return {"steps": o.steps, "couples": o.couples, "size": o.size, "images": o.images}

    def run(self) -> None:
        """Do what is missing, seed by seed, until the time is up."""
        for seed in self.options.seeds:
            for name in self.options.variants:
                self._cell(name, seed)

    def _cell(self, name: str, seed: int) -> None:
        done = self.results.setdefault(name, {}).setdefault(str(seed), {})
        missing = [measure for measure in measures() if measure not in done]
        if not missing:
            return
        model = self._model(name, seed, done)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            for measure in missing:
                if measure not in done:
                    self._check_time()
                    done |= self._measure(measure, model, store, seed)
                    self._keep(name, seed, measure, done)

    def _check_time(self) -> None:
        if time.monotonic() > self.until:
            raise OutOfTime

    def _keep(self, name: str, seed: int, measure: str, done: dict[str, float]) -> None:
        print(f"{name}, seed {seed}: {measure} {done.get(measure, float('nan')):.4g}", file=sys.stderr, flush=True)
        self.results[name][str(seed)] = done
        write_results(self.options.output, {"budget": self.budget, "measures": measures(), "results": self.results})

    def _model(self, name: str, seed: int, done: dict[str, float]) -> LoadedModel:
        path = self.options.work / f"{name.replace(' ', '-')}-{seed}.safetensors"
        if not path.is_file():
            self._check_time()
            path.parent.mkdir(parents=True, exist_ok=True)
            waiting = self._train(VARIANTS[name], seed, path)
            if VARIANTS[name].method is not None:
                done["data wait"] = waiting
                self._keep(name, seed, "data wait", done)
        return load_model(path)

    def _train(self, variant: Variant, seed: int, path: Path) -> float:
        """Train and write one encoder; returns the share of the steps spent waiting for data."""
        normalization = IntensityNormalization()
        if variant.method is None:
            encoder = build_encoder(replace(CONFIGURATIONS["fast"], clusters=0), seed).eval()
            save_model(path, encoder, ModelHeader("encoder", "random", encoder.config, normalization))
            return 0.0
        config = self.config(variant, seed)
        dataset = self._data(normalization)
        torch.manual_seed(seed)
        tables = {t: getattr(config, t) for part in parts_of(variant.method) for t in part.tables}
        method = build_method(variant.method, build_encoder(CONFIGURATIONS["fast"], seed), config.schedule, tables)
        extras = ViewExtras(method.view_extras, config.corruption, config.superpixels)
        maker = ViewMaker(config.views, normalization.mean, normalization.std, extras=extras)
        trainer = Trainer(method, config.schedule, seed=seed, low_precision=self.options.bfloat16)
        waited, seconds = [], []

        def note(progress: Progress) -> bool:
            waited.append(progress.waited)
            seconds.append(progress.seconds)
            return False

        train(trainer, Batches(dataset, maker, config.schedule.couples, seed), note)
        averaged = trainer.averaged
        clusters = cluster_summary(
            averaged, dataset, ViewMaker(config.views, normalization.mean, normalization.std), seed
        )
        summary = {"method": variant.method, "steps": config.schedule.steps, "seed": seed}
        header = ModelHeader("encoder", path.stem, averaged.config, normalization, training=summary, **clusters)
        save_model(path, averaged, header)
        return sum(waited[2:]) / sum(seconds[2:])

    def config(self, variant: Variant, seed: int) -> TrainConfig:
        """Common settings; a variant that encodes more images a step gets fewer steps."""
        o = self.options
        steps = round(o.steps * 4.0 / variant.forwards)
        common = [f"schedule.steps={steps}", f"schedule.couples={o.couples}", f"schedule.warmup={max(1, steps // 10)}"]
        common += [f"views.size={o.size}", f"views.working_size={o.size * 9 // 8}", "schedule.average=0.98"]
        # No more keys than a quarter of what a run makes: most of the queue is real for most of the run.
        common += [f"contrast.queue={max(16, o.steps * o.couples // 2)}", f"seed={seed}"]
        return load_config("quick", settings=[*common, *variant.settings], data=("images",), method=variant.method)

    def _data(self, normalization: IntensityNormalization) -> Dataset:
        if self._dataset is None:
            hidden = {name for names in self.folds["exclude"].values() for name in names}
            hidden |= {name for key, parts in self.folds.items() if key != "exclude" for name in parts["a"]}
            folders = [data_root() / name / "images" for name in GROUPS]
            weights = tuple(GROUPS.values())
            self._dataset = load_dataset(
                folders, longest_side=640, normalization=normalization, exclude=hidden, weights=weights
            )
        return self._dataset

    def _measure(self, measure: str, model: LoadedModel, store: Store, seed: int) -> dict[str, float]:
        kind, _, name = measure.partition(": ")
        return MEASURES[kind](self, name, model, store, seed)

    def landmarks(self, name: str, model: LoadedModel, store: Store, seed: int) -> dict[str, float]:
        """Mean coarse error on fold a with the set's first template."""
        data = load_set(name, self.settings)
        template = data.templates[0]
        known = [n for n in data.names if n in self.folds[data.folder]["a"] and n != template and n not in data.hard]
        names = evenly(known, self.options.images)
        outcome = evaluate(model, data, template, names=names, refine=False, store=store, device="cpu")
        return {f"landmarks: {name}": float(np.mean(list(outcome.errors.values())))}

    def probe(self, name: str, model: LoadedModel, store: Store, seed: int) -> dict[str, float]:
        """Dice of every probe on the folder of this one: its features are made once."""
        folder = PROBES[name.rpartition(", ")[0]][0]
        planes = self._features(folder, model, store, 1, None)
        found = {}
        for target, (place, value, counts, held_back) in PROBES.items():
            if place == folder:
                # Planes that show the target, in an order of their own for each seed; the last ones are the test.
                shown = [plane for plane in planes if (plane.mask == value).any()]
                test, pool = shown[-held_back:], shown[:-held_back]
                if not pool:
                    raise ValueError(
                        f"--images {self.options.images}: leaves no labelled image of {target} to learn from"
                    )
                order = np.random.default_rng(seed).permutation(len(pool))
                for count in counts:
                    chosen = [pool[i] for i in order[:count]]
                    found[f"probe: {target}, {count}"] = probe_dice(chosen, test, value, seed)
        return found

    def clusters(self, name: str, model: LoadedModel, store: Store, seed: int) -> dict[str, float]:
        """Mean IoU of the clusters with the best assignment."""
        folder, values, images, planes = CLUSTERS[name]
        return {f"clusters: {name}": cluster_iou(self._features(folder, model, store, planes, images), values, seed)}

    def _features(
        self, folder: str, model: LoadedModel, store: Store, planes: int, limit: int | None
    ) -> list[Features]:
        root = data_root() / folder
        with open(root / "images.csv", encoding="utf-8") as stream:
            names = [line.split(",")[0] for line in stream][1:]
        hidden = {name for hidden in self.folds["exclude"].values() for name in hidden}
        chosen = evenly([name for name in names if name not in hidden], limit or 2 * self.options.images)
        return features_of(model, read_labelled(root, planes, chosen), store)


MEASURES: dict[str, Callable[[Benchmark, str, LoadedModel, Store, int], dict[str, float]]] = {
    "landmarks": Benchmark.landmarks,
    "probe": Benchmark.probe,
    "clusters": Benchmark.clusters,
}


def measures() -> list[str]:
    """Names of all measures, in the order of the table."""
    names = [f"landmarks: {name}" for name in LANDMARK_SETS]
    names += [f"probe: {name}, {count}" for name, (_, _, counts, _) in PROBES.items() for count in counts]
    return names + [f"clusters: {name}" for name in CLUSTERS]


def table(results: Results, seeds: Sequence[int]) -> str:
    """One row a variant: mean over its finished seeds and their range; unfinished cells are named below."""
    columns = [*measures(), "data wait"]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    unfinished = []
    for name in VARIANTS:
        by_seed = results.get(name, {})
        cells = []
        for column in columns:
            values = {seed: cell[column] for seed, cell in by_seed.items() if column in cell}
            cells.append(mean_and_range(values))
        lines.append(f"| {name} | {' | '.join(cells)} |")
        open_seeds = [s for s in seeds if any(m not in by_seed.get(str(s), {}) for m in measures())]
        unfinished += [f"{name} (seed {', '.join(map(str, open_seeds))})"] if open_seeds else []
    if unfinished:
        lines += ["", f"Unfinished: {'; '.join(unfinished)}."]
    return "\n".join(lines)


def differences(results: Results, first: str, second: str) -> str:
    """Mean difference of two variants over their common seeds, measure by measure, with its range."""
    lines = []
    for measure in measures():
        seeds = [s for s, cell in results.get(first, {}).items() if measure in cell]
        seeds = [s for s in seeds if measure in results.get(second, {}).get(s, {})]
        if seeds:
            gaps = {s: results[first][s][measure] - results[second][s][measure] for s in seeds}
            lines.append(f"{first} − {second}, {measure}: {mean_and_range(gaps)}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretraining", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the trained encoders; finished ones stay")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="no training or measure is begun after this time")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--couples", type=int, default=4)
    parser.add_argument("--size", type=int, default=128, help="of the training views, divisible by 64")
    parser.add_argument("--images", type=int, default=16, help="landmark images a set; probes use twice as many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="networks in bfloat16 during training")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a slice and print what is there; 2 for options or files that cannot be used."""
    options = parser().parse_args(arguments)
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    try:
        benchmark = Benchmark(options)
        try:
            benchmark.run()
        except OutOfTime:
            print("the time is up; the same command goes on", file=sys.stderr)
        print(table(benchmark.results, options.seeds))
        print()
        for first, second in (("MoCo-v2+LRC", "MoCo-v2"), ("LD", "MoCo-v2"), ("ours", "MoCo-v2")):
            print(differences(benchmark.results, first, second))
    except (NapariLDError, ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
