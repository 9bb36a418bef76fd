"""Regions on a real image with the bundled encoder: what a person accepts is what lies on the disk, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from skimage import data

from napari_ld.cli import main
from napari_ld.io.images import read_image
from napari_ld.model.zoo import DEFAULT_ENCODER, MODELS
from tests.gui.hand import Hand

pytestmark = pytest.mark.skipif(DEFAULT_ENCODER not in MODELS, reason="no encoder is bundled in this checkout")
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def test_regions_of_a_retina_become_masks_on_disk(
    open_panel: Callable[..., Hand], tmp_path: Path, sessions: Path
) -> None:
    retina = np.ascontiguousarray(data.retina()[400:912:2, 100:612:2])  # with the optic disc
    hand = open_panel(lambda viewer: viewer.add_image(retina, name="retina", rgb=True))
    session, review = hand.panel.session, hand.panel.session.regions
    hand.press("ld_regions_header")
    hand.rest()
    hand.press("ld_propose")
    hand.wait(lambda: not session.proposing.running and review.book.items, 120_000)
    hand.rest()
    assert hand.text("ld_regions_error") == ""
    assert 95 <= len(review.queue) <= 105
    whole = np.zeros(retina.shape[:2], int)
    for region in review.book.present():
        whole += region.mask.to_array(0)
    assert (whole == 1).all()  # this kind divides the image

    expected = np.zeros(retina.shape[:2], np.uint8)

    def key(key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        hand.key(key, modifier)
        hand.rest()

    def current() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        assert review.region is not None
        return review.region.mask.to_array(0)

    expected[current()] = 1
    key(Qt.Key.Key_A)
    key(Qt.Key.Key_R)
    key(Qt.Key.Key_M)
    key(Qt.Key.Key_2, Qt.KeyboardModifier.AltModifier)
    merged = current()
    key(Qt.Key.Key_S)
    assert 0 < current().sum() < merged.sum()
    key(Qt.Key.Key_Z, CONTROL)
    assert np.array_equal(current(), merged)
    expected[merged] = 2
    key(Qt.Key.Key_A)
    key(Qt.Key.Key_A)
    key(Qt.Key.Key_Z, CONTROL)
    key(Qt.Key.Key_Z, CONTROL)
    key(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert np.array_equal(hand.viewer.layers["LD accepted"].data, expected)

    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", tmp_path / "masks.tif")
    hand.wait(lambda: "Saved masks.tif" in hand.text("ld_regions_about"))
    assert np.array_equal(np.asarray(read_image(tmp_path / "masks.tif").array), expected)

    # The session on the disk gives the same masks without window and encoder.
    [log] = sessions.rglob("*.jsonl")
    assert main(["session", "replay", str(log), "-o", str(tmp_path / "replayed.tif")]) == 0
    assert np.array_equal(np.asarray(read_image(tmp_path / "replayed.tif").array), expected)
