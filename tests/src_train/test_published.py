"""Local Discrimination as published: its views, its losses on full-resolution maps, its phases and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data, transform
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from napari_ld.model.encoder import CONFIGURATIONS, DenseEncoder, build_encoder, unit
from napari_ld.storage import Store
from src_train.config import PRESETS, load_config
from src_train.data import published
from src_train.data.dataset import Dataset, Group, Plane
from src_train.data.draws import Draws
from src_train.data.extras import ViewExtras
from src_train.data.geometry import Geometry
from src_train.data.published import PublishedViewMaker, change_colour, turned, unturned, view_maker
from src_train.data.views import ViewBatch, ViewMaker, ViewParams
from src_train.engine import Trainer
from src_train.losses.patch import patch_discrimination, patch_pool, patch_window
from src_train.losses.region import cluster_entropy, region_discrimination
from src_train.methods import METHODS, build_method
from src_train.methods.ld import LDParams, Weights, build_ld
from src_train.objectives.published import FullMaps, PublishedMixup, PublishedPatches, full_maps
from src_train.protocol import Method
from src_train.prototypes import prototypes_and_areas

EXTRAS = ViewExtras(frozenset({"turns"}))


def _plane(picture: np.ndarray, rows: int = 96, columns: int = 96) -> Plane:
    levels = [
        torch.from_numpy((transform.resize(picture, (rows // n, columns // n)) * 255).astype(np.uint8))[None] + 1
        for n in (1, 2)
    ]
    return Plane((levels[0], levels[1]), "a.png")


@pytest.fixture(scope="module")
def planes() -> list[Plane]:
    return [_plane(data.camera()), _plane(data.moon())]


def _batch(planes: list[Plane], size: int = 64, seed: int = 0) -> ViewBatch:
    maker = PublishedViewMaker(ViewParams(size=size), 0.5, 0.25, extras=EXTRAS)
    return maker([(planes[0], planes[1])], np.random.default_rng(seed))


def test_all_turns_are_undone_exactly() -> None:
    maps = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    codes = torch.arange(8)
    assert torch.equal(unturned(turned(maps, codes), codes), maps)
    for code in range(8):
        expected = torch.rot90(maps[code].flip(-2, -1) if code >= 4 else maps[code], code % 4, (-2, -1))
        assert torch.equal(turned(maps, codes)[code], expected)
    assert (
        len({tuple(turned(maps[:1].expand(8, -1, -1, -1), codes)[code].flatten().tolist()) for code in range(8)}) == 4
    )


def test_views_share_stage_a_and_differ_in_b(planes: list[Plane]) -> None:
    maker = PublishedViewMaker(ViewParams(size=64), 0.0, 1.0, extras=EXTRAS)
    draws = Draws(3, 2)
    shared = maker._shared(planes, draws)
    matrices = [published._rotated(shared, draws, 64) for _ in range(2)]
    centre = torch.tensor([[[31.5, 31.5]]]).expand(2, -1, -1)
    where = [(centre @ m[..., :2].transpose(1, 2) + m[:, None, :, 2])[:, 0] for m in matrices]
    torch.testing.assert_close(where[0], where[1], atol=1e-3, rtol=0)
    relative = torch.linalg.inv(matrices[0][..., :2]) @ matrices[1][..., :2]
    angle = torch.atan2(relative[:, 1, 0], relative[:, 0, 0]).abs()
    assert bool((angle > 1e-4).all())
    assert bool((angle <= np.deg2rad(4.01)).all())
    torch.testing.assert_close(torch.linalg.det(relative), torch.ones(2), atol=1e-4, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_stage_a_crops_ninety_percent_or_more_of_the_square(seed: int) -> None:
    plane = Plane((torch.zeros(1, 80, 50, dtype=torch.uint8), torch.zeros(1, 40, 25, dtype=torch.uint8)), "x")
    maker = PublishedViewMaker(ViewParams(size=64), 0.0, 1.0, extras=EXTRAS)
    matrix = maker._shared([plane, plane], Draws(seed, 2))
    area = torch.linalg.det(matrix[..., :2]).abs() * 64 * 64 / 80**2
    assert bool(((area > 0.8999) & (area < 1.0001)).all())
    corners = Geometry(matrix, 64).grid()[:, ::63, ::63].reshape(2, 4, 2) - torch.tensor([24.5, 39.5])
    # Turned back, every corner lies in the square of the longest side.
    linear = matrix[..., :2] / matrix[..., :2].norm(dim=-2, keepdim=True)
    upright = (corners @ linear).abs()
    assert float(upright.max()) <= 40.01


def test_without_colours_view_two_is_view_one_turned(planes: list[Plane], monkeypatch: pytest.MonkeyPatch) -> None:
    def same_colours(views: Tensor, draws: Draws) -> Tensor:
        return views

    def no_rotation(matrix: Tensor, draws: Draws, size: int) -> Tensor:
        return matrix

    monkeypatch.setattr(published, "change_colour", same_colours)
    monkeypatch.setattr(published, "_rotated", no_rotation)
    for seed in range(4):
        batch = _batch(planes, seed=seed)
        assert batch.turns is not None
        assert torch.equal(unturned(batch.second, batch.turns), batch.first)
        # The partners say the same: reading view 2 there gives view 1.
        extent = torch.tensor([64.0, 64.0])
        read = F.grid_sample(batch.second, (batch.partner * 2 + 1) / extent - 1, align_corners=False)
        torch.testing.assert_close(
            read, F.interpolate(batch.first, scale_factor=0.25, mode="bilinear"), atol=1e-4, rtol=0
        )
        assert torch.equal(batch.inside_first, unturned(batch.inside_second, batch.turns))


def test_beyond_the_image_is_black_and_seeds_repeat(planes: list[Plane], monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = _batch(planes, seed=2), _batch(planes, seed=2)
    assert torch.equal(first.first, again.first)
    assert torch.equal(first.second, again.second)
    monkeypatch.setattr(published, "change_colour", lambda views, draws: views)
    batch = _batch([_plane(data.camera(), 96, 40), _plane(data.moon(), 96, 40)], seed=1)
    outside = ~batch.inside_first[:, None].expand(-1, 3, -1, -1)
    whole = F.avg_pool2d((batch.first < -1.99).float(), 4)
    assert float(whole[outside].mean()) > 0.9
    assert 0.3 < float(outside.float().mean()) < 0.8


def test_colours_stay_in_range_and_spare_grey_images() -> None:
    grey = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    changed = change_colour(grey, Draws(0, 6))
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    torch.testing.assert_close(changed[:, 0], changed[:, 2], atol=1e-5, rtol=0)
    assert not torch.allclose(changed, grey, atol=0.01)


def test_the_view_maker_is_chosen_by_what_the_method_asks_for() -> None:
    assert isinstance(view_maker(ViewParams(), 0.5, 0.25, extras=EXTRAS), PublishedViewMaker)
    assert not isinstance(view_maker(ViewParams(), 0.5, 0.25), PublishedViewMaker)


def _paper_method(**settings_: float) -> Method:
    config = load_config("paper", data=("x",), settings=[f"{key}={value}" for key, value in settings_.items()])
    encoder = build_encoder(CONFIGURATIONS[config.encoder], 0)
    return build_method(config.method, encoder, config.schedule, {"weights": config.weights, "losses": config.losses})


def test_preset_has_the_published_defaults() -> None:
    config = load_config("paper", data=("x",))
    assert (config.method, config.encoder, config.views.size) == ("ld-paper", "ld-paper", 448)
    assert (config.losses.grid, config.losses.patch_temperature, config.losses.region_temperature) == (8, 0.1, 0.2)
    method = _paper_method()
    patches, regions = method.phases
    assert (patches.steps, regions.steps) == (20_000, 80_000)
    assert dict(patches.groups[0].terms) == {"patch": 1.0, "mixup": 1.0}
    assert dict(regions.groups[0].terms) == {"patch": 1.0, "mixup": 1.0, "region": 10.0, "entropy": 0.1}
    assert regions.fresh_optimizers
    group = regions.groups[0]
    assert (group.optimizer.kind, group.optimizer.learning_rate, group.optimizer.weight_decay) == ("adam", 1e-3, 0.0)
    assert group.clip == 0
    rates = [1e-3 * group.rate(step, 80_000) for step in (0, 10_000, 20_000, 79_999)]
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4, 7.8125e-6])
    assert method.encoder.config.clusters == 16
    assert PRESETS["paper"]["precision"] == "float32"


class _Counting(torch.nn.Module):
    """Counts images."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.images = 0

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor | None]:
        self.images += len(x)
        result: tuple[list[Tensor], Tensor | None] = self.network(x)
        return result


