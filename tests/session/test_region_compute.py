"""From a question about regions to its answers with a real, untrained encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_ld._types import Embedding, Image
from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError, RegionError
from napari_ld.model.checkpoint import LoadedModel, ModelHeader
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.proposals import Mask, propose_regions
from napari_ld.session import Session
from napari_ld.session.compute import Sources
from napari_ld.session.region_compute import Trees, offer, propose, region_similarity, similarity_in
from napari_ld.session.requests import EmbeddingProgress, Mark, PlaneView, Proposed, RegionSimilarity, SourceReady
from napari_ld.session.views import _clusters, show


@pytest.fixture
def session(tmp_path: Path, encoder: str) -> Session:
    session = Session(tmp_path)
    session.choose_encoder(encoder)
    pixels = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(3, 48, 64)), (0, 4, 4))
    pixels = (255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
    session.open_image(Image(pixels, "pyx", spacing=(1.0, 0.5, 0.5)), "noise")
    return session


def run(session: Session, count: int, sources: Sources, trees: Trees, *, only: bool = False) -> list[object]:
    request = session.request_proposals("hierarchy", count, 1, only=only)
    assert request is not None
    results = list(propose(request, sources, trees, lambda: False))
    for result in results:
        session.accept(result)
    session.proposing_ended()
    return list(results)


def test_the_shown_plane_comes_first_and_review_can_begin_with_it(session: Session) -> None:
    results = run(session, 10, Sources(), Trees())
    assert isinstance(results[0], SourceReady)
    assert isinstance(results[-1], EmbeddingProgress)
    batches = [r for r in results if isinstance(r, Proposed) and r.regions]
    assert [{p for region in batch.regions for p in region.planes} for batch in batches] == [{1}, {0}, {2}]
    assert [batch.done for batch in batches] == [1, 2, 3]
    assert session.work.embedded == 3
    assert not session.proposing.running
    assert len(session.regions.queue) == 30
    area = session.regions.book.items[1].region
    assert area.area_mm2 == pytest.approx(area.area * 0.25)


def test_another_cut_uses_the_kept_tree_and_keeps_decisions(session: Session) -> None:
    sources, trees = Sources(), Trees()
    run(session, 10, sources, trees)
    session.regions.accept()
    accepted = [item.region for item in session.regions.book.items.values() if item.region.decision == "accepted"]
    kept = dict(trees._kept)
    run(session, 25, sources, trees, only=True)
    assert dict(trees._kept) == kept
    present = list(session.regions.book.present())
    assert accepted[0] in present
    assert sum(region.planes == (1,) for region in present) == 26
    assert sum(region.planes == (0,) for region in present) == 10
    trees.clear()
    assert not trees._kept


def test_what_was_accepted_is_looked_for_on_the_other_planes(session: Session) -> None:
    sources, trees, review = Sources(), Trees(), session.regions
    with pytest.raises(RegionError, match="Nothing is accepted in class 1 yet; accept or paint one first"):
        session.mark_accepted()
    run(session, 10, sources, trees)
    drawn = np.zeros((48, 64), np.uint8)
    drawn[10:20, 10:30] = 1
    drawn[30:40, 30:40] = 2
    review.paint({2: drawn})
    session.mark_accepted()
    [mark] = session.marks
    assert mark.mask is not None
    assert np.array_equal(mark.mask.to_array(2), drawn == 1)  # of the present class only
    request = session.request_proposals("like_examples", 10, 1, rest=True)
    assert request is not None
    assert request.planes == (1, 0)
    for result in propose(request, sources, trees, lambda: False):
        session.accept(result)
    left = [item.region for item in review.book.items.values()]
    assert all(region.kind == "like_examples" and 2 not in region.planes for region in left)  # the others went
    review.paint({0: drawn, 1: drawn})
    session.mark_accepted()
    assert [mark.plane for mark in session.marks] == [0, 1, 2]
    everywhere = session.request_proposals("like_examples", 10, 1, rest=True)
    assert everywhere is not None
    assert everywhere.planes == (1, 0, 2)  # nothing is left: all are searched


def test_a_click_offers_what_stands_out_and_other_proposals_leave_it(session: Session) -> None:
    sources, trees, review = Sources(), Trees(), session.regions
    request = session.request_offer(1, (24.2, 30.0))
    assert request is not None
    [result] = offer(request, sources, trees, lambda: False)
    session.accept(result)
    first = review.region
    assert first is not None
    assert (first.kind, first.planes, first.score) == ("clicked", (1,), 1.0)
    assert first.mask.contains(1, 24, 30)
    assert first.area_mm2 == pytest.approx(first.area * 0.25)
    assert review.offer_another(1, 24, 30)
    assert review.region is not None
    assert review.region.area != first.area
    assert review.region.mask.contains(1, 24, 30)
    clicked = review.current
    run(session, 10, sources, trees)
    assert clicked in review.book.items  # a person pointed at it
    rest = session.request_proposals("like_examples", 10, 1, rest=True)
    assert rest is not None
    assert rest.planes == (0, 2)


def test_answers_of_an_older_run_are_dropped(session: Session) -> None:
    session.choose_stack_kind("volume")
    request = session.request_proposals("hierarchy", 8, 0)
    assert request is not None
    results = list(propose(request, Sources(), Trees(), lambda: False))
    newer = session.request_proposals("hierarchy", 8, 0)
    assert newer is not None
    for result in results:
        session.accept(result)
    assert len(session.regions.queue) == 0
    assert session.request_similarity() is None


def test_of_a_volume_the_shown_slice_can_be_reviewed_until_all_slices_were_seen(session: Session) -> None:
    session.choose_stack_kind("volume")
    request = session.request_proposals("hierarchy", 8, 1)
    assert request is not None
    batches = [r for r in propose(request, Sources(), Trees(), lambda: False) if isinstance(r, Proposed)]
    session.accept(batches[0])
    assert {region.planes for region in session.regions.book.present()} == {(1,)}
    session.regions.accept()
    for result in batches[1:]:
        session.accept(result)
    present = list(session.regions.book.present())
    assert session.regions.book.statistics.accepted == 1
    assert len(present) == 1 + 8
    assert any(len(region.planes) > 1 for region in present)


def test_similarity_is_that_of_the_features_at_each_pixel(session: Session) -> None:
    sources = Sources()
    run(session, 10, sources, Trees())
    request = session.request_similarity()
    assert request is not None
    [result] = region_similarity(request, sources, lambda: False)
    assert isinstance(result, RegionSimilarity)
    session.accept(result)
    assert session.regions.wants_similarity is None
    before = session.regions.region
    session.regions.grow()
    assert session.regions.region.area > before.area  # type: ignore[union-attr]


def test_similarity_in_a_box_equals_the_naive_one() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5, 6, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=0)
    embedding = Embedding(vectors, None, (1.5, 1.5), (4.0, 4.0), (24, 32))
    vector = rng.normal(size=5).astype(np.float32)
    found = similarity_in(embedding, vector, (3, 5, 20, 30))
    assert found.shape == (17, 25)
    unit = vector / np.linalg.norm(vector)
    for row, column in ((3, 5), (9, 13), (19, 29)):
        i, j = (row - 1.5) / 4, min((column - 1.5) / 4, 7)
        top, left = int(i), min(int(j), 6)
        down, right = i - top, j - left
        corners = [[float(unit @ vectors[:, min(top + a, 5), left + b]) for b in (0, 1)] for a in (0, 1)]
        naive = np.array([1 - down, down]) @ np.array(corners) @ np.array([1 - right, right])
        assert found[row - 3, column - 5] == pytest.approx(naive, abs=1e-5)


@pytest.mark.parametrize("kind", ["embedding", "similarity"])
def test_views_come_plane_by_plane(session: Session, kind: str) -> None:
    request = session.request_view(kind, 2, (10.0, 20.0) if kind == "similarity" else None)
    assert request is not None
    views = [view for view in show(request, Sources(), lambda: False) if isinstance(view, PlaneView)]
    assert [view.plane for view in views] == ([2] if kind == "similarity" else [2, 1, 0])
    if kind == "embedding":
        assert all(view.pixels.dtype == np.uint8 and view.pixels.shape[-1] == 3 for view in views)
    else:
        assert views[0].pixels.max() == pytest.approx(1, abs=0.01)


def test_the_input_of_the_shown_plane_is_what_the_image_is_within_its_window(session: Session) -> None:
    session.choose_window("20,200")
    request = session.request_view("input", 1)
    assert request is not None
    [view] = show(request, Sources(), lambda: False)
    assert isinstance(view, PlaneView)
    assert session.image is not None
    plane = np.clip((session.image.plane(1).astype(float) - 20) / 180, 0, 1)
    assert (view.plane, view.pixels.min() >= 0, view.pixels.max() <= 1) == (1, True, True)
    assert view.pixels.mean() == pytest.approx(plane.mean(), abs=0.01)
    sides = [size * step for size, step in zip(view.pixels.shape, view.step, strict=True)]
    assert sides == pytest.approx(session.image.plane_shape)
    assert view.origin == pytest.approx([step / 2 - 0.5 for step in view.step])


def test_the_clusters_that_are_shown_are_those_that_are_proposed(session: Session) -> None:
    sources = Sources()
    request = session.request_view("clusters", 0)
    assert request is not None
    views = [view for view in show(request, sources, lambda: False) if isinstance(view, PlaneView)]
    assert [view.plane for view in views] == [0, 1, 2]
    source, _ = sources.get(request)
    for region in propose_regions(source, "clusters"):
        shown = views[region.planes[0]].pixels[region.mask.to_array(region.planes[0])]
        assert region.cluster is not None
        assert (shown == region.cluster + 1).all()
    assert (views[0].origin, views[0].step) == ((0.0, 0.0), (1.0, 1.0))


def test_unknown_views_and_clusters_of_an_encoder_without_are_told(session: Session) -> None:
    request = session.request_view("depth", 0)
    assert request is not None
    with pytest.raises(ConfigError, match="unknown view 'depth'; there are embedding"):
        list(show(request, Sources(), lambda: False))
    config = EncoderConfig(working_size=64, embedding_dim=128, level_dims=(16,) * 8, clusters=0)
    bare = LoadedModel(build_encoder(config, seed=0).eval(), ModelHeader("encoder", "own", config), "1" * 64, Path("o"))
    with pytest.raises(ConfigError, match="the encoder own has no clusters; choose another encoder"):
        _clusters(FeatureSource(np.eye(24, dtype=np.uint8), bare), 0, "own", lambda: False, 16)


def test_examples_must_lie_on_the_image(session: Session, tmp_path: Path) -> None:
    session.add_mark(Mark(0, position=(3.0, 4.0)))
    session.add_mark(Mark(0, mask=Mask.from_array(np.eye(48, 64)), positive=False))
    assert [mark.positive for mark in session.marks] == [True, False]
    with pytest.raises(RegionError, match="outside the image of 48 rows and 64 columns"):
        session.add_mark(Mark(0, position=(48.0, 4.0)))
    with pytest.raises(RegionError, match="outline holds no pixel"):
        session.add_mark(Mark(0, mask=Mask.from_array(np.zeros((48, 64)))))
    session.clear_marks()
    assert session.marks == ()
    with pytest.raises(RegionError, match="no image to give examples on"):
        Session(tmp_path).add_mark(Mark(0, position=(1.0, 1.0)))
