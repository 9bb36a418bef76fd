"""The black margin around a round field of view is no part of the picture."""

from __future__ import annotations

import numpy as np

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.proposals import (
    Example,
    HierarchyParams,
    Mask,
    fit_examples,
    propose_regions,
)
from napari_ld.proposals.evidence import plane_evidence
from napari_ld.proposals.like_examples import regions_like
from napari_ld.proposals.margins import margin_of, without_margin

ROWS, COLUMNS = np.ogrid[:128, :160]
FIELD = np.hypot(ROWS - 64, COLUMNS - 80) < 60


def fundus(seed: int, row: int, column: int) -> tuple[Image, np.ndarray]:
    """A round field of view on black, with a bright disc."""
    disc = np.hypot(ROWS - row, COLUMNS - column) < 11
    noise = np.random.default_rng(seed).normal(0, 4, FIELD.shape)
    pixels = np.where(FIELD, 90 + 0.3 * COLUMNS + 60 * disc + noise, 0)
    return Image(pixels.clip(0, 255).astype(np.uint8), "yx"), disc


def test_the_margin_is_the_black_that_reaches_the_border() -> None:
    channels = np.where(FIELD, 0.5, 0.0).astype(np.float32)[np.newaxis]
    channels[0, 60:68, 60:68] = 0  # black inside the field of view
    margin = margin_of(channels)
    assert margin[~FIELD].all()
    assert not margin[60:68, 60:68].any()
    assert margin[FIELD].mean() < 0.06  # widened a little
    assert not margin_of(np.full((3, 20, 30), 0.5, np.float32)).any()
    assert not margin_of(np.zeros((3, 20, 30), np.float32)).any()  # nothing would be left


def test_the_edge_of_the_field_of_view_vanishes(centred_model: LoadedModel) -> None:
    image, _ = fundus(0, 60, 60)
    evidence = plane_evidence(FeatureSource(image, centred_model), 0)
    margin = margin_of(evidence.channels)
    painted = without_margin(evidence, margin)
    assert (painted.channels[:, ~margin] == evidence.channels[:, ~margin]).all()
    assert painted.channels.min() > 0.2
    assert without_margin(evidence, np.zeros_like(margin)) is evidence


def test_a_disc_is_found_and_not_the_field_of_view(centred_model: LoadedModel) -> None:
    (first, outline), (second, disc) = fundus(0, 60, 60), fundus(1, 70, 100)
    source = FeatureSource([first, second], centred_model)
    model = fit_examples([Example(source, 0, mask=Mask.from_array(outline))])
    evidence = plane_evidence(source, 1)
    assert not model.score(evidence)[~FIELD].any()
    found = np.zeros(FIELD.shape, bool)
    for region in regions_like(source, evidence, model):
        found |= region.mask.to_array(1)
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.8


def test_an_example_in_the_black_is_searched_there(centred_model: LoadedModel) -> None:
    image, _ = fundus(0, 60, 60)
    source = FeatureSource(image, centred_model)
    model = fit_examples([Example(source, 0, mask=Mask.from_array(~FIELD))])
    assert not model.framed
    score = model.score(plane_evidence(source, 0))
    assert score[~FIELD].mean() > score[FIELD].mean() + 0.5


def test_the_margin_is_no_region_and_the_count_holds_beside_it(centred_model: LoadedModel) -> None:
    image, _ = fundus(0, 60, 60)
    source = FeatureSource(image, centred_model)
    regions = propose_regions(source, "hierarchy", params=HierarchyParams(n_regions=20))
    assert len(regions) == 20
    margin = margin_of(plane_evidence(source, 0).channels)
    labels = regions.label_map(0, source.shape(0))
    assert not labels[:3, :3].any()
    assert (labels[margin] == 0).mean() > 0.8
    assert (labels[~margin] > 0).mean() > 0.99  # the finest regions are whole: some lie on the edge
    whole = propose_regions(source, "hierarchy", params=HierarchyParams(n_regions=1))
    assert len(whole) == 1
    assert whole[0].mask.to_array(0)[64, 80]
