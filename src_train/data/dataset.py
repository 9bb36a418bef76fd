"""Unlabelled planes: 8 bit, bounded in size, each with a half-size copy against aliasing.

A *group* is one folder given by the user (one kind of image): pictures, TIFF stacks, NIfTI, NRRD, DICOM series (also
in folders of their own), zarr. Planes of volumes and pages of stacks count singly. Files are read one after the other;
what goes beyond :data:`HELD_BYTES` of decoded planes is kept in a file that is mapped into memory, so that the system
may drop it at will.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld._types import Image
from napari_ld.errors import ConfigError, StorageError
from napari_ld.io.images import read_images
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.storage import default_root

# Planes with less contrast than this (standard deviation of the 0-255 scale) teach nothing: empty slices of a volume.
_MIN_CONTRAST = 6.0
HELD_BYTES = 1024 * 2**20
"""Decoded planes that are kept in memory, about; those beyond lie in a file."""
_FILE_BYTES = 256 * 2**20
_LIMIT_PIXELS = 64 * 2**20  # of a volume, looked at for its intensity limits


@dataclass(frozen=True)
class Plane:
    """One training image, ``levels[0]`` (C, H, W) uint8 and its half-size copy; ``image`` names its source."""

    levels: tuple[Tensor, Tensor]
    image: str

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the stored image."""
        return int(self.levels[0].shape[1]), int(self.levels[0].shape[2])


@dataclass(frozen=True)
class Group:
    """Planes of one kind, and how often one is drawn relative to the other groups."""

    name: str
    planes: tuple[Plane, ...]
    weight: float


@dataclass(frozen=True)
class Dataset:
    """All groups; drawing is uniform within a group and by weight between groups."""

    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return sum(len(group.planes) for group in self.groups)

    def draw_couples(self, couples: int, rng: np.random.Generator) -> list[tuple[Plane, Plane]]:
        """Draw couples of planes of one group each: two different ones wherever the group has two."""
        weights = np.array([group.weight for group in self.groups])
        chosen = rng.choice(len(self.groups), size=couples, p=weights / weights.sum())
        return [self._couple(self.groups[index], rng) for index in chosen]

    @staticmethod
    def _couple(group: Group, rng: np.random.Generator) -> tuple[Plane, Plane]:
        count = len(group.planes)
        first, second = rng.choice(count, size=2, replace=count < 2)
        return group.planes[first], group.planes[second]


def load_dataset(
    folders: Sequence[str | Path],
    *,
    longest_side: int,
    normalization: IntensityNormalization,
    exclude: Iterable[str] = (),
    weights: Sequence[float] | None = None,
    max_planes_per_volume: int = 48,
    report: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> Dataset:
    """Read every image of every folder.

    Parameters
    ----------
    folders : sequence of path
        One group each; also single files and zarr folders. Files that cannot be read stop the run: nothing is dropped
        silently. Of several DICOM series in a folder all are taken. Label images are left out, and this is reported.
    longest_side : int
        Planes larger than this are reduced to it.
    exclude : iterable of str
        File names that must not be seen (held-out images).
    weights : sequence of float, optional
        How often each group is drawn; default: the square root of its number of planes.

    Raises
    ------
    ConfigError
        When nothing is left to train on, or the number of weights differs from that of the folders.
    """
    if weights is not None and len(weights) != len(folders):
        raise ConfigError(f"{len(weights)} weights for {len(folders)} data folders: give one for each, in order")
    excluded = set(exclude)
    groups, kept = [], _Shelf(HELD_BYTES)
    for index, folder in enumerate(folders):
        found = [image for image in read_images([folder], several="all") if Path(image.source).name not in excluded]
        images = [image for image in found if image.kind == "image"]
        if len(images) < len(found):
            report(f"{folder}: {len(found) - len(images)} label images left out")
        planes = [
            kept.put(plane)
            for image in images
            for plane in _planes(image, longest_side, normalization, max_planes_per_volume)
        ]
        report(f"{folder}: {len(images)} images, {len(planes)} planes")
        if planes:
            weight = len(planes) ** 0.5 if weights is None else weights[index]
            groups.append(Group(_group_name(Path(folder)), tuple(planes), weight))
    if not groups:
        raise ConfigError(f"no image to train on in {', '.join(map(str, folders))}: give folders that hold images")
    return Dataset(tuple(groups))


class _Shelf:
    """Keeps planes in memory up to a limit, and those beyond in files that vanish with the last tensor on them."""

    def __init__(self, held_bytes: int) -> None:
        self._left = held_bytes
        self._chunk: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._used = 0

    def put(self, plane: Plane) -> Plane:
        """The same plane, in memory or on disk.

        Raises
        ------
        StorageError
            When there is no room on the disk either.
        """
        size = sum(level.numel() for level in plane.levels)
        if size <= self._left:
            self._left -= size
            return plane
        first, second = (self._mapped(level) for level in plane.levels)
        return Plane((first, second), plane.image)

    def _mapped(self, level: Tensor) -> Tensor:
        count = level.numel()
        if self._used + count > self._chunk.size:
            self._chunk, self._used = _mapped_file(max(_FILE_BYTES, count)), 0
        place = self._chunk[self._used : self._used + count].reshape(tuple(level.shape))
        place[...] = level.numpy()
        self._used += count
        return torch.from_numpy(place)


def _mapped_file(size: int) -> npt.NDArray[np.uint8]:
    """Room on disk; the file has no name, or loses it when the process ends."""
    try:
        default_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=default_root()) as file:
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
            return np.memmap(file, np.uint8, "r+", shape=(size,))
    except OSError as error:
        raise StorageError(
            f"cannot keep {size} bytes of decoded images in {default_root()}: {error.strerror}; free some space, or "
            "name another folder in the environment variable NAPARI_LD_CACHE"
        ) from error


def _group_name(folder: Path) -> str:
    return folder.parent.name if folder.name == "images" else folder.name


def _planes(image: Image, longest: int, normalization: IntensityNormalization, most: int) -> Iterable[Plane]:
    """Planes of one image; those of a volume share their intensity limits and the empty ones are left out."""
    count = image.n_planes
    indices = range(count) if count <= most else np.linspace(0, count - 1, most).astype(int)
    volume = image.axes.startswith("z")
    rows, columns = image.plane_shape
    step = max(1, round((len(indices) * rows * columns / _LIMIT_PIXELS) ** 0.5))
    limits = None
    if volume:
        limits = normalization.limits(np.stack([image.plane(int(i))[::step, ::step] for i in indices]))
    for index in indices:
        pixels = image.plane(int(index))
        scaled = normalization.apply(pixels, limits) * normalization.std + normalization.mean
        if float(scaled.std()) * 255 >= _MIN_CONTRAST:
            yield Plane(_levels(scaled, longest), Path(image.source).name)


def _levels(scaled: npt.NDArray[Any], longest: int) -> tuple[Tensor, Tensor]:
    tensor = torch.from_numpy(scaled)[None]
    factor = longest / max(tensor.shape[-2:])
    if factor < 1:
        size = [max(1, round(n * factor)) for n in tensor.shape[-2:]]
        tensor = F.interpolate(tensor, size=size, mode="bilinear", antialias=True, align_corners=False)
    half = [max(1, n // 2) for n in tensor.shape[-2:]]
    small = F.interpolate(tensor, size=half, mode="bilinear", antialias=True, align_corners=False)
    return _bytes(tensor), _bytes(small)


def _bytes(tensor: Tensor) -> Tensor:
    return (tensor[0].clamp(0, 1) * 255).round().to(torch.uint8)
