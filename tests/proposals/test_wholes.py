"""Of nested regions the one most like an outlined example."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.proposals import Example, LikeParams, Mask, propose_regions
from napari_ld.proposals.evidence import plane_evidence
from napari_ld.proposals.wholes import candidates_of, likeliest

ROWS, COLUMNS = np.ogrid[:96, :112]


def scene(seed: int, row: int, column: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc and, twice as large, a middling one on noise; all brighter by a factor."""
    disc = np.hypot(ROWS - row, COLUMNS - column) < 11
    other = np.hypot(ROWS - 70, COLUMNS - 85) < 18
    noise = np.random.default_rng(seed).normal(0, 3, disc.shape)
    return np.clip(gain * (40 + 90 * disc + 30 * (other & ~disc) + noise), 0, 255).astype(np.uint8), disc


@pytest.fixture
def scenes(centred_model: LoadedModel) -> tuple[FeatureSource, list[np.ndarray]]:
    made = [scene(seed, 30 + 5 * seed, 35, 1 + 0.2 * seed) for seed in range(3)]
    return FeatureSource(Image(np.stack([pixels for pixels, _ in made]), "pyx"), centred_model), [d for _, d in made]


def test_one_region_is_proposed_on_each_plane(scenes: tuple[FeatureSource, list[np.ndarray]]) -> None:
    source, discs = scenes
    example = Example(source, 0, mask=Mask.from_array(discs[0]))
    found = propose_regions(source, "like_examples", params=LikeParams(single=True), examples=[example])
    assert [region.planes for region in found] == [(0,), (1,), (2,)]
    for region, disc in zip(found, discs, strict=True):
        mask = region.mask.to_array(region.planes[0])
        assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.9
        assert 0.5 < region.score <= 1


def test_candidates_are_described_as_their_pixels_are(scenes: tuple[FeatureSource, list[np.ndarray]]) -> None:
    source, _ = scenes
    evidence = plane_evidence(source, 0)
    odds = np.random.default_rng(0).normal(size=evidence.shape).astype(np.float32)
    margin = np.zeros(evidence.shape, bool)
    margin[:, 100:] = True
    candidates = candidates_of(evidence, odds, margin)
    assert len(candidates.nodes) > 20
    for place in (0, len(candidates.nodes) // 2, len(candidates.nodes) - 1):
        mask = candidates.tree.mask(int(candidates.nodes[place]))
        assert candidates.share[place] == pytest.approx(mask.mean())
        assert candidates.inside[place] == pytest.approx(odds[mask].mean(), abs=1e-5)
        assert margin[mask].mean() < 0.5
        assert np.linalg.norm(candidates.vectors[place]) == pytest.approx(1, abs=1e-5)
    rim = np.zeros(evidence.shape, bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    last = candidates.tree.mask(int(candidates.nodes[-1]))
    assert candidates.border[-1] == pytest.approx(last[rim].mean())


def test_a_plane_without_regions_of_a_fitting_size_has_no_likeliest(centred_model: LoadedModel) -> None:
    source = FeatureSource(Image(np.zeros((40, 40), np.uint8), "yx"), centred_model)
    evidence = plane_evidence(source, 0)
    flat = np.zeros(evidence.shape, np.float32)
    candidates = candidates_of(evidence, flat, np.zeros(evidence.shape, bool))
    assert likeliest(candidates, 0.1, 0.0, np.zeros(candidates.vectors.shape[1], np.float32)) is None
