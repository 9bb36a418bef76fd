"""How well structures are found without an example, with one outlined example, and with one click.

``python -m benchmarks.lesions [--structures hard_exudate] [--ways click] [--images 4] [--examples 1] [--output FILE]``;
settings stand in ``proposals.toml``. OUTPUT keeps the rows of other structures and ways, so that it can be made in
slices. The encoder has seen the images, without labels; the untrained one has the same architecture. Images that
settings were chosen on are left out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.folds import data_root
from benchmarks.machine import write_part
from benchmarks.proposals import SETTINGS_FILE, untrained_like
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.model.zoo import load_encoder
from napari_ld.proposals import Example, Mask, fit_examples, propose_regions
from napari_ld.proposals.evidence import plane_evidence
from napari_ld.proposals.like_examples import regions_of_score

BoolMask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.floating[Any]]
_TOUCHING = np.ones((3, 3), int)  # pixels that touch at a corner belong to one structure


@dataclass(frozen=True, eq=False)
class Case:
    """A plane and where the structure is."""

    name: str
    image: Image
    truth: BoolMask


def cases(root: Path, given: dict[str, Any], count: int) -> Iterator[Case]:
    """The first ``count`` planes after those for tuning."""
    name, found = given["set"], 0
    with open(root / name / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"]]
    for row in sorted(rows, key=lambda row: hashlib.sha256(f"{name}/{row['image']}".encode()).hexdigest()):
        mask = read_image(root / name / row["mask"])
        shown = [int(np.isin(mask.plane(plane), given["values"]).sum()) for plane in range(mask.n_planes)]
        if not max(shown):
            continue
        found += 1
        if found > given["tuning"]:
            image, plane = read_image(root / name / "images" / row["image"]), int(np.argmax(shown))
            axes = "yxc" if image.has_channels else "yx"
            yield Case(row["image"], Image(image.plane(plane), axes), np.isin(mask.plane(plane), given["values"]))
        if found == given["tuning"] + count:
            return


def dice(one: BoolMask, other: BoolMask) -> float:
    """Overlap of two masks in [0, 1]."""
    return float(2 * (one & other).sum() / max(int(one.sum() + other.sum()), 1))


def average_precision(score: Array, truth: BoolMask) -> float:
    """Area under the curve of precision over recall, by steps; equal scores stand in row-major order."""
    hit = truth.reshape(-1)[np.argsort(-score.reshape(-1), kind="stable")]
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return float(precision[hit].mean())


def click_in(truth: BoolMask) -> tuple[float, float]:
    """The innermost pixel of the largest connected structure."""
    labels, _ = ndimage.label(truth, _TOUCHING)
    size = np.bincount(labels.reshape(-1))
    size[0] = 0
    deep = ndimage.distance_transform_edt(np.pad(labels == size.argmax(), 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(deep.argmax()), deep.shape)
    return float(row), float(column)


def recalls(
    found: Sequence[BoolMask], truth: BoolMask, within: Sequence[int], overlap: float, smallest: int
) -> list[float]:
    """Part of the connected structures that one of the first proposals overlaps enough (IoU); best proposal first."""
    labels, count = ndimage.label(truth, _TOUCHING)
    size = np.bincount(labels.reshape(-1), minlength=count + 1)
    wanted = np.flatnonzero(size >= smallest)[1:]
    if not len(wanted):
        return [float("nan")] * len(within)
    hit = np.full(count + 1, len(found))
    for rank, mask in enumerate(found):
        shared = np.bincount(labels[mask], minlength=count + 1)
        iou = shared / (size + int(mask.sum()) - shared)
        hit = np.where((iou >= overlap) & (hit > rank), rank, hit)
    return [float((hit[wanted] < limit).mean()) for limit in within]


def without_example(settings: dict[str, Any], seen: Sequence[Case], sources: Sequence[FeatureSource]) -> list[Array]:
    """Recalls of each image by the regions that are unusual in it."""
    given, found = settings["lesions"], []
    for case, source in zip(seen, sources, strict=True):
        regions = sorted(propose_regions(source, "unusual", seed=settings["seed"]), key=lambda one: -one.score)
        masks = [region.mask.to_array(0) for region in regions]
        found.append(np.array(recalls(masks, case.truth, given["within"], given["overlap"], given["smallest"])))
    return found


def with_outline(settings: dict[str, Any], seen: Sequence[Case], sources: Sequence[FeatureSource]) -> list[Array]:
    """Dice of the regions on each image, by the examples that are another image."""

    def measure(place: int, source: FeatureSource, score: Array, model: Any) -> float:
        evidence = plane_evidence(source, 0)
        regions = regions_of_score(source, evidence, np.asarray(score, np.float32), model)
        drawn = np.zeros(evidence.shape, bool)
        for region in regions:
            region.mask.paint(drawn, 0, True)
        return dice(drawn, seen[place].truth)

    return _by_example(
        settings, sources, lambda k: Example(sources[k], 0, mask=Mask.from_array(seen[k].truth)), measure
    )


def with_click(settings: dict[str, Any], seen: Sequence[Case], sources: Sequence[FeatureSource]) -> list[Array]:
    """Average precision of the scores on each image, by the examples that are another image."""
    return _by_example(
        settings,
        sources,
        lambda k: Example(sources[k], 0, position=click_in(seen[k].truth)),
        lambda place, _, score, __: average_precision(score, seen[place].truth),
    )


def _by_example(
    settings: dict[str, Any],
    sources: Sequence[FeatureSource],
    example: Callable[[int], Example],
    measure: Callable[[int, FeatureSource, Array, Any], float],
) -> list[Array]:
    found: list[list[float]] = [[] for _ in sources]
    for k in range(min(settings["lesions"]["examples"], len(sources))):
        model = fit_examples([example(k)], seed=settings["seed"])
        for place, source in enumerate(sources):
            if place != k:
                found[place].append(measure(place, source, model.score(plane_evidence(source, 0)), model))
    return [np.array(values) for values in found]


WAYS: dict[str, Callable[[dict[str, Any], Sequence[Case], Sequence[FeatureSource]], list[Array]]] = {
    "none": without_example,
    "outline": with_outline,
    "click": with_click,
}


def error_ratio(ours: Sequence[Array], other: Sequence[Array], resamples: int, seed: int) -> tuple[float, float, float]:
    """``1 - score`` of ours over that of the other, with its 95 % interval by resampling images of both together."""
    seen = [place for place, values in enumerate(ours) if len(values)]
    errors = np.array([[1 - np.mean(method[place]) for place in seen] for method in (ours, other)])
    errors = errors[:, ~np.isnan(errors).any(axis=0)]
    places = np.random.default_rng(seed).integers(0, errors.shape[1], (resamples, errors.shape[1]))
    sums = errors[:, places].sum(axis=2)
    low, high = np.quantile(sums[0] / np.maximum(sums[1], 1e-9), [0.025, 0.975])
    return float(errors[0].sum() / max(errors[1].sum(), 1e-9)), float(low), float(high)


def run(settings: dict[str, Any], structures: Sequence[str], ways: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row after the other, per structure and way.

    The errors without an example are those within the second number of regions.
    """
    trained = load_encoder()
    models: dict[str, LoadedModel] = {"ours": trained, "untrained": untrained_like(trained, settings["seed"])}
    for name in structures:
        seen = list(cases(data_root(), settings["structures"][name], settings["lesions"]["images"]))
        sources = {key: [FeatureSource(case.image, model) for case in seen] for key, model in models.items()}
        for way in ways:
            found = {key: WAYS[way](settings, seen, own) for key, own in sources.items()}
            row: dict[str, Any] = {"structure": name, "way": way, "images": len(seen)}
            row["examples"] = 0 if way == "none" else min(settings["lesions"]["examples"], len(seen))
            for key, values in found.items():
                parts = values if way == "none" else [one.mean(keepdims=True) for one in values if len(one)]
                row[key] = [round(float(value), 4) for value in np.nanmean(parts, axis=0)]
                row[f"{key}, by image"] = [[round(float(value), 4) for value in one] for one in values]
            judged = {key: [one[1:2] if way == "none" else one for one in values] for key, values in found.items()}
            ratio = error_ratio(judged["ours"], judged["untrained"], settings["lesions"]["resamples"], settings["seed"])
            row["error ratio"] = [round(value, 3) for value in ratio]
            print(name, way, *(f"{key} {row[key]}" for key in (*models, "error ratio")), flush=True)
            yield row


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--structures", nargs="+", choices=list(settings["structures"]), default=settings["structures"])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--images", type=int, default=settings["lesions"]["images"], help="of each structure")
    parser.add_argument("--examples", type=int, default=settings["lesions"]["examples"], help="the first of them")
    parser.add_argument("--output")
    given = parser.parse_args(arguments)
    settings["lesions"] |= {"images": given.images, "examples": given.examples}
    for row in run(settings, list(given.structures), given.ways):
        if given.output:
            write_part(given.output, settings, "lesions", [row], ("structure", "way"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
