"""Masks handed over to the trainer, and what the trainer is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ConfigError
from napari_ld.io.images import read_image
from napari_ld.session.training import PRESETS
from napari_ld.session.training_tasks import CONTRASTS, TASKS, Lesson, hand_over_lesson
from src_train import tasks
from src_train.data.drawn import CONTRASTS as KNOWN_CONTRASTS
from src_train.task_config import load_task_config

PIXELS = np.random.default_rng(0).integers(0, 255, (4, 20, 24), dtype=np.uint8)
MASKS = np.zeros((4, 20, 24), np.uint8)
MASKS[1, 4:9, 5:12], MASKS[3, 2:6, 3:20] = 2, 5


def read(plane: int) -> np.ndarray:
    return MASKS[plane]


def no() -> bool:
    return False


def test_tables_are_those_of_training() -> None:
    assert set(TASKS) <= set(tasks.TASKS)
    assert set(CONTRASTS) == set(KNOWN_CONTRASTS)
    for name, task in TASKS.items():
        assert set(task.steps) == set(PRESETS)
        for preset, steps in task.steps.items():
            config = load_task_config(preset, task=name, data=("x",), labels=("y",))
            assert config.schedule.steps == steps


@pytest.mark.parametrize(
    ("task", "planes", "share"), [("shapes", 3, None), ("segmentation", 3, 0.0), ("segmentation", 5, 0.2)]
)
def test_settings_are_known_to_the_trainer(task: str, planes: int, share: float | None) -> None:
    settings = Lesson(task, "", read, tuple(range(planes)), 128, "dark").settings
    config = load_task_config(
        "quick", None, [f"{key}={value}" for key, value in settings.items()], task=task, data=("x",), labels=("y",)
    )
    assert (config.working_size, config.crops.size) == (128, 128)
    assert config.shapes.contrast == ("dark" if task == "shapes" else "both")
    assert share is None or config.validation.share == share


@pytest.mark.parametrize("axes", ["pyx", "zyx"])
def test_only_planes_with_masks_are_learned_from(axes: str, tmp_path: Path) -> None:
    image = Image(PIXELS, axes, spacing=(3.0, 0.5, 0.5) if axes == "zyx" else None)
    found, folder = hand_over_lesson(Lesson("segmentation", "", read, (1, 3)), (image,), tmp_path / "masks", no)
    masks = [np.asarray(read_image(path).array) for path in sorted(Path(folder).iterdir())]
    if axes == "zyx":  # slices of one body stay together: they share their intensities
        (one,) = found
        assert one.axes == "zyx"
        np.testing.assert_array_equal(one.array, PIXELS[[1, 3]])
        np.testing.assert_array_equal(masks[0], MASKS[[1, 3]])
    else:
        assert [one.axes for one in found] == ["yx", "yx"]
        for one, mask, plane in zip(found, masks, (1, 3), strict=True):
            np.testing.assert_array_equal(one.array, PIXELS[plane])
            np.testing.assert_array_equal(mask, MASKS[plane])


def test_shapes_are_handed_over_as_masks_of_two_values(tmp_path: Path) -> None:
    image = Image(PIXELS, "pyx")
    found, folder = hand_over_lesson(Lesson("shapes", "", read, (0, 1, 2, 3)), (image,), tmp_path / "masks", no)
    assert found == (image,)
    masks = [np.asarray(read_image(path).array) for path in sorted(Path(folder).iterdir())]
    np.testing.assert_array_equal(masks, [MASKS[1] > 0, MASKS[3] > 0])


@pytest.mark.parametrize(
    ("lesson", "words"),
    [
        (Lesson("shapes"), "no masks: choose a folder of masks, or a Labels layer"),
        (Lesson("shapes", "", read, (0, 2)), "no masks: choose a folder"),
        (Lesson("segmentation"), "no accepted mask: accept regions first"),
        (Lesson("shapes", "/nowhere/masks"), "/nowhere/masks: not a folder; choose a folder of masks"),
    ],
)
def test_without_masks_nothing_begins(lesson: Lesson, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        hand_over_lesson(lesson, (Image(PIXELS, "pyx"),), tmp_path / "masks", no)


@pytest.mark.parametrize("task", list(TASKS))
def test_the_start_can_be_cancelled(task: str, tmp_path: Path) -> None:
    with pytest.raises(Cancelled, match="start of the training"):
        hand_over_lesson(Lesson(task, "", read, (1, 3)), (Image(PIXELS, "pyx"),), tmp_path / "masks", lambda: True)
