"""Clusters, unusual regions, small clicked examples and the pictures of the embedding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.model.checkpoint import LoadedModel
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
    clusters, share = cluster_map(plane_evidence(source, 1))
    own = regions.on_plane(1)
    assert own.areas.sum() == 96 * 96
    for region in own:
        assert (clusters[region.mask.to_array(1)] == region.cluster).all()
    assert share.min() > 0
    assert share.max() <= 1


def test_an_encoder_without_clusters_is_named(source: FeatureSource) -> None:
    evidence = plane_evidence(source, 0)
    bare = replace(evidence, embedding=replace(evidence.embedding, clusters=None))
    with pytest.raises(ConfigError, match="this encoder has no clusters"):
        cluster_map(bare)


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
    with pytest.raises(ConfigError, match="a largest part between 0 and 1"):
        UnusualParams(largest=0)
