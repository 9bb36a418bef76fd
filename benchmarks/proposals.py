"""How well proposed regions keep to the boundaries of known structures, beside SLIC, Felzenszwalb and watershed.

``python -m benchmarks.proposals [--sets drive] [--images 1] [--output FILE]``; settings stand in ``proposals.toml``.
Of a volume the plane with the most labelled pixels is taken. The encoder has seen the images, without labels. FILE
keeps what the benchmarks of lesions and clusters wrote.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import segmentation as _segmentation

from benchmarks.folds import data_root
from benchmarks.machine import write_part
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.model.encoder import build_encoder
from napari_ld.model.zoo import load_encoder
from napari_ld.proposals import region_tree

segmentation: Any = _segmentation  # scikit-image annotates only some of its functions
SETTINGS_FILE = Path(__file__).with_name("proposals.toml")
MEASURES = ("boundary recall", "boundary pixels", "undersegmentation error", "achievable accuracy")

Labels = npt.NDArray[np.integer[Any]]
Divide = Callable[[int], Labels]


def measure(labels: Labels, truth: Labels, tolerance: float) -> tuple[float, float, float, float]:
    """Quality of a label map (rows, columns) against the truth: the values of :data:`MEASURES`.

    Boundary pixels are those that differ from a 4-neighbour. The undersegmentation error is that of Neubert and
    Protzel (2012), halved since every region that leaks is counted on both sides, as a part of all pixels.
    """
    drawn = segmentation.find_boundaries(labels, mode="thick")
    edge = segmentation.find_boundaries(truth, mode="inner")
    near = ndimage.distance_transform_edt(~drawn) <= tolerance
    _, region = np.unique(labels, return_inverse=True)
    _, structure = np.unique(truth, return_inverse=True)
    table = np.zeros((region.max() + 1, structure.max() + 1))
    np.add.at(table, (region.reshape(-1), structure.reshape(-1)), 1)
    leak = np.minimum(table, table.sum(axis=1, keepdims=True) - table).sum() / 2
    recall = float(near[edge].mean()) if edge.any() else float("nan")
    return recall, float(drawn.sum()), float(leak / labels.size), float(table.max(axis=1).sum() / labels.size)


def examples(root: Path, name: str, count: int) -> Iterator[tuple[str, Image, Labels]]:
    """The first labelled images of a set by the hash of their names, with their masks; of volumes one plane."""
    with open(root / name / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"]]
    found = 0
    for row in sorted(rows, key=lambda row: hashlib.sha256(f"{name}/{row['image']}".encode()).hexdigest()):
        image, mask = read_image(root / name / "images" / row["image"]), read_image(root / name / row["mask"])
        labelled = [np.count_nonzero(mask.plane(plane)) for plane in range(mask.n_planes)]
        if found == count or not max(labelled):
            continue
        plane = int(np.argmax(labelled))
        found += 1
        axes = "yxc" if image.has_channels else "yx"
        yield row["image"], Image(image.plane(plane), axes), np.asarray(mask.plane(plane)).astype(np.int64)


def at_count(divide: Callable[[float], Labels], wanted: int, low: float, high: float) -> Labels:
    """Divide with the parameter, in powers of two between ``low`` and ``high``, that comes closest to a number."""
    best: Labels | None = None
    for _ in range(8):
        middle = (low + high) / 2
        labels = divide(2.0**middle)
        count = len(np.unique(labels))
        if best is None or abs(count - wanted) < abs(len(np.unique(best)) - wanted):
            best = labels
        low, high = (middle, high) if count > wanted else (low, middle)
        if abs(count - wanted) <= 0.05 * wanted:
            break
    assert best is not None
    return best


def methods(image: Image, models: dict[str, LoadedModel]) -> dict[str, Divide]:
    """Every way to divide a picture in a number of regions."""
    pixels = image.plane(0)[..., :3] if image.has_channels else image.plane(0)
    low, high = np.percentile(pixels, [0.5, 99.5])
    scaled = np.clip((pixels.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1)
    colour = scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)
    relief = ndimage.gaussian_gradient_magnitude(colour.mean(axis=2), 1.0)
    found: dict[str, Divide] = {
        "slic": lambda count: at_count(
            lambda size: segmentation.slic(colour, max(1, round(colour[..., 0].size / size))), count, 5, 16
        ),
        "felzenszwalb": lambda count: at_count(
            lambda scale: segmentation.felzenszwalb(colour, scale, sigma=0.8, min_size=20), count, 2, 16
        ),
        "watershed": lambda count: segmentation.watershed(relief, markers=count),
    }
    for name, model in models.items():
        tree = region_tree(FeatureSource(image, model), 0)
        found[name] = tree.cut
    return found


def untrained_like(trained: LoadedModel, seed: int) -> LoadedModel:
    """The same architecture with random weights."""
    return LoadedModel(
        build_encoder(trained.header.config, seed=seed).eval(), trained.header, "0" * 64, Path("untrained")
    )


def run(settings: dict[str, Any], sets: Sequence[str], images: int) -> list[dict[str, Any]]:
    """Measure all methods; one row per set, method and number of regions, with the mean over images."""
    trained = load_encoder()
    untrained = untrained_like(trained, settings["seed"])
    rows = []
    for name in sets:
        values: dict[tuple[str, int], list[tuple[float, ...]]] = {}
        for _, image, truth in examples(data_root(), name, images):
            for method, divide in methods(image, {"ours": trained, "ours, untrained": untrained}).items():
                for count in settings["counts"]:
                    labels = divide(count)
                    result = (*measure(labels, truth, settings["tolerance"]), float(len(np.unique(labels))))
                    values.setdefault((method, count), []).append(result)
        for (method, count), results in values.items():
            mean = dict(zip((*MEASURES, "regions"), np.nanmean(results, axis=0).tolist(), strict=True))
            rows.append({"set": name, "method": method, "asked": count, "images": len(results)} | mean)
            print("  ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in rows[-1].values()))
    return rows


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=list(settings["sets"]), default=list(settings["sets"]))
    parser.add_argument("--images", type=int, default=settings["images"])
    parser.add_argument("--output")
    given = parser.parse_args(arguments)
    rows = run(settings, given.sets, given.images)
    if given.output:
        write_part(given.output, settings, "regions", rows, ("set", "method", "asked"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
