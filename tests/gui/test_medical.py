"""A CT series in the panel: lazily shown, windowed, seen as the encoder sees it; points and masks in patient space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy.ndimage import gaussian_filter

from benchmarks.synthetic import write_series
from napari_ld._npe2 import read_layers
from napari_ld.io import dicom_pixels
from napari_ld.io.images import read_image
from napari_ld.io.markups import Markup, read_markups, write_markups
from napari_ld.io.windows import CT_WINDOWS, parse_window
from tests.gui.hand import Hand

PLANES = 16


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """An oblique series whose planes have the size that the small encoder works at."""
    noise = np.random.default_rng(3).normal(size=(PLANES, 96, 128))
    smooth = gaussian_filter(noise, (2, 6, 6)) * 30000 + 700
    write_series(
        tmp_path / "ct",
        smooth.clip(0, 4095).astype(np.uint16),
        orientation=(0.8, 0.6, 0, -0.6, 0.8, 0),
        spacing=(2.0, 0.5, 0.5),
        elements={"BitsStored": 12, "HighBit": 11},
    )
    return tmp_path / "ct"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose pixels were read, in order."""
    seen: list[Path] = []
    real = dicom_pixels.read_plane

    def read(place: Any, dtype: Any, out: Any = None) -> Any:
        seen.append(place.header.path)
        return real(place, dtype, out)

    monkeypatch.setattr("napari_ld.io.dicom.read_plane", read)
    return seen


@pytest.fixture
def hand(open_panel: Callable[..., Hand], series: Path, random_encoder: Path, decoded: list[Path]) -> Hand:
    """The series, opened as napari does it, with the panel beside it."""

    def prepare(viewer: Any) -> None:
        [(array, attributes, kind)] = read_layers(str(series))
        assert (kind, decoded) == ("image", [])
        viewer.add_image(array, **attributes)

    return open_panel(prepare, random_encoder)


def test_the_first_slice_is_shown_before_the_others_are_read(hand: Hand, decoded: list[Path], series: Path) -> None:
    hand.wait(lambda: hand.viewer.layers["ct"].loaded)
    # the shown plane, and those by which napari and the panel know the stack: the first, middle and last
    assert 1 <= len(set(decoded)) <= 4 < PLANES
    shown = hand.panel._desk.visible_plane
    expected = read_image(series).plane(shown)
    np.testing.assert_array_equal(np.asarray(hand.viewer.layers["ct"].data[shown]), expected)
    before = set(decoded)
    hand.panel.show_plane(3)
    hand.wait(lambda: len(set(decoded)) == len(before) + 1)


def test_windows_and_what_the_encoder_gets(hand: Hand, series: Path) -> None:
    image = read_image(series)
    windows = hand.control("ld_window")
    assert [windows.itemText(row) for row in range(windows.count())] == ["automatic", "as shown", *CT_WINDOWS]
    hand.choose("ld_window", "lung")
    assert hand.panel.session.image is not None
    assert hand.panel.session.image.window == (-1350, 150)
    hand.press("ld_see_input")
    hand.wait(lambda: "LD input" in hand.viewer.layers)
    plane = hand.panel._desk.visible_plane

    def expected(plane: int, window: str) -> np.ndarray[Any, Any]:
        low, high = parse_window(window)
        return np.clip((image.plane(plane) - low) / (high - low), 0, 1)

    def seen() -> np.ndarray[Any, Any]:
        return np.asarray(hand.viewer.layers["LD input"].data[0])

    hand.wait(lambda: np.allclose(seen(), expected(plane, "lung"), atol=1e-5))
    layer = hand.viewer.layers["LD input"]
    np.testing.assert_allclose(layer.data_to_world((0, 5, 7)), hand.viewer.layers["ct"].data_to_world((plane, 5, 7)))
    # it follows the plane and the window, and is no image to put landmarks on
    hand.panel.show_plane(2)
    hand.wait(lambda: np.allclose(seen(), expected(2, "lung"), atol=1e-5))
    hand.choose("ld_window", "bone")
    hand.wait(lambda: np.allclose(seen(), expected(2, "bone"), atol=1e-5))
    hand.viewer.layers["ct"].contrast_limits = (-300, 200)
    hand.choose("ld_window", "as shown")
    hand.wait(lambda: np.allclose(seen(), expected(2, "-300,200"), atol=1e-5))
    assert [layer.name for layer in hand.panel._desk.image_layers] == ["ct"]
    hand.press("ld_see_input")
    hand.wait(lambda: [layer.name for layer in hand.viewer.layers] == ["ct", "LD landmarks"])
    # taken away by the person, the button knows
    hand.press("ld_see_input")
    hand.wait(lambda: "LD input" in hand.viewer.layers)
    hand.viewer.layers.remove("LD input")
    hand.rest()
    assert not hand.control("ld_see_input").isChecked()
    assert hand.text("ld_encoder_error") == ""


