"""Every loss term against the oracles of the method's specification and a naive re-derivation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_ld.model.encoder import unit
from src_train.losses.mixup import hypersphere_mixup, mixup_target
from src_train.losses.mutual import mutual_matches
from src_train.losses.patch import patch_discrimination, patch_pool
from src_train.losses.pixel import bilinear_shares, pixel_contrast
from src_train.losses.region import cluster_balance, cluster_entropy, region_discrimination, region_vectors


def _random_units(*shape: int, seed: int = 0) -> Tensor:
    return unit(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), -1)


def _naive_patch_loss(z: np.ndarray, tau: float = 0.1) -> float:
    count = len(z)
    total = 0.0
    for i in range(count):
        partner = (i + count // 2) % count
        scores = {m: math.exp(float(z[i] @ z[m]) / tau) for m in range(count) if m != i}
        whole = sum(scores.values())
        total += math.log(scores[partner] / whole)
        total += sum(math.log(1 - score / whole) for m, score in scores.items() if m != partner)
    return -total / count


@pytest.mark.parametrize(("count", "expected"), [(1024, 7.93001), (512, 7.23539)])
def test_patch_loss_of_equal_vectors(count: int, expected: float) -> None:
    vectors = torch.zeros(count, 32)
    vectors[:, 0] = 1
    assert patch_discrimination(vectors).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("count", "low", "high"), [(1024, 9.3, 9.6), (512, 8.6, 8.9)])
def test_patch_loss_of_independent_vectors(count: int, low: float, high: float) -> None:
    assert low < patch_discrimination(_random_units(count, 32)).item() < high


@pytest.mark.parametrize(("count", "expected"), [(1024, 0.36), (512, 0.19)])
def test_patch_loss_of_identical_partners(count: int, expected: float) -> None:
    half = _random_units(count // 2, 32)
    assert patch_discrimination(torch.cat([half, half])).item() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        ([(1, 0), (0, 1), (1, 0), (0, 1)], 1.81589e-4),
        ([(1, 0), (0, 1), (0, 1), (1, 0)], 19.30708),
        ([(1, 0), (0, 1), (0.6, 0.8), (0.8, -0.6)], 13.12540),
    ],
)
def test_patch_loss_of_four_vectors(vectors: list[tuple[float, float]], expected: float) -> None:
    assert patch_discrimination(torch.tensor(vectors, dtype=torch.float32)).item() == pytest.approx(expected, rel=2e-3)


def test_patch_loss_equals_the_naive_formula() -> None:
    vectors = _random_units(12, 5, seed=3)
    assert patch_discrimination(vectors).item() == pytest.approx(_naive_patch_loss(vectors.double().numpy()), rel=1e-4)


def test_patch_loss_is_finite_for_perfect_partners() -> None:
    vectors = torch.eye(8).repeat(2, 1).requires_grad_()
    loss = patch_discrimination(vectors, temperature=0.01)
    loss.backward()
    assert torch.isfinite(loss)
    assert vectors.grad is not None
    assert bool(torch.isfinite(vectors.grad).all())


def test_patch_gradient_is_that_of_its_own_row() -> None:
    """All other rows are constants for z_i: the second factor is detached."""
    vectors = _random_units(8, 4, seed=1)
    together = vectors.clone().requires_grad_()
    patch_discrimination(together).backward()
    row = vectors[2].clone().requires_grad_()
    scores = row @ vectors.T / 0.1
    p = torch.softmax(scores[torch.arange(8) != 2], 0)
    names = [m for m in range(8) if m != 2]
    own = -(p[names.index(6)].log() + sum((1 - p[i]).log() for i, m in enumerate(names) if m != 6)) / 8
    own.backward()
    assert together.grad is not None
    assert row.grad is not None
    torch.testing.assert_close(together.grad[2], row.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("count", [2, 7])
def test_patch_loss_refuses_odd_numbers(count: int) -> None:
    with pytest.raises(ValueError, match="even number of at least 4"):
        patch_discrimination(torch.ones(count, 3))


def test_patch_pool_is_the_mean_of_each_cell() -> None:
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pooled = patch_pool(maps, grid=4)
    expected = unit(maps[1, :, 2:4, 4:6].mean((1, 2)), 0)
    torch.testing.assert_close(pooled[1, 1 * 4 + 2], expected)
    torch.testing.assert_close(patch_pool(maps, 4, torch.full((2, 2), 0.25)), pooled)
    torch.testing.assert_close(patch_pool(maps, 4, torch.ones(2, 8, 8)), pooled)


def test_patch_pool_refuses_sizes_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="cannot be split"):
        patch_pool(torch.ones(1, 2, 9, 8), 4)


@pytest.mark.parametrize(("share", "expected"), [(0.5, (0.70711, 0.70711)), (0.2, (0.24254, 0.97014))])
def test_mixup_target(share: float, expected: tuple[float, float]) -> None:
    first, second = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    target = mixup_target(first, second, torch.tensor([share]))
    torch.testing.assert_close(target[0, 0], torch.tensor(expected), atol=1e-5, rtol=0)


def test_mixup_of_equal_vectors_and_where_its_gradient_goes() -> None:
    same = torch.zeros(4, 64, 32)
    same[..., 0] = 1
    share = torch.full((4,), 0.4)
    assert hypersphere_mixup(same, same, same, share).item() == pytest.approx(7.23539, abs=1e-4)
    mixed, first = _random_units(2, 4, 6).requires_grad_(), _random_units(2, 4, 6, seed=1).requires_grad_()
    hypersphere_mixup(mixed, first, first, torch.tensor([0.3, 0.7])).backward()
    assert first.grad is None
    assert mixed.grad is not None
    assert float(mixed.grad.abs().sum()) > 0


@pytest.mark.parametrize(("clusters", "expected"), [(16, math.log(16)), (8, math.log(8))])
def test_region_loss_of_collapsed_regions(clusters: int, expected: float) -> None:
    embedding = torch.zeros(3, 5, 4, 4)
    embedding[:, 0] = 1
    maps = torch.full((3, clusters, 4, 4), 1 / clusters)
    assert region_discrimination(maps, embedding)[0].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("clusters", "expected"), [(16, 0.09628), (8, 0.04609)])
def test_region_loss_of_orthogonal_regions(clusters: int, expected: float) -> None:
    embedding = torch.eye(clusters)[None, :, :, None].repeat(2, 1, 1, 1)
    maps = torch.eye(clusters)[None, :, :, None].repeat(2, 1, 1, 1)
    assert region_discrimination(maps, embedding)[0].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("clusters", "expected"), [(16, 0.06992), (8, 0.02283)])
def test_region_loss_at_its_minimum(clusters: int, expected: float) -> None:
    simplex = unit(torch.eye(clusters) - 1 / clusters, 1)
    maps = torch.eye(clusters)[None, :, :, None]
    assert region_discrimination(maps, simplex.T[None, :, :, None])[0].item() == pytest.approx(expected, abs=1e-4)


def test_region_vectors_equal_the_naive_product_and_prototypes_carry_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    clusters = torch.rand(2, 3, 4, 4, generator=generator)
    embedding = torch.randn(2, 5, 4, 4, generator=generator).requires_grad_()
    naive = unit((clusters[:, :, None] * embedding[:, None]).mean((3, 4)), -1)
    torch.testing.assert_close(region_vectors(clusters, embedding), naive, atol=1e-5, rtol=0)
    _, prototypes = region_discrimination(clusters, embedding)
    prototypes[0, 0].backward()
    assert embedding.grad is not None
    assert float(embedding.grad.abs().sum()) > 0


def test_region_loss_does_not_mind_the_order_of_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    clusters, embedding = torch.rand(2, 4, 4, 4, generator=generator), torch.randn(2, 5, 4, 4, generator=generator)
    order = torch.tensor([2, 0, 3, 1])
    first, second = (region_discrimination(c, embedding)[0] for c in (clusters, clusters[:, order]))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(("clusters", "expected"), [(16, 0.33729), (8, 0.54356)])
def test_entropy(clusters: int, expected: float) -> None:
    assert cluster_entropy(torch.full((1, clusters, 3, 3), 1 / clusters)).item() == pytest.approx(expected, abs=1e-5)
    one_hot = torch.eye(clusters)[None, :, :, None]
    assert cluster_entropy(one_hot).item() == pytest.approx(0, abs=1e-5)


def test_balance_is_zero_for_equal_areas_and_log_k_for_one_channel() -> None:
    assert cluster_balance(torch.full((1, 8, 2, 2), 1 / 8)).item() == pytest.approx(0, abs=1e-6)
    single = torch.zeros(1, 8, 2, 2)
    single[:, 0] = 1
    assert cluster_balance(single).item() == pytest.approx(math.log(8), abs=1e-5)


def test_bilinear_shares_sum_to_one_and_lie_in_the_map() -> None:
    target = torch.tensor([[[1.25, 0.5], [-3.0, 9.0], [3.0, 2.0]]])
    index, share = bilinear_shares(target, 3, 4)
    torch.testing.assert_close(share.sum(-1), torch.ones(1, 3))
    assert index.min() >= 0
    assert index.max() < 12
    centre = sum(float(s) * np.array([int(i) % 4, int(i) // 4]) for i, s in zip(index[0, 0], share[0, 0], strict=True))
    np.testing.assert_allclose(centre, [1.25, 0.5], atol=1e-6)


def test_pixel_contrast_equals_cross_entropy_on_a_cell_centre() -> None:
    queries, keys = _random_units(1, 2, 6), _random_units(1, 3, 4, 6, seed=1).permute(0, 3, 1, 2)
    target = torch.tensor([[[2.0, 1.0], [0.0, 2.0]]])
    loss = pixel_contrast(queries, keys, target, torch.ones(1, 2), 0.1)
    logits = torch.einsum("pd,dhw->phw", queries[0], keys[0]).flatten(1) / 0.1
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([1 * 4 + 2, 2 * 4 + 0]))
    torch.testing.assert_close(loss, expected)


def test_pixel_contrast_without_points_is_zero_and_spread_drops_neighbours() -> None:
    queries, keys = _random_units(1, 1, 6), _random_units(1, 5, 5, 6, seed=1).permute(0, 3, 1, 2)
    target = torch.tensor([[[2.0, 2.0]]])
    assert pixel_contrast(queries, keys, target, torch.zeros(1, 1), 0.1).item() == 0
    logits = torch.einsum("d,dhw->hw", queries[0, 0], keys[0]) / 0.1
    far = torch.ones(5, 5, dtype=torch.bool)
    far[1:4, 1:4] = False
    far[2:4, 2:4] = True  # the four cells that share the truth stay
    expected = torch.logsumexp(logits[far], 0) - logits[2, 2]
    loss = pixel_contrast(queries, keys, target, torch.ones(1, 1), 0.1, spread=1)
    torch.testing.assert_close(loss, expected)


def test_mutual_matches_find_a_known_shift_and_reject_noise() -> None:
    maps = unit(torch.randn(24, 20, 20, generator=torch.Generator().manual_seed(0)), 0)
    moved = torch.roll(maps, (2, -3), (1, 2))  # rows down by 2, columns left by 3
    everywhere = torch.ones(20, 20, dtype=torch.bool)
    found = mutual_matches(maps, moved, everywhere, everywhere)
    source = torch.stack([found.cells % 20, found.cells // 20], -1).float()
    inner = ((source > 5) & (source < 15)).all(-1)
    error = (found.target - source - torch.tensor([-3.0, 2.0]))[inner].norm(dim=-1)
    assert found.agreement > 0.4
    assert float(error.max()) < 0.5
    noise = unit(torch.randn(24, 20, 20, generator=torch.Generator().manual_seed(1)), 0)
    assert mutual_matches(maps, noise, everywhere, everywhere).agreement < 0.25