def test_five_forwards_a_couple_and_naive_losses(planes: list[Plane]) -> None:
    method = _paper_method().eval()
    method.encoder.network = _Counting(method.encoder.network)
    batch = _batch(planes)
    with torch.no_grad():
        context = method.context(batch)
        terms = method.terms(context, method.phases[1].groups[0])
    assert method.encoder.network.images == 5
    maps: FullMaps = context["full_maps"]
    assert maps.embedding.shape == (4, 32, 64, 64)
    assert bool(((maps.share > 0.2) & (maps.share < 0.8)).all())
    assert batch.turns is not None
    with torch.no_grad():
        dense = [method.encoder(x) for x in (batch.first, batch.second)]
        mixed = maps.share[:, None, None, None] * batch.first[:1] + (1 - maps.share) * batch.first[1:]
        mixed_patches = patch_pool(method.encoder(mixed).embedding)
    upright = [dense[0].embedding, unturned(dense[1].embedding, batch.turns)]
    patches = [patch_pool(maps_) for maps_ in upright]
    expected = patch_discrimination(torch.cat([p.flatten(0, 1) for p in patches]))
    assert float(terms["patch"]) == pytest.approx(float(expected), rel=1e-4)
    target = unit(maps.share * patches[0][:1] + (1 - maps.share) * patches[0][1:], -1)
    expected = patch_discrimination(torch.cat([mixed_patches[0], target[0]]))
    assert float(terms["mixup"]) == pytest.approx(float(expected), rel=1e-4)
    clusters = [d.clusters for d in dense]
    assert clusters[0] is not None
    assert clusters[1] is not None
    both, embedding = torch.cat([clusters[0], clusters[1]]), torch.cat([d.embedding for d in dense])
    # Pooling goes over all pixels: turning back changes nothing.
    assert float(terms["region"]) == pytest.approx(10 * float(region_discrimination(both, embedding)[0]), rel=1e-4)
    assert float(terms["entropy"]) == pytest.approx(0.1 * float(cluster_entropy(both)), rel=1e-4)


