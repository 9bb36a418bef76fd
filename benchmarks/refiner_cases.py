"""Cases from which the learnt refiner learns: labels made worse, what it sees around them, and the truth."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.degradations import degraded
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.io.images import read_image
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.refinement.evidence import evidence
from napari_ld.refinement.learnt import grid_shape, on_grid
from napari_ld.refinement.problem import pose
from napari_ld.refinement.prototype import PrototypeParams

__all__ = ["RefinerCase", "cases_of", "training_planes"]

INTACT = "intact"
"""The kind of a label that was not made worse: there is nothing to change."""
_SMALLEST = 60  # pixels of a label that is taken

Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class RefinerCase:
    """One label.

    Attributes
    ----------
    set, kind : str
    maps : (9, h, w) float16 array
    lead : (h, w) float16 array
        Log-odds by looks and shape.
    truth : (h, w) float16 array
        Share of each cell that the label covers.
    """

    set: str
    kind: str
    maps: npt.NDArray[np.float16]
    lead: npt.NDArray[np.float16]
    truth: npt.NDArray[np.float16]

    @property
    def stacked(self) -> npt.NDArray[np.float16]:
        """All in one, ``(11, h, w)``."""
        return np.concatenate([self.maps, self.lead[None], self.truth[None]])

    @classmethod
    def of(cls, name: str, kind: str, stacked: npt.NDArray[np.float16]) -> RefinerCase:
        """The case of a set from :attr:`stacked`."""
        return cls(name, kind, stacked[:-2], stacked[-2], stacked[-1])


def training_planes(root: Path, name: str, given: dict[str, Any]) -> Iterator[tuple[str, Image, int, Labels]]:
    """Name, image, plane and wanted labels; images by the hash of their names, of a volume some planes evenly.

    Parameters
    ----------
    root : Path
    name : str
        Set.
    given : dict
        ``values`` of the labels; ``skip``, images that are for the report and for tuning; ``planes`` of a volume,
        ``images``, how many.
    """
    folder = given.get("folder", name)
    with open(root / folder / "images.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mask"]]
    rows.sort(key=lambda row: hashlib.sha256(f"{folder}/{row['image']}".encode()).hexdigest())
    for row in rows[given.get("skip", 0) :][: given.get("images")]:
        mask, image = read_image(root / folder / row["mask"]), read_image(root / folder / "images" / row["image"])
        shown = [p for p in range(mask.n_planes) if np.isin(mask.plane(p), given["values"]).sum() >= _SMALLEST]
        wanted = np.linspace(0, len(shown) - 1, min(given.get("planes", 1), len(shown))).round().astype(int)
        for plane in dict.fromkeys(shown[place] for place in wanted):
            truth = np.asarray(mask.plane(plane)).astype(np.int64)
            truth[~np.isin(truth, given["values"])] = 0
            yield row["image"], Image(image.plane(plane), "yxc" if image.has_channels else "yx"), plane, truth


def cases_of(settings: dict[str, Any], root: Path, name: str, model: LoadedModel) -> Iterator[RefinerCase]:
    """All cases of a set: each plane made worse in some kinds, to a Dice drawn at random, or left intact."""
    given = settings["sets"][name]
    for file, image, plane, truth in training_planes(root, name, given):
        source = FeatureSource(image, model)
        key = hashlib.sha256(f"{settings['seed']}/{name}/{file}/{plane}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(key[:8], "little"))
        box = _around(truth)
        for kind in random.permutation([*settings["kinds"], INTACT])[: settings["kinds_each"]]:
            wanted, seed = random.uniform(*settings["dice"]), int(random.integers(1 << 31))
            rough = truth.copy()
            if kind != INTACT:
                rough[box] = degraded(truth[box], kind, wanted, seed)
            yield from _seen(name, kind, image, truth, rough, source)


def _around(truth: Labels) -> tuple[slice, ...]:
    (found,) = ndimage.find_objects((truth > 0).astype(int))
    margin = round(0.8 * max(part.stop - part.start for part in found)) + 4
    return tuple(slice(max(0, part.start - margin), part.stop + margin) for part in found)


def _seen(
    name: str, kind: str, image: Image, truth: Labels, rough: Labels, source: FeatureSource
) -> Iterator[RefinerCase]:
    if set(np.unique(rough)) != set(np.unique(truth)):
        return  # a label was lost
    problem = pose(image, rough, None, source, None)
    maps, leads = evidence(problem, PrototypeParams())
    for k, value in enumerate(problem.values):
        shape = grid_shape(problem, k + 1)
        right = (truth[problem.box[1:]] == value).astype(np.float32)
        stack = np.concatenate([maps[k, 0], leads[k], right[None]])
        cells = on_grid(stack, shape).astype(np.float16)
        yield RefinerCase(name, kind, cells[:-2], cells[-2], cells[-1])
