"""Tasks trained from an encoder: the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from src_train.data.labelled import Classes, LabelledSet
from src_train.protocol import Batch, Method
from src_train.tasks.classification import ClassificationJudge, build_classification, read_classified
from src_train.tasks.segmentation import SegmentationJudge, build_segmentation, read_segmented
from src_train.tasks.shapes import build_shapes, make_shaped, read_shaped


@dataclass(frozen=True)
class Task:
    """A row of the table; ``params`` is the table of the configuration that is called as the task.

    Attributes
    ----------
    summary : str
        One line.
    kind : str
        Of the model file that it gives, see :data:`napari_ld.model.heads.KINDS`.
    read : callable
        ``(images, labels, head, normalization, params) -> (LabelledSet, classes)``.
    build : callable
        ``(encoder, head, schedule, params) -> Method``.
    judge : callable or None
        ``(LabelledSet, head, normalization)`` -> something that measures networks and scores measures; None for a task
        without labels to measure by.
    maker : callable
        ``(CropMaker, LabelledSet, params)`` -> what makes the batches.
    """

    summary: str
    kind: str
    read: Callable[..., tuple[LabelledSet, Classes]]
    build: Callable[..., Method]
    judge: Callable[..., Any] | None
    maker: Callable[..., Maker] = lambda crops, data, params: crops


class Maker(Protocol):
    """Makes batches of planes."""

    def __call__(self, drawn: Any, rng: np.random.Generator, share: slice | None = None, /) -> Batch:
        """Make the ``share`` of a batch that is this process's."""
        ...


TASKS: dict[str, Task] = {
    "segmentation": Task(
        "label maps, from a few labelled images", "segmenter", read_segmented, build_segmentation, SegmentationJudge
    ),
    "classification": Task(
        "classes of images, and the places that speak for them",
        "classifier",
        read_classified,
        build_classification,
        ClassificationJudge,
    ),
    "shapes": Task(
        "one structure, from masks of another modality and images without labels",
        "segmenter",
        read_shaped,
        build_shapes,
        None,
        make_shaped,
    ),
}
