"""Examples are found again on other images, and counter-examples are not."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError, RegionError
from napari_ld.logistic import fit_logistic
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.proposals import Example, LikeParams, Mask, fit_examples, propose_regions
from napari_ld.proposals.dividing import Expected, divided, fitted_to
from napari_ld.proposals.evidence import plane_evidence
from napari_ld.proposals.outlines import outline_of
from napari_ld.proposals.spots import fit_spots, spot_outline
from napari_ld.proposals.thresholds import best_dice_level


def scene(seed: int, discs: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs on a gradient with noise, and where they are."""
    rows, columns = np.ogrid[:96, :112]
    mask = np.zeros((96, 112), bool)
    for row, column in discs:
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < 81
    pixels = 50 + 0.4 * columns + 90 * mask + np.random.default_rng(seed).normal(0, 4, mask.shape)
    return pixels.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def scenes(centred_model: LoadedModel) -> tuple[FeatureSource, list[np.ndarray]]:
    drawn = [scene(0, ((30, 40), (60, 80))), scene(1, ((50, 30),)), scene(2, ((25, 80), (70, 20), (60, 60)))]
    return FeatureSource([Image(pixels, "yx") for pixels, _ in drawn], centred_model), [mask for _, mask in drawn]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_outlined_example(scenes: tuple[FeatureSource, list[np.ndarray]]) -> None:
    source, masks = scenes
    example = Example(source, 0, mask=Mask.from_array(masks[0]))
    regions = propose_regions(source, "like_examples", examples=[example], planes=[1, 2])
    for plane in (1, 2):
        assert dice(regions.label_map(plane, (96, 112)) > 0, masks[plane]) > 0.8
    assert [len(regions.on_plane(plane)) for plane in (1, 2)] == [1, 3]
    assert (regions.scores > 0.5).all()
    again = propose_regions(source, "like_examples", examples=[example], planes=[1, 2])
    assert [region.mask.to_text() for region in regions] == [region.mask.to_text() for region in again]


def test_clicked_example_is_outlined_first(scenes: tuple[FeatureSource, list[np.ndarray]]) -> None:
    source, masks = scenes
    outline = outline_of(plane_evidence(source, 0), (30, 40))
    rows, columns = np.ogrid[:96, :112]
    assert dice(outline, (rows - 30) ** 2 + (columns - 40) ** 2 < 81) > 0.85
    model = fit_examples([Example(source, 0, position=(30.0, 40.0))])
    score = model.score(plane_evidence(source, 2))
    assert score.min() >= 0
    assert score.max() <= 1
    assert score[masks[2]].mean() > score[~masks[2]].mean() + 0.5


def test_a_counter_example_lowers_its_like(scenes: tuple[FeatureSource, list[np.ndarray]]) -> None:
    source, masks = scenes
    left, right = masks[0].copy(), masks[0].copy()
    left[:, 60:] = right[:, :60] = False
    alone = fit_examples([Example(source, 0, mask=Mask.from_array(masks[0]))])
    both = fit_examples(
        [
            Example(source, 0, mask=Mask.from_array(left)),
            Example(source, 0, mask=Mask.from_array(right), positive=False),
        ]
    )
    evidence = plane_evidence(source, 0)
    assert both.score(evidence)[right].mean() < alone.score(evidence)[right].mean() - 0.2


def test_linked_across_slices(centred_model: LoadedModel) -> None:
    drawn = [scene(k, ((40, 40 + 2 * k),)) for k in range(3)] + [scene(9, ((70, 90),))]
    volume = Image(np.stack([pixels for pixels, _ in drawn]), "zyx", spacing=(3.0, 0.5, 0.5))
    source = FeatureSource(volume, centred_model, shared_limits=True)
    example = Example(source, 0, mask=Mask.from_array(drawn[0][1]))
    regions = propose_regions(source, "like_examples", examples=[example], stack_kind="volume")
    assert sorted(region.planes for region in regions) == [(0, 1, 2), (3,)]
    joined = next(region for region in regions if len(region.planes) == 3)
    assert joined.area_mm2 == pytest.approx(joined.area * 0.25)


def test_logistic_separates_what_is_separable() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 3)).astype(np.float32)
    truth = features @ np.array([1.0, -2.0, 0.0]) > 0.3
    rule = fit_logistic(features, truth, np.full(400, 1 / 400), 1e-4)
    assert ((rule(features) > 0) == truth).mean() > 0.97
    assert abs(rule.weights[2]) < 0.2 * abs(rule.weights[1])


def test_level_of_the_example() -> None:
    odds = np.array([3.0, 2.0, 1.0, 0.0, -1.0], np.float32)
    assert 0 < best_dice_level(odds, np.array([True, True, True, False, False])) < 1


def hill(row: int, column: int, radius: float, height: float = 8.0) -> np.ndarray:
    """A table mountain of log-odds on a floor of -4."""
    rows, columns = np.ogrid[:64, :80]
    return (height / (1 + np.exp((np.hypot(rows - row, columns - column) - radius) / 1.5))).astype(np.float32)


def test_divided_where_the_map_is_steep() -> None:
    odds = hill(30, 40, 15) - 4
    truth = odds > 0
    found = divided(odds + 2, Expected(0.0, 6.0, 0.1, 0.5), np.ones(odds.shape, bool))
    assert found is not None
    assert dice(found.mask, truth) > 0.95
    centred = found.centred(odds + 2)
    assert np.array_equal(centred > 0, found.mask)
    assert divided(np.zeros((8, 8), np.float32), Expected(0.7, 6.0, 0.1, 0.5), np.ones((8, 8), bool)) is None


