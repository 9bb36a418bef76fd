"""What all proposers have in common."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import Cancelled, ConfigError, ImageError
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.proposals import HierarchyParams, Regions, propose_regions, stream_regions


def scene(shift: int = 0) -> np.ndarray:
    """A bright disc and a darker square on a gradient, with a little noise."""
    rows, columns = np.ogrid[:80, :96]
    pixels = 60 + 0.3 * columns + np.random.default_rng(shift).normal(0, 2, (80, 96))
    pixels[(rows - 30) ** 2 + (columns - 35 - shift) ** 2 < 14**2] += 90
    pixels[50:70, 60 + shift : 80 + shift] -= 40
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def source(centred_model: LoadedModel) -> FeatureSource:
    images = [Image(scene(k), "yx", spacing=(0.5, 0.25)) for k in (0, 4)]
    return FeatureSource(images, centred_model)


def test_regions_cover_each_plane_once(source: FeatureSource) -> None:
    regions = propose_regions(source, "hierarchy", params=HierarchyParams(n_regions=12))
    assert regions.ids.tolist() == list(range(1, 25))
    for plane in (0, 1):
        own = regions.on_plane(plane)
        assert len(own) == 12
        assert own.areas.sum() == 80 * 96
        assert (own.label_map(plane, (80, 96)) > 0).all()
        assert {region.image for region in own} == {plane}
    assert regions[0].area_mm2 == pytest.approx(regions[0].area * 0.125)
    np.testing.assert_allclose(np.linalg.norm(regions.embeddings, axis=1), 1, rtol=1e-4)
    assert ((regions.scores > 0) & (regions.scores <= 1)).all()


def test_the_same_again(source: FeatureSource) -> None:
    def once() -> Regions:
        return propose_regions(source, params=HierarchyParams(n_regions=9), planes=[1])

    first, second = once(), once()
    assert [region.mask.to_text() for region in first] == [region.mask.to_text() for region in second]
    assert np.array_equal(first.scores, second.scores)


def test_batches_come_plane_by_plane_with_progress(source: FeatureSource) -> None:
    seen: list[tuple[int, int]] = []
    batches = stream_regions(source, params=HierarchyParams(n_regions=3), progress=lambda *step: seen.append(step))
    first = next(batches)
    assert {region.planes for region in first} == {(0,)}
    assert len(list(batches)) == 1
    assert seen == [(1, 2), (2, 2)]


def test_cancelled_between_planes(source: FeatureSource) -> None:
    stop = False
    batches = stream_regions(source, params=HierarchyParams(n_regions=3), cancelled=lambda: stop)
    assert len(next(batches)) == 3
    stop = True
    with pytest.raises(Cancelled, match="cancelled"):
        next(batches)


def test_bad_requests_are_named(source: FeatureSource) -> None:
    with pytest.raises(ConfigError, match="unknown proposer 'magic'; there are "):
        propose_regions(source, "magic")
    with pytest.raises(ConfigError, match="expected one of images, volume"):
        propose_regions(source, stack_kind="film")
    with pytest.raises(ConfigError, match="expected HierarchyParams"):
        propose_regions(source, params=3)
    with pytest.raises(ImageError, match="planes 0 to 1"):
        propose_regions(source, planes=[7])
    with pytest.raises(ConfigError, match="counts of at least 1"):
        HierarchyParams(n_regions=0)
