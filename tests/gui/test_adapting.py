"""Adapt to this stack, with mouse and keys on a shown viewer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_ld.session import Track
from tests.gui.hand import Hand

Open = Callable[..., Hand]
CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def hand(open_panel: Open, stack: np.ndarray[Any, Any], random_encoder: Path) -> Hand:
    hand = open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)
    assert not hand.control("ld_adapt").isEnabled()
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    return hand


def only(hand: Hand) -> Track:
    [track] = hand.panel.session.state.values()
    return track


def test_adapt_undo_and_redo(hand: Hand) -> None:
    before, plane = only(hand), hand.panel._desk.visible_plane
    assert before.lessons == ()
    hand.press("ld_adapt")
    hand.wait_until_answered()
    after = only(hand)
    assert after.lessons == after.templates
    assert after.generation > before.generation
    assert after.points[plane] == before.points[plane]  # the person's own
    assert sorted(after.points) == list(range(6))
    assert [point for point in after.points.values() if after.is_stale(point, hand.panel.session.context)] == []
    hand.wait(lambda: not hand.control("ld_adapt").isEnabled())
    assert "nothing new to learn" in hand.control("ld_adapt").toolTip()
    hand.key(Qt.Key.Key_Z, CONTROL)
    hand.rest()
    assert dict(only(hand).points) == dict(before.points)
    assert only(hand).lessons == ()
    hand.wait(hand.control("ld_adapt").isEnabled)
    hand.press("ld_redo")
    hand.rest()
    assert dict(only(hand).points) == dict(after.points)


def test_a_correction_teaches_only_when_adapt_is_pressed_again(hand: Hand) -> None:
    hand.press("ld_adapt")
    hand.wait_until_answered()
    lessons, plane = only(hand).lessons, hand.panel._desk.visible_plane
    hand.drag((40, 60), (50, 80), plane)
    hand.wait_until_answered()
    assert only(hand).lessons == lessons
    hand.wait(hand.control("ld_adapt").isEnabled)
    hand.press("ld_adapt")
    hand.wait_until_answered()
    assert only(hand).lessons == only(hand).templates
    assert only(hand).points[plane].match.position == pytest.approx((50, 80), abs=1)


def test_cancel_leaves_the_rest_for_later(open_panel: Open, stack: np.ndarray[Any, Any], random_encoder: Path) -> None:
    many = np.concatenate([stack] * 10)
    hand = open_panel(lambda viewer: viewer.add_image(many), random_encoder)
    hand.add_and_click("nasion", (40, 60), hand.panel._desk.visible_plane)
    hand.wait_until_answered()
    hand.press("ld_adapt")
    hand.wait(lambda: hand.control("ld_cancel").isVisible())
    hand.press("ld_cancel")
    hand.wait(lambda: not hand.panel.session.work.running)
    hand.rest()
    assert hand.panel.session.open_tracks()
    assert "Propagate" in hand.text("ld_status")
    hand.press("ld_propagate")
    hand.wait_until_answered()
    assert only(hand).lessons


def test_other_kinds_of_stacks_are_not_adapted_to(hand: Hand) -> None:
    hand.choose("ld_stack_kind", "volume")
    hand.wait_until_answered()
    hand.wait(lambda: not hand.control("ld_adapt").isEnabled())
    assert "Only for the kind images" in hand.control("ld_adapt").toolTip()
