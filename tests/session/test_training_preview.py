"""Looks at an encoder in training: colours that keep their meaning, likeness of what was clicked."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ModelFileError
from napari_ld.model.checkpoint import save_model
from napari_ld.session.training_preview import Anchor, PreviewRequest, preview, turned_back

if TYPE_CHECKING:
    from napari_ld.model.checkpoint import LoadedModel


@pytest.fixture
def request_(tmp_path: Path, centred_model: LoadedModel) -> PreviewRequest:
    path = tmp_path / "encoder.safetensors"
    save_model(path, centred_model.encoder, centred_model.header)
    plane = gaussian_filter(np.random.default_rng(0).normal(size=(96, 128)), 4)
    image = Image(np.stack([plane, np.roll(plane, 8, 0), plane.T[:96, :96].repeat(2, 1)[:, :128]]), "pyx")
    return PreviewRequest(1, tmp_path, 3, path, image, 1, "sella", (0, (40.0, 60.0)))


@given(st.integers(0, 1000))
def test_turned_and_flipped_axes_are_turned_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.normal(size=(3, 50)).astype(np.float32)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    back = turned_back((turn @ before).astype(np.float32), before)
    assert np.allclose(back @ back.T, np.eye(3), atol=1e-5)
    assert np.allclose(back @ turn @ before, before, atol=1e-3)
    assert np.array_equal(turned_back(before, None), np.eye(3))
    assert np.array_equal(turned_back(before, before[:, :7]), np.eye(3))


def test_the_same_encoder_gives_the_same_colours_and_what_was_clicked_is_most_alike(request_: PreviewRequest) -> None:
    (first,) = preview(request_, lambda: False)
    assert first.colours.dtype == np.uint8
    assert first.colours.shape[:2] == first.likeness.shape  # type: ignore[union-attr]
    assert np.ptp(first.colours, axis=(0, 1)).min() > 100  # all three colours are used
    assert first.likeness[12, 15] > np.quantile(first.likeness, 0.95)  # type: ignore[arg-type, index] # eight rows below
    assert first.likeness.max() <= 1.0001  # type: ignore[union-attr]
    flipped = Anchor(1, first.anchor.scores * np.array([[-1], [1], [1]], np.float32))
    (mirrored,) = preview(dataclasses.replace(request_, anchor=flipped), lambda: False)
    assert np.abs(mirrored.colours[..., 0].astype(int) - (255 - first.colours[..., 0].astype(int))).max() <= 1
    assert np.array_equal(mirrored.colours[..., 1:], first.colours[..., 1:])


def test_colours_stay_while_the_encoder_changes_a_little(
    request_: PreviewRequest, tmp_path: Path, centred_model: LoadedModel
) -> None:
    (first,) = preview(request_, lambda: False)
    changed, chance = copy.deepcopy(centred_model.encoder), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in changed.parameters():
            weights += 0.01 * weights.abs().mean() * torch.randn(weights.shape, generator=chance)
    save_model(tmp_path / "encoder.safetensors", changed, centred_model.header)
    (other,) = preview(dataclasses.replace(request_, anchor=first.anchor), lambda: False)
    difference = np.abs(other.colours.astype(int) - first.colours.astype(int)).mean()
    assert 0 < difference < 25
    (elsewhere,) = preview(dataclasses.replace(request_, anchor=other.anchor, plane=2, clicked=None), lambda: False)
    assert elsewhere.likeness is None
    assert elsewhere.anchor.plane == 1  # the colours stay those of the first plane


def test_looks_end_early_and_damaged_encoders_are_told(request_: PreviewRequest) -> None:
    with pytest.raises(Cancelled, match="cancelled"):
        list(preview(request_, lambda: True))
    request_.encoder.unlink()
    assert list(preview(request_, lambda: False)) == []  # its run was discarded meanwhile
    request_.encoder.write_bytes(b"torn")
    with pytest.raises(ModelFileError, match=r"encoder\.safetensors"):
        list(preview(request_, lambda: False))
