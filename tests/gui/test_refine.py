"""Refining labels of real coins with the bundled encoder: by mouse and keys on a shown viewer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QElapsedTimer, Qt, QTimer
from qtpy.QtTest import QTest
from scipy import ndimage
from skimage import data, filters

from napari_ld._gui.sections.refine import ACCEPTED, METHODS
from napari_ld.evaluation.overlap import dice
from napari_ld.model.zoo import DEFAULT_ENCODER, MODELS
from napari_ld.refinement import DEFAULT_REFINER, REFINERS
from tests.gui.hand import Hand

pytestmark = pytest.mark.skipif(DEFAULT_ENCODER not in MODELS, reason="no encoder is bundled in this checkout")
Open = Callable[..., Hand]
Array = np.ndarray[Any, Any]
Key = Qt.Key
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def coins() -> tuple[Array, Array]:
    """Three planes of coins and which pixels are of a coin: (3, 150, 160), as Otsu's threshold tells."""
    picture = data.coins()
    planes, truths = [], []
    for top, left in ((150, 95), (85, 150), (10, 220)):
        plane = picture[top : top + 150, left : left + 160]
        inside = ndimage.binary_fill_holes(plane > filters.threshold_otsu(ndimage.gaussian_filter(plane, 1)))
        truths.append(ndimage.binary_opening(inside, iterations=5))
        planes.append(plane)
    return np.stack(planes), np.stack(truths).astype(np.uint8)


PIXELS, TRUTH = coins()
ROUGH = np.roll(np.stack([ndimage.binary_erosion(plane, iterations=2) for plane in TRUTH]), (4, -4), (1, 2)).astype(
    np.uint8
)


@pytest.fixture
def hand(open_panel: Open) -> Hand:
    """A stack with rough labels of the person's own, and the section open."""

    def prepare(viewer: Any) -> None:
        viewer.add_image(PIXELS, name="coins")
        viewer.add_labels(ROUGH.copy(), name="rough")

    hand = open_panel(prepare)
    hand.press("ld_refine_header")
    hand.rest()
    return hand


def report(hand: Hand) -> str:
    return hand.text("ld_refine_report")


def wait_for(hand: Hand, words: str) -> None:
    hand.wait(lambda: words in report(hand), 180_000)
    hand.rest()


def contour(hand: Hand, value: int) -> bool:
    layer = next((layer for layer in hand.viewer.layers if layer.name == "LD refined"), None)
    return layer is not None and bool((np.asarray(layer.data) == value).any())


def focused_key(hand: Hand, key: Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """Press a key while the focus is in the panel."""
    QTest.keyClick(hand.control("ld_refine_preview"), key, modifier)
    hand.rest()


def test_methods_are_those_of_the_table() -> None:
    assert {name: method.title for name, method in METHODS.items()} == {n: r.title for n, r in REFINERS.items()}
    assert next(iter(METHODS)) == DEFAULT_REFINER


def test_preview_apply_and_undo_on_a_layer_of_ones_own(hand: Hand) -> None:
    layer = hand.viewer.layers["rough"]
    plane = hand.panel._desk.visible_plane
    assert hand.control("ld_refine_labels").currentText() == "rough"
    focused_key(hand, Key.Key_P)
    wait_for(hand, "Preview")
    assert "px changed, confidence" in report(hand)
    assert contour(hand, 1)
    assert not contour(hand, 2)
    assert np.array_equal(layer.data, ROUGH)  # looking changes nothing
    hand.key(Key.Key_B)  # our contours are the active layer, so the canvas has the keys
    hand.rest()
    assert contour(hand, 2)
    assert not contour(hand, 1)
    focused_key(hand, Key.Key_B)
    assert contour(hand, 1)

    hand.press("ld_refine_plane")
    hand.rest()
    assert "Applied" in report(hand)
    assert dice(layer.data[plane], TRUTH[plane]) > dice(ROUGH[plane], TRUTH[plane]) + 0.06
    others = [other for other in range(3) if other != plane]
    assert np.array_equal(layer.data[others], ROUGH[others])
    assert not contour(hand, 1)
    hand.press("ld_refine_before")
    hand.rest()
    assert contour(hand, 2)  # where it was
    refined = layer.data.copy()
    hand.press("ld_undo")
    hand.rest()
    assert np.array_equal(layer.data, ROUGH)
    assert not hand.control("ld_refine_before").isEnabled()
    hand.press("ld_redo")
    hand.rest()
    assert np.array_equal(layer.data, refined)
    # napari's own undo knows the step too
    hand.viewer.layers.selection.active = layer
    hand.key(Key.Key_Z, CONTROL)  # takes back the redo
    hand.rest()
    assert np.array_equal(layer.data, ROUGH)


def test_stack_is_one_step_and_the_window_never_stands_still(hand: Hand) -> None:
    layer = hand.viewer.layers["rough"]
    beats, clock = [], QElapsedTimer()
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(clock.elapsed()))
    hand.press("ld_refine_stack")
    clock.start()
    timer.start(5)
    assert hand.control("ld_refine_cancel").isVisible()
    assert hand.panel.session.refining.running  # the button came back at once
    assert np.array_equal(layer.data, ROUGH)
    wait_for(hand, "Applied")
    timer.stop()
    assert len(beats) > 5  # events were handled while it ran
    assert "on 3 of 3 planes" in report(hand)
    for plane in range(3):
        assert dice(layer.data[plane], TRUTH[plane]) > dice(ROUGH[plane], TRUTH[plane]) + 0.06
    hand.press("ld_undo")
    hand.rest()
    assert np.array_equal(layer.data, ROUGH)
    assert hand.panel.session.history.undo_label is None


