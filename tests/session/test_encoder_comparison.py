"""Old against new encoder: the points that are judged, the known warps, the words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_ld._types import Image, Match
from napari_ld.errors import Cancelled
from napari_ld.model.checkpoint import save_model
from napari_ld.session.comparison_measures import MEASURES, mask_overlaps, sample_errors, warped
from napari_ld.session.encoder_comparison import (
    Compared,
    CompareRequest,
    Comparing,
    Judgement,
    Score,
    Worse,
    compare,
    verified_points,
)
from napari_ld.session.tracks import Point, Track

if TYPE_CHECKING:
    from napari_ld.model.checkpoint import LoadedModel


def _smooth(seed: int, shape: tuple[int, int] = (96, 128)) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return (field / field.std()).astype(np.float32)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory, centred_model: LoadedModel) -> str:
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_model(path, centred_model.encoder, centred_model.header)
    return str(path)


def _point(plane: int, position: tuple[float, float] | None, status: str = "verified") -> Point:
    return Point(Match("id", plane, position, 1.0, 1.0, status))  # type: ignore[arg-type]


def test_points_of_two_planes_that_a_person_verified_are_judged() -> None:
    points = {0: _point(0, (1, 2)), 1: _point(1, (3, 4), "confident"), 2: _point(2, None), 3: _point(3, (5, 6))}
    state = {
        "a": Track("a", "nasion", "#000000", MappingProxyType(points)),
        "b": Track(
            "b", "sella", "#000000", MappingProxyType({0: _point(0, (1, 2)), 1: _point(1, (3, 4), "confident")})
        ),
    }
    assert verified_points(state) == {"nasion": {0: (1, 2), 3: (5, 6)}}


def test_the_warp_moves_points_as_it_moves_pixels() -> None:
    plane = _smooth(0)
    plain, copy, points, goals = warped(plane, 3)
    assert len(points) == len(goals) == 12
    assert np.ptp(np.subtract(points, goals), axis=0).max() > 2
    shown = map_coordinates(copy, np.array(goals).T, order=1)
    truth = map_coordinates(plain, np.array(points).T, order=1)
    gamma = np.log(shown) / np.log(truth)  # one exponent explains all of them
    assert np.std(gamma) < 0.1
    again = warped(plane, 3)
    assert np.array_equal(again[1], copy)
    assert again[2] == points
    colour = warped(np.stack([plane] * 3, -1), 3)
    assert colour[1].shape == (96, 128, 3)


@pytest.fixture
def no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded samples are judged in a test of their own."""
    monkeypatch.setitem(MEASURES, "samples", lambda *arguments: {("sella", 0, 1): 2.0})


@pytest.mark.usefixtures("no_samples")
def test_on_verified_points_the_errors_are_those_of_the_answers(encoder: str) -> None:
    plane = _smooth(1)
    image = Image(np.stack([plane, np.roll(plane, 4, 0), np.roll(plane, 8, 0)]), "pyx", spacing=(1.0, 0.5, 0.5))
    points = {"a": {0: (40.0, 60.0), 1: (44.0, 60.0), 2: (48.0, 60.0)}}
    request = CompareRequest(image, encoder, encoder, points, mirror=False)
    first, second, result = compare(request, lambda: False)
    assert (first, second) == (Comparing(1), Comparing(2))
    assert isinstance(result, Compared)
    own, samples = result.judgements
    assert (own.kind, own.unit) == ("landmarks", "mm")
    assert own.old == own.new
    assert own.difference == Score(0.0, 0.0, 0.0, 6)
    assert result.worse == ()
    assert own.old.value < 2  # the same pixels four rows below
    assert (samples.kind, samples.new) == ("samples", Score(2.0, 2.0, 2.0, 1))
    wrong = {"a": {**points["a"], 2: (48.0, 100.0)}}
    *_, missed = compare(dataclasses.replace(request, points=wrong), lambda: False)
    assert isinstance(missed, Compared)
    assert missed.judgements[0].old.value > own.old.value + 5


@pytest.mark.usefixtures("no_samples")
def test_without_own_work_known_warps_are_judged(encoder: str) -> None:
    request = CompareRequest(Image(_smooth(2), "yx"), encoder, encoder, {})
    *_, result = compare(request, lambda: False)
    assert isinstance(result, Compared)
    warps = result.judgements[0]
    assert (warps.kind, warps.unit, warps.new.answers) == ("warps", "%", 12)
    assert 0 <= warps.new.value == warps.old.value <= 100
    with pytest.raises(Cancelled, match="comparison was cancelled"):
        list(compare(request, lambda: True))


