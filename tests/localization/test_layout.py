"""What the landmarks of a set say of each other: outliers are looked for where the others expect them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from napari_ld.embedding import FeatureSource
from napari_ld.localization import LocateParams, Template, locate
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.layout import looked_for_again
from napari_ld.localization.query import Query

Array = npt.NDArray[np.float64]
POINTS = np.array([[40.0, 50.0], [60.0, 140.0], [100.0, 90.0], [150.0, 60.0], [140.0, 150.0]])
PLANES = 14


@pytest.fixture(scope="module")
def query(model: object) -> Query:
    pictures = np.random.default_rng(0).normal(size=(PLANES, 192, 192)).astype(np.float32)
    source = FeatureSource(pictures, model, device="cpu", precision="float32")  # type: ignore[arg-type]
    return Query(source, [Template(str(k), source, 0, (p[0], p[1])) for k, p in enumerate(POINTS)], LocateParams())


def answers(planes: int = PLANES, landmarks: int = 5, noise: float = 1.0) -> dict[int, list[CoarseMatch]]:
    """The template's points turned, scaled and moved a little differently on each plane, plus noise."""
    rng, found = np.random.default_rng(1), {}
    for plane in range(planes):
        angle, size = rng.normal(0, 0.05), rng.normal(1, 0.03)
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        places = (POINTS - 96) @ turn.T + 96 + rng.normal(0, 3, 2) + rng.normal(0, noise, POINTS.shape)
        found[plane] = [
            CoarseMatch(k, plane, (float(row), float(column)), 1.0, 0.1, "confident")
            for k, (row, column) in enumerate(places[:landmarks])
        ]
    return found


def misplaced(match: CoarseMatch) -> CoarseMatch:
    row, column = match.position or (0.0, 0.0)
    return replace(match, position=(row + 35.0, column - 30.0))


def turned(match: CoarseMatch) -> CoarseMatch:
    row, column = match.position or (0.0, 0.0)
    return replace(match, position=(row, 191.0 - column), mirrored=True)


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_outlier_is_moved_to_where_the_others_expect_it(query: Query, mirrored: bool) -> None:
    found = answers()
    truth = found[5][2]
    found[5][2] = misplaced(truth)
    if mirrored:
        found = {plane: [turned(m) for m in matches] if plane % 2 else matches for plane, matches in found.items()}
        truth = turned(truth)
    (moved,) = looked_for_again(query, found)
    assert (moved.plane, moved.landmark, moved.status, moved.mirrored) == (5, 2, "uncertain", mirrored)
    assert moved.position is not None
    assert truth.position is not None
    assert np.hypot(*np.subtract(moved.position, truth.position)) < 5
    assert moved.margin == pytest.approx(moved.score - 1.0)


def test_answers_that_agree_are_left_alone(query: Query) -> None:
    assert list(looked_for_again(query, answers())) == []


@pytest.mark.parametrize("few", [{"planes": 11}, {"landmarks": 4}], ids=["planes", "landmarks"])
def test_nothing_is_said_of_few(query: Query, few: dict[str, int]) -> None:
    found = answers(**few)
    found[5][2] = misplaced(found[5][2])
    chosen = Query(query.source, query.templates[: few.get("landmarks", 5)], query.params)
    matches = {plane: on_plane[: len(chosen.landmarks)] for plane, on_plane in found.items()}
    assert list(looked_for_again(query if "planes" in few else chosen, matches)) == []


def test_unrelated_answers_are_left_alone(query: Query) -> None:
    assert list(looked_for_again(query, answers(noise=60.0))) == []


def test_answers_in_one_place_are_left_alone(query: Query) -> None:
    found = {
        plane: [replace(match, position=(96.0, 96.0)) for match in matches] for plane, matches in answers().items()
    }
    assert list(looked_for_again(query, found)) == []


def test_the_answer_that_replaces_the_first_is_refined(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_ld.localization import images

    def again(_: Query, found: dict[int, list[CoarseMatch]]) -> list[CoarseMatch]:
        return [replace(found[3][1], position=(10.0, 20.0), status="uncertain")]

    monkeypatch.setattr(images, "looked_for_again", again)
    found = list(locate(query.source, query.templates, planes=[2, 3]))
    assert [(m.stage, m.plane) for m in found] == [("coarse", 2)] * 5 + [("coarse", 3)] * 6 + [
        (stage, plane) for stage, plane in (("fine", 2), ("fine", 3)) for _ in range(5)
    ]
    assert found[10].position == (10.0, 20.0)
    assert np.hypot(*np.subtract(found[17].position, (10.0, 20.0))) < 60  # close to where it was looked for again
    without = list(locate(query.source, query.templates, planes=[2, 3], params=LocateParams(layout=False)))
    assert len(without) == 20