def test_points_of_3d_slicer_there_and_back(hand: Hand, series: Path, tmp_path: Path) -> None:
    affine = read_image(series).affine
    assert affine is not None
    apex, base = ((affine @ [*place, 1])[:3] for place in ((5.0, 40.25, 60.5), (9.3, 30.0, 20.0)))
    write_markups(tmp_path / "in.mrk.json", [Markup("apex", tuple(apex)), Markup("base", tuple(base))])
    hand.press("ld_load")
    hand.answer_file_dialog("ld_load_dialog", tmp_path / "in.mrk.json")
    assert hand.text("ld_landmarks_error") == ""
    for ending in ("mrk.json", "csv"):
        hand.press("ld_save")
        hand.answer_file_dialog("ld_save_dialog", tmp_path / f"out.{ending}")
        hand.press("ld_save")
        hand.answer_file_dialog("ld_save_dialog", tmp_path / f"out.{ending}", replace=False)
    assert hand.text("ld_landmarks_error") == ""
    back = {point.label: point for point in read_markups(tmp_path / "out.mrk.json")}
    assert {point.description for point in back.values()} == {"verified"}
    for name, place in (("apex", apex), ("base", base)):
        np.testing.assert_allclose(back[name].position, place, atol=1e-6)
    hand.press("ld_remove")
    hand.press("ld_remove")
    hand.press("ld_load")
    hand.answer_file_dialog("ld_load_dialog", tmp_path / "out.csv")
    hand.press("ld_save")
    hand.answer_file_dialog("ld_save_dialog", tmp_path / "again.mrk.json")
    for point in read_markups(tmp_path / "again.mrk.json"):
        np.testing.assert_allclose(point.position, back[point.label].position, atol=1e-6)
    write_markups(tmp_path / "far.mrk.json", [Markup("far", (0.0, 0.0, 900.0))])
    hand.press("ld_load")
    hand.answer_file_dialog("ld_load_dialog", tmp_path / "far.mrk.json")
    assert "is outside the image" in hand.text("ld_landmarks_error")
    hand.press("ld_save")
    hand.answer_file_dialog("ld_save_dialog", tmp_path / "out.txt")
    assert "its ending is none of .csv, .mrk.json" in hand.text("ld_landmarks_error")


def test_masks_go_back_as_a_segmentation_of_the_series(hand: Hand, series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    session = hand.panel.session
    hand.press("ld_regions_header")
    hand.rest()
    hand.press("ld_propose")
    # keys act on the outlines, which are drawn a moment after the first region is known
    hand.wait(lambda: getattr(hand.viewer.layers.selection.active, "name", "") == "LD proposals", 120_000)
    hand.key(Qt.Key.Key_A)
    hand.wait(lambda: session.regions.book.statistics.accepted == 1)
    hand.wait(lambda: not session.proposing.running, 120_000)
    assert session.image is not None
    masks = session.regions.book.masks(session.image)
    assert masks.any()
    # the place proposed is beside the series, in its own format
    target = tmp_path / "ct-labels.dcm"
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", None)
    hand.wait(target.exists)
    hand.wait(lambda: "Saved ct-labels.dcm" in hand.text("ld_regions_about"))
    back = read_image(target)
    assert (back.kind, back.label_names) == ("labels", ((1, "class 1"),))
    np.testing.assert_array_equal(np.asarray(back.array), masks)
    np.testing.assert_allclose(back.affine, session.image.affine, atol=1e-9)
    # nothing is replaced without a yes
    written = target.read_bytes()
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", None, replace=False)
    hand.rest(200)
    assert target.read_bytes() == written
    target.unlink()
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", None)
    hand.wait(lambda: "ct-labels_regions.csv is there already" in hand.text("ld_regions_error"))
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", tmp_path / "masks.json")
    hand.wait(lambda: "ct is a volume, and COCO holds pictures" in hand.text("ld_regions_error"))
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", tmp_path / "masks.nrrd")
    hand.wait(lambda: "Saved masks.nrrd" in hand.text("ld_regions_about"))
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "masks.nrrd").array), masks)
    hand.press("ld_save_masks")
    hand.answer_file_dialog("ld_save_masks_dialog", tmp_path / "masks.nrrd", replace=True)
    hand.wait(lambda: "Saved masks.nrrd" in hand.text("ld_regions_about"))
    assert not list(tmp_path.glob("*.json"))
