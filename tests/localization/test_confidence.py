"""From scores to a status."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.localization import FineStage, LocateParams, Template, locate
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.confidence import Scale, absolute, background, neighbour, status_of
from napari_ld.localization.expected_error import ExpectedError
from napari_ld.localization.query import Query

SourceOf = Callable[..., FeatureSource]
Moved = Callable[[int, int], np.ndarray]


@pytest.mark.parametrize(
    ("score", "margin", "expected"),
    [
        (0.2, 1.0, "absent"),
        (0.21, 1.0, "uncertain"),
        (0.77, 0.05, "confident"),
        (0.75, 0.5, "uncertain"),
        (0.9, 0.04, "uncertain"),
    ],
)
def test_status(score: float, margin: float, expected: str) -> None:
    assert status_of(score, margin, Scale(0.2, 1.0), LocateParams()) == expected


def test_level_of_a_scale_without_extent() -> None:
    assert Scale(1.0, 1.0).level(1.0) == 0


def test_reference_levels(source_of: SourceOf, camera: np.ndarray) -> None:
    source = source_of(np.stack([camera[:192, :192], camera[4:196, 4:196], camera[4:196, 4:196]]))
    query = Query(source, [Template("eye", source, 0, (90.0, 90.0))], LocateParams())
    level, near = background(query, 0), neighbour(query, 0)
    assert -1 < level < 0.9
    assert near is not None
    assert level < near < 1
    assert absolute(query, 0) == Scale(level, 1.0)


def test_no_neighbour_beyond_the_image(source_of: SourceOf, camera: np.ndarray) -> None:
    """The next plane of a list of images is another subject, not a neighbour."""
    source = source_of([camera, camera])
    assert neighbour(Query(source, [Template("eye", source, 0, (90.0, 90.0))], LocateParams()), 0) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LocateParams(combine="vote"), "unknown combination 'vote': expected one of mean, max"),
        (lambda: LocateParams(coarse_sigma=0.0), "expected a sigma above 0"),
        (lambda: LocateParams(candidates=0), "at least 1 candidate"),
        (lambda: FineStage(size=0), "expected size of at least 1"),
    ],
)
def test_params_refuse(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def _coarse(score: float, margin: float = 0.1, spread: float | None = None) -> CoarseMatch:
    return CoarseMatch(0, 1, (90.0, 90.0), score, margin, "uncertain", spread=spread)


def test_expected_error_falls_with_score_and_margin_and_is_bounded(source_of: SourceOf, camera: np.ndarray) -> None:
    source = source_of([camera, camera])
    query = Query(source, [Template("eye", source, 0, (90.0, 90.0))], LocateParams())
    expected, zero = ExpectedError(query), background(query, 0)
    good, poor = zero + 0.9 * (1 - zero), zero + 0.6 * (1 - zero)
    sharp, blunt = _coarse(good, spread=2.0), _coarse(good, spread=20.0)
    assert expected.of(_coarse(good), sharp) < expected.of(_coarse(poor), sharp)
    assert expected.of(_coarse(good), sharp) < expected.of(_coarse(good), blunt)
    assert expected.of(_coarse(good, 0.4)) < expected.of(_coarse(good, 0.0))
    assert expected.of(_coarse(-1.0), blunt) == pytest.approx(max(camera.shape) / 2)


def test_expected_error_is_in_millimetres_where_the_spacing_is_known(source_of: SourceOf, camera: np.ndarray) -> None:
    known = source_of([Image(camera, "yx", spacing=(0.5, 0.5))] * 2)
    unknown = source_of([camera, camera])
    values = []
    for source in (known, unknown):
        matches = list(locate(source, [Template("eye", source, 0, (90.0, 90.0))]))
        assert [match.expected_error is None for match in matches] == [True, False] * 2  # the click itself has none
        assert {match.unit for match in matches} == {"mm" if source is known else "px"}
        values.append([match.expected_error for match in matches if match.expected_error is not None])
    np.testing.assert_allclose(values[0], np.array(values[1]) / 2)


def test_no_expected_error_where_nothing_is_calibrated(source_of: SourceOf, camera: np.ndarray) -> None:
    source = source_of(np.stack([camera] * 3))
    found = locate(source, [Template("eye", source, 0, (90.0, 90.0))], stack_kind="volume")
    assert all(match.expected_error is None for match in found)


def test_the_background_of_a_landmark_does_not_depend_on_others(source_of: SourceOf, moved: Moved) -> None:
    source = source_of(np.stack([moved(32, 32), moved(16, 40)]))
    eye, leg, again = (("eye", 0, (92.0, 97.0)), ("leg", 0, (120.0, 60.0)), ("eye", 1, (108.0, 89.0)))
    templates = [Template(name, source, plane, place) for name, plane, place in (eye, leg, again)]
    together = Query(source, templates, LocateParams())
    for landmark, name in enumerate(("eye", "leg")):
        alone = Query(source, [template for template in templates if template.landmark == name], LocateParams())
        assert background(together, landmark) == pytest.approx(background(alone, 0), abs=1e-6)
