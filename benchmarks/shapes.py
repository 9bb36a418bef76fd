"""Fundus vessels from vessel masks of OCT angiography, without a label of a fundus image, beside Frangi's filter.

``python -m benchmarks.shapes --work runs --output benchmarks/results/shapes.json --minutes 30 --threads 1`` goes on
where the last slice stopped: a run is a folder of the trainer, a finished row an entry of the JSON. Settings stand in
``shapes.toml``. The images are those of DRIVE; their masks are only scored against, inside the field of view.

Rows: what is exported (``student``) and both outputs of the generator that taught it; the same without the game or
without drawn pictures; controls with discs in the place of the vessel masks, with an encoder of random weights, and a
network that has learned nothing. The bundled encoder has seen the images without labels.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from scipy import ndimage
from skimage.filters import frangi
from skimage.io import imsave
from torch import Tensor

from benchmarks.folds import data_root
from benchmarks.machine import write_results
from napari_ld.errors import NapariLDError
from napari_ld.evaluation import dice
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import LoadedHead, load_head, load_model
from napari_ld.model.encoder import build_encoder
from napari_ld.model.heads import Segmenter, build_segmenter
from napari_ld.model.zoo import resolve
from napari_ld.segmentation import segment
from napari_ld.segmentation.shapes import shape_outputs
from src_train.networks.shape_generator import ShapeGenerator
from src_train.run import resume_training, run_training, set_threads
from src_train.task_config import TaskConfig, load_task_config

SETTINGS_FILE = Path(__file__).with_name("shapes.toml")
TARGET = 0.66, 0.03  # Dice, and over Frangi's filter

Mask = npt.NDArray[np.bool_]
Finder = Callable[[Path], Mask]


@dataclass(frozen=True)
class Arm:
    """A way to train: settings beside those of all, the encoder to begin with, whether discs replace the masks."""

    name: str
    settings: tuple[str, ...] = ()
    init: str = "ld-general"
    discs: bool = False


ARMS = {
    arm.name: arm
    for arm in (
        Arm("shapes"),
        Arm("discs as shapes", discs=True),
        Arm("without the game", ("shapes.game=0.0",)),
        Arm("without drawn pictures", ("shapes.drawn=0.0", "shapes.game=0.6", "shapes.game_rate=1.0")),
        Arm("random encoder", ("shapes.encoder_rate=1.0",), init=""),
    )
}


def halves(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images: to choose settings on and to learn from, and to report."""
    with open(folder / "images.csv", newline="") as stream:
        names = [row["image"] for row in csv.DictReader(stream)]
    names.sort(key=lambda name: hashlib.sha256(f"{folder.name}/{name}".encode()).hexdigest())
    return names[: len(names) // 2], names[len(names) // 2 :]


def scores(find: Finder, folder: Path, names: Sequence[str]) -> list[float]:
    """Dice of each image, inside its field of view."""
    result = []
    for name in names:
        inside, truth = (read_image(folder / kind / name).plane(0) > 0 for kind in ("fov", "masks"))
        result.append(dice(find(folder / "images" / name) & inside, truth & inside))
    return result


def frangi_finder(sigmas: Sequence[float], share: float) -> Finder:
    """Frangi's filter on the green channel; the highest ``share`` of the field of view is called vessel."""

    def find(path: Path) -> Mask:
        inside = read_image(path.parent.parent / "fov" / path.name).plane(0) > 0
        inside = ndimage.binary_erosion(inside, iterations=6)  # its border is a line too
        green = read_image(path).plane(0)[..., 1] / 255.0
        values = frangi(green, sigmas=sigmas, black_ridges=True)  # type: ignore[no-untyped-call]  # it has no types
        return np.asarray((values > np.quantile(values[inside], 1 - share)) & inside)

    return find


def model_finder(model: Path | LoadedHead) -> Finder:
    """What a segmenter finds."""
    return lambda path: np.asarray(segment(read_image(path), model, device="cpu")[0] > 0)


class _Output(Segmenter):
    """One output of a generator in the place of a segmenter's probability."""

    def __init__(self, generator: ShapeGenerator, index: int) -> None:
        super().__init__(generator.encoder, generator.head)
        self.clusters, self.index = generator.clusters, index
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padding = (0, (-width) % self.alignment, 0, (-height) % self.alignment)
        dense = self.generator(torch.nn.functional.pad(x, padding, mode="replicate"))
        inside = torch.ones(len(x), *dense.embedding.shape[-2:], dtype=torch.bool)
        return shape_outputs(dense.clusters, dense.embedding, inside)[self.index][:, None, :height, :width]


def generator_finders(run: Path, config: TaskConfig) -> dict[str, Finder]:
    """Both outputs of the generator of a run."""
    model = load_head(run / "segmenter.safetensors")
    generator = ShapeGenerator(build_encoder(model.header.config), config.shapes.clusters, config.shapes.dim)
    stored = load_file(run / "last.ckpt")
    for name, module in (("generator_encoder", generator.encoder), ("generator", generator.head)):
        prefix = f"method/networks.{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
    generator.eval()
    return {
        name: model_finder(replace(model, network=_Output(generator, index).eval()))
        for index, name in enumerate(("clustering", "embedding"))
    }


def write_discs(masks: Path, folder: Path) -> Path:
    """As many masks of random discs that cover as much, of the same sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for path in sorted(masks.iterdir()):
        like = read_image(path).plane(0) > 0
        discs = np.zeros(like.shape, bool)
        rows, columns = np.ogrid[: like.shape[0], : like.shape[1]]
        while discs.mean() < like.mean():
            centre, radius = rng.uniform(0, like.shape), rng.uniform(15, 50)
            discs |= np.hypot(rows - centre[0], columns - centre[1]) < radius
        imsave(folder / path.name, discs.astype(np.uint8) * 255, check_contrast=False)
    return folder


class Benchmark:
    """Rows of the table, each kept as soon as it is done."""

    def __init__(self, options: argparse.Namespace, settings: dict[str, Any]) -> None:
        self.options, self.settings = options, settings
        self.until = time.monotonic() + 60 * options.minutes
        self.folder = data_root() / "drive"
        self.tuning, self.reported = halves(self.folder)
        self.rows: dict[str, dict[str, Any]] = {}
        if options.output.is_file():
            document = json.loads(options.output.read_text())
            if (document["settings"], document["seed"]) != (settings, options.seed):
                raise ValueError(f"{options.output} was made with other settings: choose another --output")
            self.rows = document["rows"]

    def run(self) -> bool:
        """Do what is missing until the time is up; returns whether all is done."""
        given = self.settings["frangi"]
        self._row("Frangi's filter", frangi_finder(given["sigmas"], given["share"]), 0.0)
        for name in self.options.arms:
            arm, began = ARMS[name], time.process_time()
            if f"{name}: student" in self.rows:
                continue
            model = self._trained(arm)
            if model is None:
                return False
            seconds = time.process_time() - began
            outputs = generator_finders(model.parent, self.config(arm)) if name == "shapes" else {}
            for output, find in outputs.items():
                self._row(f"{name}: {output}", find, seconds)
            self._row(f"{name}: student", model_finder(model), seconds)
            if name == "shapes":
                self._row("untrained", model_finder(_untrained(model, self.options.seed)), 0.0)
        return True

    def config(self, arm: Arm) -> TaskConfig:
        """How an arm is trained."""
        s, masks = self.settings, data_root() / "octa_vessels" / "masks"
        fixed = {
            "working_size": s["working_size"],
            "crops.size": s["crop"],
            "precision": s["precision"],
            **{f"schedule.{key}": s[key] for key in ("steps", "couples", "first_phase", "learning_rate")},
            **{f"shapes.{key}": s[key] for key in ("game", "span", "field", "views", "contrast")},
            "seed": self.options.seed,
            "device": "cpu",
        }
        words = [*(f"{key}={value}" for key, value in fixed.items()), *arm.settings]
        labels = write_discs(masks, self.options.work / "discs") if arm.discs else masks
        data = tuple(str(self.folder / "images" / name) for name in self.tuning)
        return load_task_config(
            "standard", settings=words, task="shapes", init=arm.init, data=data, labels=(str(labels),)
        )

    def _trained(self, arm: Arm) -> Path | None:
        """Model file of an arm; None when the time is up, even in the middle of its training."""
        left = (self.until - time.monotonic()) / 60
        if left <= 0:
            return None
        run = self.options.work / f"{arm.name.replace(' ', '-')}-{self.options.seed}"
        if (run / "last.ckpt").is_file():
            model = resume_training(run, settings=[f"schedule.minutes={left}"], quiet=True)
        else:
            config = self.config(arm)
            limited = replace(config, schedule=replace(config.schedule, minutes=left))
            model = run_training(limited, run, quiet=True)
        last = (run / "events.jsonl").read_text().splitlines()[-1]
        return model if json.loads(last)["event"] == "finished" else None

    def _row(self, name: str, find: Finder, seconds: float) -> None:
        if name in self.rows:
            return
        found = scores(find, self.folder, self.reported)
        self.rows[name] = {
            "dice": round(float(np.mean(found)), 4),
            "dice_std": round(float(np.std(found)), 4),
            "dice_of_tuning_half": round(float(np.mean(scores(find, self.folder, self.tuning))), 4),
            "processor_seconds": round(seconds, 1),
        }
        print(f"{name}: {self.rows[name]}", file=sys.stderr, flush=True)
        write_results(self.options.output, self.document())

    def document(self) -> dict[str, Any]:
        """What is written."""
        content = {"settings": self.settings, "seed": self.options.seed, "images": len(self.reported)}
        return {**content, "rows": self.rows}


def _untrained(model: Path, seed: int) -> LoadedHead:
    """The bundled encoder with a decoder of random weights."""
    loaded = load_head(model)
    torch.manual_seed(seed)
    network = build_segmenter(load_model(resolve("ld-general")).encoder, loaded.head)
    return replace(loaded, network=network.eval())


def table(rows: dict[str, dict[str, Any]]) -> str:
    """One line a row, and whether the target is met."""
    lines = ["| | Dice |", "|---|---|"]
    lines += [f"| {name} | {row['dice']:.3f} ± {row['dice_std']:.3f} |" for name, row in rows.items()]
    if "shapes: student" in rows:
        best, filtered = rows["shapes: student"]["dice"], rows["Frangi's filter"]["dice"]
        met = best >= TARGET[0] and round(best - filtered, 4) >= TARGET[1]
        lines.append(f"\n{best - filtered:+.3f} against Frangi's filter: the target is {'met' if met else 'missed'}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; finished ones stay")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after this time; the same command goes on")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a slice and print what is there; 2 for options or files that cannot be used."""
    options = parser().parse_args(arguments)
    set_threads(options.threads)
    try:
        benchmark = Benchmark(options, tomllib.loads(SETTINGS_FILE.read_text()))
        if not benchmark.run():
            print("the time is up; the same command goes on", file=sys.stderr)
    except (NapariLDError, ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(benchmark.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
