"""How well clusters are the structures of a set, beside k-means on colours and on untrained features.

``python -m benchmarks.clusters [--sets acdc] [--images 2] [--split report] [--output FILE]``; settings stand in
``proposals.toml``. A cluster is the same on all images of a set: clusters and classes, background included, are matched
one to one by their overlap over all images together (Hungarian method), and the mean IoU of the classes is given. Every
method makes the same number of clusters. The proposer is also run on untrained features. The encoder has seen the
images, without labels, unless ``--encoder`` names one that has not.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2, vq
from scipy.optimize import linear_sum_assignment

from benchmarks.folds import data_root
from benchmarks.labelled import labelled_planes, parser
from benchmarks.machine import write_part
from benchmarks.proposals import SETTINGS_FILE, untrained_like
from napari_ld._types import Embedding
from napari_ld.embedding import FeatureSource
from napari_ld.model.zoo import load_encoder
from napari_ld.proposals import ClusterParams, cluster_map
from napari_ld.proposals.evidence import plane_evidence

Labels = npt.NDArray[np.integer[Any]]
Array = npt.NDArray[np.float32]
Overlaps = npt.NDArray[np.float64]


def overlaps(clusters: Sequence[Labels], classes: Sequence[Labels]) -> Overlaps:
    """Pixels that each cluster shares with each class on each image, ``(images, clusters, classes)``."""
    rows = max(int(one.max()) for one in clusters) + 1
    values = np.unique(np.concatenate([np.unique(one) for one in classes]))
    found = np.zeros((len(clusters), rows, len(values)))
    for table, one, other in zip(found, clusters, classes, strict=True):
        np.add.at(table, (one.reshape(-1), np.searchsorted(values, other.reshape(-1))), 1)
    return found


def matched_iou(table: Overlaps) -> float:
    """Mean IoU over the classes of overlaps (clusters, classes), each matched to a cluster so that the sum is largest.

    A class beyond the number of clusters counts 0.
    """
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    iou = table / np.maximum(union, 1)
    rows, columns = linear_sum_assignment(-iou)
    return float(iou[rows, columns].sum() / table.shape[1])


def ratio_interval(ours: Overlaps, other: Overlaps, resamples: int, seed: int) -> list[float]:
    """Ratio of both mean IoUs with its 95 % interval, by resampling images of both together, matched anew each time."""
    random, found = np.random.default_rng(seed), []
    for _ in range(resamples):
        places = random.integers(0, len(ours), len(ours))
        found.append(matched_iou(ours[places].sum(axis=0)) / matched_iou(other[places].sum(axis=0)))
    ratio = matched_iou(ours.sum(axis=0)) / matched_iou(other.sum(axis=0))
    return [round(float(value), 3) for value in (ratio, *np.quantile(found, [0.025, 0.975]))]


def k_means(parts: Sequence[Array], count: int, settings: dict[str, Any]) -> list[Labels]:
    """Clusters (N,) of the rows (N, F) of every part, learned from all together."""
    given, rows = settings["clusters"], np.concatenate(parts)
    random = np.random.default_rng(settings["seed"])
    chosen = rows[random.permutation(len(rows))[: given["sample"]]].astype(np.float64)
    middle, spread = chosen.mean(axis=0), chosen.std(axis=0) + 1e-9
    centres, _ = kmeans2((chosen - middle) / spread, count, iter=given["iterations"], minit="++", rng=random)
    return [vq((part - middle) / spread, centres)[0] for part in parts]


def of_cells(labels: Labels, embedding: Embedding, shape: tuple[int, int]) -> Labels:
    """Spread the labels (N,) of the cells of an embedding over the pixels (rows, columns)."""
    cells = labels.reshape(embedding.vectors.shape[1:])
    places = []
    for axis, side in enumerate(shape):
        place = np.round((np.arange(side) - embedding.origin[axis]) / embedding.step[axis])
        places.append(np.clip(place, 0, cells.shape[axis] - 1).astype(np.int64))
    return np.asarray(cells[np.ix_(*places)])


def methods(settings: dict[str, Any], sources: dict[str, FeatureSource], count: int) -> dict[str, list[Labels]]:
    """Cluster maps (rows, columns) of all planes, by method."""
    params, planes = ClusterParams(n_clusters=count), range(sources["trained"].n_planes)
    blank = [sources["untrained"].plane(plane) for plane in planes]
    colours = [plane_evidence(sources["trained"], plane).channels for plane in planes]
    shapes = [one.shape[1:] for one in colours]
    grouped = k_means([one.reshape(len(one), -1).T for one in colours], count, settings)
    vectors = [np.asarray(one.vectors, np.float32).reshape(one.vectors.shape[0], -1).T for one in blank]
    cells = k_means(vectors, count, settings)
    return {
        "ours": [cluster_map(sources["trained"], plane, params)[0] for plane in planes],
        "ours, untrained": [cluster_map(sources["untrained"], plane, params)[0] for plane in planes],
        "colours": [labels.reshape(shape) for labels, shape in zip(grouped, shapes, strict=True)],
        "untrained": [of_cells(*one) for one in zip(cells, blank, shapes, strict=True)],
    }


def run(
    settings: dict[str, Any], sets: Sequence[str], images: int, split: str, encoder: str | None
) -> Iterator[list[dict[str, Any]]]:
    """Set by set, a row per number of clusters."""
    trained = load_encoder() if encoder is None else load_encoder(encoder)
    models = {"trained": trained, "untrained": untrained_like(trained, settings["seed"])}
    for name in sets:
        rows: list[dict[str, Any]] = []
        seen = list(labelled_planes(data_root(), name, settings["sets"][name], split, images))
        sources = {key: FeatureSource([image for _, image, _ in seen], model) for key, model in models.items()}
        for count in settings["clusters"]["counts"]:
            found = methods(settings, sources, count)
            tables = {key: overlaps(maps, [truth for *_, truth in seen]) for key, maps in found.items()}
            row: dict[str, Any] = {"set": name, "split": split, "clusters": count, "images": len(seen)}
            row |= {key: round(matched_iou(table.sum(axis=0)), 4) for key, table in tables.items()}
            resamples = settings["clusters"]["resamples"]
            for other in ("colours", "untrained", "ours, untrained"):
                row[f"ratio to {other}"] = ratio_interval(tables["ours"], tables[other], resamples, settings["seed"])
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        yield rows


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    sets, images = settings["clusters"]["sets"], settings["clusters"]["images"]
    chosen = parser((__doc__ or "").split("\n")[0], list(settings["sets"]), sets, images).parse_args(arguments)
    for rows in run(settings, chosen.sets, chosen.images, chosen.split, chosen.encoder):
        if chosen.output:
            write_part(chosen.output, settings, "clusters", rows, ("set", "split", "clusters"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