def test_masks_are_told_from_the_other_planes(encoder: str) -> None:
    """A bright square and a dark one on each plane; naively: nearest of the mean vectors of the other planes."""
    from napari_ld.embedding import FeatureSource
    from napari_ld.model.zoo import load_encoder

    planes, masks = [], {}
    for plane in range(3):
        pixels, mask = 0.2 * _smooth(plane), np.zeros((96, 128), np.uint8)
        for label, value, left in ((1, 3.0, 10), (2, -3.0, 70)):
            place = slice(20 + 8 * plane, 60 + 8 * plane), slice(left, left + 40)
            pixels[place] += value
            mask[place] = label
        planes.append(pixels)
        masks[plane] = mask
    image = Image(np.stack(planes), "pyx")
    request = CompareRequest(image, encoder, encoder, {}, masks=masks)
    found = mask_overlaps(request, encoder, lambda: False)
    assert {(name, plane) for name, _, plane in found} == {(f"class {c}", p) for c in (1, 2) for p in range(3)}
    assert min(found.values()) > 60
    source = FeatureSource(image, load_encoder(encoder))
    vectors = [np.asarray(source.plane(plane).vectors, np.float64) for plane in range(3)]
    small = [masks[plane][2::4, 2::4] for plane in range(3)]  # to half a cell
    means = [np.concatenate([vectors[p][:, small[p] == c] for p in (1, 2)], 1).mean(1) for c in range(3)]
    told = np.argmax([np.tensordot(mean / np.linalg.norm(mean), vectors[0], 1) for mean in means], 0)
    naive = 200 * ((told == 1) & (small[0] == 1)).sum() / ((told == 1).sum() + (small[0] == 1).sum())
    assert found["class 1", -1, 0] == pytest.approx(naive, abs=6)


@pytest.mark.usefixtures("no_samples")
def test_where_it_became_worse_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def overlaps(request: CompareRequest, which: str, cancelled: object) -> dict[tuple[str, int, int], float]:
        change = {"old": 0.0, "new": 10.0}[which]
        return {
            ("class 1", -1, 0): 80.0 + change,
            ("class 1", -1, 4): 80.0 - change,
            ("class 2", -1, 5): 70.0 - change / 2,
        }

    monkeypatch.setitem(MEASURES, "masks", overlaps)
    request = CompareRequest(Image(_smooth(2), "yx"), "old", "new", {}, masks={0: np.ones((96, 128), np.uint8)})
    *_, result = compare(request, lambda: False)
    assert isinstance(result, Compared)
    assert [one for _, one in result.worse] == [Worse("class 1", 4, 80.0, 70.0), Worse("class 2", 5, 70.0, 65.0)]


def test_the_embedded_samples_show_what_was_unlearned(encoder: str) -> None:
    found = sample_errors(CompareRequest(Image(_smooth(2), "yx"), encoder, encoder, {}), encoder, lambda: False)
    assert len(found) == 3 * (9 + 8)
    assert 0 < np.mean(list(found.values())) < 50


@pytest.mark.parametrize(
    ("kind", "difference", "words"),
    [
        ("landmarks", (-1.0, -0.5), "2.0 → 1.5 ± 0.2 mm (better; 9 answers)"),
        ("landmarks", (0.5, 1.0), "2.0 → 1.5 ± 0.2 mm (worse; 9 answers)"),
        ("landmarks", (-1.0, 0.5), "(no clear difference; 9 answers)"),
        ("landmarks", (float("nan"), float("nan")), "(no clear difference; 9 answers)"),
        ("warps", (0.5, 1.0), "2 % → 2 % (better; 9 points)"),
        ("masks", (-1.0, -0.5), "2 % → 2 ± 0 % (worse; 9 masks)"),
        ("samples", (-1.0, -0.5), "2.00 → 1.50 % of the side (-25 %; better)"),
    ],
)
def test_the_words_say_what_is_certain(kind: str, difference: tuple[float, float], words: str) -> None:
    result = Judgement(kind, Score(2.0, 1, 3, 9), Score(1.5, 1.3, 1.7, 9), Score(-0.5, *difference, 9), "mm")
    assert words in result.text
    assert Compared((result, result)).text.splitlines() == [result.text, result.text]


def test_damaged_encoders_are_told(tmp_path: Path, encoder: str) -> None:
    from napari_ld.errors import ModelFileError

    (tmp_path / "torn.safetensors").write_bytes(b"")
    request = CompareRequest(Image(_smooth(2), "yx"), encoder, str(tmp_path / "torn.safetensors"), {})
    with pytest.raises(ModelFileError, match="torn"):
        list(compare(request, lambda: False))
