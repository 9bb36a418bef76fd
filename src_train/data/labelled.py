"""Images with labels: read together, checked, and kept as the model will see them.

Every plane is brought to the model's working size by the very steps of inference, so that training and use differ in
augmentation only.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Image
from napari_ld.embedding.planes import Planes, intensity_limits
from napari_ld.embedding.resampling import model_input
from napari_ld.errors import ConfigError
from napari_ld.io.images import read_images
from napari_ld.model.heads import MAX_CLASSES, HeadConfig
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.segmentation.windows import head_window

Classes = tuple[tuple[int, str], ...]
# What the panel, the command line and people append to the name of an image for that of its masks.
_ENDING = re.compile(r"[-_ ](labels?|masks?|seg|segmentation)$", re.IGNORECASE)
_DOUBLE = (".nii.gz", ".ome.tif", ".ome.tiff", ".ome.zarr")


@dataclass(frozen=True, eq=False)
class LabelledPlane:
    """One plane at the size that the model sees.

    Attributes
    ----------
    pixels : (C, h, w) uint8 tensor
        Intensities in [0, 1] times 255.
    target : (h, w) uint8 tensor, or int
        Class of every pixel, 0 being background; or of the whole plane, from 0.
    image : str
        File name.
    group : int
        Which image it belongs to: planes of one volume are never parted.
    """

    pixels: Tensor
    target: Tensor | int
    image: str
    group: int

    @property
    def filled(self) -> bool:
        """Whether any pixel is labelled."""
        return isinstance(self.target, Tensor) and bool(self.target.any())


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Planes to learn from.

    Attributes
    ----------
    planes : tuple of LabelledPlane
    filled_share : float
        How often, at least, a plane with labelled pixels is drawn.
    balanced : bool
        Whether every class of planes is drawn equally often.
    """

    planes: tuple[LabelledPlane, ...]
    filled_share: float = 0.75
    balanced: bool = False

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def names(self) -> list[str]:
        """Files, each once."""
        return list(dict.fromkeys(plane.image for plane in self.planes))

    def draw_couples(self, couples: int, rng: np.random.Generator) -> list[LabelledPlane]:
        """Draw ``2 * couples`` planes; none twice before all were drawn once, where they are of one kind."""
        if self.balanced:
            by_class = [[p for p in self.planes if p.target == value] for value in range(MAX_CLASSES + 1)]
            pools = [pool for pool in by_class if pool]
            kinds = [pools[i % len(pools)] for i in rng.permutation(2 * couples)]
            return [pool[int(rng.integers(len(pool)))] for pool in kinds]
        filled = [plane for plane in self.planes if plane.filled]
        if len(filled) == len(self.planes):
            order = np.concatenate([rng.permutation(len(filled)) for _ in range(-(-2 * couples // len(filled)))])
            return [filled[i] for i in order[: 2 * couples]]
        chosen = rng.random(2 * couples) < self.filled_share
        return [(filled if want else self.planes)[int(rng.integers(len(filled if want else self.planes)))]
                for want in chosen]  # fmt: skip


def load_segmented(
    images: Sequence[str],
    masks: Sequence[str],
    head: HeadConfig,
    normalization: IntensityNormalization,
    values: Sequence[int] = (),
) -> tuple[LabelledSet, Classes]:
    """Read images and the label maps that are named like them.

    Parameters
    ----------
    images, masks : sequence of path
        Files and folders. A label map is called as its image; what follows ``-labels``, ``_mask`` and the like is
        overlooked, and so is the ending. Images without a label map are left out.
    head : HeadConfig
        Says at which size planes are kept; its classes are not looked at.
    normalization : IntensityNormalization
    values : sequence of int
        Labels to learn; all others count as background. Empty: all that there are.

    Returns
    -------
    LabelledSet
    tuple of (int, str)
        Values and names of the labels, ascending.

    Raises
    ------
    ConfigError
        No masks, none that belongs to an image, sizes that differ, no labelled pixel, more than 255 labels.
    """
    pairs = list(_pairs(images, masks))
    present, names = _present(pairs)
    wanted = sorted(values) or present
    missing = [value for value in wanted if value not in present]
    if not present or missing:
        found = ", ".join(map(str, present)) or "none"
        raise ConfigError(
            f"the masks hold no pixel labelled {', '.join(map(str, missing)) or 'at all'}; labels there: {found}"
        )
    if len(wanted) > MAX_CLASSES:
        raise ConfigError(f"{len(wanted)} labels in the masks; expected {MAX_CLASSES} at most: name some of them")
    planes = []
    for group, (image, mask) in enumerate(pairs):
        prepared = Prepared(image, head, normalization)
        for index in range(image.n_planes):
            target = prepared.reduced(_classes_of(_plane_of(mask, index), wanted), index)
            planes.append(LabelledPlane(prepared.pixels(index), target, Path(image.source).name, group))
    if not any(plane.filled for plane in planes):
        raise ConfigError(
            f"no labelled pixel is left at {head.working_size} pixels along the longest side; raise working_size"
        )
    return LabelledSet(tuple(planes)), tuple((value, names.get(value, f"label {value}")) for value in wanted)


def load_classified(
    images: Sequence[str], table: str, head: HeadConfig, normalization: IntensityNormalization
) -> tuple[LabelledSet, Classes]:
    """Read images and the class of each from a table with the columns ``image`` and ``label``.

    Images that the table does not name are left out. Classes are numbered from 1 in the order of their names.

    Raises
    ------
    ConfigError
        A table that cannot be read, lacks a column, names an image that is not there, or has fewer than two classes.
    """
    rows = _rows_of(Path(table))
    found = {Path(image.source).name: image for image in read_images(list(images), several="all")}
    lost = [name for name in rows if name not in found]
    if lost:
        raise ConfigError(f"{table}: no image {lost[0]!r} ({len(lost)} missing) in {', '.join(images)}")
    names = sorted(set(rows.values()))
    if len(names) < 2:
        raise ConfigError(f"{table}: {len(names)} class; expected two or more to be told apart")
    if len(names) > MAX_CLASSES:
        raise ConfigError(f"{table}: {len(names)} classes; expected {MAX_CLASSES} at most")
    planes = []
    for group, (name, label) in enumerate(rows.items()):
        prepared = Prepared(found[name], head, normalization)
        for index in range(found[name].n_planes):
            planes.append(LabelledPlane(prepared.pixels(index), names.index(label), name, group))
    return LabelledSet(tuple(planes), balanced=True), tuple(enumerate(names, start=1))


def split(data: LabelledSet, share: float, seed: int, *, first: bool = False) -> tuple[LabelledSet, LabelledSet]:
    """Hold whole images back for validation.

    Parameters
    ----------
    data : LabelledSet
    share : float
        Of the images; at least one where it is above 0.
    seed : int
    first : bool
        Take the first images by name instead of random ones (protocol of LD).

    Returns
    -------
    training, validation : LabelledSet

    Raises
    ------
    ConfigError
        When nothing labelled is left on either side.
    """
    groups = sorted({plane.group for plane in data.planes})
    if share <= 0:
        return data, LabelledSet((), data.filled_share, data.balanced)
    if len(groups) < 2:
        raise ConfigError(
            "one labelled image only: it cannot be both learned from and validated on; give two or more, or train "
            "without validation (validation.share=0)"
        )
    order = groups if first else np.random.default_rng(seed).permutation(groups).tolist()
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    held = set(order[:count])
    parts = []
    for inside in (False, True):
        chosen = tuple(plane for plane in data.planes if (plane.group in held) == inside)
        parts.append(LabelledSet(chosen, data.filled_share, data.balanced))
    if not data.balanced and not all(any(plane.filled for plane in part.planes) for part in parts):
        raise ConfigError("the labelled pixels are on too few images to train and validate; label more images")
    return parts[0], parts[1]


class Prepared:
    """Planes of one image as the model sees them; slices of a volume share their intensities."""

    def __init__(self, image: Image, head: HeadConfig, normalization: IntensityNormalization) -> None:
        self._planes, self._normalization = Planes(image), normalization
        self._window = head_window(image.plane_shape, image.pixel_spacing, head)
        shared = image.axes.startswith("z")
        self._shared = intensity_limits(self._planes, 0, None, normalization) if shared else None

    def pixels(self, index: int) -> Tensor:
        """Plane ``index`` as (C, h, w) uint8."""
        pixels, scaling = self._planes.load(index), self._normalization
        limits = self._shared or intensity_limits(self._planes, 0, pixels, scaling)
        x = model_input(pixels, self._window, scaling, limits)[0] * scaling.std + scaling.mean
        return (x.clamp(0, 1) * 255).round().to(torch.uint8)

    def reduced(self, target: npt.NDArray[np.uint8], index: int) -> Tensor:
        """Classes (rows, columns) at the size of :meth:`pixels`: those of the nearest pixels."""
        places = []
        for axis in (0, 1):
            step = target.shape[axis] / self._window.size[axis]
            at = np.floor((np.arange(self._window.size[axis]) + 0.5) * step).astype(int)
            places.append(np.minimum(at, target.shape[axis] - 1))
        return torch.from_numpy(np.ascontiguousarray(target[np.ix_(*places)]))


def stem_of(path: str | Path) -> str:
    """Name of a file without its ending, and without what says that it holds masks."""
    name = Path(path).name
    double = next((ending for ending in _DOUBLE if name.lower().endswith(ending)), None)
    return _ENDING.sub("", name[: -len(double)] if double else Path(name).stem)


def _pairs(images: Sequence[str], masks: Sequence[str]) -> Iterator[tuple[Image, Image]]:
    if not masks:
        raise ConfigError("no masks: give files or folders with --masks")
    known: dict[str, Image] = {}
    for mask in read_images(list(masks), several="all"):
        if known.setdefault(stem_of(mask.source), mask) is not mask:
            raise ConfigError(f"{mask.source}: another mask has the same name; give each image one mask")
    used = set()
    for image in read_images(list(images), several="all"):
        stem = next((s for s in (stem_of(image.source), Path(image.source).stem) if s in known), None)
        if stem is None or image.source == known[stem].source:
            continue
        mask = known[stem]
        if (mask.n_planes, mask.plane_shape) != (image.n_planes, image.plane_shape):
            raise ConfigError(
                f"{mask.source}: {_size(mask)}, its image {image.source} {_size(image)}: expected equal sizes"
            )
        used.add(stem)
        yield image, mask
    if not used:
        raise ConfigError(
            f"none of the masks in {', '.join(masks)} is called as an image in {', '.join(images)}; "
            "name them alike, as in x.png and x-labels.tif"
        )


def _size(image: Image) -> str:
    rows, columns = image.plane_shape
    return f"{image.n_planes} x {rows} x {columns}" if image.n_planes > 1 else f"{rows} x {columns}"


def _plane_of(mask: Image, index: int) -> npt.NDArray[Any]:
    labels = mask.plane(index)
    return labels[..., 0] if labels.ndim == 3 else labels


def _present(pairs: Sequence[tuple[Image, Image]]) -> tuple[list[int], dict[int, str]]:
    """Labels in all masks, and the names that files give."""
    values: set[int] = set()
    names: dict[int, str] = {}
    for _, mask in pairs:
        for index in range(mask.n_planes):
            found = np.unique(_plane_of(mask, index))
            if not np.array_equal(found, np.round(found)) or (len(found) and found.min() < 0):
                raise ConfigError(f"{mask.source}: values such as {found[0]:g}; expected whole labels from 0 on")
            values |= {int(value) for value in found if value}
        names |= dict(mask.label_names)
    return sorted(values), names


def _classes_of(labels: npt.NDArray[Any], wanted: Sequence[int]) -> npt.NDArray[np.uint8]:
    classes = np.zeros(labels.shape, np.uint8)
    for number, value in enumerate(wanted, start=1):
        classes[labels == value] = number
    return classes


def _rows_of(table: Path) -> dict[str, str]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{table}: cannot be read as a table ({error}); give a CSV file with --labels") from error
    if not rows or not {"image", "label"} <= set(rows[0]):
        raise ConfigError(f"{table}: expected the columns image and label, and a row for each image")
    return {Path(row["image"]).name: row["label"].strip() for row in rows if (row["label"] or "").strip()}