def test_preview_follows_plane_method_and_edits(hand: Hand) -> None:
    session = hand.panel.session
    hand.press("ld_refine_preview")
    wait_for(hand, "Preview")
    first = session.previewed
    assert first is not None
    hand.panel.show_plane((first.plane + 1) % 3)
    hand.wait(lambda: session.previewed is not None and session.previewed.plane != first.plane, 60_000)
    second = session.previewed
    hand.choose("ld_refine_method", METHODS["watershed"].title)
    hand.wait(lambda: session.previewed is not second, 60_000)
    third = session.previewed
    assert third is not None
    layer = hand.viewer.layers["rough"]
    hand.viewer.layers.selection.active = layer
    layer.selected_label = 1
    hand.key(Key.Key_2)
    hand.click((75, 80), plane=third.plane)
    hand.wait(lambda: session.previewed is not third, 60_000)
    assert session.previewed is not None
    assert session.previewed.before.sum() >= third.before.sum()
    hand.press("ld_refine_preview")
    hand.rest()
    assert session.previewed is None
    assert report(hand) == ""
    assert not contour(hand, 1)


def test_accepted_masks_share_the_undo_of_the_session(
    open_panel: Open, random_encoder: Path, sessions: Path, tmp_path: Path
) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(PIXELS, name="coins"), random_encoder)
    session = hand.panel.session
    hand.press("ld_regions_header")
    hand.rest()
    hand.press("ld_propose")
    hand.wait(lambda: not session.proposing.running and session.regions.book.items, 120_000)
    hand.rest()
    hand.key(Key.Key_A)
    hand.rest()
    layer = hand.viewer.layers["LD accepted"]
    accepted = layer.data.copy()
    assert accepted.any()
    [plane] = np.flatnonzero(accepted.any(axis=(1, 2))).tolist()
    hand.panel.show_plane(plane)
    hand.press("ld_refine_header")
    hand.rest()
    assert hand.control("ld_refine_labels").currentText() == ACCEPTED
    hand.choose("ld_refine_method", METHODS["watershed"].title)
    hand.press("ld_refine_plane")
    wait_for(hand, "Applied")
    assert session.history.undo_label == f"refine plane {plane}"
    refined = layer.data.copy()
    assert not np.array_equal(refined, accepted)
    focused_key(hand, Key.Key_Z, CONTROL)
    assert np.array_equal(layer.data, accepted)
    focused_key(hand, Key.Key_Z, CONTROL | SHIFT)
    assert np.array_equal(layer.data, refined)
    # The log has it too.
    [log] = sessions.rglob("*.jsonl")
    from napari_ld.cli import main
    from napari_ld.io.images import read_image

    assert main(["session", "replay", str(log), "-o", str(tmp_path / "replayed.tif")]) == 0
    assert np.array_equal(np.asarray(read_image(tmp_path / "replayed.tif").array), refined)


def test_cancel_applies_nothing(hand: Hand) -> None:
    layer = hand.viewer.layers["rough"]
    hand.press("ld_refine_stack")
    hand.press("ld_refine_cancel")
    wait_for(hand, "Stopped: nothing was changed.")
    assert np.array_equal(layer.data, ROUGH)
    assert hand.panel.session.history.undo_label is None
    assert hand.control("ld_refine_stack").isEnabled()


