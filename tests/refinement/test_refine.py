"""Rough masks of shapes whose truth is known, and what refiners promise whatever they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import Cancelled, ConfigError, ImageError, RegionError
from napari_ld.evaluation.overlap import dice
from napari_ld.refinement import (
    REFINERS,
    LearntParams,
    PrototypeParams,
    Refiner,
    SnapParams,
    WalkerParams,
    WatershedParams,
    refine,
    slabs,
)
from napari_ld.refinement.problem import survey

if TYPE_CHECKING:
    from napari_ld.model.checkpoint import LoadedModel
    from napari_ld.refinement.problem import Problem

EVERY = pytest.mark.parametrize("name", list(REFINERS))


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def noisy(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    return (100.0 + 60 * labels + np.random.default_rng(seed).normal(0, 8, labels.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def model(centred_model: LoadedModel) -> LoadedModel:
    return centred_model


@pytest.fixture(scope="module")
def scene(model: LoadedModel) -> tuple[np.ndarray, np.ndarray, FeatureSource]:
    """A bright disc in noise, its truth, and features of an untrained encoder."""
    truth = disc((96, 110), (50, 55), 22).astype(np.uint8)
    pixels = noisy(truth)
    return pixels, truth, FeatureSource(Image(pixels, "yx"), model)


def rough_masks(truth: np.ndarray) -> dict[str, np.ndarray]:
    block = np.clip((np.arange(120) // 12) * 12 + 6, 0, None)
    return {
        "shift": np.roll(truth, (4, -5), (0, 1)),
        "erosion": disc(truth.shape, (50, 55), 17).astype(truth.dtype),
        "dilation": disc(truth.shape, (50, 55), 27).astype(truth.dtype),
        "low resolution": truth[np.ix_(block[:96].clip(max=95), block[:110].clip(max=109))],
    }


@EVERY
@pytest.mark.parametrize("kind", ["shift", "erosion", "dilation", "low resolution"])
def test_rough_disc_gets_better(name: str, kind: str, scene: tuple[np.ndarray, np.ndarray, FeatureSource]) -> None:
    pixels, truth, source = scene
    rough = rough_masks(truth)[kind]
    found = refine(name, pixels, rough, source=source)
    before, after = dice(rough, truth), dice(found.mask, truth)
    assert after > before + 0.3 * (1 - before)


@pytest.mark.parametrize("name", ["prototype", "embedding_walker"])
def test_holes_are_filled(name: str, scene: tuple[np.ndarray, np.ndarray, FeatureSource]) -> None:
    pixels, truth, source = scene
    rough = truth.copy()
    for centre in ((42, 50), (56, 60), (60, 45), (40, 64)):
        rough[disc(truth.shape, centre, 5)] = 0
    assert dice(refine(name, pixels, rough, source=source).mask, truth) > 0.97


@EVERY
def test_what_every_refiner_promises(name: str, scene: tuple[np.ndarray, np.ndarray, FeatureSource]) -> None:
    pixels, truth, source = scene
    rough = (np.roll(truth, 4, 0) * 7).astype(np.int16)
    seeds = np.zeros(rough.shape, np.int16)
    seeds[50, 50:60], seeds[10, 10:20] = 7, -1
    seeds[30, 55], seeds[52, 52] = -3, -3  # one where there is the label, against all looks
    given = [array.copy() for array in (pixels, rough, seeds)]
    found = refine(name, pixels, rough, seeds=seeds, source=source)
    again = refine(name, pixels, rough, seeds=seeds, source=source)
    np.testing.assert_array_equal(found.mask, again.mask)
    assert found.changes == again.changes
    for array, copy in zip((pixels, rough, seeds), given, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert (found.mask.shape, found.mask.dtype) == (rough.shape, rough.dtype)
    assert set(np.unique(found.mask)) == {0, 7}
    assert (found.mask[seeds == 7] == 7).all()
    assert (found.mask[seeds < 0] == 0).all()
    (change,) = found.changes
    assert (change.label, change.before, change.after) == (7, (rough == 7).sum(), (found.mask == 7).sum())
    assert 0 <= change.overlap <= 1
    assert 0 <= change.confidence <= 1


@EVERY
def test_several_labels_at_once(name: str, model: LoadedModel) -> None:
    truth = np.zeros((90, 100), np.int32)
    truth[disc(truth.shape, (45, 50), 30)] = 2
    truth[disc(truth.shape, (45, 50), 14)] = 5
    pixels = noisy(truth / 3)
    rough = np.roll(truth, (3, 3), (0, 1))
    found = refine(name, pixels, rough, source=FeatureSource(Image(pixels, "yx"), model)).mask
    assert set(np.unique(found)) == {0, 2, 5}
    for value in (2, 5):
        assert dice(found == value, truth == value) > dice(rough == value, truth == value) + 0.02


@EVERY
def test_volume_with_thick_slices(name: str, model: LoadedModel) -> None:
    truth = np.stack([disc((64, 64), (32, 32), radius) for radius in (10, 14, 15, 12)]).astype(np.uint8)
    truth = np.concatenate([np.zeros_like(truth[:1]), truth, np.zeros_like(truth[:1])])
    pixels = noisy(truth)
    rough = np.roll(truth, (3, -3), (1, 2))
    image = Image(pixels, "zyx", spacing=(5.0, 1.0, 1.0))
    source = FeatureSource(image, model, shared_limits=True)
    found = refine(name, image, rough, source=source)
    assert dice(found.mask, truth) > dice(rough, truth) + 0.05
    assert not found.mask[[0, -1]].any()
    if name == "watershed":  # slices that are no body are flooded one by one
        pages = refine(name, Image(pixels, "pyx"), rough).mask
        alone = [refine(name, Image(pixels[1:5], "pyx"), rough[1:5]).mask, pages[1:5]]
        np.testing.assert_array_equal(*alone)


@EVERY
def test_a_large_volume_is_refined_in_slabs(name: str, model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    radii = (9, 12, 14, 15, 15, 14, 13, 12, 11, 10, 9, 9)
    truth = np.stack([disc((48, 72), (24, 24), radius) for radius in radii]).astype(np.uint8)
    truth[6:, disc((48, 72), (24, 56), 9)] = 4  # a second label, of which the first slabs know nothing
    pixels = noisy(truth > 0)
    rough = np.roll(truth, (2, -2), (1, 2))
    seeds = np.zeros(truth.shape, np.int16)
    seeds[0, 24, 24], seeds[11, 40:44, 60] = 1, -1
    image = Image(pixels, "zyx", spacing=(3.0, 1.0, 1.0))
    source = FeatureSource(image, model, shared_limits=True)
    whole = refine(name, image, rough, seeds=seeds, source=source)
    monkeypatch.setattr(slabs, "MEMORY", 9 * 48 * 72 * 820)
    parts = slabs.slabs(survey(image, rough, None, None, None))
    assert [(part.changed.start, part.changed.stop) for part in parts] == [(0, 3), (3, 6), (6, 9), (9, 12)]
    assert all(part.seen.stop - part.seen.start <= 9 for part in parts)
    found = refine(name, image, rough, seeds=seeds, source=source)
    assert [change.label for change in found.changes] == [1, 4]
    for value in (1, 4):
        assert dice(found.mask == value, truth == value) > dice(rough == value, truth == value)
        assert dice(found.mask == value, whole.mask == value) > 0.95
    assert found.mask[0, 24, 24] == 1
    assert not found.mask[11, 40:44, 60].any()


def test_a_plane_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "MEMORY", 1_000_000)
    mask = np.zeros((80, 90), int)
    mask[20:60, 20:60] = 1
    words = r"cover 80 x 83 pixels of a plane: .* about 0.0 GB, expected at most 0.0 GB; refine fewer labels, a part"
    with pytest.raises(RegionError, match=words):
        refine("watershed", np.random.default_rng(0).random(mask.shape), mask)


@pytest.mark.parametrize(("lead", "part", "kept"), [(0.05, 0.9, True), (0.4, 0.9, False), (0.4, 0.1, True)])
def test_unsure_refiner_leaves_the_mask_alone(
    lead: float, part: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two labels, one changes by little lead or overlaps little of the old one; the other changes surely."""

    def shares(problem: Problem) -> np.ndarray:
        found = np.stack([problem.labels == k for k in range(3)]).astype(np.float32)
        first = np.argwhere(problem.labels == 1)
        lost = first[round(part * len(first)) :]
        found[:, *lost.T] = np.array([0.5 + lead / 2, 0.5 - lead / 2, 0])[:, None]
        second = np.argwhere(problem.labels == 2)[-8:]
        found[:, *second.T] = np.array([1, 0, 0])[:, None]
        return found

    monkeypatch.setitem(REFINERS, "stub", Refiner("Stub", shares, WatershedParams))
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 5:25], mask[10:30, 35:55] = 3, 8
    found = refine("stub", np.random.default_rng(0).random(mask.shape), mask, spacing=(1.0, 1.0))
    first, second = found.changes
    assert (first.kept, second.kept) == (kept, False)
    assert np.array_equal(found.mask == 3, mask == 3) == kept
    assert (second.before - second.after, second.confidence) == (8, 1.0)


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_snapped_contour_lies_on_the_edge(angle: float) -> None:
    """A straight edge at a known place is found to a pixel, from a contour three pixels beside it."""
    rows, columns = np.mgrid[:80, :80] - 39.5
    along = rows * np.cos(angle) + columns * np.sin(angle)
    pixels = (60 * np.tanh(along / 1.5)).astype(np.float32)
    rough = (along + 3 > 0) & (np.hypot(rows, columns) < 39)
    found = refine("boundary_snap", pixels, rough).mask
    near = np.hypot(rows, columns) < 25
    assert (found == (along > 0))[near].mean() > 0.97
    assert (rough == (along > 0))[near].mean() < 0.94


