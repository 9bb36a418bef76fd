"""The main job, end to end: a shown viewer, the samples, the bundled encoder, mouse and keys only, and the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_ld._sample_data import SAMPLES, Sample
from napari_ld.io.landmarks import read_landmarks
from napari_ld.model.zoo import DEFAULT_ENCODER, MODELS
from tests.gui.hand import Hand

pytestmark = pytest.mark.skipif(DEFAULT_ENCODER not in MODELS, reason="no encoder is bundled in this checkout")

# Sample, landmark that is clicked, largest median and largest 90 % error in pixels.
FLOWS = [("phantom", "nasion", 3.0, 8.0), ("retina", "disc centre", 5.0, 12.0)]


def truth(sample: Sample, name: str) -> dict[int, tuple[float, float]]:
    return {landmark.plane or 0: landmark.position for landmark in sample.landmarks if landmark.name == name}


@pytest.mark.parametrize(("key", "name", "median", "most"), FLOWS)
def test_one_click_finds_the_landmark_on_every_plane(
    open_panel: Callable[..., Hand], tmp_path: Path, sessions: Path, key: str, name: str, median: float, most: float
) -> None:
    sample = SAMPLES[key]()
    known = truth(sample, name)
    hand = open_panel()

    # A person with no image of their own starts with a sample, and need not choose an encoder.
    hand.press(f"ld_sample_{key}")
    hand.wait(lambda: hand.panel.session.image is not None)
    hand.rest(200)
    assert hand.control("ld_encoder").currentText() == DEFAULT_ENCODER
    plane = hand.panel._desk.visible_plane

    # One click.
    hand.add_and_click(name, known[plane], plane)
    hand.wait_until_answered()
    assert hand.text("ld_encoder_error") == ""

    # The Points layer and the table say the same, on every plane.
    features, data = hand.landmarks.features, np.asarray(hand.landmarks.data)
    assert sorted(features["plane"]) == sorted(known)
    assert set(features["name"]) == {name}
    rows = hand.rows("ld_points")
    assert [int(row[0]) for row in rows] == sorted(known)
    assert {row[3].split()[1] for row in rows} <= {"verified", "confident", "uncertain"}
    errors = np.array([np.hypot(*np.subtract(point[1:], known[int(point[0])])) for point in data if point[0] != plane])
    assert np.median(errors) <= median
    assert np.quantile(errors, 0.9) <= most

    # The worst plane is looked up in the table and corrected with the mouse; that becomes an example.
    worst = int(data[int(np.argmax([np.hypot(*np.subtract(p[1:], known[int(p[0])])) for p in data]))][0])
    hand.click_row("ld_points", worst)
    hand.wait(lambda: hand.panel._desk.visible_plane == worst)
    [track] = hand.panel.session.state.values()
    wrong = track.points[worst].match.position
    assert wrong is not None
    hand.drag(wrong, (known[worst][0] + 12, known[worst][1]), worst)  # far enough to be a drag
    hand.rest()
    hand.drag((known[worst][0] + 12, known[worst][1]), known[worst], worst)
    hand.wait_until_answered()
    [track] = hand.panel.session.state.values()
    assert track.points[worst].verified
    assert [p for p, _ in track.templates] == sorted({plane, worst})

    # One step back and forth with the keys.
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    hand.wait_until_answered()

    # The file holds what the table shows, and is as near to the truth.
    hand.press("ld_save")
    hand.answer_file_dialog("ld_save_dialog", tmp_path / "landmarks.csv")
    saved = {row.plane: row.position for row in read_landmarks(tmp_path / "landmarks.csv")}
    assert sorted(saved) == sorted(known)
    table = {int(row[0]): row[1] for row in hand.rows("ld_points")}
    for saved_plane, position in saved.items():
        assert table[saved_plane] == f"{position[0]:.1f}, {position[1]:.1f}"
    corrected = [np.hypot(*np.subtract(position, known[p])) for p, position in saved.items()]
    assert np.median(corrected) <= median

    # Everything is on disk already.
    [log] = sessions.rglob("*.jsonl")
    steps = [json.loads(line).get("label", "") for line in log.read_text().splitlines()]
    assert f"place {name} on plane {plane}" in steps
    assert f"move {name} on plane {worst}" in steps


def test_a_volume_is_followed_through_its_slices(open_panel: Callable[..., Hand]) -> None:
    hand = open_panel()
    hand.press("ld_sample_phantom")
    hand.wait(lambda: hand.panel.session.image is not None)
    hand.rest(200)
    hand.choose("ld_stack_kind", "volume")
    plane = hand.panel._desk.visible_plane
    hand.add_and_click("nasion", truth(SAMPLES["phantom"](), "nasion")[plane], plane)
    hand.wait_until_answered()
    assert hand.text("ld_encoder_error") == ""
    assert len(hand.rows("ld_points")) == 12
