"""Asking models with heads: windows that fade into each other, maps brought back to pixels, label values."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_ld import segmentation
from napari_ld._types import Image
from napari_ld.errors import Cancelled
from napari_ld.model.checkpoint import LoadedHead, ModelHeader
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.heads import HeadConfig, build_classifier, build_segmenter
from napari_ld.segmentation import Predictor, head_window, segment
from napari_ld.segmentation.predictor import _starts, decided, probabilities_of
from napari_ld.segmentation.windows import rows_of

CONFIG = EncoderConfig(embedding_dim=32, level_dims=(4,) * 8)
HEAD = HeadConfig(((3, "a"), (300, "b")), working_size=64, tile=64)


def _model(kind: str = "segmenter", head: HeadConfig = HEAD) -> LoadedHead:
    encoder = build_encoder(CONFIG, 0)
    torch.manual_seed(1)
    network = build_segmenter(encoder, head) if kind == "segmenter" else build_classifier(encoder, head)
    return LoadedHead(network.eval(), ModelHeader(kind, "m", CONFIG, head=head), head, "0" * 64, Path("m"))


def test_what_speaks_for_a_finding_is_weighed_against_the_background() -> None:
    head = HeadConfig(((1, "benign"), (2, "malignant"), (3, "normal")), working_size=64, background="normal")
    model = _model("classifier", head)
    torch.nn.init.normal_(model.network.head.get_parameter("out.weight"))
    model.network.head.get_parameter("out.bias").data[2] = 50.0  # the background is by far the likeliest
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)
    predictor = Predictor(pixels, model, device="cpu", kinds=("classifier",))
    scores, maps = predictor.activations(0)
    best, probability, odds = predictor.evidence(0)
    assert best == int(scores[:2].argmax())
    assert probability == pytest.approx(float(scores[best]))
    shares = np.exp(maps - maps.max(0)) / np.exp(maps - maps.max(0)).sum(0)
    np.testing.assert_allclose(odds, np.log(shares[:2].sum(0) / shares[2]), atol=1e-3)


def test_public_names() -> None:
    assert [name for name in segmentation.__all__ if not hasattr(segmentation, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'segmend'; it has Predictor"):
        segmentation.segmend  # noqa: B018 - fetching the name is what is tested


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 150), width=st.integers(1, 150))
def test_windows_cover_all_and_equal_the_whole_where_they_must(height: int, width: int) -> None:
    """What looks at single pixels only gives the same through windows; each pixel is seen."""
    x = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(height * 151 + width))
    seen = []

    def ask(part: torch.Tensor) -> torch.Tensor:
        assert max(part.shape[-2:]) <= 64
        seen.append(part.shape)
        return part.square()

    found = probabilities_of(ask, x, 70, 32)
    np.testing.assert_allclose(found, x[0].square().numpy(), atol=1e-6)
    assert (len(seen) == 1) == (max(height, width) <= 64)
    for length in (height, width):
        starts = _starts(length, 64)
        assert starts[-1] + 64 >= length
        assert all(0 < b - a <= 32 for a, b in pairwise(starts))


def test_answers_fade_into_each_other() -> None:
    def ask(part: torch.Tensor) -> torch.Tensor:
        calls.append(float(len(calls)))
        return torch.full((1, 1, *part.shape[-2:]), calls[-1])

    calls: list[float] = []
    found = probabilities_of(ask, torch.zeros(1, 1, 32, 64), 32, 32)[0]
    expected, weight = np.zeros((32, 64)), np.zeros((32, 64))
    fade = np.minimum(np.arange(32) + 0.5, 31.5 - np.arange(32)) / 32
    for number, start in enumerate(_starts(64, 32)):
        expected[:, start : start + 32] += number * fade[:, None] * fade
        weight[:, start : start + 32] += fade[:, None] * fade
    np.testing.assert_allclose(found, expected / weight, atol=1e-5)
    with pytest.raises(Cancelled):
        probabilities_of(ask, torch.zeros(1, 1, 32, 64), 32, 32, lambda: True)


def test_maps_come_back_to_pixels() -> None:
    maps = np.random.default_rng(0).random((2, 9, 12)).astype(np.float32)
    window = head_window((30, 40), None, HeadConfig(((1, "a"),), working_size=64))
    assert window.size == (48, 64)
    whole = rows_of(maps, window, 0, 30)
    rows = (np.arange(30) + 0.5) * 9 / 30 - 0.5
    columns = (np.arange(40) + 0.5) * 12 / 40 - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    for one, expected in zip(whole, maps, strict=True):
        np.testing.assert_allclose(one, ndimage.map_coordinates(expected, grid, order=1, mode="nearest"), atol=1e-5)
    np.testing.assert_array_equal(rows_of(maps, window, 7, 11), whole[:, 7:11])
    square = HeadConfig(((1, "a"),), working_size=64, square=True)
    assert head_window((30, 40), None, square).size == (64, 64)
    assert head_window((30, 40), (2.0, 1.0), HEAD).size == (64, 43)  # oblong pixels become square


def test_a_label_must_beat_the_background_and_the_others() -> None:
    maps = np.array([[0.5, 0.4, 0.2], [0.1, 0.45, 0.3]], np.float32)[:, None]
    np.testing.assert_array_equal(decided(maps)[0], [1, 2, 0])


def test_label_maps_have_the_shape_and_values_of_what_was_learned() -> None:
    rng = np.random.default_rng(0)
    images = [
        Image(rng.integers(0, 255, (40, 90, 3), np.uint8), "yxc"),
        Image(rng.integers(0, 255, (3, 50, 30), np.uint8), "zyx", spacing=(3.0, 1.0, 1.0)),
    ]
    told: list[tuple[int, int]] = []
    found = segment(images, _model(), device="cpu", progress=lambda done, total: told.append((done, total)))
    assert [labels.shape for labels in found] == [(40, 90), (3, 50, 30)]
    assert {int(value) for labels in found for value in np.unique(labels)} <= {0, 3, 300}
    assert found[0].dtype == np.uint16
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    predictor = Predictor(images, _model(), device="cpu")
    maps = predictor.probabilities(0)
    assert maps.shape == (2, 28, 64)
    values = np.array([0, 3, 300])[decided(rows_of(maps, predictor.window(0), 0, 40))]
    np.testing.assert_array_equal(found[0], values)


def test_slices_of_a_volume_share_their_intensities() -> None:
    planes = np.stack([np.full((40, 40), 10), np.full((40, 40), 200)]).astype(np.uint8)
    planes[1, :20] = 10
    together, apart = (Predictor(Image(planes, axes), _model(), device="cpu") for axes in ("zyx", "pyx"))
    assert float(together._input(0).max()) == float(together._input(1).min())
    assert float(apart._input(0).min()) == 0  # a constant plane by itself is uniform grey


def test_a_classifier_answers_with_classes_and_maps() -> None:
    predictor = Predictor(np.zeros((40, 60), np.uint8), _model("classifier"), device="cpu", kinds=("classifier",))
    scores, maps = predictor.activations(0)
    assert scores.shape == (2,)
    assert float(scores.sum()) == pytest.approx(1)
    assert maps.shape == (2, 11, 16)
    best, probability, odds = predictor.evidence(0)
    assert (best, probability) == (int(scores.argmax()), pytest.approx(float(scores.max())))
    np.testing.assert_allclose(odds, maps[best] - maps[1 - best], atol=1e-5)
    with pytest.raises(TypeError, match="only a segmenter"):
        predictor.probabilities(0)
    with pytest.raises(TypeError, match="only a classifier"):
        Predictor(np.zeros((40, 60), np.uint8), _model(), device="cpu").activations(0)
    with pytest.raises(Cancelled):
        predictor.activations(0, lambda: True)
