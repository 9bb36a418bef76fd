"""Adaptation: what is learnt from a person's points, and from the stack itself where there is one point only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_ld.adaptation import AdaptParams
from napari_ld.embedding import FeatureSource
from napari_ld.errors import Cancelled, ConfigError
from napari_ld.localization import STACK_KINDS, LocateParams, Template, locate
from napari_ld.localization.detectors import comparable_cells, fine_detectors, search_detectors
from napari_ld.localization.gradients import GradientField
from napari_ld.localization.laterality import of_both_sides
from napari_ld.localization.lessons import lessons
from napari_ld.localization.query import Query

SourceOf = Callable[..., FeatureSource]
Moved = Callable[[int, int], np.ndarray]
SHIFTS = [(32, 32), (16, 40), (48, 8), (20, 20), (40, 24)]
POINT = (92.0, 97.0)  # in the first part
OTHER = (60.0, 120.0)
ADAPTED = LocateParams(mirror=False, adapt=AdaptParams())
ZOOMS = (4 / 3, 2 / 3)


def truth(plane: int, point: tuple[float, float] = POINT) -> tuple[float, float]:
    row, column = np.array(point) + np.array(SHIFTS[0]) - np.array(SHIFTS[plane])
    return float(row), float(column)


@pytest.fixture
def source(source_of: SourceOf, moved: Moved) -> FeatureSource:
    return source_of(np.stack([moved(*shift) for shift in SHIFTS]))


def template(source: FeatureSource, plane: int, **options: bool) -> Template:
    return Template("eye", source, plane, truth(plane), **options)


@pytest.mark.parametrize("taught", [[0], [0, 2]])
def test_adapted_answers_are_exact_on_the_other_planes(source: FeatureSource, taught: list[int]) -> None:
    templates = [template(source, plane) for plane in taught]
    matches = [match for match in locate(source, templates, params=ADAPTED) if match.stage == "fine"]
    assert [match.plane for match in matches] == [0, 1, 2, 3, 4]
    for match in matches:
        assert match.position is not None
        assert -1 <= match.score <= 1
        assert np.hypot(*(np.array(match.position) - truth(match.plane))) < 1.5
        assert (match.status == "verified") == (match.plane in taught)
        assert match.plane not in taught or match.position == truth(match.plane)
    again = [match for match in locate(source, templates, params=ADAPTED) if match.stage == "fine"]
    assert again == matches


def test_first_answers_do_not_wait_for_learning(source: FeatureSource) -> None:
    def coarse(params: LocateParams) -> list[object]:
        return list(locate(source, [template(source, 0)], params=params, refine=False))

    assert coarse(ADAPTED) == coarse(LocateParams(mirror=False))


def test_a_detector_answers_one_at_the_landmark_and_zero_elsewhere(source: FeatureSource) -> None:
    query = Query(source, [template(source, 0), template(source, 2)], ADAPTED)
    found = search_detectors(query, ZOOMS)
    assert found is not None
    assert search_detectors(query, ZOOMS) is found  # learnt once
    plane = 3  # of which nothing was learnt
    height, width = source.index().grid(plane)
    origin, step = source.index_geometry(plane)
    rows, columns = (origin[k] + np.arange(count) * step[k] for k, count in enumerate((height, width)))
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    seen = torch.cat(GradientField(source, plane, places, ZOOMS).vectors(places), dim=1)
    answers = comparable_cells(query, source, plane) @ found.cells + seen @ found.gradients + found.offsets
    away = np.hypot(*(places - truth(plane)).T)
    best = int(answers[:, 0].argmax())
    assert away[best] < 6  # a cell of the coarse index is 8 pixels wide
    assert answers[best, 0].item() == pytest.approx(1.0, abs=0.5)
    assert answers[torch.from_numpy(away > 24), 0].median().item() == pytest.approx(0.0, abs=0.2)


def test_no_detectors_without_adaptation(source: FeatureSource) -> None:
    query = Query(source, [template(source, 0)], LocateParams())
    assert search_detectors(query, ZOOMS) is None
    assert fine_detectors(query, query.params.fine[0], ZOOMS) is None


def test_points_that_shall_not_teach_are_examples_only(source: FeatureSource) -> None:
    query = Query(source, [template(source, 0), template(source, 1, lesson=False), template(source, 2)], ADAPTED)
    assert [lesson.plane for lesson in query.lessons] == [0, 2]
    assert [lesson.plane for lesson in query.mirrored.lessons] == [0, 0]  # each is a source of its own
    assert len(query.coarse) == 3


def test_corrections_are_the_only_lessons_where_there_are_some(source: FeatureSource) -> None:
    query = Query(source, [template(source, 0), template(source, 2)], ADAPTED)
    assert lessons(query) == query.templates


def test_the_surest_answers_teach_where_there_is_one_point(source: FeatureSource) -> None:
    known = [template(source, 0), template(source, 2), Template("ear", source, 1, truth(1, OTHER))]
    found = lessons(Query(source, known, ADAPTED))
    assert found[:3] == tuple(known)
    assert {lesson.landmark for lesson in found[3:]} == {"ear"}
    assert len(found[3:]) == 2  # half of the four planes without that point
    for lesson in found[3:]:
        assert lesson.plane != 1
        assert np.hypot(*(np.array(lesson.position) - truth(lesson.plane, OTHER))) < 3


def test_a_lone_plane_has_nothing_else_to_learn_from(source_of: SourceOf, moved: Moved) -> None:
    alone, other = source_of(moved(16, 40)), source_of(moved(32, 32))
    assert len(lessons(Query(alone, [Template("eye", alone, 0, truth(1))], ADAPTED))) == 1
    [match] = [m for m in locate(alone, [Template("eye", other, 0, POINT)], params=ADAPTED) if m.stage == "fine"]
    assert match.position is not None
    assert np.hypot(*(np.array(match.position) - truth(1))) < 1.5


def test_mirrored_planes_are_refined_with_mirrored_lessons(source_of: SourceOf, moved: Moved) -> None:
    pixels = np.stack([moved(*SHIFTS[0]), moved(*SHIFTS[2]), moved(*SHIFTS[1])[:, ::-1]])
    source = source_of(pixels)
    templates = [Template("eye", source, 0, truth(0)), Template("eye", source, 1, truth(2))]
    params = LocateParams(adapt=AdaptParams())
    [match] = [m for m in locate(source, templates, params=params, planes=[2]) if m.stage == "fine"]
    row, column = truth(1)
    assert match.position is not None
    assert np.hypot(*(np.array(match.position) - (row, pixels.shape[2] - 1 - column))) < 1.5


def test_nothing_is_learnt_from_templates_of_both_sides(source_of: SourceOf, moved: Moved) -> None:
    pixels = np.stack([moved(*SHIFTS[0]), moved(*SHIFTS[2])[:, ::-1], moved(*SHIFTS[1])])
    source, last = source_of(pixels), pixels.shape[2] - 1
    templates = [Template("eye", source, 0, truth(0)), Template("eye", source, 1, (truth(2)[0], last - truth(2)[1]))]
    assert of_both_sides(Query(source, templates, ADAPTED))
    assert not of_both_sides(Query(source, templates[:1], ADAPTED))
    plain = list(locate(source, templates))
    assert list(locate(source, templates, params=LocateParams(adapt=AdaptParams()))) == plain


@pytest.mark.parametrize("kind", sorted(set(STACK_KINDS) - {"images"}))
def test_adaptation_is_for_images(source: FeatureSource, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"adaptation is for the stack kind images, not '{kind}'"):
        locate(source, [template(source, 0)], stack_kind=kind, params=ADAPTED)


def test_learning_can_be_cancelled(source: FeatureSource) -> None:
    source.embed_all()
    query = Query(source, [template(source, 0), template(source, 2)], ADAPTED, lambda: True)
    with pytest.raises(Cancelled):
        search_detectors(query, ZOOMS)
