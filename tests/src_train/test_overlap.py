"""Losses of segmentation against naive re-derivations and the oracles of LD's protocol."""

from __future__ import annotations

import math

import pytest
import torch

from src_train.losses.overlap import cross_entropy, published_dice, soft_dice

BIG = 60.0


@pytest.mark.parametrize("outputs", [1, 3])
def test_against_loops_with_pixels_that_do_not_count(outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, outputs, 5, 6, generator=generator)
    labels = max(1, outputs - 1)
    target = torch.randint(-1, labels + 1, (2, 5, 6), generator=generator)
    shares = torch.sigmoid(logits) if outputs == 1 else torch.softmax(logits, 1)[:, 1:]
    overlap, entropy = [], []
    for k in range(labels):
        both = own = there = 0.0
        for b in range(2):
            for i in range(5):
                for j in range(6):
                    if target[b, i, j] >= 0:
                        p, t = float(shares[b, k, i, j]), float(target[b, i, j] == k + 1)
                        both, own, there = both + p * t, own + p, there + t
        overlap.append((2 * both + 1) / (own + there + 1))
    for b in range(2):
        for i in range(5):
            for j in range(6):
                value = int(target[b, i, j])
                if value >= 0:
                    background = 1 - float(shares[b, :, i, j].sum())
                    entropy.append(-math.log(background if value == 0 else float(shares[b, value - 1, i, j])))
    assert float(soft_dice(logits, target)) == pytest.approx(1 - sum(overlap) / labels, abs=1e-6)
    assert float(cross_entropy(logits, target)) == pytest.approx(sum(entropy) / len(entropy), abs=1e-5)


def test_a_right_answer_costs_nothing_and_nothing_that_counts_costs_nothing() -> None:
    target = torch.tensor([[[0, 1], [2, 1]]])
    logits = BIG * (torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2) - 0.5)
    assert float(soft_dice(logits, target)) == pytest.approx(0, abs=1e-6)
    assert float(cross_entropy(logits, target)) == pytest.approx(0, abs=1e-6)
    nothing = torch.full_like(target, -1)
    leaf = logits.clone().requires_grad_()
    loss = cross_entropy(leaf, nothing) + soft_dice(leaf, nothing)
    loss.backward()
    assert float(loss.detach()) == 0
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) == 0


def test_dice_of_the_protocol() -> None:
    full = torch.full((1, 1, 2, 2), BIG)
    assert float(published_dice(full, torch.ones(1, 2, 2, dtype=torch.long))) == pytest.approx(-8 / 9)
    # An empty label, rightly found empty, counts the background.
    assert float(published_dice(-full, torch.zeros(1, 2, 2, dtype=torch.long))) == pytest.approx(-8 / 9)
    assert float(published_dice(full, torch.zeros(1, 2, 2, dtype=torch.long))) == pytest.approx(0, abs=1e-6)