def test_phase_one_leaves_the_clustering_head_alone_and_areas_are_remembered(planes: list[Plane]) -> None:
    config = load_config("paper", data=("x",), settings=["schedule.steps=2", "schedule.first_phase=0.5"])
    encoder = build_encoder(CONFIGURATIONS["ld-paper"], 0)
    tables = {"weights": config.weights, "losses": config.losses}
    trainer = Trainer(build_method("ld-paper", encoder, config.schedule, tables), config.schedule)
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    trainer.advance(_batch(planes))
    moved = {name for name, value in encoder.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {"encoder", "trunk", "embedding"}
    optimizer = trainer.optimizers["model"]
    trainer.advance(_batch(planes, seed=1))
    assert trainer.optimizers["model"] is not optimizer
    areas = trainer.method.networks["areas"].get_buffer("areas")
    assert float(areas.sum()) == pytest.approx(1, abs=1e-3)
    assert float((areas - 1 / 16).abs().max()) > 0


def test_cost_of_the_published_network() -> None:
    encoder = build_encoder(CONFIGURATIONS["ld-paper"], 0).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.levels(torch.empty(1, 3, 448, 448, device="meta"))
    assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(12.46, abs=0.01)  # multiply-adds


class _Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


@pytest.mark.parametrize("name", ["ld", "ld-paper"])
def test_no_term_makes_the_product_of_clusters_and_embedding(name: str, planes: list[Plane]) -> None:
    config = load_config("quick", data=("x",), settings=["losses.points=32"])
    encoder = build_encoder(CONFIGURATIONS["fast" if name == "ld" else "ld-paper"], 0)
    method = build_method(name, encoder, config.schedule, {"weights": config.weights, "losses": config.losses})
    extras = ViewExtras(method.view_extras)
    batch = view_maker(ViewParams(size=64), 0.5, 0.25, extras=extras)(
        [(planes[0], planes[1])], np.random.default_rng(0)
    )
    context = method.context(batch)
    (embedding, clusters) = (
        (context["full_maps"].embedding, context["full_maps"].clusters)
        if name == "ld-paper"
        else (torch.cat(context["passed"].embedding), torch.cat(context["passed"].clusters))
    )
    with _Largest() as largest:
        terms = method.terms(context, method.phases[1].groups[0])
        torch.stack(list(terms.values())).sum().backward()
    assert largest.numbers < embedding.numel() * clusters.shape[1] / 2


def test_prototypes_of_a_full_resolution_network(planes: list[Plane]) -> None:
    encoder = build_encoder(CONFIGURATIONS["ld-paper"], 0).eval()
    dataset = Dataset((Group("x", tuple(planes), 1.0),))
    maker = ViewMaker(ViewParams(size=64, fine_share=0.0), 0.5, 0.25)
    prototypes, areas = prototypes_and_areas(encoder, dataset, maker, 0, batches=1)
    assert prototypes.shape == (16, 32)
    assert float(areas.sum()) == pytest.approx(1, abs=1e-4)


def test_pooling_can_favour_the_centre_of_a_patch() -> None:
    maps = unit(torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)))
    window = patch_window(maps, 2, "gauss")
    assert window is not None
    assert float(window.sum()) == pytest.approx(1)
    line = np.exp(-0.5 * ((np.arange(8) - 3.5) / 1.6) ** 2)
    np.testing.assert_allclose(window, np.outer(line, line) / line.sum() ** 2, rtol=1e-5)
    pooled = patch_pool(maps, 2, window)
    expected = unit((maps[0, :, :8, 8:] * window).sum((1, 2)), 0)
    torch.testing.assert_close(pooled[0, 1], expected)
    assert patch_window(maps, 2, "mean") is None
    with pytest.raises(ValueError, match=r"unknown pooling 'max'.*mean, gauss"):
        patch_window(maps, 2, "max")


