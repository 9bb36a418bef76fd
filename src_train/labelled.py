"""Errors on labelled images, should some be given: one-click landmarks, and masks told from few labelled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Embedding, Image, Landmark
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.evaluation import dice
from napari_ld.io.images import read_image
from napari_ld.io.landmarks import read_landmarks
from napari_ld.localization import Template, locate
from napari_ld.model.checkpoint import LoadedModel, ModelHeader
from napari_ld.model.encoder import DenseEncoder
from napari_ld.model.preprocessing import IntensityNormalization


@dataclass(frozen=True)
class LabelledImages:
    """Images with their landmarks or masks.

    Attributes
    ----------
    images : list of Image
        Two or more, 2-D.
    landmarks : list of list of Landmark
        Per image.
    masks : list of (rows, columns) int arrays
        Per image; 0 is background.
    """

    images: list[Image]
    landmarks: list[list[Landmark]] = field(default_factory=list)
    masks: list[npt.NDArray[Any]] = field(default_factory=list)


def load_landmarks(table: Path, folders: Sequence[Path], most: int) -> LabelledImages:
    """Landmarks of 2-D images; the first image is the template.

    Raises
    ------
    ConfigError
        When an image is not found, or fewer than two have landmarks.
    """
    rows = read_landmarks(table)
    names = sorted({row.image for row in rows})[:most]
    if len(names) < 2:
        raise ConfigError(f"{table}: landmarks of {len(names)} image; expected those of two images or more")
    images = [_find(Path(name).name, folders, table) for name in names]
    return LabelledImages(images, landmarks=[[row for row in rows if row.image == name] for name in names])


def load_masks(masks: Path, folders: Sequence[Path], most: int) -> LabelledImages:
    """Label images by stem; those with an even index in the order of names are the labelled ones.

    Raises
    ------
    ConfigError
        When there are fewer than two, one has no image, or sizes differ.
    """
    files = sorted(path for path in masks.iterdir() if path.is_file()) if masks.is_dir() else []
    if len(files) < 2:
        raise ConfigError(f"{masks}: {len(files)} label images; expected a folder with two or more")
    images, arrays = [], []
    for file in files[:most]:
        image = _find(file.stem, folders, masks, lambda path: path.stem)
        labels = read_image(file).plane(0)
        labels = labels[..., 0] if labels.ndim == 3 else labels
        if labels.shape != image.plane_shape:
            raise ConfigError(f"{file}: {labels.shape} pixels, its image {image.plane_shape}: expected equal sizes")
        images.append(image)
        arrays.append(labels)
    return LabelledImages(images, masks=arrays)


def landmark_error(labelled: LabelledImages, encoder: DenseEncoder, normalization: IntensityNormalization) -> float:
    """Mean error of coarse answers in % of the longest side, the first image being the template; absent counts half."""
    source = _source(labelled, encoder, normalization)
    templates = [Template(row.name, source, 0, row.position) for row in labelled.landmarks[0]]
    planes = list(range(1, source.n_planes))
    found = {(m.plane, m.landmark): m.position for m in locate(source, templates, planes=planes, refine=False)}
    errors = []
    for plane in planes:
        longest = max(source.shape(plane))
        for row in labelled.landmarks[plane]:
            if (plane, row.name) in found:
                position = found[plane, row.name]
                miss = longest / 2 if position is None else np.hypot(*np.subtract(position, row.position))
                errors.append(100 * float(miss) / longest)
    if not errors:
        raise ConfigError("no landmark of the first image is on another image: give landmarks with equal names")
    return float(np.mean(errors))


def mask_error(labelled: LabelledImages, encoder: DenseEncoder, normalization: IntensityNormalization) -> float:
    """1 - mean Dice over labels and odd images; a cell takes the label of the nearest class mean of the even ones."""
    source = _source(labelled, encoder, normalization)
    planes = [source.plane(index) for index in range(source.n_planes)]
    features = [plane.vectors.astype(np.float32) for plane in planes]
    small = [_at_cells(mask, plane) for mask, plane in zip(labelled.masks, planes, strict=True)]
    classes = np.unique(np.concatenate([mask.ravel() for mask in small[::2]]))
    if len(classes) < 2:
        raise ConfigError("the masks hold one class only at the size of the features: give masks with larger regions")
    means = []
    for label in classes:
        vectors = np.concatenate([maps[:, mask == label] for maps, mask in zip(features, small, strict=True)][::2], 1)
        mean = vectors.mean(1)
        means.append(mean / max(float(np.linalg.norm(mean)), 1e-9))
    scores = []
    for maps, mask in zip(features[1::2], small[1::2], strict=True):
        told = classes[np.tensordot(np.array(means), maps, 1).argmax(0)]
        scores += [dice(told == label, mask == label) for label in classes if label != 0 and (mask == label).any()]
    return 1 - float(np.mean(scores)) if scores else 1.0


def _at_cells(mask: npt.NDArray[Any], plane: Embedding) -> npt.NDArray[Any]:
    """Label of the pixel in the middle of each cell."""
    rows, columns = (
        np.clip(np.round(plane.origin[axis] + np.arange(count) * plane.step[axis]), 0, mask.shape[axis] - 1).astype(int)
        for axis, count in enumerate(plane.vectors.shape[1:])
    )
    labels: npt.NDArray[Any] = mask[np.ix_(rows, columns)]
    return labels


def _source(labelled: LabelledImages, encoder: DenseEncoder, normalization: IntensityNormalization) -> FeatureSource:
    header = ModelHeader("encoder", "in training", encoder.config, normalization)
    device = next(encoder.parameters()).device.type
    # The source keeps features by the model's checksum in a folder of its own, gone with it: any name will do.
    return FeatureSource(labelled.images, LoadedModel(encoder, header, "in-training", Path()), device=device)


def _find(
    name: str, folders: Sequence[Path], wanted_by: Path, key: Callable[[Path], str] = lambda path: path.name
) -> Image:
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if key(path) == name:
                return read_image(path)
    raise ConfigError(
        f"{wanted_by}: no image {name!r} in {', '.join(map(str, folders))}; name the folder with evaluation.images"
    )
