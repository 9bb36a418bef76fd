"""The region contrast of the LRC objective: oracles, the naive formula, and which cells may be drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_ld.model.encoder import unit
from src_train.losses.localized import contrastive_sampling, draw_regions, localized_contrast, shared_regions


def _units(*shape: int, seed: int = 0) -> Tensor:
    return unit(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), -1)


def _one_hot(regions: int, cells: int) -> Tensor:
    return torch.eye(regions)[:, None].expand(-1, cells, -1)


@pytest.mark.parametrize(("regions", "expected"), [(8, 4.7274), (16, 5.4848)])
def test_equal_features(regions: int, expected: float) -> None:
    same = torch.zeros(regions, 16, 4)
    same[..., 0] = 1
    assert contrastive_sampling(same, same).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("regions", "expected"), [(8, 0.005072), (16, 0.010837)])
def test_perfect_features(regions: int, expected: float) -> None:
    perfect = _one_hot(regions, 16)
    assert contrastive_sampling(perfect, perfect).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("regions", [8, 16])
def test_every_query_equal_to_another_region(regions: int) -> None:
    perfect = _one_hot(regions, 16)
    assert contrastive_sampling(perfect.roll(1, 0), perfect).item() == pytest.approx(12.773, abs=2e-3)


def test_independent_features() -> None:
    assert 5.4 < contrastive_sampling(_units(8, 16, 64), _units(8, 16, 64, seed=1)).item() < 5.55


def test_naive_formula_with_pairs_left_out() -> None:
    queries, keys = _units(4, 3, 5), _units(4, 3, 5, seed=1)
    ignore = torch.zeros(4, 4, dtype=torch.bool)
    ignore[0, 2] = ignore[2, 0] = True
    q, k = queries.double().numpy(), keys.double().numpy()
    total = 0.0
    for i in range(4):
        for p in range(3):
            others = [j for j in range(4) if j != i and not ignore[i, j]]
            negative = sum(np.exp(q[i, p] @ k[j, s] / 0.1) for j in others for s in range(3))
            for r in range(3):
                positive = np.exp(q[i, p] @ k[i, r] / 0.1)
                total -= np.log(positive / (positive + negative)) / (4 * 3 * 3)
    assert contrastive_sampling(queries, keys, 0.1, ignore).item() == pytest.approx(total, rel=1e-5)


def test_pooled_keys_are_the_mean_of_the_region() -> None:
    queries, keys = _units(4, 3, 5), _units(4, 3, 5, seed=1)
    pooled = unit(keys.mean(1), -1)
    scores = torch.einsum("ipc,jc->ipj", queries, pooled) / 0.1
    index = torch.arange(4)
    expected = (scores.logsumexp(2) - scores[index, :, index]).mean()
    torch.testing.assert_close(contrastive_sampling(queries, keys, pooled=True), expected)


def test_the_order_of_regions_does_not_matter_and_keys_receive_no_gradient() -> None:
    queries, keys = _units(5, 3, 6).requires_grad_(), _units(5, 3, 6, seed=1).requires_grad_()
    order = torch.tensor([3, 0, 4, 1, 2])
    loss = contrastive_sampling(queries, keys)
    torch.testing.assert_close(loss, contrastive_sampling(queries[order], keys[order]))
    loss.backward()
    assert keys.grad is None
    assert queries.grad is not None


def test_only_regions_of_both_views_with_enough_cells() -> None:
    first, second = torch.full((6, 6), -1), torch.full((6, 6), -1)
    first[0], second[5] = 7, 7  # in both
    first[1], second[1, :3] = 2, 2  # too few cells in view 2
    first[2], second[2] = 4, 5  # each in one view only
    assert shared_regions(first, second).tolist() == [7]
    assert draw_regions(first, second, 4, 4, torch.Generator()) is None


def test_drawn_cells_belong_to_their_region() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(-1, 5, (12, 12), generator=generator)
    second = torch.randint(-1, 5, (12, 12), generator=generator)
    drawn = draw_regions(first, second, 3, 40, generator)
    assert drawn is not None
    assert len(drawn.ids.unique()) == 3
    assert int(drawn.ids.min()) >= 0
    for labels, cells in ((first, drawn.first), (second, drawn.second)):
        assert bool((labels.flatten()[cells] == drawn.ids[:, None]).all())


def test_an_image_without_shared_regions_is_skipped() -> None:
    queries = unit(torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    labels = torch.arange(36).reshape(6, 6) // 12
    drawn = draw_regions(labels, labels, 3, 4, torch.Generator().manual_seed(1))
    alone = localized_contrast(queries[:1], queries[:1], [drawn])
    torch.testing.assert_close(localized_contrast(queries, queries, [drawn, None]), alone)
    loss = localized_contrast(queries, queries, [None, None])
    loss.backward()
    assert loss.item() == 0
    assert queries.grad is not None
    assert float(queries.grad.abs().sum()) == 0
