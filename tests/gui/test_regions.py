"""Regions: propose, decide, reshape, paint, undo, save; with mouse and keys on a shown viewer."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QTableView

from napari_ld._gui.sections.proposing import CLUSTERS, KINDS, MOST_CLUSTERS
from napari_ld.errors import ConfigError
from napari_ld.io.images import read_image
from napari_ld.proposals import PROPOSERS, ClusterParams
from napari_ld.session.review import RegionReview
from tests.gui.hand import LEFT, NONE, Hand
from tests.model.bright import save_bright

Open = Callable[..., Hand]
Key = Qt.Key
CONTROL, SHIFT, ALT = (
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)


@pytest.fixture
def hand(open_panel: Open, stack: np.ndarray[Any, Any], random_encoder: Path) -> Hand:
    """A stack with its proposals, ready to be reviewed."""
    hand = open_panel(lambda viewer: viewer.add_image(stack, name="films", scale=(2, 1, 1)), random_encoder)
    hand.press("ld_regions_header")
    hand.rest()
    hand.control("ld_region_count").setFocus()
    for _ in range(4):
        QTest.keyClick(hand.control("ld_region_count"), Key.Key_Left)  # fewer regions are quicker
    hand.press("ld_propose")
    hand.wait(lambda: not hand.panel.session.proposing.running and review(hand).book.items)
    hand.rest()
    return hand


def review(hand: Hand) -> RegionReview:
    return hand.panel.session.regions


def masks(hand: Hand) -> np.ndarray[Any, Any]:
    image = hand.panel.session.image
    assert image is not None
    return review(hand).book.masks(image)


def decision(hand: Hand, one: int | None) -> str:
    assert one is not None
    return review(hand).book.items[one].region.decision


def press(hand: Hand, key: Key, modifier: Qt.KeyboardModifier = NONE) -> int | None:
    """Press a key on the canvas; returns which region was current before."""
    before = review(hand).current
    hand.key(key, modifier)
    hand.rest()
    return before


def test_a_whole_review_by_keys(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    first = review(hand).region
    assert first is not None
    assert first.planes == (plane,)  # the shown plane is searched first
    assert len(hand.rows("ld_regions")) == 20 * 6
    assert hand.viewer.layers.selection.active == hand.viewer.layers["LD proposals"]

    accepted = press(hand, Key.Key_A)
    assert decision(hand, accepted) == "accepted"
    layer = hand.viewer.layers["LD accepted"]
    assert np.array_equal(layer.data[plane] == 1, first.mask.to_array(plane))
    assert np.array_equal(layer.data, masks(hand))
    assert np.array_equal(layer.scale, (2, 1, 1))

    rejected = press(hand, Key.Key_R)
    assert decision(hand, rejected) == "rejected"
    passed = press(hand, Key.Key_Down)
    assert decision(hand, passed) == "undecided"
    back = press(hand, Key.Key_Up)
    assert review(hand).current == passed != back

    press(hand, Key.Key_4, ALT)
    classed = press(hand, Key.Key_A)
    assert review(hand).book.classes[classed] == 4  # type: ignore[index]
    assert np.array_equal(layer.data, masks(hand))
    assert set(np.unique(layer.data).tolist()) == {0, 1, 4}

    before = review(hand).region
    assert before is not None
    press(hand, Key.Key_M)
    merged = review(hand).region
    assert merged is not None
    assert before.mask.minus(merged.mask).area == 0 < merged.area - before.area
    press(hand, Key.Key_S)
    assert 0 < review(hand).region.area < merged.area  # type: ignore[union-attr]
    press(hand, Key.Key_Z, CONTROL)
    press(hand, Key.Key_Z, CONTROL)
    assert review(hand).region is before

    hand.key(Key.Key_G)
    hand.wait(lambda: review(hand).region.area > before.area)  # type: ignore[union-attr]
    grown = review(hand).region
    press(hand, Key.Key_G, SHIFT)
    assert review(hand).region.mask.same_as(before.mask)  # type: ignore[union-attr]
    press(hand, Key.Key_Z, CONTROL)
    assert review(hand).region is grown

    while hand.panel.session.history.undo_label is not None:
        press(hand, Key.Key_Z, CONTROL)
    assert not masks(hand).any()
    assert not layer.data.any()
    assert review(hand).current == first.id
    while hand.panel.session.history.redo_label is not None:
        press(hand, Key.Key_Z, CONTROL | SHIFT)
    assert np.array_equal(layer.data, masks(hand))
    assert set(np.unique(layer.data).tolist()) == {0, 1, 4}


def test_painting_filling_and_erasing_enter_the_same_undo(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    region = review(hand).region
    assert region is not None
    press(hand, Key.Key_A)
    layer = hand.viewer.layers["LD accepted"]
    layer.mouse_pan = True
    hand.viewer.layers.selection.active = layer
    hand.key(Key.Key_2)  # napari's own key of the brush
    assert str(layer.mode) == "paint"
    layer.brush_size = 6
    before = layer.data.copy()
    row, column = np.array(region.centroid[1:])
    hand.drag((row, column), (row, column + 12), plane)
    hand.rest()
    painted = layer.data.copy()
    assert (painted != before).any()
    assert np.array_equal(masks(hand), painted)
    assert hand.panel.session.history.undo_label == "paint by hand"
    hand.key(Key.Key_1)
    assert str(layer.mode) == "erase"
    hand.drag((row, column), (row, column + 4), plane)
    hand.rest()
    assert hand.panel.session.history.undo_label == "erase by hand"
    assert np.array_equal(masks(hand), layer.data)
    assert layer.data.sum() < painted.sum()
    # Decisions and strokes are taken back in their order, by the same key on this layer.
    press(hand, Key.Key_Z, CONTROL)
    assert np.array_equal(layer.data, painted)
    press(hand, Key.Key_Z, CONTROL)
    assert np.array_equal(layer.data, before)
    press(hand, Key.Key_Z, CONTROL)
    assert not layer.data.any()
    assert decision(hand, region.id) == "undecided"
    # The keys of the review work on this layer too.
    hand.key(Key.Key_6)
    press(hand, Key.Key_A)
    assert decision(hand, region.id) == "accepted"


USERS_LAYERS: dict[str, Callable[[Any], Any]] = {
    "image": lambda viewer: viewer.add_image(np.zeros((6, 96, 128), np.uint8)),
    "labels": lambda viewer: viewer.add_labels(np.zeros((6, 96, 128), np.uint8)),
    "points": lambda viewer: viewer.add_points(np.full((2, 3), 2.0)),
    "shapes": lambda viewer: viewer.add_shapes(np.array([[2, 10, 10], [2, 40, 40.0]]), shape_type="line"),
    "vectors": lambda viewer: viewer.add_vectors(np.ones((1, 2, 3))),
    "tracks": lambda viewer: viewer.add_tracks(np.array([[0, 0, 1, 1], [0, 1, 2, 2.0]])),
    "surface": lambda viewer: viewer.add_surface((np.eye(3) * 9, np.array([[0, 1, 2]]))),
}


def test_whatever_layer_was_active_the_review_takes_the_keys_and_leaves_it_alone(hand: Hand) -> None:
    for make in USERS_LAYERS.values():
        layer = make(hand.viewer)
        hand.viewer.layers.selection.active = layer
        hand.rest(20)
        mode, count = str(layer.mode), len(hand.viewer.layers)
        hand.click_row("ld_regions", 1)
        hand.rest()
        assert hand.viewer.layers.selection.active == hand.viewer.layers["LD proposals"]
        for key, meant in ((Key.Key_A, "accepted"), (Key.Key_R, "rejected")):
            assert decision(hand, press(hand, key)) == meant
        one = review(hand).region
        assert one is not None
        press(hand, Key.Key_S)
        press(hand, Key.Key_M)
        assert review(hand).region.area >= one.area  # type: ignore[union-attr]
        assert str(layer.mode) == mode
        assert len(hand.viewer.layers) - count in (0, 1)  # LD accepted comes with the first accepted region
        hand.viewer.layers.remove(layer)


def test_the_buttons_the_list_and_the_score(hand: Hand) -> None:
    hand.take_focus()
    hand.click_row("ld_regions", 3)
    hand.rest()
    third = review(hand).current
    assert third == int(hand.rows("ld_regions")[3][0].lstrip("#"))
    QTest.keyClick(hand.control("ld_regions"), Key.Key_Down)
    hand.rest()
    assert review(hand).current != third
    QTest.keyClick(hand.control("ld_regions"), Key.Key_A)  # the letters work in the section as well
    hand.rest()
    assert review(hand).book.statistics.accepted == 1
    for name in ("ld_reject", "ld_accept", "ld_split", "ld_merge"):
        hand.press(name)
        hand.rest()
    assert "1 rejected" in hand.text("ld_regions_about")

    histogram = hand.control("ld_scores")
    QTest.mouseClick(histogram, LEFT, NONE, QPoint(histogram.width() // 2, 20))
    hand.rest()
    assert histogram.threshold == pytest.approx(0.5, abs=0.02)
    listed = len(review(hand).queue)
    assert 0 < listed < 170
    assert f"Accept all {listed}" == hand.text("ld_accept_all")
    hand.press("ld_accept_all")
    hand.rest()
    assert review(hand).book.statistics.accepted >= listed
    hand.choose("ld_shown_regions", "rejected")
    hand.rest()
    assert {row[4] for row in hand.rows("ld_regions")} <= {"✗"}
    hand.press("ld_undo")
    hand.rest()
    assert review(hand).book.statistics.accepted < listed
    QTest.mouseClick(histogram, LEFT, NONE, QPoint(2, 20))
    hand.choose("ld_shown_regions", "all")
    hand.press("ld_this_plane")
    hand.rest()
    plane = hand.panel._desk.visible_plane
    assert {row[3] for row in hand.rows("ld_regions")} == {str(plane)}


def test_a_click_on_the_image_picks_a_region_and_moving_the_image_does_not(hand: Hand) -> None:
    region = review(hand).region
    assert region is not None
    plane = region.planes[0]
    other = next(r for r in review(hand).queue.on_plane(plane) if r.id != region.id and r.area > 60)
    rows, columns = np.divmod(other.mask.pixels(plane), 128)
    middle = len(rows) // 2
    hand.viewer.reset_view()
    hand.rest()
    hand.click((float(rows[middle]), float(columns[middle])), plane)
    hand.rest()
    assert review(hand).current == other.id
    hand.drag((40, 60), (50, 80), plane)
    assert review(hand).current == other.id


def test_a_click_where_nothing_is_listed_offers_a_region(hand: Hand) -> None:
    plane = hand.panel._desk.visible_plane
    hand.choose("ld_shown_regions", "accepted")  # nothing is
    hand.rest()
    assert review(hand).region is None
    hand.panel._desk.review.activate()  # type: ignore[union-attr]  # as any button of the section does
    hand.viewer.reset_view()
    hand.rest()
    hand.choose("ld_shown_regions", "to decide")
    hand.rest()
    for region in list(review(hand).queue.on_plane(plane)):
        review(hand).select(region.id)
        review(hand).reject()
    hand.viewer.reset_view()
    hand.rest()
    hand.click((60.0, 60.0), plane)
    hand.wait(lambda: review(hand).region is not None and review(hand).region.kind == "clicked", 60_000)
    first = review(hand).region
    assert first is not None
    assert first.mask.contains(plane, 60, 60)
    hand.rest()
    hand.click((60.0, 60.0), plane)
    hand.rest()
    second = review(hand).region
    assert second is not None
    assert (second.kind, second.mask.contains(plane, 60, 60)) == ("clicked", True)
    assert second.area != first.area
    press(hand, Key.Key_A)
    assert (masks(hand)[plane] > 0).sum() == second.area


def test_another_number_of_regions_keeps_what_was_decided(hand: Hand) -> None:
    accepted = press(hand, Key.Key_A)
    slider = hand.control("ld_region_count")
    slider.setFocus()
    QTest.keyClick(slider, Key.Key_Right)
    hand.wait(lambda: not hand.panel.session.proposing.running and len(review(hand).book.items) > 6 * 25)
    assert decision(hand, accepted) == "accepted"
    assert np.array_equal(hand.viewer.layers["LD accepted"].data, masks(hand))


def test_masks_and_table_are_saved_voxel_exact(hand: Hand, tmp_path: Path) -> None:
    for key in (Key.Key_A, Key.Key_R, Key.Key_A):
        press(hand, key)
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", tmp_path / "masks.tif")
    hand.wait(lambda: "Saved masks.tif" in hand.text("ld_regions_about"))
    assert np.array_equal(np.asarray(read_image(tmp_path / "masks.tif").array), masks(hand))
    with (tmp_path / "masks_regions.csv").open(newline="") as file:
        decisions = [row["decision"] for row in csv.DictReader(file)]
    assert (decisions.count("accepted"), decisions.count("rejected")) == (2, 1)
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", tmp_path / "coco.json")  # a stack of films is a set of pictures
    hand.wait(lambda: "Saved coco.json" in hand.text("ld_regions_about"))
    coco = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))
    assert sum(one["area"] for one in coco["annotations"]) == np.count_nonzero(masks(hand))
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", tmp_path / "masks.png")
    hand.wait(lambda: "its ending is none of" in hand.text("ld_regions_error"))


def test_layers_may_be_deleted_and_the_image_replaced(hand: Hand, stack: np.ndarray[Any, Any]) -> None:
    press(hand, Key.Key_A)
    # One after the other: napari 0.9.2 crashes when a Labels layer is added after two were removed.
    for name in ("LD proposals", "LD accepted"):
        hand.viewer.layers.remove(name)
        hand.rest(400)
        hand.click_row("ld_regions", 0)
        hand.rest()
        press(hand, Key.Key_A)
    assert np.array_equal(hand.viewer.layers["LD accepted"].data, masks(hand))
    assert review(hand).book.statistics.accepted == 3
    saved = masks(hand)
    hand.viewer.add_image(stack[0], name="other")
    hand.press("ld_encoder_header")
    hand.choose("ld_image", "other")
    hand.rest()
    assert hand.rows("ld_regions") == []
    hand.wait(lambda: [layer.name for layer in hand.viewer.layers] == ["films", "other"])
    hand.choose("ld_image", "films")
    hand.wait(lambda: bool(review(hand).book.items))
    hand.rest()
    assert np.array_equal(masks(hand), saved)
    assert np.array_equal(hand.viewer.layers["LD accepted"].data, saved)


def test_what_the_encoder_sees(hand: Hand) -> None:
    hand.choose("ld_view", "encoder's view")
    hand.wait(lambda: "LD embedding (RGB)" in hand.viewer.layers)
    layer = hand.viewer.layers["LD embedding (RGB)"]
    hand.wait(lambda: all(plane.any() for plane in layer.data))
    first, last = layer.data_to_world((0, 0, 0)), layer.data_to_world(np.array(layer.data.shape[:3]) - 1)
    assert -1 < first[1] < 4
    assert 90 < last[1] < 97
    assert last[0] == 10
    hand.choose("ld_view", "like the mouse")
    hand.rest()
    assert "LD embedding (RGB)" not in hand.viewer.layers
    plane = hand.panel._desk.visible_plane
    QTest.mouseMove(hand.canvas, hand.pixel(hand.world((30, 40), plane)))
    QTest.mouseMove(hand.canvas, hand.pixel(hand.world((40, 60), plane)))
    hand.wait(lambda: "LD similarity" in hand.viewer.layers)
    assert hand.viewer.layers["LD similarity"].data.max() == pytest.approx(1, abs=0.01)
    hand.choose("ld_view", "image only")
    hand.wait(lambda: [layer.name for layer in hand.viewer.layers] == ["films", "LD proposals"])
    assert hand.text("ld_regions_error") == ""


def test_every_control_of_the_section_has_a_name_and_a_tip(hand: Hand) -> None:
    section = hand.control("ld_regions_section")
    kinds = (QAbstractButton, QComboBox, QTableView, QAbstractSpinBox)
    controls = [w for kind in kinds for w in section.findChildren(kind) if w.isVisible() and not _is_part(w)]
    assert len(controls) > 15
    assert [w for w in controls if not w.objectName().startswith("ld_") or not w.toolTip()] == []
    # One section at a time on a small screen.
    assert not hand.control("ld_add").isVisible()
    hand.press("ld_landmarks_header")
    hand.rest()
    assert hand.control("ld_add").isVisible()
    assert not hand.control("ld_propose").isVisible()
    assert "+ Add" in hand.text("ld_status")


def _is_part(widget: Any) -> bool:
    return (
        isinstance(widget.parentWidget(), QAbstractSpinBox | QComboBox | QTableView) or widget.objectName()[:3] == "qt_"
    )


def test_the_kinds_in_the_panel_are_those_of_the_table() -> None:
    assert sorted(KINDS) == sorted(PROPOSERS)
    for name, kind in KINDS.items():
        assert kind.needs_examples == PROPOSERS[name].needs_examples
        assert kind.counted == hasattr(PROPOSERS[name].params(), "n_regions")
        assert kind.grouped == hasattr(PROPOSERS[name].params(), "n_clusters")
        assert kind.needs_model == hasattr(PROPOSERS[name].params(), "model")


def test_the_number_of_clusters(hand: Hand) -> None:
    with pytest.raises(ConfigError):
        ClusterParams(n_clusters=MOST_CLUSTERS + 1)
    assert ClusterParams().n_clusters == CLUSTERS == hand.panel.session.n_clusters
    box = hand.control("ld_cluster_count")
    assert not box.isVisible()
    hand.choose("ld_kind_of_regions", "encoder's clusters")
    hand.wait(lambda: box.isVisible())
    assert (box.value(), "clusters" in box.toolTip()) == (CLUSTERS, True)
    box.setFocus()
    box.selectAll()
    for key in (Key.Key_3, Key.Key_Return):
        QTest.keyClick(box, key)
    hand.press("ld_propose")
    hand.wait(lambda: {one.kind for one in review(hand).book.present()} == {"clusters"}, 60_000)
    hand.wait(lambda: not hand.panel.session.proposing.running, 60_000)
    assert {region.cluster for region in review(hand).book.present()} == {0, 1, 2}
    hand.choose("ld_view", "clusters")
    hand.wait(lambda: "LD clusters" in hand.viewer.layers and shown(hand) == {1, 2, 3}, 60_000)
    QTest.keyClick(box, Key.Key_Down)  # the view follows
    hand.wait(lambda: shown(hand) == {1, 2}, 60_000)


def shown(hand: Hand) -> set[int]:
    return set(np.unique(hand.viewer.layers["LD clusters"].data).tolist())


def test_all_that_was_accepted_teaches_and_all_listed_are_accepted_by_keys(hand: Hand) -> None:
    session, plane = hand.panel.session, hand.panel._desk.visible_plane
    press(hand, Key.Key_L, SHIFT)
    assert session.marks == ()
    assert "Nothing is accepted in class 1 yet" in hand.text("ld_regions_error")
    first = review(hand).region
    assert first is not None
    press(hand, Key.Key_A)
    press(hand, Key.Key_L, SHIFT)
    assert hand.text("ld_regions_error") == ""
    [mark] = session.marks
    assert mark.mask is not None
    assert mark.mask.same_as(first.mask)
    hand.wait(lambda: not session.proposing.running, 120_000)
    hand.rest()
    fresh = [item.region for item in review(hand).book.items.values() if item.region.decision == "undecided"]
    assert all(region.kind == "like_examples" and plane not in region.planes for region in fresh)
    box = hand.control("ld_single")
    hand.press("ld_single")  # searches again at once, on the same planes
    hand.wait(lambda: session.single and box.isChecked() and not session.proposing.running, 120_000)
    hand.rest()
    fresh = [item.region for item in review(hand).book.items.values() if item.region.decision == "undecided"]
    assert {plane for region in fresh for plane in region.planes} == set(range(6)) - {plane}
    assert len(fresh) == 5  # one on each
    press(hand, Key.Key_A, SHIFT)
    assert review(hand).book.statistics.accepted == 1 + len(fresh)
    assert (masks(hand)[plane] > 0).sum() == first.area  # what was decided by hand stays as it was


def test_a_model_of_ones_own_fills_the_queue(hand: Hand, tmp_path: Path, random_encoder: Path) -> None:
    hand.choose("ld_kind_of_regions", "model of mine")
    hand.wait(lambda: not hand.control("ld_propose").isEnabled())
    assert "Choose a segmenter" in hand.text("ld_region_model_text")
    form = hand.panel._regions.form
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    form.choose_model(str(tmp_path / "x.safetensors"))
    assert "x.safetensors: not a model of napari-ld" in hand.text("ld_regions_error")
    form.choose_model(str(random_encoder))
    hand.wait(lambda: hand.control("ld_propose").isEnabled())
    hand.press("ld_propose")
    hand.wait(lambda: "a segmenter or a classifier was expected" in hand.text("ld_regions_error"))
    form.choose_model(str(save_bright(tmp_path / "bright.safetensors", size=128)))
    hand.wait(lambda: hand.text("ld_region_model_text") == "bright.safetensors")
    hand.press("ld_propose")
    hand.wait(lambda: {region.kind for region in review(hand).book.present()} == {"model"}, 60_000)
    hand.wait(lambda: not hand.panel.session.proposing.running, 60_000)
    hand.wait(lambda: hand.text("ld_regions_error") == "")
    found = list(review(hand).book.present())
    assert {plane for region in found for plane in region.planes} == set(range(6))
    before = press(hand, Key.Key_A)
    assert review(hand).book.classes[before] == 1  # type: ignore[index]


def test_more_like_what_is_clicked_outlined_or_current(hand: Hand) -> None:
    session = hand.panel.session
    plane = hand.panel._desk.visible_plane
    hand.choose("ld_kind_of_regions", "more like examples")
    hand.rest()
    hand.press("ld_propose")
    hand.wait(lambda: "at least one positive example" in hand.text("ld_regions_error"))
    # A click, a counter-example, and what a Shapes layer outlines.
    for name, place in (("ld_example", (40.0, 60.0)), ("ld_counter_example", (80.0, 20.0))):
        hand.press(name)
        hand.rest()
        hand.viewer.reset_view()
        hand.rest()
        hand.click(place, plane)
        hand.rest()
        assert session.marks[-1].position == pytest.approx(place, abs=1)
    assert [mark.positive for mark in session.marks] == [True, False]
    square = np.array([[plane * 2, 10, 10], [plane * 2, 10, 30], [plane * 2, 30, 30], [plane * 2, 30, 10]], float)
    hand.viewer.add_shapes([square], shape_type="polygon")
    hand.rest()
    hand.press("ld_example_outlines")
    hand.rest()
    assert session.marks[-1].mask is not None
    assert session.marks[-1].mask.planes == (plane,)
    assert "2 wanted, 1 not wanted" in hand.text("ld_examples_text")
    hand.press("ld_propose")
    hand.wait(lambda: not session.proposing.running, 120_000)
    hand.rest()
    assert hand.text("ld_regions_error") == ""
    assert {region.kind for region in review(hand).book.present()} <= {"like_examples"}
    # The current region as the only example, by its key.
    hand.press("ld_clear_examples")
    assert session.marks == ()
    if review(hand).region is None:
        return  # an untrained encoder may find nothing
    press(hand, Key.Key_L)
    assert len(session.marks) == 1
    hand.wait(lambda: not session.proposing.running, 120_000)
    assert hand.text("ld_regions_error") == ""