@pytest.mark.parametrize("name", ["ld", "ld-paper"])
def test_both_kinds_of_ld_take_the_centred_pooling(name: str, planes: list[Plane], tmp_path: Path) -> None:
    values = []
    for pooling in ("mean", "gauss"):
        config = load_config("quick", data=("x",), settings=[f"losses.center_pool={pooling}", "losses.grid=2"])
        encoder = build_encoder(CONFIGURATIONS["fast"], 0).eval()
        tables = {"weights": Weights(mixup=1.0), "losses": config.losses}
        method = build_method(name, encoder, config.schedule, tables).eval()
        extras = ViewExtras(method.view_extras, store=Store(tmp_path))
        maker = view_maker(ViewParams(size=64, fine_share=0.0), 0.5, 0.25, extras=extras)
        with torch.no_grad():
            context = method.context(maker([(planes[0], planes[1])], np.random.default_rng(0)))
            values.append(
                [float(method.objectives[term](context)) for term in ("patch", *(["mixup"] if name != "ld" else []))]
            )
    assert values[0] != values[1]
    assert np.isfinite(values).all()


def test_what_is_missing_is_said(planes: list[Plane]) -> None:
    method = _paper_method()
    plain = ViewMaker(ViewParams(size=64), 0.5, 0.25)([(planes[0], planes[1])], np.random.default_rng(0))
    with pytest.raises(ValueError, match="ask the view maker for 'turns'"):
        full_maps(method.context(plain))
    bare: DenseEncoder = build_encoder(CONFIGURATIONS["ld-paper"], 0)
    bare.network.clustering = None
    without = Method({"encoder": bare}, method.providers, method.objectives, ())
    with pytest.raises(ValueError, match="no clustering head"):
        full_maps(without.context(_batch(planes)))
    assert {"ld", "ld-paper"} <= set(METHODS)
    assert build_ld(bare, load_config("quick", data=("x",)).schedule, Weights(), LDParams()).view_extras == frozenset()
    assert PublishedPatches(8, 0.1, "mean").needs == PublishedMixup(8, 0.1, "mean").needs
