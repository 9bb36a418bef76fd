"""How well one click in a volume is found in space in others, beside registration.

``python -m benchmarks.volumes --output FILE`` prints a table and writes the JSON. Sets and settings are those of
``volumes.toml``. The encoders of the folds were trained with mouse skulls, and the bundled one too, without labels:
there is no encoder out of fold for these sets, and the table says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.folds import data_root
from benchmarks.machine import write_results
from benchmarks.outcomes import benchmark_store, evenly, read_cache, write_cache
from benchmarks.registration import register
from benchmarks.report import align
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import NapariLDError
from napari_ld.evaluation import summarize
from napari_ld.io.images import read_image
from napari_ld.localization import Template, locate
from napari_ld.model.checkpoint import LoadedModel, ModelHeader, load_model
from napari_ld.model.encoder import build_encoder
from napari_ld.model.zoo import DEFAULT_ENCODER, resolve
from napari_ld.storage import content_key

SETTINGS_FILE = Path(__file__).with_name("volumes.toml")
CACHE = Path(__file__).with_name("results") / "registration.json"
SEEN = "encoder (saw these volumes, without labels)"

Points = npt.NDArray[np.float64]
Errors = dict[str, Points]


@dataclass(frozen=True, eq=False)
class VolumeSet:
    """Volumes with known points.

    Attributes
    ----------
    names : tuple of str
        The template first.
    images : tuple of Image
    landmarks : tuple of str
    truth : (volumes, landmarks, 3) float64 array
        Plane, row and column in stored voxels.
    """

    name: str
    names: tuple[str, ...]
    images: tuple[Image, ...]
    landmarks: tuple[str, ...]
    truth: Points

    def errors(self, index: int, found: Points) -> Points:
        """Distances (landmarks,) in millimetres; a point called absent counts as half the longest side."""
        image = self.images[index]
        spacing = np.array(image.spacing)
        away: Points = np.linalg.norm((found - self.truth[index]) * spacing, axis=1)
        return np.where(np.isfinite(away), away, float((spacing * image.array.shape).max()) / 2)


def load_set(name: str, entry: Mapping[str, Any], targets: int | None) -> VolumeSet:
    """Load a set; ``targets`` overrides how many volumes are searched, 0 for all."""
    folder = data_root() / entry["folder"]
    points: dict[str, dict[str, tuple[float, float, float]]] = {}
    with open(folder / "landmarks.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            place = float(row["plane"]), float(row["row"]), float(row["column"])
            points.setdefault(row["image"], {})[row["landmark"]] = place
    others = sorted(set(points) - {entry["template"]})
    wanted = entry["targets"] if targets is None else targets
    names = (entry["template"], *evenly(others, wanted or None))
    landmarks = tuple(sorted(points[names[0]]))
    return VolumeSet(
        name,
        names,
        tuple(read_image(folder / "images" / image) for image in names),
        landmarks,
        np.array([[points[image][landmark] for landmark in landmarks] for image in names]),
    )


def search(model: LoadedModel, data: VolumeSet) -> tuple[dict[str, Errors], dict[str, float]]:
    """Errors of the coarse and of the refined answers, and seconds for one landmark once all is embedded."""
    store = benchmark_store()
    source = FeatureSource(data.images[0], model, store=store)
    clicks = [
        Template(name, source, round(float(z)), (float(y), float(x)), float(z))
        for name, (z, y, x) in zip(data.landmarks, data.truth[0], strict=True)
    ]
    found: dict[str, Errors] = {"coarse": {}, "fine": {}}
    seconds: dict[str, float] = {}
    for index, name in enumerate(data.names[1:], start=1):
        target = FeatureSource(data.images[index], model, store=store)
        points = {stage: np.full((len(data.landmarks), 3), np.nan) for stage in found}
        for match in locate(target, clicks, stack_kind="volumes"):
            if match.point is not None:
                points[match.stage][data.landmarks.index(match.landmark)] = match.point
        for stage in found:
            found[stage][name] = data.errors(index, points[stage])
        started = time.perf_counter()
        for match in locate(target, clicks[:1], stack_kind="volumes"):
            seconds[match.stage] = round(time.perf_counter() - started, 2)
    return found, seconds


def untrained(like: LoadedModel, seed: int) -> LoadedModel:
    """An encoder of the same architecture and preprocessing with random weights."""
    header = ModelHeader("encoder", "untrained", like.header.config, like.header.normalization)
    key = content_key("untrained", json.dumps([str(header.config), str(header.normalization), seed]))
    return LoadedModel(build_encoder(header.config, seed=seed).eval(), header, key, Path("untrained"))


def same_position(data: VolumeSet) -> Errors:
    """The template's position, relative to the size of the volume."""
    shapes = [np.array(image.array.shape[:3], np.float64) for image in data.images]
    return {
        name: data.errors(k, (data.truth[0] + 0.5) * shapes[k] / shapes[0] - 0.5)
        for k, name in enumerate(data.names)
        if k > 0
    }


