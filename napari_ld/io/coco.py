"""Masks of 2-D images as COCO JSON: run-length encoded, column by column, as the COCO tools do it for crowds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.storage import atomic_write

__all__ = ["COCO_ENDING", "decode_counts", "encode_counts", "holds_pictures", "write_coco", "write_coco_of"]

COCO_ENDING = ".json"
"""Ending by which a file of masks is known as COCO."""


def encode_counts(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of runs in column order, beginning with background."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else [int(run) for run in runs]


def decode_counts(counts: Sequence[int], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask that :func:`encode_counts` made the runs of.

    Raises
    ------
    ImageError
        When the runs do not fill the shape.
    """
    if sum(counts) != shape[0] * shape[1] or min(counts, default=0) < 0:
        raise ImageError(f"runs of {sum(counts)} pixels; expected {shape[0]} x {shape[1]}: export the masks again")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape, order="F")


def holds_pictures(image: Image) -> bool:
    """Whether an image is a picture, or a stack of them, rather than slices of one body."""
    return image.axes.rstrip("c") in ("yx", "pyx", "tyx")


def write_coco_of(
    path: str | Path, labels: npt.NDArray[Any], image: Image, names: Mapping[int, str] | None = None
) -> None:
    """Write the label map of a picture, or of a stack of pictures, of which each is called ``FILE#N``.

    Parameters
    ----------
    path, names
        As :func:`write_coco`.
    labels : integer array
        Planes, rows and columns of ``image``.
    image : Image

    Raises
    ------
    ImageError
        For a volume, and as :func:`write_coco`.
    """
    name = Path(image.source).name or "image"
    if not holds_pictures(image):
        raise ImageError(
            f"cannot write {path}: {name} is a volume, and COCO holds pictures; save it as NIfTI, NRRD or TIFF"
        )
    planes = enumerate(labels) if image.is_stack else [(None, labels)]
    write_coco(path, [(name if plane is None else f"{name}#{plane}", pixels) for plane, pixels in planes], names)


def write_coco(
    path: str | Path, masks: Sequence[tuple[str, npt.NDArray[Any]]], names: Mapping[int, str] | None = None
) -> None:
    """Write label maps of 2-D images as one COCO file, one annotation for each image and label.

    Parameters
    ----------
    path : str or Path
        An existing file is replaced in one step.
    masks : sequence of (file name, (rows, columns) integer array)
        0 is background; a label is a category.
    names : mapping of int to str, optional
        Names of categories.

    Raises
    ------
    ImageError
        For a mask that is not 2-D or not of whole numbers.
    StorageError
        When the file cannot be written.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: set[int] = set()
    for number, (name, labels) in enumerate(masks, start=1):
        if labels.ndim != 2 or labels.dtype.kind not in "bui":
            raise ImageError(
                f"the mask of {name} has the shape {labels.shape} and type {labels.dtype}; COCO holds 2-D label maps: "
                "save stacks as NIfTI, NRRD or TIFF"
            )
        rows, columns = labels.shape
        images.append({"id": number, "file_name": name, "height": int(rows), "width": int(columns)})
        for value in (int(value) for value in np.unique(labels) if value):
            categories.add(value)
            annotations.append(_annotation(len(annotations) + 1, number, value, labels == value))
    known = names or {}
    whole = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": value, "name": known.get(value, f"label {value}")} for value in sorted(categories)],
    }
    with atomic_write(path, "w") as file:
        json.dump(whole, file)
        file.write("\n")


def _annotation(number: int, image: int, category: int, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": {"size": list(mask.shape), "counts": encode_counts(mask)},
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "iscrowd": 1,
    }
