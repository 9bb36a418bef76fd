"""How well proposed regions keep to the boundaries of known structures, beside SLIC, Felzenszwalb and watershed.

``python -m benchmarks.proposals [--sets drive] [--images 1] [--split report] [--output FILE]``; settings stand in
``proposals.toml``. Of a volume the plane with the most labelled pixels is taken. The encoder has seen the images,
without labels, unless ``--encoder`` names one that has not. FILE keeps what the benchmarks of lesions and clusters
wrote.
"""

from __future__ import annotations

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
from benchmarks.labelled import labelled_planes, parser
from benchmarks.machine import write_part
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
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


def above(ours: Sequence[float], other: Sequence[float], resamples: int, seed: int) -> list[float]:
    """Mean difference with its 95 % interval, by resampling images; an image without a boundary is left out."""
    difference = np.array(ours) - np.array(other)
    difference = difference[~np.isnan(difference)]
    places = np.random.default_rng(seed).integers(0, len(difference), (resamples, len(difference)))
    low, high = np.quantile(difference[places].mean(axis=1), [0.025, 0.975])
    return [round(float(value), 4) for value in (difference.mean(), low, high)]


def run(
    settings: dict[str, Any], sets: Sequence[str], images: int, split: str, encoder: str | None
) -> Iterator[list[dict[str, Any]]]:
    """Measure all methods, set by set; one row per method and number of regions, with the mean over images."""
    trained = load_encoder() if encoder is None else load_encoder(encoder)
    untrained = untrained_like(trained, settings["seed"])
    for name in sets:
        rows: list[dict[str, Any]] = []
        values: dict[tuple[str, int], list[tuple[float, ...]]] = {}
        for _, image, truth in labelled_planes(data_root(), name, settings["sets"][name], split, images):
            for method, divide in methods(image, {"ours": trained, "ours, untrained": untrained}).items():
                for count in settings["counts"]:
                    labels = divide(count)
                    result = (*measure(labels, truth, settings["tolerance"]), float(len(np.unique(labels))))
                    values.setdefault((method, count), []).append(result)
        for (method, count), results in values.items():
            mean = np.nanmean(results, axis=0).round(4).tolist()
            row = {"set": name, "split": split, "method": method, "asked": count, "images": len(results)}
            row |= dict(zip((*MEASURES, "regions"), mean, strict=True))
            own, slic = ([one[0] for one in values[key, count]] for key in (method, "slic"))
            row["recall above slic"] = above(own, slic, settings["resamples"], settings["seed"])
            rows.append(row)
            print("  ".join(str(value) for value in row.values()), flush=True)
        yield rows


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    sets, images = list(settings["sets"]), settings["images"]
    given = parser((__doc__ or "").split("\n")[0], list(settings["sets"]), sets, images).parse_args(arguments)
    for rows in run(settings, given.sets, given.images, given.split, given.encoder):
        if given.output:  # set by set, so that a run that is broken off leaves what it has
            write_part(given.output, settings, "regions", rows, ("set", "split", "method", "asked"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