def test_parts_along_the_border_and_lesser_parts_are_left_out() -> None:
    inner, corner, speck = hill(30, 40, 12), hill(0, 0, 14), hill(52, 66, 4)
    everywhere = np.ones(inner.shape, bool)
    found = divided(inner + corner + speck - 4, Expected(0.0, 6.0, 0.1, 0.5), everywhere)
    assert found is not None
    assert dice(found.mask, inner > 4) > 0.95
    uneven = divided(inner + speck - 4, Expected(0.0, 6.0, 0.1, 0.01), everywhere)
    assert uneven is not None
    assert uneven.mask[52, 66]


def test_a_small_structure_is_found_by_a_large_example(centred_model: LoadedModel) -> None:
    rows, columns = np.ogrid[:96, :112]
    large = (rows - 48) ** 2 / 1600 + (columns - 56) ** 2 / 2000 < 1
    pixels, small = scene(1, ((50, 30),))
    drawn = (50 + 90 * large + np.random.default_rng(0).normal(0, 4, large.shape)).clip(0, 255).astype(np.uint8)
    source = FeatureSource([Image(drawn, "yx"), Image(pixels, "yx")], centred_model)
    regions = propose_regions(
        source, "like_examples", examples=[Example(source, 0, mask=Mask.from_array(large))], planes=[1]
    )
    assert dice(regions.label_map(1, (96, 112)) > 0, small) > 0.7


def test_rule_of_the_plane_itself() -> None:
    random = np.random.default_rng(0)
    truth = hill(30, 40, 12) > 4
    features = random.normal(size=(64, 80, 3)).astype(np.float32)
    features[..., 1] += 6 * truth
    rough = np.roll(truth, 3, axis=0)
    odds = fitted_to(features, rough, np.ones(truth.shape, bool))
    assert odds is not None
    assert odds[truth].mean() > odds[~truth].mean() + 1
    assert fitted_to(features, np.zeros(truth.shape, bool), np.ones(truth.shape, bool)) is None


def spotted(seed: int, centres: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Faint bright spots of radius 2, a dark one, a large bright disc, and a dark line, on a gradient with noise."""
    rows, columns = np.ogrid[:128, :128]
    mask = np.zeros((128, 128), bool)
    for row, column in centres:
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= 4
    pixels = 60 + 0.5 * columns + 45 * mask + np.random.default_rng(seed).normal(0, 4, mask.shape)
    pixels = pixels - 45.0 * ((rows - 64) ** 2 + (columns - 64) ** 2 <= 4) - 30.0 * (np.abs(rows - 100) < 2)
    pixels += 60.0 * ((rows - 30) ** 2 + (columns - 100) ** 2 < 400)
    return pixels.clip(0, 255).astype(np.uint8), mask


def test_one_click_on_a_spot_finds_spots(centred_model: LoadedModel) -> None:
    clicked, mask = spotted(0, [(40, 30), (80, 90)])
    other, wanted = spotted(1, [(20, 40), (60, 20), (85, 100), (115, 60)])
    source = FeatureSource([Image(clicked, "yx"), Image(other, "yx")], centred_model)
    outline = spot_outline(plane_evidence(source, 0), (40.0, 30.0))
    assert outline is not None
    assert dice(outline, mask & (np.arange(128)[:, None] < 60)) > 0.6
    assert spot_outline(plane_evidence(source, 0), (70.0, 10.0)) is None
    score = fit_examples([Example(source, 0, position=(40.0, 30.0))]).score(plane_evidence(source, 1))
    assert np.median(score[wanted]) > 0.5
    assert score[60:68, 60:68].max() < 0.5
    assert np.median(score[wanted]) > np.quantile(score[~wanted], 0.99)


def test_response_of_the_example_is_one(centred_model: LoadedModel) -> None:
    pixels, mask = spotted(0, [(40, 30), (80, 90)])
    everywhere = np.ones(mask.shape, bool)
    for drawn, polarity in ((pixels, 1), (255 - pixels, -1)):
        evidence = plane_evidence(FeatureSource(Image(drawn, "yx"), centred_model), 0)
        rule = fit_spots(evidence, mask, everywhere)
        assert (rule.polarity == polarity).all()
        assert np.median(rule(evidence, everywhere)[mask]) == pytest.approx(3.0, abs=1e-3)


def test_bad_examples_are_named(scenes: tuple[FeatureSource, list[np.ndarray]]) -> None:
    source, _ = scenes
    with pytest.raises(RegionError, match="give one of them"):
        Example(source, 0)
    with pytest.raises(RegionError, match="draw it anew"):
        Example(source, 0, mask=Mask.from_array(np.ones((3, 3))))
    with pytest.raises(RegionError, match="outline at least one pixel"):
        Example(source, 0, mask=Mask.from_array(np.zeros((96, 112))))
    with pytest.raises(RegionError, match="lies outside the image"):
        Example(source, 0, position=(200.0, 3.0))
    with pytest.raises(ConfigError, match="fills its whole plane"):
        fit_examples([Example(source, 0, mask=Mask.from_array(np.ones((96, 112))))])
    with pytest.raises(ConfigError, match="no positive example"):
        fit_examples([Example(source, 0, position=(3.0, 3.0), positive=False)])
    with pytest.raises(ConfigError, match="needs at least one positive example"):
        propose_regions(source, "like_examples")
    with pytest.raises(ConfigError, match="a threshold between 0 and 1"):
        LikeParams(threshold=1.5)