def test_bundled_encoder_is_taken_by_itself(scene: tuple[np.ndarray, np.ndarray, FeatureSource]) -> None:
    pixels, truth, _ = scene
    rough = np.roll(truth, 5, 0).astype(bool)
    found = refine("prototype", pixels, rough, spacing=(0.5, 0.5)).mask
    assert found.dtype == bool
    assert dice(found, truth) > 0.95


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"name": "snap"}, ConfigError, "unknown refiner 'snap'; there are boundary_snap"),
        ({"params": PrototypeParams()}, ConfigError, "do not fit 'watershed'; expected WatershedParams"),
        ({"mask": np.zeros((20, 20), int)}, RegionError, "the mask is empty"),
        ({"mask": np.ones((20, 21), int)}, RegionError, r"mask of shape \(20, 21\) on an image of \(20, 20\)"),
        ({"mask": np.ones(20, int)}, RegionError, r"mask of shape \(20,\)"),
        ({"mask": np.ones((1, 1, 20, 20), int)}, RegionError, "expected .rows, columns. or .planes"),
        ({"mask": np.full((20, 20), -1)}, RegionError, "mask holds -1; expected 0 for background"),
        ({"mask": np.full((20, 20), 0.5)}, RegionError, "mask of type float64; expected whole numbers"),
        ({"image": np.zeros((2, 2, 20, 20))}, ImageError, "and mask of 2 axes"),
        ({"image": np.full((20, 20), np.nan)}, ImageError, "no finite value"),
        (
            {"seeds": np.full((20, 20), 4)},
            RegionError,
            "seeds hold label 4, which is not in the mask; expected one of 1",
        ),
        ({"seeds": np.zeros((5, 5), int)}, RegionError, r"seeds of shape \(5, 5\); expected \(20, 20\)"),
        ({"spacing": (0.0, 1.0)}, ImageError, "expected two or three positive numbers"),
    ],
)
def test_what_cannot_be_refined(options: dict[str, Any], error: type[Exception], words: str) -> None:
    mask = np.zeros((20, 20), int)
    mask[5:15, 5:15] = 1
    given = {"name": "watershed", "image": np.random.default_rng(0).random((20, 20)), "mask": mask} | options
    with pytest.raises(error, match=words):
        refine(given.pop("name"), given.pop("image"), given.pop("mask"), **given)


def test_features_of_another_image(scene: tuple[np.ndarray, np.ndarray, FeatureSource]) -> None:
    with pytest.raises(ImageError, match="expected a FeatureSource of the same image"):
        refine("prototype", np.zeros((20, 20)), np.ones((20, 20), int), source=scene[2])


def test_cancelled(scene: tuple[np.ndarray, np.ndarray, FeatureSource]) -> None:
    pixels, truth, source = scene
    for name in REFINERS:
        with pytest.raises(Cancelled, match="cancelled"):
            refine(name, pixels, truth, source=source, cancelled=lambda: True)


@pytest.mark.parametrize(
    ("params", "values"),
    [
        (PrototypeParams, {"rounds": 0}),
        (WalkerParams, {"embedding": 2.0}),
        (WatershedParams, {"band": 0.0}),
        (SnapParams, {"sigma": -1.0}),
        (LearntParams, {"smoothing": 0.0}),
    ],
)
def test_settings_out_of_range(params: type[Any], values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        params(**values)


def test_unknown_name() -> None:
    import napari_ld.refinement as room

    assert [name for name in room.__all__ if not hasattr(room, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'refyne'"):
        room.refyne  # noqa: B018 - fetching the name is what is tested
