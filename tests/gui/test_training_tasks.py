"""Models that segment, trained from the panel by mouse and keys, with the real trainer on a tiny setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_ld.model.checkpoint import read_header
from tests.gui.hand import Hand
from tests.gui.test_training import PATIENT, await_phase, folders, run, shown

__all__ = ["folders"]  # a fixture that every test of this file needs

Open = Callable[..., Hand]
SETTING = """
precision = "float32"
working_size = 64
[schedule]
steps = {steps}
couples = 1
warmup = 1
save_every = 1000
[crops]
size = 64
[shapes]
views = 1
"""


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how long the next run is."""

    def set_steps(number: int) -> None:
        (tmp_path / "tiny.toml").write_text(SETTING.format(steps=number))
        monkeypatch.setenv("NAPARI_LD_TRAIN_CONFIG", str(tmp_path / "tiny.toml"))

    return set_steps


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A folder of masks of lines."""
    from skimage.io import imsave

    folder = tmp_path / "lines of another modality"
    folder.mkdir()
    for number in range(3):
        mask = np.zeros((64, 64), np.uint8)
        mask[:, 10 + 14 * number : 14 + 14 * number] = 255
        imsave(folder / f"{number}.png", mask, check_contrast=False)
    return folder


@pytest.fixture
def hand(open_panel: Open, stack: np.ndarray[Any, Any], random_encoder: Path) -> Hand:
    hand = open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)
    hand.press("ld_train_header")
    hand.rest()
    return hand


def choose_scratch(hand: Hand) -> None:
    hand.press("ld_train_details")
    hand.rest()
    hand.choose("ld_train_init", "scratch (random weights)")
    hand.press("ld_train_details")
    hand.rest()


def choose_folder(hand: Hand, masks: Path) -> None:
    hand.choose("ld_train_task", "segment by shapes")
    hand.rest()
    hand.choose("ld_train_masks", "choose a folder …")
    hand.answer_file_dialog("ld_train_masks_dialog", masks)
    hand.rest()


def test_segment_by_shapes_from_start_to_accepted_masks(
    hand: Hand, masks: Path, steps: Callable[[int], None], tmp_path: Path
) -> None:
    steps(4000)
    assert not shown(hand, "ld_train_masks")
    hand.choose("ld_train_task", "segment by shapes")
    hand.rest()
    assert not hand.control("ld_train_start").isEnabled()  # there are no masks yet
    choose_folder(hand, masks)
    assert hand.control("ld_train_masks").currentText() == f"folder {masks.name}"
    hand.choose("ld_train_contrast", "darker than around it")
    hand.choose("ld_train_size", "256 px")
    assert hand.control("ld_preset_quick").text() == "Quick\n300 steps"
    for name in ("ld_train_estimate", "ld_train_method", "ld_train_lrc"):
        assert not shown(hand, name)
    choose_scratch(hand)
    hand.press("ld_train_start")
    await_phase(hand, "running")
    hand.wait(lambda: len(run(hand).curve) > 1 and shown(hand, "ld_train_curve"), PATIENT)
    assert "by shapes, quick" in hand.control("ld_runs").currentText()
    assert not shown(hand, "ld_train_propose")
    hand.press("ld_train_pause")
    await_phase(hand, "paused")
    paused_at = run(hand).step
    assert run(hand).model is None  # its student has not begun
    hand.press("ld_train_resume")
    await_phase(hand, "running")
    hand.wait(lambda: run(hand).step > paused_at, PATIENT)
    hand.press("ld_train_stop")
    await_phase(hand, "stopped")
    config = (run(hand).path / "config.toml").read_text()
    assert 'contrast = "dark"' in config
    assert f"{masks}" in config
    assert "working_size = 256" in config

    # the rest of the run is made short: what comes after its end is looked at
    hand.wait(lambda: run(hand).resumable, PATIENT)
    hand.press("ld_train_discard")
    hand.press("ld_train_discard")
    hand.rest()
    steps(5)
    hand.press("ld_train_start")
    await_phase(hand, "running")
    await_phase(hand, "finished")
    hand.wait(lambda: shown(hand, "ld_train_propose"), PATIENT)
    for name in ("ld_train_compare", "ld_train_use", "ld_train_keep", "ld_preview_embedding"):
        assert not shown(hand, name)
    assert "first draft" in hand.text("ld_status")
    hand.press("ld_train_save_model")
    hand.answer_file_dialog("ld_train_save_dialog", tmp_path / "lines")
    assert read_header(tmp_path / "lines.safetensors", ("segmenter",)).kind == "segmenter"

    hand.press("ld_train_propose")
    session = hand.panel.session
    hand.wait(lambda: session.proposing.done == 6 and not session.proposing.running, PATIENT)
    hand.rest()
    assert shown(hand, "ld_region_model")
    assert session.model == str(run(hand).path / "segmenter.safetensors")
    assert hand.text("ld_regions_error") == ""


def test_a_labels_layer_gives_the_shapes(hand: Hand, steps: Callable[[int], None]) -> None:
    lines = np.zeros((3, 40, 50), np.uint16)
    lines[0, :, 10:14], lines[2, 20:23] = 7, 9
    hand.viewer.add_labels(lines, name="lines")
    hand.rest()
    steps(3)
    hand.choose("ld_train_task", "segment by shapes")
    hand.choose("ld_train_masks", "layer lines")
    choose_scratch(hand)
    hand.press("ld_train_start")
    await_phase(hand, "finished")
    written = sorted((run(hand).path / "masks").iterdir())
    assert [path.name for path in written] == ["000.tif", "001.tif"]  # the empty plane says nothing of shapes
    lines[:] = 0
    hand.viewer.layers["lines"].data = lines
    hand.press("ld_train_start")
    hand.wait(lambda: "no masks" in hand.text("ld_train_error"), PATIENT)


def test_accepted_masks_train_a_model(hand: Hand, stack: np.ndarray[Any, Any], steps: Callable[[int], None]) -> None:
    hand.choose("ld_train_task", "segment like my masks")
    hand.rest()
    assert "Accept regions" in hand.text("ld_status")
    assert not hand.control("ld_train_start").isEnabled()
    hand.choose("ld_train_task", "an encoder")
    hand.press("ld_regions_header")
    hand.rest()
    hand.press("ld_propose")
    session = hand.panel.session
    hand.wait(lambda: not session.proposing.running and len(session.regions.book.items) > 20, PATIENT)
    hand.rest()
    planes: set[int] = set()
    while len(planes) < 2:
        region = session.regions.region
        assert region is not None
        if region.planes[0] in planes:
            hand.panel._regions.act(session.regions.next)
        else:
            planes.add(region.planes[0])
            hand.press("ld_accept")
        hand.rest()
    hand.press("ld_train_header")
    hand.rest()
    steps(3)
    hand.choose("ld_train_task", "segment like my masks")
    hand.rest()
    assert hand.text("ld_train_task_about") == "Learns from 2 planes with accepted masks."
    assert not shown(hand, "ld_train_source")
    choose_scratch(hand)
    hand.press("ld_train_start")
    await_phase(hand, "finished")
    path = run(hand).path
    assert len(list((path / "data").iterdir())) == len(list((path / "masks").iterdir())) == 2
    assert json.loads((path / "launch.json").read_text())["task"] == "segmentation"
    header = read_header(path / "segmenter.safetensors", ("segmenter",))
    assert header.head is not None
    assert [value for value, _ in header.head.classes] == [1]