def test_layer_deleted_while_it_is_refined(hand: Hand) -> None:
    hand.press("ld_refine_stack")
    hand.viewer.layers.remove("rough")
    hand.wait(lambda: not hand.panel.session.refining.running, 120_000)
    hand.rest()
    assert hand.control("ld_refine_labels").currentText() == ACCEPTED
    assert not hand.control("ld_refine_preview").isEnabled()
    assert hand.panel.session.history.undo_label is None
    assert "no labels yet" in hand.text("ld_status")


def test_another_image_and_a_closed_panel_while_labels_are_refined(hand: Hand) -> None:
    layer = hand.viewer.layers["rough"]
    hand.viewer.add_image(PIXELS[:, ::-1].copy(), name="other")
    hand.rest()
    hand.press("ld_refine_preview")
    hand.press("ld_refine_stack")
    hand.panel._desk.choose_image(1)
    hand.wait(lambda: not hand.panel.session.refining.running, 60_000)
    assert not hand.control("ld_refine_preview").isChecked()
    hand.press("ld_refine_stack")
    hand.rest(100)
    hand.panel.close()
    assert np.array_equal(layer.data, ROUGH)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("napari-ld")] == []


def test_undo_of_a_layer_that_is_gone_is_told(hand: Hand) -> None:
    hand.choose("ld_refine_method", METHODS["watershed"].title)
    hand.press("ld_refine_plane")
    wait_for(hand, "Applied")
    hand.viewer.layers.remove("rough")
    hand.press("ld_undo")
    hand.rest()
    assert "is gone" in hand.text("ld_refine_error")


def test_strokes_made_meanwhile_stay(hand: Hand) -> None:
    """Undo gives back what was refined, and leaves what the person painted since."""
    layer = hand.viewer.layers["rough"]
    plane = hand.panel._desk.visible_plane
    hand.choose("ld_refine_method", METHODS["watershed"].title)
    hand.press("ld_refine_plane")
    wait_for(hand, "Applied")
    changed = np.argwhere(layer.data[plane] != ROUGH[plane])[0]
    layer.data_setitem((np.array([plane]), *np.array([[side] for side in changed])), 7)
    hand.press("ld_undo")
    hand.rest()
    expected = ROUGH.copy()
    expected[plane, changed[0], changed[1]] = 7
    assert np.array_equal(layer.data, expected)


@pytest.mark.parametrize(
    ("other", "options", "words"),
    [
        (np.ones((3, 150, 150), np.uint8), {}, "has the shape 3 × 150 × 150, the image 3 × 150 × 160"),
        (np.ones((3, 150, 160), np.uint8), {"scale": (1, 2, 2)}, "lies elsewhere than the image: scale (1, 2, 2)"),
        (np.ones((3, 150, 160), np.uint8), {"translate": (0, 5, 0)}, "and shift (0, 5, 0)"),
        (np.ones((3, 150, 160), np.uint8), {"rotate": 20}, "or another rotation"),
    ],
)
def test_labels_of_another_grid_are_refused(hand: Hand, other: Array, options: dict[str, Any], words: str) -> None:
    hand.viewer.add_labels(other, name="other", **options)
    hand.rest()
    hand.choose("ld_refine_labels", "other")
    hand.press("ld_refine_preview")
    hand.rest()
    assert words in hand.text("ld_refine_error")
    hand.choose("ld_refine_labels", "rough")
    wait_for(hand, "Preview")
    assert not hand.control("ld_refine_error").isVisible()


def test_locked_labels_are_not_written(hand: Hand) -> None:
    layer = hand.viewer.layers["rough"]
    layer.editable = False
    hand.press("ld_refine_plane")
    hand.rest()
    assert "is locked" in hand.text("ld_refine_error")
    layer.editable = True
    layer.data.flags.writeable = False
    hand.press("ld_refine_plane")
    hand.rest()
    assert "read-only" in hand.text("ld_refine_error")


def test_scribbles_are_kept(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    scribbles = np.zeros_like(ROUGH)
    outside, inside = np.argwhere(ROUGH[plane] == 0)[0], np.argwhere(ROUGH[plane] == 1)[0]
    scribbles[(plane, *outside)], scribbles[(plane, *inside)] = 1, 2
    hand.viewer.add_labels(scribbles, name="sure")
    hand.rest()
    hand.choose("ld_refine_scribbles", "sure")
    hand.press("ld_refine_plane")
    wait_for(hand, "Applied")
    layer = hand.viewer.layers["rough"]
    assert layer.data[(plane, *outside)] == 1
    assert layer.data[(plane, *inside)] == 0
