"""Models that are trained with masks from the panel: by shapes of another modality, or from accepted masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ConfigError, StorageError
from napari_ld.session.training_settings import Value

__all__ = ["CONTRASTS", "TASKS", "WORKING_SIZES", "Lesson", "hand_over_lesson"]

Planes = Callable[[int], npt.NDArray[Any]]
IsCancelled = Callable[[], bool]
_HELD_BACK_FROM = 5  # labelled images, below which none can be spared for validation
_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """A task in words, and the steps of each preset."""

    title: str
    tip: str
    short: str
    steps: Mapping[str, int]


# Kept here, since training is met by process and file only; a test compares steps and choices with its own tables.
TASKS: dict[str, TrainingTask] = {
    "shapes": TrainingTask(
        "segment by shapes",
        "No label of these images is needed: masks of the same structure in another modality teach its shape.\n"
        "What comes out proposes regions, as a first draft to be corrected.",
        "by shapes",
        {"quick": 300, "standard": 1200, "thorough": 6000},
    ),
    "segmentation": TrainingTask(
        "segment like my masks",
        "Learns from the planes with accepted masks, and proposes regions on the others. On these planes everything\n"
        "that belongs to a class should be accepted: what is not counts as background.",
        "from masks",
        {"quick": 120, "standard": 400, "thorough": 3000},
    ),
}
CONTRASTS: dict[str, str] = {
    "both": "dark or bright",
    "dark": "darker than around it",
    "bright": "brighter than around it",
}
WORKING_SIZES = (256, 384, 512, 768, 1024)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a model is trained with.

    Attributes
    ----------
    task : str
        A key of :data:`TASKS`.
    folder : str
        Folder of masks; ``""``: ``planes``.
    read : callable
        Mask (rows, columns) of a plane; called by the worker.
    planes : tuple of int
        Planes with masks. Of the task ``segmentation`` they are those of the image.
    working_size : int
        Longest side, in pixels, at which the model sees a plane.
    contrast : str
        A key of :data:`CONTRASTS`, for shapes.
    """

    task: str
    folder: str = ""
    read: Planes | None = None
    planes: tuple[int, ...] = ()
    working_size: int = 512
    contrast: str = "both"

    @property
    def settings(self) -> dict[str, Value]:
        """Settings of the trainer by key."""
        # Few crops of small images: a crop is no larger than the image is seen.
        size: dict[str, Value] = {"working_size": self.working_size, "crops.size": min(256, self.working_size)}
        if self.task == "shapes":
            return {**size, "shapes.contrast": self.contrast}
        return {**size, "validation.share": _SHARE if len(self.planes) >= _HELD_BACK_FROM else 0.0}


def hand_over_lesson(
    lesson: Lesson, images: tuple[Image, ...], folder: Path, cancelled: IsCancelled
) -> tuple[tuple[Image, ...], str]:
    """Write the masks, and say which images and masks the trainer shall read.

    Returns
    -------
    tuple of Image
        For ``segmentation`` the planes with masks, each an image of its own or, of slices of one body, together: what
        was not looked at must not count as background. Else the images as they are.
    str
        Folder of masks.

    Raises
    ------
    ConfigError
        When there is no mask.
    StorageError
        When they cannot be written.
    Cancelled
        Soon after ``cancelled`` turned true.
    """
    if lesson.folder:
        if not Path(lesson.folder).is_dir():
            raise ConfigError(f"{lesson.folder}: not a folder; choose a folder of masks")
        return images, lesson.folder
    if lesson.read is None or not lesson.planes:
        raise ConfigError(_MISSING[lesson.task])
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror}); free some space") from error
    return (_shapes if lesson.task == "shapes" else _labelled)(lesson, images, folder, cancelled), str(folder)


_MISSING = {
    "shapes": "no masks: choose a folder of masks, or a Labels layer that holds some",
    "segmentation": "no accepted mask: accept regions first, or paint into the layer LD accepted",
}


def _shapes(lesson: Lesson, images: tuple[Image, ...], folder: Path, cancelled: IsCancelled) -> tuple[Image, ...]:
    from napari_ld.io.labels import write_labels

    assert lesson.read is not None
    written = 0
    for plane in lesson.planes:
        mask = np.asarray(lesson.read(plane)) != 0
        if cancelled():
            raise Cancelled("The start of the training was cancelled.")
        if mask.any():
            write_labels(folder / f"{written:03}.tif", mask.astype(np.uint8), Image(mask.astype(np.uint8), "yx"))
            written += 1
    if not written:
        raise ConfigError(_MISSING["shapes"])
    return images


def _labelled(lesson: Lesson, images: tuple[Image, ...], folder: Path, cancelled: IsCancelled) -> tuple[Image, ...]:
    """Planes of the one image, with masks called as the trainer's copies of the images will be."""
    from napari_ld.io.labels import write_labels

    assert lesson.read is not None
    (image,) = images
    masks = [np.asarray(lesson.read(plane)) for plane in lesson.planes]
    if cancelled():
        raise Cancelled("The start of the training was cancelled.")
    flat = "yxc" if image.has_channels else "yx"
    if image.axes.startswith("z"):
        whole = np.stack([np.asarray(image.plane(plane)) for plane in lesson.planes])
        found = [replace(image, array=whole, affine=None, levels=())]
        masks = [np.stack(masks)]
    else:
        spacing = image.pixel_spacing
        found = [Image(image.plane(plane), flat, None, spacing, window=image.window) for plane in lesson.planes]
    for number, (one, mask) in enumerate(zip(found, masks, strict=True)):
        write_labels(folder / f"images-{number:03}.tif", mask, one)
    return tuple(found)
