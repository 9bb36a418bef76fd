"""What a frozen encoder's features are worth: a linear probe with few labelled images, and the clusters as regions."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from napari_ld._types import Image
from napari_ld.embedding.source import FeatureSource
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.storage import Store

_LONGEST_MASK = 512
_CELLS = 30_000
_DECAY = 1e-3
_CLUSTERS = 16

Mask = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Planes with label maps of their own size, at most 512 pixels long."""

    images: tuple[Image, ...]
    masks: tuple[Mask, ...]


def read_labelled(folder: Path, planes: int, names: Sequence[str] | None = None) -> Labelled:
    """Read a set of the development data that has masks; volumes give ``planes`` labelled planes each.

    Parameters
    ----------
    folder : Path
        With ``images.csv`` whose column ``mask`` is relative to it.
    planes : int
        Of a volume, evenly spread over those that hold a label.
    names : sequence of str, optional
        File names to read; all by default.
    """
    with open(folder / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"] and (names is None or row["image"] in set(names))]
    images: list[Image] = []
    masks: list[Mask] = []
    for row in rows:
        image, mask = read_image(folder / "images" / row["image"]), read_image(folder / row["mask"])
        for index in _labelled_planes(mask, planes):
            images.append(Image(image.plane(index), "yxc" if image.has_channels else "yx"))
            masks.append(_reduced(mask.plane(index)))
    return Labelled(tuple(images), tuple(masks))


def _labelled_planes(mask: Image, planes: int) -> list[int]:
    if not mask.is_stack:
        return [0]
    filled = [i for i in range(mask.n_planes) if mask.plane(i).any()]
    return [filled[i] for i in np.linspace(0, len(filled) - 1, min(planes, len(filled))).round().astype(int)]


def _reduced(mask: npt.NDArray[np.generic]) -> Mask:
    step = -(-max(mask.shape[:2]) // _LONGEST_MASK)
    return np.asarray(mask[::step, ::step], np.int32)


@dataclass(frozen=True, eq=False)
class Features:
    """Of one plane: embedding (D, h, w), clusters (K, h, w) or None, label map (H, W)."""

    vectors: Tensor
    clusters: Tensor | None
    mask: Mask


def features_of(model: LoadedModel, data: Labelled, store: Store) -> list[Features]:
    """Embed every plane as the product does."""
    source = FeatureSource(data.images, model, device="cpu", store=store)
    found = []
    for index, mask in enumerate(data.masks):
        plane = source.plane(index)
        clusters = None if plane.clusters is None else torch.from_numpy(np.array(plane.clusters, np.float32))
        found.append(Features(torch.from_numpy(np.array(plane.vectors, np.float32)), clusters, mask))
    return found


def probe_dice(train: Sequence[Features], test: Sequence[Features], value: int, seed: int) -> float:
    """Mean Dice over the test planes that show the label, of a logistic regression on single cells.

    The threshold is the one that gives the best mean Dice on the training planes.

    Parameters
    ----------
    train, test : sequence of Features
    value : int
        The label; all others are background.
    seed : int
        Draws the training cells when there are more than 30,000.
    """
    x = torch.cat([f.vectors.flatten(1).T for f in train])
    y = torch.cat([_share(f, value).flatten() for f in train])
    if len(x) > _CELLS:
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:_CELLS]
        x, y = x[chosen], y[chosen]
    mean, spread = x.mean(0), x.std(0) + 1e-6
    weight = _logistic((x - mean) / spread, y)

    def maps(planes: Sequence[Features]) -> list[Tensor]:
        return [_probability(f, mean, spread, weight) for f in planes]

    fitted, answers = maps(train), maps(test)
    thresholds = np.linspace(0.05, 0.95, 19)
    best = max(thresholds, key=lambda t: _mean_dice(fitted, train, value, float(t)))
    return _mean_dice(answers, test, value, float(best))


def cluster_iou(planes: Sequence[Features], values: Sequence[int], seed: int) -> float:
    """Mean IoU over background and ``values`` when each takes one cluster, the best assignment (Hungarian).

    Clusters are those of the encoder's head, else 16 spherical k-means clusters of its embedding.
    """
    assigned = _head_clusters(planes) or _kmeans_clusters(planes, seed)
    classes = [0, *values]
    inside, sizes, areas = np.zeros((len(classes), 256)), np.zeros((len(classes), 1)), np.zeros(256)
    for clusters, plane in zip(assigned, planes, strict=True):
        labels = _resized(torch.from_numpy(plane.mask)[None, None].float(), clusters.shape, "nearest")[0, 0].int()
        for row, value in enumerate(classes):
            inside[row] += np.bincount(clusters[labels == value].numpy(), minlength=256)
            sizes[row] += int((labels == value).sum())
        areas += np.bincount(clusters.flatten().numpy(), minlength=256)
    overlap = inside / np.maximum(1, sizes + areas - inside)
    rows, columns = linear_sum_assignment(-overlap)
    return float(overlap[rows, columns].mean())


def _head_clusters(planes: Sequence[Features]) -> list[Tensor]:
    return [plane.clusters.argmax(0) for plane in planes if plane.clusters is not None]


def _kmeans_clusters(planes: Sequence[Features], seed: int) -> list[Tensor]:
    x = torch.cat([plane.vectors.flatten(1).T for plane in planes])
    generator = torch.Generator().manual_seed(seed)
    sample = x[torch.randperm(len(x), generator=generator)[:_CELLS]]
    centres = sample[:_CLUSTERS]
    for _ in range(20):
        nearest = (sample @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, sample)
        empty = torch.bincount(nearest, minlength=_CLUSTERS) == 0
        centres = F.normalize(torch.where(empty[:, None], centres, sums), dim=1)
    return [torch.einsum("dhw,kd->khw", plane.vectors, centres).argmax(0) for plane in planes]


def _share(plane: Features, value: int) -> Tensor:
    """Share of every cell that has the label, (h, w)."""
    mask = torch.from_numpy(plane.mask == value)[None, None].float()
    return _resized(mask, plane.vectors.shape[1:], "area")[0, 0]


def _resized(maps: Tensor, size: Sequence[int], mode: str) -> Tensor:
    align = False if mode == "bilinear" else None
    return F.interpolate(maps, size=tuple(size), mode=mode, align_corners=align)


def _logistic(x: Tensor, y: Tensor) -> Tensor:
    """Weights (D + 1,) of a logistic regression on soft labels, with a small quadratic penalty."""
    weight = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x @ weight[:-1] + weight[-1], y)
        loss = loss + _DECAY * weight[:-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach()


def _probability(plane: Features, mean: Tensor, spread: Tensor, weight: Tensor) -> Tensor:
    """Probability at every pixel of the mask."""
    scale = weight[:-1] / spread
    logits = torch.einsum("dhw,d->hw", plane.vectors, scale) + (weight[-1] - mean @ scale)
    return torch.sigmoid(_resized(logits[None, None], plane.mask.shape, "bilinear")[0, 0])


def _mean_dice(maps: Sequence[Tensor], planes: Sequence[Features], value: int, threshold: float) -> float:
    scores = []
    for probability, plane in zip(maps, planes, strict=True):
        truth, found = plane.mask == value, probability.numpy() > threshold
        if truth.any():
            scores.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    return float(np.mean(scores)) if scores else float("nan")


def mean_and_range(values: Mapping[str, float]) -> str:
    """Mean over seeds, and the smallest and largest where there are several."""
    numbers = list(values.values())
    if not numbers:
        return "–"
    text = f"{np.mean(numbers):.3g}"
    return text if len(numbers) == 1 else f"{text} ({min(numbers):.3g}–{max(numbers):.3g}; {len(numbers)} seeds)"
