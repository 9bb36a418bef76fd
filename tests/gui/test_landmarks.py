"""Click, look through, correct, undo: with mouse and keys on a shown viewer, and a person's own encoder file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from tests.gui.hand import Hand, top_level_dialogs

Open = Callable[..., Hand]


@pytest.fixture
def hand(open_panel: Open, stack: np.ndarray[Any, Any], random_encoder: Path) -> Hand:
    return open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)


def only(hand: Hand) -> Any:
    [track] = hand.panel.session.state.values()
    return track


def present(hand: Hand) -> list[int]:
    """Planes on which the encoder, not the person, has put the landmark; an untrained one may call some absent."""
    points = only(hand).points
    return [plane for plane in sorted(points) if not points[plane].verified and points[plane].match.position]


def test_one_click_fills_all_planes(hand: Hand) -> None:
    hand.type("ld_landmark_name", "nasion")
    hand.press("ld_add")
    hand.rest()
    assert hand.text("ld_status") == "Click nasion once on any plane."
    plane = hand.panel._desk.visible_plane
    hand.click((40, 60), plane)
    hand.rest()
    # The click is there at once, before the encoder has even been loaded.
    assert only(hand).points[plane].match.position == pytest.approx((40, 60), abs=0.5)
    assert hand.landmarks.data[0] == pytest.approx([plane, 40, 60], abs=0.5)
    hand.wait_until_answered()
    assert sorted(only(hand).points) == list(range(6))
    assert len(hand.rows("ld_points")) == 6
    assert hand.control("ld_progress").text() == "embedding ready"
    assert "CPU" in hand.text("ld_device")
    features = hand.landmarks.features
    assert {"name", "plane", "score", "margin", "status"} <= set(features.columns)
    assert list(features["name"].unique()) == ["nasion"]
    mine = int(np.flatnonzero(features["plane"] == plane)[0])
    assert features["status"][mine] == "verified"
    assert str(hand.landmarks.symbol[mine]) == "disc"
    assert hand.landmarks.face_color[mine][3] == 1
    others = [row for row in range(len(features)) if row != mine]
    assert all(hand.landmarks.face_color[row][3] == 0 for row in others)
    assert [layer.name for layer in hand.viewer.layers] == ["films", "LD landmarks"]


def test_dragging_a_point_verifies_it_and_searches_the_unverified_again(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    hand.add_and_click("nasion", (40, 60), plane)
    hand.wait_until_answered()
    center = tuple(hand.viewer.scene.camera.center)
    generation = only(hand).generation
    hand.drag((40, 60), (50, 80), plane)
    hand.rest()
    assert tuple(hand.viewer.scene.camera.center) == center
    assert only(hand).points[plane].match.position == pytest.approx((50, 80), abs=1)
    hand.wait_until_answered()
    assert only(hand).generation > generation
    assert hand.panel.session.history.undo_label == f"move nasion on plane {plane}"
    # A second example on another plane, and one more that shall not teach.
    second = present(hand)[0]
    hand.click_row("ld_points", second)
    hand.wait(lambda: hand.panel._desk.visible_plane == second)
    hand.drag(only(hand).points[second].match.position, (15, 15), second)
    hand.wait_until_answered()
    assert [p for p, _ in only(hand).templates] == sorted([second, plane])
    generation = only(hand).generation
    hand.press("ld_corrections_teach")
    third = present(hand)[0]
    hand.click_row("ld_points", third)
    hand.wait(lambda: hand.panel._desk.visible_plane == third)
    hand.drag(only(hand).points[third].match.position, (80, 15), third)
    hand.wait_until_answered()
    assert only(hand).generation == generation
    assert only(hand).points[third].verified
    assert not only(hand).points[third].template


def test_moving_the_image_is_no_click(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    hand.press("ld_add")
    hand.rest()
    center = tuple(hand.viewer.scene.camera.center)
    hand.drag((40, 60), (50, 80), plane)
    hand.rest()
    assert only(hand).points == {}
    assert tuple(hand.viewer.scene.camera.center) != center
    assert hand.panel.session.awaiting_click


def test_a_click_beside_the_image_is_refused_in_words(hand: Hand) -> None:
    hand.press("ld_add")
    hand.rest()
    hand.click((-10, 60), hand.panel._desk.visible_plane)
    hand.rest()
    assert "outside the image" in hand.text("ld_landmarks_error")
    hand.click((10, 60), hand.panel._desk.visible_plane)
    hand.rest()
    assert hand.text("ld_landmarks_error") == ""


def test_next_uncertain_by_key_on_the_canvas_and_in_the_panel(hand: Hand) -> None:
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    threshold = hand.control("ld_threshold")
    threshold.setFocus()
    threshold.lineEdit().selectAll()
    QTest.keyClicks(threshold, "2")
    QTest.keyClick(threshold, Qt.Key.Key_Return)
    hand.rest()
    assert not any("confident" in row[3] for row in hand.rows("ld_points"))
    hand.click_row("ld_points", 0)
    hand.rest()
    first, second = [plane for plane in present(hand) if plane > 0][:2]
    hand.key(Qt.Key.Key_N)
    hand.wait(lambda: hand.panel._desk.visible_plane == first)
    hand.key(Qt.Key.Key_V)
    hand.rest()
    assert only(hand).points[first].verified
    table = hand.control("ld_points")
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_N)
    hand.wait(lambda: hand.panel._desk.visible_plane == second)
    hand.key(Qt.Key.Key_X)
    hand.rest()
    assert only(hand).points[second].match.position is None
    assert hand.rows("ld_points")[second][3] == "● verified: absent"
    assert second not in list(hand.landmarks.features["plane"])
    hand.type("ld_landmark_name", "n")
    assert hand.text("ld_landmark_name") == "n"
    assert hand.panel._desk.visible_plane == second


def test_keys_are_silent_while_another_layer_is_active(hand: Hand) -> None:
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.viewer.layers.selection.active = hand.viewer.layers["films"]
    before = hand.panel._desk.visible_plane
    hand.panel.session.set_threshold(2.0)
    hand.key(Qt.Key.Key_N)
    hand.rest()
    assert hand.panel._desk.visible_plane == before


def test_undo_and_redo_by_key_and_button(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    hand.add_and_click("nasion", (40, 60), plane)
    hand.wait_until_answered()
    hand.drag((40, 60), (50, 80), plane)
    hand.wait_until_answered()
    assert "move nasion" in hand.control("ld_undo").toolTip()
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hand.wait_until_answered()
    assert only(hand).points[plane].match.position == pytest.approx((40, 60), abs=0.5)
    hand.press("ld_undo")
    hand.rest()
    assert only(hand).points == {}
    assert len(hand.landmarks.data) == 0
    hand.press("ld_redo")
    hand.rest()
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    hand.wait_until_answered()
    assert only(hand).points[plane].match.position == pytest.approx((50, 80), abs=1)


def test_two_landmarks_keep_their_colours_and_a_click_on_a_point_selects_its_landmark(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    hand.add_and_click("nasion", (20, 30), plane)
    hand.add_and_click("sella", (70, 90), plane)
    hand.wait_until_answered()
    first, second = hand.panel.session.state.values()
    assert first.color != second.color
    assert hand.panel.session.current == second.id
    hand.click((20, 30), plane)
    hand.rest()
    assert hand.panel.session.current == first.id
    features = hand.landmarks.features
    of_sella = np.flatnonzero((features["name"] == "sella") & (features["status"] != "verified"))
    assert len({tuple(color[:3]) for color in hand.landmarks.border_color[of_sella]}) == 1
    hand.click_row("ld_landmark_list", 1)
    hand.rest()
    assert hand.panel.session.current == second.id
    hand.click_row("ld_landmark_list", 0, 3)
    assert hand.rows("ld_landmark_list")[1][0] == "sella"
    hand.press("ld_remove")
    hand.rest()
    assert len(hand.panel.session.state) == 1


def test_hidden_landmarks_are_not_drawn(hand: Hand) -> None:
    hand.add_and_click("nasion", (20, 30), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    model = hand.control("ld_landmark_list").model()
    model.setData(model.index(0, 3), Qt.CheckState.Unchecked.value, Qt.ItemDataRole.CheckStateRole)
    hand.wait(lambda: len(hand.landmarks.data) == 0)
    assert len(only(hand).points) == 6


def test_place_by_hand_on_another_plane(hand: Hand) -> None:
    hand.add_and_click("nasion", (20, 30), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.click_row("ld_points", 5)
    hand.wait(lambda: hand.panel._desk.visible_plane == 5)
    hand.press("ld_place")
    hand.rest()
    hand.click((80, 100), 5)
    hand.wait_until_answered()
    assert only(hand).points[5].match.position == pytest.approx((80, 100), abs=0.5)
    hand.press("ld_place")
    hand.rest()
    hand.key(Qt.Key.Key_Escape)
    hand.rest()
    assert not hand.panel.session.awaiting_click


def test_renaming_in_the_list(hand: Hand) -> None:
    hand.add_and_click("nasion", (20, 30), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    color = only(hand).color
    model = hand.control("ld_landmark_list").model()
    model.setData(model.index(0, 0), "orbitale")
    hand.wait(lambda: set(hand.landmarks.features["name"]) == {"orbitale"})
    assert (only(hand).name, only(hand).color) == ("orbitale", color)


def test_the_tools_of_napari_work_on_the_layer_too(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    hand.add_and_click("nasion", (20, 30), plane)
    hand.wait_until_answered()
    hand.landmarks.mode = "add"
    hand.click((60, 70), plane)
    hand.wait_until_answered()
    assert only(hand).points[plane].match.position == pytest.approx((60, 70), abs=0.5)
    assert len(hand.landmarks.data) == len(hand.landmarks.features)
    hand.landmarks.mode = "select"
    hand.drag((60, 70), (30, 40), plane)
    hand.wait_until_answered()
    assert only(hand).points[plane].match.position == pytest.approx((30, 40), abs=1)
    hand.click((30, 40), plane)
    hand.key(Qt.Key.Key_Delete)
    hand.rest()
    assert only(hand).points[plane].match.position is None
    hand.press("ld_undo")
    hand.rest()
    assert only(hand).points[plane].match.position == pytest.approx((30, 40), abs=1)


def test_save_and_load_through_the_dialogs(hand: Hand, tmp_path: Path) -> None:
    hand.add_and_click("nasion", (20, 30), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.press("ld_save")
    hand.answer_file_dialog("ld_save_dialog", tmp_path / "found.csv")
    lines = (tmp_path / "found.csv").read_text().splitlines()
    assert lines[0].startswith("image,landmark,plane,row,column,score,margin,status,expected_error")
    assert len(lines) == 7
    assert all(line.startswith("films,nasion,") for line in lines[1:])
    before = {plane: point.match.status for plane, point in only(hand).points.items()}
    hand.press("ld_remove")
    hand.rest()
    hand.press("ld_load")
    hand.answer_file_dialog("ld_load_dialog", tmp_path / "found.csv")
    hand.wait_until_answered()
    assert {plane for plane, point in only(hand).points.items() if point.verified} == {
        plane for plane, status in before.items() if status == "verified"
    }
    assert len(only(hand).points) == 6


def test_files_that_cannot_be_used_are_told_in_the_section(hand: Hand, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text("image,landmark,plane,row,column\n")
    hand.press("ld_load")
    hand.answer_file_dialog("ld_load_dialog", tmp_path / "bad.csv")
    assert "no column" in hand.text("ld_landmarks_error")
    hand.press("ld_load")
    hand.answer_file_dialog("ld_load_dialog", tmp_path / "empty.csv")
    assert "holds no positions" in hand.text("ld_landmarks_error")


def test_a_scheme_is_clicked_through(hand: Hand, tmp_path: Path) -> None:
    """Loaded through its dialog; each click leads to the next landmark, the last one starts the search of all."""
    (tmp_path / "two.csv").write_text("landmark,color\nsella,#ff8800\nnasion,\n")
    hand.press("ld_scheme")
    hand.answer_file_dialog("ld_scheme_dialog", tmp_path / "two.csv")
    hand.rest()
    plane = hand.panel._desk.visible_plane
    hand.wait(lambda: hand.control("ld_status").text() == "Now click: sella (1/2).")
    hand.wait(lambda: not top_level_dialogs())
    hand.click((20, 30), plane)
    hand.wait(lambda: hand.control("ld_status").text() == "Now click: nasion (2/2).")
    hand.click((30, 20), plane)
    hand.wait_until_answered()
    tracks = list(hand.panel.session.state.values())
    assert (tracks[0].name, tracks[0].color) == ("sella", "#ff8800")
    assert {len(track.points) for track in tracks} == {hand.panel.session.n_planes}
