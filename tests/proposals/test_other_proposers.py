"""Clusters, unusual regions, small clicked examples and the pictures of the embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.model.checkpoint import LoadedModel, ModelHeader
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.proposals import (
    ClusterParams,
    Example,
    UnusualParams,
    cluster_map,
    embedding_view,
    fit_examples,
    point_similarity,
    propose_regions,
)
from napari_ld.proposals.evidence import plane_evidence


def spots(seed: int, places: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Smooth noise with bright spots of three by three pixels."""
    pixels = 80 + np.random.default_rng(seed).normal(0, 2, (96, 96))
    for row, column in places:
        pixels[row - 1 : row + 2, column - 1 : column + 2] += 120
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def source(centred_model: LoadedModel) -> FeatureSource:
    drawn = [spots(0, ((30, 30), (70, 60))), spots(1, ((20, 75), (50, 50), (80, 15)))]
    return FeatureSource([Image(pixels, "yx") for pixels in drawn], centred_model)


def test_clusters_cover_the_plane_and_keep_their_number(source: FeatureSource) -> None:
    regions = propose_regions(source, "clusters", params=ClusterParams(smallest=1))
    clusters, share = cluster_map(source, 1)
    own = regions.on_plane(1)
    assert own.areas.sum() == 96 * 96
    for region in own:
        assert (clusters[region.mask.to_array(1)] == region.cluster).all()
    assert share.min() >= 0.5
    assert share.max() <= 1


def test_clusters_do_not_depend_on_the_planes_that_are_asked_for(source: FeatureSource) -> None:
    alone = propose_regions(FeatureSource(source.images, source.model), "clusters", planes=[1])
    both = propose_regions(source, "clusters").on_plane(1)
    assert [region.cluster for region in alone] == [region.cluster for region in both]
    assert [region.area for region in alone] == [region.area for region in both]


def test_a_structure_has_one_cluster_of_its_own_on_all_planes(centred_model: LoadedModel) -> None:
    rows, columns = np.ogrid[:96, :96]
    pixels, discs = [], []
    for seed, (row, column) in enumerate(((30, 30), (60, 40), (40, 64))):
        discs.append((rows - row) ** 2 + (columns - column) ** 2 < 12**2)
        noise = np.random.default_rng(seed).normal(0, 4, (96, 96))
        # another exposure of every image
        pixels.append(((60 + 100 * discs[-1] + noise) * (1 + 0.3 * seed) * 0.8).clip(0, 255).astype(np.uint8))
    stack = FeatureSource([Image(one, "yx") for one in pixels], centred_model)
    maps = np.stack([cluster_map(stack, plane, ClusterParams(n_clusters=2))[0] for plane in range(3)])
    own = int(np.bincount(maps[np.stack(discs)]).argmax())
    assert own == 1  # the smaller one
    for found, disc in zip(maps, discs, strict=True):
        assert ((found == own) & disc).sum() / ((found == own) | disc).sum() > 0.85


def test_few_clusters_tiny_and_flat_images(centred_model: LoadedModel) -> None:
    for pixels in (np.zeros((1, 1), np.uint8), np.zeros((20, 20), np.uint8), np.eye(3, dtype=np.uint8)):
        stack = FeatureSource(pixels, centred_model)
        clusters, share = cluster_map(stack, 0, ClusterParams(n_clusters=1))
        assert (clusters == 0).all()
        assert (share == 1).all()
        assert np.isfinite(cluster_map(stack, 0)[1]).all()


def test_an_encoder_without_clusters_is_named() -> None:
    config = EncoderConfig(working_size=64, embedding_dim=128, level_dims=(16,) * 8, clusters=0)
    bare = LoadedModel(build_encoder(config, seed=0).eval(), ModelHeader("encoder", "own", config), "1" * 64, Path("o"))
    with pytest.raises(ConfigError, match="this encoder has no clusters"):
        cluster_map(FeatureSource(np.eye(24, dtype=np.uint8), bare), 0)


def test_spots_of_few_pixels_are_unusual(source: FeatureSource) -> None:
    regions = propose_regions(source, "unusual", params=UnusualParams(per_plane=6))
    for plane, places in ((0, ((30, 30), (70, 60))), (1, ((20, 75), (50, 50), (80, 15)))):
        own = regions.on_plane(plane)
        assert (np.diff(own.scores) < 1).all()
        for row, column in places:
            best = max((region for region in own.at(plane, row, column)), key=lambda region: region.score)
            assert best.area <= 25


def test_a_clicked_spot_finds_the_others(source: FeatureSource) -> None:
    model = fit_examples([Example(source, 0, position=(30.0, 30.0))])
    score = model.score(plane_evidence(source, 1))
    away = score.copy()
    for row, column in ((20, 75), (50, 50), (80, 15)):
        assert score[row, column] > 0.5
        away[row - 4 : row + 5, column - 4 : column + 5] = 0
    assert (away > 0.5).mean() < 0.01


def test_the_same_vector_has_the_same_colour(source: FeatureSource) -> None:
    view = embedding_view(source)
    one, other = view.picture(source, 0), view.picture(source, 1)
    assert one.shape == (96, 96, 3)
    assert one.dtype == np.uint8
    again = embedding_view(source).picture(source, 1)
    assert np.array_equal(other, again)


def test_a_point_is_most_alike_to_itself(source: FeatureSource) -> None:
    similarity = point_similarity(source, 0, (30.0, 30.0))
    assert similarity.shape == (96, 96)
    assert similarity[30, 30] > np.percentile(similarity, 95)
    assert -1 <= similarity.min() <= similarity.max() <= 1
    assert point_similarity(source, 0, (30.0, 30.0), on_plane=1).shape == (96, 96)


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ConfigError, match="counts of at least 1"):
        ClusterParams(pieces=0)
    with pytest.raises(ConfigError, match="65 clusters were asked for; expected 1 to 64"):
        ClusterParams(n_clusters=65)
    with pytest.raises(ConfigError, match="weights of at least 0"):
        ClusterParams(edge=-1)
    with pytest.raises(ConfigError, match="a largest part between 0 and 1"):
        UnusualParams(largest=0)