def registered(data: VolumeSet, settings: Mapping[str, Any], cache: Path | None = CACHE) -> dict[str, Errors]:
    """Errors of affine and B-spline registration, taken from the cache where the same settings met the same volumes."""
    found: dict[str, Errors] = {"affine": {}, "bspline": {}}
    for index, name in enumerate(data.names[1:], start=1):
        question = json.dumps([dict(settings), data.name, data.names[0], name, data.truth[0].round(3).tolist()])
        key = content_key("registration", question)[:16]
        known = read_cache(cache).get(key)
        if known is None:
            started = time.perf_counter()
            carried = register(data.images[0], data.images[index], data.truth[0], settings)
            errors = {method: data.errors(index, points).round(4).tolist() for method, points in carried.items()}
            seconds = round(time.perf_counter() - started)
            known = {"set": data.name, "template": data.names[0], "target": name, "seconds": seconds, "errors": errors}
            if cache is not None:
                write_cache(cache, read_cache(cache) | {key: known})
        for method, values in known["errors"].items():
            found[method][name] = np.array(values)
        print(f"  registered {name}", file=sys.stderr, flush=True)
    return found


def evaluate(data: VolumeSet, settings: Mapping[str, Any], encoder: str, methods: Sequence[str]) -> Iterator[Any]:
    """``(method, errors, notes)`` of each method that was asked for."""
    if "position" in methods:
        yield "same position", same_position(data), {}
    if "registration" in methods:
        for method, errors in registered(data, settings["registration"]).items():
            yield {"affine": "SimpleITK affine", "bspline": "SimpleITK affine + B-spline"}[method], errors, {}
    model = load_model(resolve(encoder))
    for name, wanted, used in (
        (SEEN, "encoder", model),
        ("untrained encoder", "untrained", untrained(model, settings["seed"])),
    ):
        if wanted in methods:
            found, seconds = search(used, data)
            yield f"{name}, coarse", found["coarse"], {"seconds for one landmark": seconds.get("coarse")}
            yield name, found["fine"], {"seconds for one landmark": seconds.get("fine")}


def row_of(method: str, errors: Errors, notes: Mapping[str, Any], data: VolumeSet, settings: Mapping[str, Any]) -> Any:
    """Summary of one method on one set, ready for JSON."""
    values = np.concatenate(list(errors.values()))
    groups = [name for name, of in errors.items() for _ in of]
    thresholds = settings["sets"][data.name]["sdr_mm"]
    summary = summarize(
        values,
        groups,
        thresholds,
        samples=settings["bootstrap_samples"],
        level=settings["interval"],
        seed=settings["seed"],
    )
    return {
        "set": data.name,
        "method": method,
        "template": data.names[0],
        "n_volumes": len(errors),
        "n_points": len(values),
        "mean": summary.mean,
        "interval": summary.interval,
        "median": summary.median,
        "sdr": {f"{threshold:g}": rate for threshold, rate in summary.success.items()},
        "by_volume": {name: float(of.mean()) for name, of in errors.items()},
        **notes,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the rows as text, and the ratio to the best registration."""
    parts = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        head = ["error in mm", "mean", "95 % interval", "median", *(f"SDR@{t}" for t in own[0]["sdr"])]
        best = min((row["mean"] for row in own if row["method"].startswith("SimpleITK")), default=None)
        lines = [[*head, "/ registration"]]
        for row in own:
            interval = f"{row['interval'][0]:.2f} to {row['interval'][1]:.2f}"
            rates = [f"{rate:.1f}" for rate in row["sdr"].values()]
            ratio = "" if best is None else f"{row['mean'] / best:.2f}"
            lines.append([row["method"], f"{row['mean']:.3f}", interval, f"{row['median']:.3f}", *rates, ratio])
        title = f"{name}: template {own[0]['template']}, {own[0]['n_points']} points on {own[0]['n_volumes']} volumes"
        parts.append(f"\n{title}\n{align(lines)}")
    return "\n".join(parts)


METHODS = ("position", "registration", "encoder", "untrained")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 2 for options or files that cannot be used."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.volumes", description=__doc__)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="bundled name or file")
    parser.add_argument("--sets", nargs="+", default=list(settings["sets"]), choices=list(settings["sets"]))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--targets", type=int, help="volumes to search, evenly spread; 0: all")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)
    rows, started = [], time.perf_counter()
    try:
        for name in options.sets:
            data = load_set(name, settings["sets"][name], options.targets)
            for method, errors, notes in evaluate(data, settings, options.encoder, options.methods):
                rows.append(row_of(method, errors, notes, data, settings))
                elapsed = time.perf_counter() - started
                mean = rows[-1]["mean"]
                print(f"{elapsed:6.0f} s  {name}  {method}  {mean:.3f}", file=sys.stderr, flush=True)
    except (NapariLDError, ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    if options.output:
        write_results(
            options.output,
            {"settings": settings, "seconds": round(time.perf_counter() - started), "results": rows},
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
