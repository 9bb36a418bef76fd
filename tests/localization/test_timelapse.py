"""Moments of one scene: movement, hiding, change of appearance, both directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ld._sample_data import Sample
from napari_ld._sample_time import phantom_timelapse
from napari_ld._types import Match
from napari_ld.embedding import FeatureSource
from napari_ld.errors import Cancelled
from napari_ld.localization import Template, locate
from napari_ld.model.zoo import load_encoder

SourceOf = Callable[..., FeatureSource]
HIDDEN = (8, 11)


@pytest.fixture(scope="module")
def film() -> Sample:
    return phantom_timelapse(n_planes=18, hidden=HIDDEN)


@pytest.fixture(scope="module")
def opened() -> SourceOf:
    """Features of the bundled encoder at a low resolution: histograms of edges look too much alike in a film."""
    model = load_encoder()

    def make(images: object) -> FeatureSource:
        return FeatureSource(
            images,  # type: ignore[arg-type]
            model,
            device="cpu",
            precision="float32",
            working_size=256,
            shared_limits=True,
        )

    return make


@pytest.fixture(scope="module")
def source(opened: SourceOf, film: Sample) -> FeatureSource:
    return opened(film.image)


def truth(film: Sample, name: str = "cell") -> dict[int, tuple[float, float]]:
    return {row.plane: row.position for row in film.landmarks if row.name == name and row.plane is not None}


def track(source: FeatureSource, *templates: Template, **options: object) -> list[Match]:
    return list(locate(source, templates, stack_kind="timelapse", refine=False, **options))  # type: ignore[arg-type]


def check(matches: list[Match], film: Sample, name: str = "cell") -> None:
    """Each frame: found near the truth, or absent where it is hidden."""
    known = truth(film, name)
    for match in matches:
        if match.plane in known:
            assert match.position == pytest.approx(known[match.plane], abs=4), match
        else:
            assert match.status == "absent", match


@pytest.mark.parametrize("start", [0, 5, 17])
def test_follows_both_ways_and_is_absent_while_hidden(source: FeatureSource, film: Sample, start: int) -> None:
    matches = track(source, Template("cell", source, start, truth(film)[start]))
    assert [match.plane for match in matches] == list(range(18))
    assert matches[start].status == "verified"
    check(matches, film)


def test_two_clicks_share_the_frames_between_them(source: FeatureSource, film: Sample) -> None:
    known = truth(film)
    matches = track(source, *(Template("cell", source, plane, known[plane]) for plane in (2, 15)))
    assert [match.plane for match in matches if match.status == "verified"] == [2, 15]
    check(matches, film)


def test_several_landmarks_and_some_frames(source: FeatureSource, film: Sample) -> None:
    names = ("cell", "other cell")
    templates = [Template(name, source, 0, truth(film, name)[0]) for name in names]
    matches = track(source, *templates, planes=[6, 4])
    assert [(match.plane, match.landmark) for match in matches] == [(p, name) for p in (6, 4) for name in names]
    for name in names:
        check([match for match in matches if match.landmark == name], film, name)


def test_a_click_of_another_film_starts_where_it_is_seen_best(opened: SourceOf, film: Sample) -> None:
    source, other = opened(film.image), opened(film.image.array[:1])
    matches = track(source, Template("cell", other, 0, truth(film)[0]))
    assert "verified" not in {match.status for match in matches}
    check(matches, film)


def test_what_is_nowhere_is_absent_everywhere(opened: SourceOf, film: Sample) -> None:
    still = opened(np.full((3, 192, 192), 80, np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None])
    other = opened(film.image.array[:1])
    matches = track(still, Template("cell", other, 0, truth(film)[0]))
    assert {match.status for match in matches} <= {"absent", "uncertain"}


def test_results_repeat_exactly(source: FeatureSource, opened: SourceOf, film: Sample) -> None:
    first = track(source, Template("cell", source, 0, truth(film)[0]))
    fresh = opened(film.image)
    assert track(fresh, Template("cell", fresh, 0, truth(film)[0])) == first


def test_cancel(source: FeatureSource, film: Sample) -> None:
    with pytest.raises(Cancelled):
        track(source, Template("cell", source, 0, truth(film)[0]), cancelled=lambda: True)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6))
def test_the_truth_of_the_phantom_is_where_the_cell_is_drawn(seed: int, frames: int) -> None:
    """Equal seeds give equal films; hidden frames have no truth, others lie inside the picture."""
    film, again = (phantom_timelapse(frames, seed=seed, hidden=(1, 2)) for _ in range(2))
    assert (film.image.array == again.image.array).all()
    known = truth(film)
    assert set(known) == set(range(frames)) - {1}
    for place in known.values():
        assert all(0 <= value < 192 for value in place)
