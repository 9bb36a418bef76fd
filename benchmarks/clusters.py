"""How well the encoder's clusters are the structures of a set, beside k-means on colours and on untrained features.

``python -m benchmarks.clusters [--sets acdc] [--images 2] [--output FILE]``; settings stand in ``proposals.toml``. A
cluster is the same on all images of a set: clusters and classes, background included, are matched one to one by their
overlap over all images together (Hungarian method), and the mean IoU of the classes is given. k-means makes as many
clusters as the encoder has. The encoder has seen the images, without labels.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2, vq
from scipy.optimize import linear_sum_assignment

from benchmarks.folds import data_root
from benchmarks.machine import write_part
from benchmarks.proposals import SETTINGS_FILE, untrained_like
from napari_ld._types import Embedding, Image
from napari_ld.embedding import FeatureSource
from napari_ld.embedding.resampling import resampled
from napari_ld.io.images import read_image
from napari_ld.model.zoo import load_encoder
from napari_ld.proposals.evidence import plane_evidence

Labels = npt.NDArray[np.integer[Any]]
Array = npt.NDArray[np.float32]


def planes(root: Path, name: str, skip: int, count: int) -> Iterator[tuple[Image, Labels]]:
    """Labelled planes after those for tuning, by the hash of their names; of volumes the one with most labels."""
    with open(root / name / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"]]
    ordered = sorted(rows, key=lambda row: hashlib.sha256(f"{name}/{row['image']}".encode()).hexdigest())
    found = 0
    for row in ordered[skip:]:
        mask = read_image(root / name / row["mask"])
        shown = [np.count_nonzero(mask.plane(plane)) for plane in range(mask.n_planes)]
        if max(shown) and found < count:
            found += 1
            image, plane = read_image(root / name / "images" / row["image"]), int(np.argmax(shown))
            axes = "yxc" if image.has_channels else "yx"
            yield Image(image.plane(plane), axes), np.asarray(mask.plane(plane)).astype(np.int64)


def matched_iou(clusters: Labels, classes: Labels) -> float:
    """Mean IoU over the classes, each matched to another cluster so that the sum is largest; pixels (N,) of all images.

    A class beyond the number of clusters counts 0.
    """
    _, one = np.unique(clusters, return_inverse=True)
    _, other = np.unique(classes, return_inverse=True)
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one.reshape(-1), other.reshape(-1)), 1)
    iou = table / (table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table)
    rows, columns = linear_sum_assignment(-iou)
    return float(iou[rows, columns].sum() / table.shape[1])


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


def run(settings: dict[str, Any], sets: Sequence[str], images: int) -> list[dict[str, Any]]:
    """A row per set."""
    trained = load_encoder()
    untrained, rows = untrained_like(trained, settings["seed"]), []
    for name in sets:
        seen = list(planes(data_root(), name, settings["clusters"]["sets"][name], images))
        evidence = [plane_evidence(FeatureSource(image, trained), 0) for image, _ in seen]
        blank = [FeatureSource(image, untrained).plane(0) for image, _ in seen]
        soft = [
            resampled(np.asarray(_clusters(one.embedding), np.float32), one.embedding, one.shape) for one in evidence
        ]
        count = len(soft[0])
        vectors = [np.asarray(one.vectors, np.float32).reshape(one.vectors.shape[0], -1).T for one in blank]
        colours = k_means([one.channels.reshape(len(one.channels), -1).T for one in evidence], count, settings)
        features = k_means(vectors, count, settings)
        shapes = [one.shape for one in evidence]
        found = {
            "ours": [one.argmax(axis=0).reshape(-1) for one in soft],
            "colours": colours,
            "untrained": [of_cells(*one).reshape(-1) for one in zip(features, blank, shapes, strict=True)],
        }
        truth = np.concatenate([labels.reshape(-1) for _, labels in seen])
        row: dict[str, Any] = {"set": name, "images": len(seen), "clusters": count}
        row |= {key: round(matched_iou(np.concatenate(parts), truth), 4) for key, parts in found.items()}
        rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def _clusters(embedding: Embedding) -> npt.NDArray[Any]:
    assert embedding.clusters is not None, "the bundled encoder has clusters"
    return embedding.clusters


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    given = settings["clusters"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=list(given["sets"]), default=list(given["sets"]))
    parser.add_argument("--images", type=int, default=given["images"])
    parser.add_argument("--output")
    chosen = parser.parse_args(arguments)
    rows = run(settings, chosen.sets, chosen.images)
    if chosen.output:
        write_part(chosen.output, settings, "clusters", rows, ("set",))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
