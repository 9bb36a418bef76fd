"""How much refiners better masks that were made worse, beside watershed, random walker and GrabCut on intensities.

``python -m benchmarks.refinement [--sets busi] [--kinds 2] [--tuning] [--output FILE]``; settings stand in
``refinement.toml``. The bundled encoder has seen the images, without labels: no fold leaves these sets out.
``--learnt FOLDER`` is where ``benchmarks.train_refiner`` left its folds: the network of the learnt refiner then never
saw the set, nor another of the same structure; in rows of its own it never saw the kind of damage, but for the discs
may have seen other images of the set.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import segmentation as _segmentation

from benchmarks.degradations import degraded, mean_dice
from benchmarks.folds import data_root
from benchmarks.machine import write_results
from benchmarks.train_refiner import SETTINGS_FILE as REFINER_FILE
from benchmarks.train_refiner import fold_of
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.model.encoder import build_encoder
from napari_ld.model.zoo import load_encoder
from napari_ld.refinement import REFINERS, LearntParams, refine

segmentation: Any = _segmentation  # scikit-image annotates only some of its functions
SETTINGS_FILE = Path(__file__).with_name("refinement.toml")
_BAND = 0.08  # of the square root of the mask's area: what lies deeper, on either side, is sure for the baselines

Labels = npt.NDArray[np.integer[Any]]
Method = Callable[[Labels], Labels]


@dataclass(frozen=True, eq=False)
class Case:
    """A plane, its labels, and the same labels made worse."""

    set: str
    name: str
    kind: str
    image: Image
    truth: Labels
    rough: Labels


def cases(settings: dict[str, Any], name: str, kinds: int, *, tuning: bool = False) -> Iterator[Case]:
    """Cases of a set: of each image ``kinds`` of the degradations, by turns."""
    given = settings["sets"][name]
    start = settings["images"] if tuning else 0
    count = settings["tuning"] if tuning else settings["images"]
    for turn, (file, image, truth) in enumerate(planes(data_root(), name, given, start, count)):
        every = settings["kinds"]
        for k in range(kinds):
            kind = every[(turn + k * len(every) // kinds) % len(every)]
            yield Case(name, file, kind, image, truth, degraded(truth, kind, settings["dice"], settings["seed"]))


def planes(root: Path, name: str, given: dict[str, Any], start: int, count: int) -> Iterator[tuple[str, Image, Labels]]:
    """Images of a set by the hash of their names, with their wanted labels; of volumes the plane that has most."""
    with open(root / name / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"]]
    found = 0
    for row in sorted(rows, key=lambda row: hashlib.sha256(f"{name}/{row['image']}".encode()).hexdigest()):
        mask = read_image(root / name / row["mask"])
        labelled = [int(np.isin(mask.plane(plane), given["values"]).sum()) for plane in range(mask.n_planes)]
        if max(labelled) < _SMALLEST or found == start + count:
            continue
        found += 1
        if found > start:
            image, plane = read_image(root / name / "images" / row["image"]), int(np.argmax(labelled))
            truth = np.asarray(mask.plane(plane)).astype(np.int64)
            truth[~np.isin(truth, given["values"])] = 0
            truth = (truth > 0).astype(np.int64) if given.get("merged") else truth
            yield row["image"], Image(image.plane(plane), "yxc" if image.has_channels else "yx"), truth


_SMALLEST = 200  # pixels of the labels of a plane that is taken


def baselines(image: Image) -> dict[str, Method]:
    """Known refiners by intensities alone; sure pixels are those away from the rough boundary."""
    pixels = np.asarray(image.plane(0), np.float64)
    grey = pixels[..., :3].mean(axis=2) if image.has_channels else pixels
    low, high = np.percentile(grey, [0.5, 99.5])
    scaled = np.clip((grey - low) / max(high - low, 1e-9), 0, 1)
    found: dict[str, Method] = {
        "watershed, markers": lambda rough: _flooded(scaled, rough),
        "random walker, intensity": lambda rough: _walked(scaled, rough),
    }
    try:
        import cv2
    except ImportError:
        return found
    colour = pixels[..., :3] if image.has_channels else np.repeat((255 * scaled)[..., None], 3, axis=2)
    return found | {"GrabCut": lambda rough: _grabbed(cv2, colour.astype(np.uint8), rough)}


def _sure(rough: Labels) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """Labels 1 to K away from their boundaries, and the far background."""
    width = _BAND * float(np.sqrt((rough > 0).sum()))
    inside = np.zeros_like(rough)
    for value in np.unique(rough[rough > 0]):
        deep = ndimage.distance_transform_edt(rough == value)
        inside[deep > min(width, 0.5 * deep.max())] = value
    return inside, np.asarray(ndimage.distance_transform_edt(rough == 0) > width)


def _window(rough: Labels) -> tuple[slice, slice]:
    """Surroundings of the mask, as large as those that our refiners look at."""
    places = np.argwhere(rough > 0)
    low, high = places.min(axis=0), places.max(axis=0)
    margin = max(12, round(0.6 * int((high - low).max())))
    rows, columns = (slice(max(0, int(a) - margin), int(b) + margin + 1) for a, b in zip(low, high, strict=True))
    return rows, columns


def _marked(rough: Labels) -> Labels:
    inside, outside = _sure(rough)
    return np.asarray(np.where(outside, rough.max() + 1, inside))


def _flooded(grey: npt.NDArray[np.float64], rough: Labels) -> Labels:
    relief = ndimage.gaussian_gradient_magnitude(grey, 1.0)
    found = segmentation.watershed(relief, _marked(rough).astype(np.int32))
    return np.where(found > rough.max(), 0, found).astype(np.int64)


def _walked(grey: npt.NDArray[np.float64], rough: Labels) -> Labels:
    box, result = _window(rough), np.zeros_like(rough)
    # it wants labels without gaps
    values, marked = np.unique(np.where(_marked(rough)[box] == 0, -1, _marked(rough)[box]), return_inverse=True)
    found = segmentation.random_walker(grey[box], marked.reshape(grey[box].shape), beta=130, mode="cg_j", prob_tol=0.1)
    result[box] = np.where(values[found] > rough.max(), 0, values[found])
    return result


def _grabbed(cv2: Any, colour: npt.NDArray[np.uint8], rough: Labels) -> Labels:
    """GrabCut of each label by itself; where two claim a pixel the later value has it."""
    box, result = _window(rough), np.zeros_like(rough)
    inside, _ = _sure(rough)
    for value in np.unique(rough[rough > 0]):
        one = (rough == value).astype(np.int64)
        _, outside = _sure(one)
        state = np.where(one > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
        state[inside == value], state[outside] = cv2.GC_FGD, cv2.GC_BGD
        part = np.ascontiguousarray(state[box], np.uint8)
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(np.ascontiguousarray(colour[box]), part, None, *models, 5, cv2.GC_INIT_WITH_MASK)
        result[box][(part == cv2.GC_FGD) | (part == cv2.GC_PR_FGD)] = value
    return result


def ours(case: Case, sources: dict[str, FeatureSource], learnt: Path | None) -> dict[str, Method]:
    """All our refiners, and those that look at an embedding also with an untrained encoder; ``sources`` by ending."""

    def method(name: str, source: FeatureSource, params: Any = None) -> Method:
        return lambda rough: np.asarray(refine(name, case.image, rough, source=source, params=params).mask)

    found = {
        name + ending: method(name, source)
        for ending, source in sources.items()
        for name, refiner in REFINERS.items()
        if (refiner.embeds or not ending) and name != "learnt"
    }
    if learnt is None:
        return found
    folds = tomllib.loads(REFINER_FILE.read_text())
    for ending, source in sources.items():
        for words, kind in (("", ""), (", kind unseen", case.kind)):
            weights = LearntParams(str(learnt / f"{fold_of(folds, case.set, kind)}.safetensors"))
            found[f"learnt{words}{ending}"] = method("learnt", source, weights)
    return found


def run(
    settings: dict[str, Any],
    sets: Sequence[str],
    kinds: int,
    *,
    only: Sequence[str] = (),
    tuning: bool = False,
    learnt: Path | None = None,
) -> list[dict[str, Any]]:
    """Measure all methods or ``only`` some; a row per case and method, with Dice before, after, processor seconds."""
    trained = load_encoder()
    untrained = LoadedModel(
        build_encoder(trained.header.config, seed=settings["seed"]).eval(), trained.header, "0" * 64, Path("untrained")
    )
    rows: list[dict[str, Any]] = []
    for name in sets:
        image, sources = None, {}
        for case in cases(settings, name, kinds, tuning=tuning):
            if case.image is not image:
                image = case.image
                sources = {"": FeatureSource(image, trained), ", untrained": FeatureSource(image, untrained)}
            methods = ours(case, sources, learnt) | baselines(image)
            before = mean_dice(case.rough, case.truth)
            for method, apply in methods.items():
                if only and method not in only:
                    continue
                start = time.process_time()
                after = mean_dice(apply(case.rough), case.truth)
                seconds = round(time.process_time() - start, 3)
                rows.append(
                    {"set": name, "image": case.name, "kind": case.kind, "method": method}
                    | {"before": round(before, 4), "after": round(after, 4), "seconds": seconds}
                )
    return rows


def speed(rounds: int) -> dict[str, float]:
    """Processor seconds for one mask of 512 x 512 pixels, median of some rounds; the embedding is there already.

    The mask is a disc of 31,000 pixels, a fifth of its radius beside the truth, on a noisy image with one channel.
    """
    rows, columns = np.mgrid[:512, :512]
    truth = np.hypot(rows - 256, columns - 256) < 100
    pixels = (100 + 60 * truth + np.random.default_rng(0).normal(0, 12, truth.shape)).astype(np.float32)
    image, rough = Image(pixels, "yx"), np.roll(truth, 20, 1).astype(np.uint8)
    source = FeatureSource(image, load_encoder())
    source.plane(0)
    found = {}
    for name in REFINERS:
        seconds = []
        for _ in range(rounds):
            start = time.process_time()
            refine(name, image, rough, source=source)
            seconds.append(time.process_time() - start)
        found[name] = round(float(np.median(seconds)), 3)
    return found


def summary(rows: Sequence[dict[str, Any]], loss: float) -> list[dict[str, Any]]:
    """Mean gain of each method, part of the cases that lose more than ``loss``, over all and by set and kind."""
    found = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        gains = np.array([row["after"] - row["before"] for row in own])
        entry = {"method": method, "cases": len(own), "gain": gains.mean(), "worse": (gains < -loss).mean()}
        for key in ("set", "kind"):
            for value in dict.fromkeys(row[key] for row in own):
                entry[value] = gains[[row[key] == value for row in own]].mean()
        entry["seconds"] = float(np.median([row["seconds"] for row in own]))
        found.append({key: round(value, 4) if isinstance(value, float) else value for key, value in entry.items()})
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=list(settings["sets"]), default=list(settings["sets"]))
    parser.add_argument("--kinds", type=int, default=settings["kinds_each"], help="degradations of each image")
    parser.add_argument("--tuning", action="store_true", help="the images that are kept for tuning")
    parser.add_argument("--only", nargs="+", default=[], help="methods; OUTPUT keeps its rows of the others")
    parser.add_argument("--learnt", type=Path, help="folder with the folds of the learnt refiner")
    parser.add_argument("--speed", action="store_true", help="only time one mask of 512 x 512 pixels")
    parser.add_argument("--output")
    given = parser.parse_args(arguments)
    if given.speed:
        print(speed(9))
        return 0
    rows = run(settings, given.sets, given.kinds, only=given.only, tuning=given.tuning, learnt=given.learnt)
    if given.only and given.output and Path(given.output).is_file():
        before = json.loads(Path(given.output).read_text())
        if before["settings"] != settings or before["kinds"] != given.kinds:
            parser.error(f"{given.output} was measured with other settings; run all methods again")
        rows = [row for row in before["results"] if row["method"] not in given.only] + rows
    table = summary(rows, settings["loss"])
    for entry in table:
        print("  ".join(f"{key} {value}" for key, value in entry.items()))
    if given.output:
        write_results(given.output, {"settings": settings, "kinds": given.kinds, "summary": table, "results": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
