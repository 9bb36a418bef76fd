"""The suggested template shows what the others show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_ld.embedding import FeatureSource
from napari_ld.errors import Cancelled, ConfigError, ImageError
from napari_ld.localization import suggest_template
from napari_ld.localization.suggest import coverage

SourceOf = Callable[..., FeatureSource]
Moved = Callable[[int, int], np.ndarray]


@pytest.fixture
def source(source_of: SourceOf, moved: Moved) -> FeatureSource:
    """Four shifted views of one scene, around plane 2, and an image of noise."""
    noise = np.random.default_rng(0).integers(0, 255, (192, 192), dtype=np.uint8)
    return source_of([moved(0, 0), noise, moved(32, 32), moved(64, 64), moved(40, 28)])


def test_the_common_image_is_suggested_and_noise_last(source: FeatureSource) -> None:
    order = suggest_template(source, 5)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order[0] in (2, 4)
    assert coverage(source).mean(axis=1).argmin() == 1


def test_the_next_one_shows_what_is_missing(source_of: SourceOf, moved: Moved) -> None:
    other = np.ascontiguousarray(moved(32, 32)[::-1, ::-1])  # upside down: another world for these features
    source = source_of([moved(32, 32), moved(34, 34), moved(30, 36), other, np.roll(other, 3, axis=0)])
    first, second = suggest_template(source, 2)
    assert {first < 3, second < 3} == {True, False}
    assert suggest_template(source, have=[first]) == [second]


def test_it_says_how_far_it_is_and_stops(source: FeatureSource) -> None:
    seen: list[tuple[int, int]] = []
    suggest_template(source, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 5) for k in range(1, 6)]
    with pytest.raises(Cancelled):
        suggest_template(source, cancelled=lambda: True)


def test_it_refuses(source: FeatureSource) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 4"):
        suggest_template(source, 5, have=[2])
    with pytest.raises(ImageError, match="plane 9 is said to be annotated; there are planes 0 to 4"):
        suggest_template(source, have=[9])
