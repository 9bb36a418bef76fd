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
from napari_ld.session.encoder_comparison import (
    Compared,
    CompareRequest,
    Comparing,
    Score,
    _warped,
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
    plain, copy, points, goals = _warped(plane, 3)
    assert len(points) == len(goals) == 12
    assert np.ptp(np.subtract(points, goals), axis=0).max() > 2
    shown = map_coordinates(copy, np.array(goals).T, order=1)
    truth = map_coordinates(plain, np.array(points).T, order=1)
    gamma = np.log(shown) / np.log(truth)  # one exponent explains all of them
    assert np.std(gamma) < 0.1
    again = _warped(plane, 3)
    assert np.array_equal(again[1], copy)
    assert again[2] == points
    colour = _warped(np.stack([plane] * 3, -1), 3)
    assert colour[1].shape == (96, 128, 3)


def test_on_verified_points_the_errors_are_those_of_the_answers(encoder: str) -> None:
    plane = _smooth(1)
    image = Image(np.stack([plane, np.roll(plane, 4, 0), np.roll(plane, 8, 0)]), "pyx", spacing=(1.0, 0.5, 0.5))
    points = {"a": {0: (40.0, 60.0), 1: (44.0, 60.0), 2: (48.0, 60.0)}}
    request = CompareRequest(image, encoder, encoder, points, mirror=False)
    first, second, result = compare(request, lambda: False)
    assert (first, second) == (Comparing(1), Comparing(2))
    assert isinstance(result, Compared)
    assert result.unit == "mm"
    assert result.old == result.new
    assert result.difference == Score(0.0, 0.0, 0.0, 6)
    assert result.worse == ()
    assert result.old.value < 2  # the same pixels four rows below
    wrong = {"a": {**points["a"], 2: (48.0, 100.0)}}
    *_, missed = compare(dataclasses.replace(request, points=wrong), lambda: False)
    assert isinstance(missed, Compared)
    assert missed.old.value > result.old.value + 5


def test_without_verified_points_known_warps_are_judged(encoder: str) -> None:
    request = CompareRequest(Image(_smooth(2), "yx"), encoder, encoder, {})
    *_, result = compare(request, lambda: False)
    assert isinstance(result, Compared)
    assert (result.unit, result.new.answers) == ("%", 12)
    assert 0 <= result.new.value == result.old.value <= 100
    with pytest.raises(Cancelled, match="comparison was cancelled"):
        list(compare(request, lambda: True))


@pytest.mark.parametrize(
    ("difference", "unit", "words"),
    [
        ((-1.0, -0.5), "mm", "2.0 → 1.5 ± 0.2 mm (better; 9 answers)"),
        ((0.5, 1.0), "px", "2.0 → 1.5 ± 0.2 px (worse; 9 answers)"),
        ((-1.0, 0.5), "mm", "(no clear difference; 9 answers)"),
        ((0.5, 1.0), "%", "2 % → 2 % (better; 9 points)"),
        ((-1.0, -0.5), "%", "(worse; 9 points)"),
    ],
)
def test_the_words_say_what_is_certain(difference: tuple[float, float], unit: str, words: str) -> None:
    result = Compared(Score(2.0, 1, 3, 9), Score(1.5, 1.3, 1.7, 9), Score(-0.5, *difference, 9), unit)
    assert words in result.text
    worse = dataclasses.replace(result, worse=(("sella", 4, 1.0, 3.0), ("sella", 5, 1.0, 1.5)))
    assert ("Worse on 2, most on sella, plane 4: 1.0 → 3.0." in worse.text) == (unit != "%")


def test_damaged_encoders_are_told(tmp_path: Path, encoder: str) -> None:
    from napari_ld.errors import ModelFileError

    (tmp_path / "torn.safetensors").write_bytes(b"")
    request = CompareRequest(Image(_smooth(2), "yx"), encoder, str(tmp_path / "torn.safetensors"), {})
    with pytest.raises(ModelFileError, match="torn"):
        list(compare(request, lambda: False))
