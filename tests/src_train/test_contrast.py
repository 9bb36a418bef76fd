"""Global and dense contrast, restoration and the adversarial game: oracles and naive re-derivations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_ld.model.encoder import unit
from src_train.losses.adversarial import GAMES, discriminate, fool
from src_train.losses.barlow import barlow_twins, cross_correlation, redundancy
from src_train.losses.dense import best_cells, dense_contrast
from src_train.losses.queue import queue_contrast
from src_train.losses.restoration import DISTANCES, restoration
from src_train.losses.simsiam import simsiam


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _units(*shape: int, seed: int = 0) -> Tensor:
    return unit(_random(*shape, seed=seed), -1)


def test_queue_contrast_of_equal_vectors() -> None:
    same = torch.zeros(2, 4)
    same[:, 0] = 1
    loss = queue_contrast(same, same, same[:1].expand(65536, -1))
    assert loss.item() == pytest.approx(11.0904, abs=1e-4)


def test_queue_contrast_equals_the_naive_formula() -> None:
    queries, keys, queue = _units(5, 7), _units(5, 7, seed=1), _units(11, 7, seed=2)
    total = 0.0
    for query, key in zip(queries.double().numpy(), keys.double().numpy(), strict=True):
        scores = [math.exp(float(query @ other) / 0.2) for other in (key, *queue.double().numpy())]
        total -= math.log(scores[0] / sum(scores)) / 5
    assert queue_contrast(queries, keys, queue).item() == pytest.approx(total, rel=1e-5)


def test_only_the_queries_receive_a_gradient() -> None:
    queries, keys, queue = (_units(3, 4, seed=seed).requires_grad_() for seed in range(3))
    queue_contrast(queries, keys, queue).backward()
    assert keys.grad is None
    assert queue.grad is None
    assert queries.grad is not None


def test_simsiam_of_agreeing_views_and_naive_formula() -> None:
    z = _random(4, 6)
    assert simsiam((z, z), (z, z)).item() == pytest.approx(-1, abs=1e-6)
    p1, p2, z1, z2 = (_random(4, 6, seed=seed).numpy() for seed in range(4))

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]))

    tensors = [torch.from_numpy(x) for x in (p1, p2, z1, z2)]
    loss = simsiam((tensors[0], tensors[1]), (tensors[2], tensors[3]))
    assert loss.item() == pytest.approx(-(cosine(p1, z2) + cosine(p2, z1)) / 2, abs=1e-6)


def test_simsiam_is_symmetric_and_stops_the_gradient_of_the_projections() -> None:
    p, z = [_random(4, 6, seed=s).requires_grad_() for s in (0, 1)], [_random(4, 6, seed=s) for s in (2, 3)]
    z[0].requires_grad_()
    loss = simsiam((p[0], p[1]), (z[0], z[1]))
    torch.testing.assert_close(loss, simsiam((p[1], p[0]), (z[1], z[0])))
    loss.backward()
    assert z[0].grad is None
    assert p[0].grad is not None


def test_barlow_oracles() -> None:
    assert redundancy(torch.eye(6)).item() == pytest.approx(0, abs=1e-6)
    assert redundancy(torch.ones(6, 6)).item() == pytest.approx(0.0051 * 6 * 5, rel=1e-5)


def test_barlow_equals_numpy_and_is_symmetric() -> None:
    first, second = _random(16, 5), _random(16, 5, seed=1)
    expected = np.corrcoef(first.numpy().T, second.numpy().T)[:5, 5:]
    np.testing.assert_allclose(cross_correlation(first, second), expected, atol=1e-4)
    naive = sum((1 - expected[i, i]) ** 2 for i in range(5))
    naive += 0.0051 * sum(expected[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    assert barlow_twins(first, second).item() == pytest.approx(naive, rel=1e-3)
    torch.testing.assert_close(barlow_twins(first, second), barlow_twins(second, first))


def test_barlow_of_a_constant_dimension_is_finite_and_one_item_is_refused() -> None:
    constant = torch.ones(4, 3, requires_grad=True)
    loss = barlow_twins(constant, constant)
    loss.backward()
    assert loss.item() == pytest.approx(3)
    assert bool(torch.isfinite(constant.grad).all()) if constant.grad is not None else False
    with pytest.raises(ValueError, match="at least 2"):
        barlow_twins(torch.ones(1, 3), torch.ones(1, 3))


def test_dense_contrast_of_equal_vectors() -> None:
    same = torch.zeros(2, 4, 3, 3)
    same[:, 0] = 1
    queue = torch.zeros(1, 4)
    queue[:, 0] = 1
    loss = dense_contrast(same, same, same, same, queue.expand(65536, -1))
    assert loss.item() == pytest.approx(11.0904, abs=1e-4)


def test_dense_contrast_finds_moved_cells_and_equals_the_naive_formula() -> None:
    features, queries = _random(1, 8, 3, 3), unit(_random(1, 5, 3, 3, seed=1))
    moved, keys = torch.roll(features, 1, 3), unit(torch.roll(queries, 1, 3) + 0.1 * _random(1, 5, 3, 3, seed=2))
    expected = [(row * 3 + (column + 1) % 3) for row in range(3) for column in range(3)]
    assert best_cells(features, moved)[0].tolist() == expected
    queue = _units(7, 5, seed=3)
    flat = [x[0].flatten(1).T for x in (queries, keys)]
    naive = queue_contrast(flat[0], flat[1][expected], queue)
    torch.testing.assert_close(dense_contrast(features, moved, queries, keys, queue), naive)


@pytest.mark.parametrize(("distance", "expected"), [("mse", 0.25), ("l1", 0.5)])
def test_restoration(distance: str, expected: float) -> None:
    clean = torch.zeros(2, 1, 4, 4, requires_grad=True)
    restored = torch.full((2, 1, 4, 4), 0.5, requires_grad=True)
    loss = restoration(restored, clean, distance)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert clean.grad is None
    first, second = _random(2, 1, 3, 3).numpy(), _random(2, 1, 3, 3, seed=1).numpy()
    naive = np.mean(np.abs(first - second) ** (2 if distance == "mse" else 1))
    assert restoration(torch.from_numpy(first), torch.from_numpy(second), distance).item() == pytest.approx(
        float(naive)
    )


def test_restoration_refuses_unknown_distances_and_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"unknown distance 'l3'.*mse, l1"):
        restoration(torch.ones(1), torch.ones(1), "l3")
    with pytest.raises(ValueError, match="differ in shape"):
        restoration(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 2, 2))
    assert set(DISTANCES) == {"mse", "l1"}


@pytest.mark.parametrize(
    ("game", "score", "players", "fooling"),
    [("lsgan", 0.5, 0.25, 0.25), ("lsgan", 0.0, 0.5, 1.0), ("lsgan", 1.0, 0.5, 0.0), ("bce", 0.0, 0.693147, 0.693147)],
)
def test_adversarial_oracles(game: str, score: float, players: float, fooling: float) -> None:
    scores = torch.full((2, 1, 3, 3), score)
    assert discriminate(scores, scores, game).item() == pytest.approx(players, abs=1e-6)
    assert fool(scores, game).item() == pytest.approx(fooling, abs=1e-6)


@pytest.mark.parametrize("game", list(GAMES))
def test_adversarial_equals_the_naive_formula(game: str) -> None:
    real, fake = _random(6).double(), _random(6, seed=1).double()
    if game == "lsgan":
        expected = 0.5 * (np.mean((real.numpy() - 1) ** 2) + np.mean(fake.numpy() ** 2))
    else:
        p, q = 1 / (1 + np.exp(-real.numpy())), 1 / (1 + np.exp(-fake.numpy()))
        expected = -0.5 * (np.mean(np.log(p)) + np.mean(np.log(1 - q)))
    assert discriminate(real, fake, game).item() == pytest.approx(float(expected), rel=1e-5)


def test_unknown_game() -> None:
    with pytest.raises(ValueError, match=r"unknown adversarial loss 'wgan'.*lsgan, bce"):
        fool(torch.ones(1), "wgan")
