"""Opening, images of all kinds, and leaving at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLabel, QLineEdit, QTableView, QWidget

from napari_ld._gui.keys import KEYS
from napari_ld._npe2 import to_layer_data
from napari_ld._types import Image
from tests.gui.hand import Hand

Open = Callable[..., Hand]
Array = np.ndarray[Any, Any]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("napari-ld")]


def test_opening_the_panel_loads_no_torch() -> None:
    code = (
        "import sys, napari; viewer = napari.Viewer(show=False)\n"
        "from napari_ld._gui.panel import LDPanel\n"
        "panel = LDPanel(viewer); viewer.window.add_dock_widget(panel)\n"
        "assert 'torch' not in sys.modules\n"
        "viewer.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


def test_without_an_image_the_samples_are_offered(open_panel: Open) -> None:
    hand = open_panel()
    assert hand.control("ld_samples").isVisible()
    assert not hand.control("ld_add").isEnabled()
    assert "sample" in hand.text("ld_status")
    hand.press("ld_sample_phantom")
    hand.wait(lambda: hand.panel.session.image is not None)
    hand.rest()
    assert not hand.control("ld_samples").isVisible()
    assert hand.text("ld_image_about") == "12 planes · 256 × 256 px · grey · 0.8 × 0.8 mm"
    assert hand.control("ld_image").currentText() == "phantom"
    assert "+ Add" in hand.text("ld_status")


def test_every_control_has_a_name_a_tip_and_its_turn(open_panel: Open, stack: Array) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack))
    hand.viewer.window.resize(1000, 768)  # a small laptop
    hand.rest(150)
    kinds = (QAbstractButton, QComboBox, QLineEdit, QTableView, QAbstractSpinBox)
    controls = [w for kind in kinds for w in hand.panel.findChildren(kind) if w.isVisible() and _is_ours(w)]
    assert len(controls) > 15
    assert [w for w in controls if not w.objectName().startswith("ld_")] == []
    assert [w.objectName() for w in controls if not w.toolTip()] == []
    assert hand.panel.minimumWidth() >= 340
    assert hand.panel.maximumWidth() <= 420
    order = _tab_order(hand.panel)
    places = [
        (w.mapTo(hand.panel, w.rect().topLeft()).y() // 20, w.mapTo(hand.panel, w.rect().center()).x()) for w in order
    ]
    assert places == sorted(places), [w.objectName() for w in order]
    assert all(key.qt in hand.control("ld_keys").toolTip() for key in KEYS.values())
    hand.press("ld_keys")
    assert "next uncertain" in hand.text("ld_status")


def _line_and_column(panel: QWidget, widget: QWidget) -> tuple[int, int]:
    return widget.mapTo(panel, widget.rect().topLeft()).y() // 20, widget.mapTo(panel, widget.rect().center()).x()


def _is_ours(widget: QWidget) -> bool:
    """Not a part of a compound control, such as the text field of a spin box."""
    parent = widget.parentWidget()
    return not isinstance(parent, QAbstractSpinBox | QComboBox | QTableView) and not widget.objectName().startswith(
        "qt_"
    )


def _tab_order(panel: QWidget) -> list[QWidget]:
    order, widget = [], panel.nextInFocusChain()
    while widget is not None and widget is not panel:
        tab = widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        if (
            tab
            and panel.isAncestorOf(widget)
            and widget.isVisible()
            and _is_ours(widget)
            and widget.objectName()[:3] == "ld_"
        ):
            order.append(widget)
        widget = widget.nextInFocusChain()
    return order


def test_sections_fold(open_panel: Open, stack: Array) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack))
    hand.press("ld_encoder_header")
    assert not hand.control("ld_encoder").isVisible()
    hand.press("ld_encoder_header")
    assert hand.control("ld_encoder").isVisible()


def test_both_themes(open_panel: Open, stack: Array) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack))
    dark = hand.panel.styleSheet()
    hand.viewer.theme = "light"
    hand.rest()
    assert hand.panel.styleSheet() != dark
    hand.viewer.theme = "dark"
    hand.rest()
    assert hand.panel.styleSheet() == dark


IMAGES: dict[str, tuple[Callable[[Any, Array], object], int, str]] = {
    "grey": (lambda viewer, stack: viewer.add_image(stack[0]), 0, "one image · 96 × 128 px · grey · spacing unknown"),
    "colour": (
        lambda viewer, stack: viewer.add_image(np.stack([stack[0]] * 3, axis=-1), rgb=True),
        0,
        "one image · 96 × 128 px · colour · spacing unknown",
    ),
    "colour stack": (
        lambda viewer, stack: viewer.add_image(np.stack([stack] * 3, axis=-1), rgb=True),
        2,
        "6 planes · 96 × 128 px · colour · spacing unknown",
    ),
    "multiscale": (
        lambda viewer, stack: viewer.add_image([stack, stack[:, ::2, ::2]], multiscale=True),
        2,
        "6 planes · 96 × 128 px · grey · spacing unknown",
    ),
    "dask": (
        lambda viewer, stack: viewer.add_image(da.from_array(stack, chunks=(1, -1, -1))),
        2,
        "6 planes · 96 × 128 px · grey · spacing unknown",
    ),
    "placed": (
        lambda viewer, stack: viewer.add_image(
            stack, scale=(3, 0.5, 0.25), translate=(-9, 40, -70), units=("um", "mm", "mm")
        ),
        2,
        "6 planes · 96 × 128 px · grey · 0.5 × 0.25 mm",
    ),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_of_all_kinds(open_panel: Open, stack: Array, random_encoder: Path, kind: str) -> None:
    prepare, plane, about = IMAGES[kind]
    hand = open_panel(lambda viewer: prepare(viewer, stack), random_encoder)
    assert hand.text("ld_image_about") == about
    hand.panel.show_plane(plane)
    hand.rest()
    hand.add_and_click("nasion", (40, 60), plane)
    hand.wait_until_answered()
    [track] = hand.panel.session.state.values()
    assert track.points[plane].match.position == pytest.approx((40, 60), abs=0.6)
    assert len(track.points) == hand.panel.session.n_planes
    landmarks, image = hand.landmarks, hand.panel._desk.image_layer
    row = list(landmarks.features["plane"]).index(plane)
    assert np.allclose(landmarks.data[row], (plane, 40, 60)[-image.ndim :], atol=0.6)
    for name in ("scale", "translate", "units"):
        assert np.all(np.asarray(getattr(landmarks, name)) == np.asarray(getattr(image, name)))


def test_axes_and_affine_of_a_file_survive(open_panel: Open, stack: Array) -> None:
    affine = np.array([[0.0, 0.0, -0.5, 9.0], [0.0, 0.5, 0.1, -4.0], [3.0, 0.0, 0.0, 20.0], [0.0, 0.0, 0.0, 1.0]])
    array, attributes, _ = to_layer_data(Image(stack, "zyx", affine, (3.0, 0.5, 0.51), "scan.nii.gz"), "scan")
    hand = open_panel(lambda viewer: viewer.add_image(array, **attributes))
    image = hand.panel.session.image
    assert image is not None
    assert (image.axes, image.spacing, image.source) == ("zyx", (3.0, 0.5, 0.51), "scan.nii.gz")
    assert np.array_equal(image.affine, affine)
    assert hand.control("ld_stack_kind").currentText() == "volume"
    hand.viewer.add_image(stack, name="films")
    hand.rest()
    hand.choose("ld_image", "films")
    hand.rest()
    assert hand.control("ld_stack_kind").currentText() == "images"


def test_the_panel_fits_a_small_laptop(open_panel: Open, stack: Array) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack))
    window = hand.canvas.window()
    assert window is not None
    window.resize(1366, 768)
    hand.rest(200)
    table = hand.control("ld_points")
    assert table.viewport().height() >= 4 * table.verticalHeader().defaultSectionSize()
    assert not hand.control("ld_scroll").verticalScrollBar().isVisible()
    status = hand.control("ld_status")
    assert status.height() >= status.heightForWidth(status.width())


def test_axes_shown_in_another_order(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack), random_encoder)
    hand.viewer.dims.order = (0, 2, 1)
    hand.panel.show_plane(3)
    hand.rest()
    hand.press("ld_add")
    hand.rest()
    # Rows run to the right now: the canvas shows (column, row).
    place = hand.pixel((60.0, 40.0))
    QTest.mouseClick(hand.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    hand.rest()
    [track] = hand.panel.session.state.values()
    assert track.points[3].match.position == pytest.approx((40, 60), abs=0.6)


def test_the_3d_view_is_explained(open_panel: Open, stack: Array) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack))
    hand.viewer.dims.ndisplay = 3
    hand.rest()
    assert "Switch to 2-D" in hand.text("ld_status")
    hand.viewer.dims.ndisplay = 2
    hand.rest()
    assert "Switch to 2-D" not in hand.text("ld_status")


def test_four_axes_are_refused_in_words(open_panel: Open) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(np.zeros((2, 3, 8, 8)), name="movie"))
    assert "'movie' has 4 axes" in hand.text("ld_landmarks_error")
    assert not hand.control("ld_add").isEnabled()


def test_an_unusable_encoder_file_is_told_in_its_section(open_panel: Open, stack: Array, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    hand = open_panel(lambda viewer: viewer.add_image(stack), broken)
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait(lambda: hand.text("ld_encoder_error"))
    assert "broken.safetensors" in hand.text("ld_encoder_error")
    assert "Propagate" in hand.text("ld_status")
    assert hand.control("ld_encoder_error").isVisible()


def test_own_encoder_is_opened_through_the_dialog(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack))
    hand.choose("ld_encoder", "open file …")
    hand.answer_file_dialog("ld_encoder_dialog", random_encoder)
    assert hand.control("ld_encoder").currentText() == "own.safetensors"
    hand.press("ld_embed")
    hand.wait(lambda: hand.control("ld_progress").text() == "embedding ready")
    hand.wait_until_answered()


def test_cancel_stops_and_propagate_goes_on(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    many = np.concatenate([stack] * 30)
    hand = open_panel(lambda viewer: viewer.add_image(many), random_encoder)
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait(lambda: hand.panel.session.work.embedded > 0)
    hand.wait(lambda: hand.control("ld_cancel").isVisible())
    hand.press("ld_cancel")
    hand.wait(lambda: not hand.panel.session.work.running)
    hand.rest()
    done = hand.panel.session.work.embedded
    assert 0 < done < 180
    assert hand.control("ld_progress").text() == f"embedding {done} / 180 planes"
    assert "Propagate" in hand.text("ld_status")
    hand.press("ld_propagate")
    hand.wait(lambda: hand.panel.session.work.embedded > done)


def test_switching_images_keeps_each_ones_landmarks(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = open_panel(
        lambda viewer: (viewer.add_image(stack, name="one"), viewer.add_image(255 - stack, name="two")), random_encoder
    )
    assert hand.control("ld_image").currentText() == "two"
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.choose("ld_image", "one")
    hand.rest()
    assert hand.panel.session.state == {}
    assert len(hand.landmarks.data) == 0
    hand.choose("ld_image", "two")
    hand.wait(lambda: hand.panel.session.state)
    hand.rest()
    assert len(hand.landmarks.data) == 6


def test_restore_is_offered_when_the_image_returns(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    first = open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)
    first.add_and_click("nasion", (40, 60), first.panel._desk.visible_plane)
    first.wait_until_answered()
    first.panel.close()
    second = open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)
    second.wait(lambda: second.control("ld_found").isVisible())
    assert "1 landmark, 1 verified" in second.text("ld_found_text")
    second.press("ld_restore")
    second.rest()
    assert len(second.landmarks.data) == 6
    assert not second.control("ld_found").isVisible()
    assert second.panel.session.history.undo_label is not None


def test_removing_an_image_goes_on_with_another(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = open_panel(
        lambda viewer: (viewer.add_image(stack, name="one"), viewer.add_image(255 - stack, name="two")), random_encoder
    )
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.viewer.layers.remove("two")
    hand.rest()
    assert hand.control("ld_image").currentText() == "one"
    assert hand.panel.session.state == {}
    assert len(hand.landmarks.data) == 0


def busy(open_panel: Open, stack: Array, random_encoder: Path) -> Hand:
    """A panel in the middle of embedding a long stack."""
    hand = open_panel(lambda viewer: viewer.add_image(np.concatenate([stack] * 30), name="films"), random_encoder)
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait(lambda: hand.panel.session.work.embedded > 0)
    return hand


def test_closing_the_panel_in_mid_run_is_clean(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = busy(open_panel, stack, random_encoder)
    hand.viewer.window.remove_dock_widget(hand.panel)
    hand.panel.close()
    assert threads() == []
    hand.rest()
    # What is left on the viewer must not reach into the closed panel.
    hand.viewer.dims.set_point(0, 3)
    # Hidden first: napari 0.9.2 itself crashes when an image is removed below visible points (compare its issue 8471).
    hand.landmarks.visible = False
    hand.viewer.layers.remove("films")
    hand.rest()
    hand.panel.deleteLater()  # nobody's child since napari took it out of its dock
    hand.rest()


def test_closing_the_viewer_in_mid_run_is_clean(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = busy(open_panel, stack, random_encoder)
    hand.viewer.close()
    hand.qtbot.waitUntil(lambda: threads() == [], timeout=5000)


def test_deleting_the_image_in_mid_run_is_clean(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = busy(open_panel, stack, random_encoder)
    hand.viewer.layers.remove("films")
    hand.rest()
    assert hand.panel.session.image is None
    assert hand.control("ld_samples").isVisible()
    hand.wait(lambda: not hand.panel.session.work.running)


def test_replacing_the_pixels_in_mid_run_starts_anew(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = busy(open_panel, stack, random_encoder)
    hand.viewer.layers["films"].data = stack
    hand.rest()
    assert hand.panel.session.n_planes == 6
    assert hand.panel.session.state == {}
    hand.add_and_click("sella", (40, 60), 0)
    hand.wait_until_answered()
    assert len(hand.landmarks.data) == 6


def test_a_deleted_landmark_layer_comes_back_on_request(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.viewer.layers.remove("LD landmarks")
    hand.rest()
    assert "its points are kept" in hand.text("ld_status")
    assert "LD landmarks" not in hand.viewer.layers
    hand.click_row("ld_points", 3)
    hand.wait(lambda: "LD landmarks" in hand.viewer.layers and len(hand.landmarks.data) == 6)
    assert hand.landmarks.visible
    assert hand.panel._desk.visible_plane == 3


def test_a_renamed_image_and_landmark_layer_stay_ours(open_panel: Open, stack: Array, random_encoder: Path) -> None:
    hand = open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.landmarks.name = "mine"
    hand.viewer.layers["films"].name = "radiographs"
    hand.rest()
    assert hand.control("ld_image").currentText() == "radiographs"
    hand.click_row("ld_points", 1)
    hand.rest()
    assert [layer.name for layer in hand.viewer.layers] == ["radiographs", "mine"]


def test_the_status_line_is_never_empty(open_panel: Open) -> None:
    hand = open_panel()
    status: QLabel = hand.control("ld_status")
    assert status.text()
