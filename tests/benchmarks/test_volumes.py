"""Benchmarks of volumes, time-lapses and presence: errors, summaries, trackers and registration, on small things."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from benchmarks import presence, timelapse, volumes
from benchmarks.volumes import VolumeSet, row_of, same_position, table
from napari_ld._sample_space import phantom_volume
from napari_ld._sample_time import phantom_timelapse
from napari_ld._types import Image


@pytest.fixture
def small() -> VolumeSet:
    noise = np.random.default_rng(0).normal(size=(20, 24, 28))
    body = np.clip(ndimage.gaussian_filter(noise, 2) * 900 + 120, 0, 255).astype(np.uint8)
    images = tuple(Image(np.roll(body, k, 2), "zyx", spacing=(2.0, 1.0, 1.0)) for k in range(3))
    truth = np.array([[[8.0, 9.0, 10.0 + k], [12.0, 13.0, 14.0 + k]] for k in range(3)])
    return VolumeSet("mouse_skull", ("a", "b", "c"), images, ("one", "two"), truth)


def test_errors_are_millimetres_and_absent_points_count(small: VolumeSet) -> None:
    found = small.truth[1] + [[1, 0, 0], [np.nan, 0, 0]]
    assert small.errors(1, found).tolist() == [2.0, 20.0]
    assert {name: errors.tolist() for name, errors in same_position(small).items()} == {"b": [1, 1], "c": [2, 2]}


def test_the_table_names_the_ratio_to_registration(small: VolumeSet) -> None:
    settings = {"sets": {"mouse_skull": {"sdr_mm": [1.0]}}, "bootstrap_samples": 10, "interval": 0.95, "seed": 0}
    errors = {name: values * 2 for name, values in same_position(small).items()}
    rows = [row_of("encoder", same_position(small), {}, small, settings)]
    rows.append(row_of("SimpleITK affine", errors, {}, small, settings))
    assert rows[0]["mean"] == 1.5
    assert "0.50" in table(rows).splitlines()[-2]


def test_registration_carries_points(small: VolumeSet) -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK is a dependency of the benchmarks only")
    settings = {
        "seed": 1,
        "bins": 16,
        "shrink": [1],
        "smooth": [0.0],
        "samples": [0.5],
        "affine_steps": 60,
        "bspline_steps": 2,
        "mesh": 2,
    }
    from benchmarks.registration import register

    carried = register(small.images[0], small.images[1], small.truth[0], settings)
    assert set(carried) == {"affine", "bspline"}
    assert small.errors(1, carried["affine"]).max() < 0.6


def test_correlation_tracks_until_it_is_hidden() -> None:
    sample = phantom_timelapse(8, hidden=(5, 7))
    truth = {row.plane: np.array(row.position) for row in sample.landmarks if row.name == "cell"}
    found = timelapse.correlation(sample, 0, truth[0])
    for frame, place in truth.items():
        assert found[int(frame or 0)] == pytest.approx(place, abs=2)
    assert found[5] is None


def test_score_counts_lost_and_ghosts() -> None:
    still = timelapse.score(lambda sample, start, place: dict.fromkeys(range(30), place), [0])
    assert still["seen while hidden, %"] == 100
    assert still["lost, %"] > 50


def test_rods_have_their_ends_and_lie_inside() -> None:
    sample = phantom_volume(12, (60, 60), seed=2)
    again = phantom_volume(12, (60, 60), seed=2)
    assert (np.asarray(sample.image.array) == np.asarray(again.image.array)).all()
    (case,) = presence.phantoms(seeds=(2,))
    for name, planes in case.present.items():
        assert 0 < planes.sum() < len(planes)
        assert planes[case.clicks[name][0]]
    for row in sample.landmarks:
        assert all(0 <= value < 60 for value in row.position)


def test_unknown_methods_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        volumes.main(["--methods", "magic"])
    assert "invalid choice" in capsys.readouterr().err
