"""Detectors of known patterns, and settings that make no sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ld.adaptation import AdaptParams, Lessons, Surroundings
from napari_ld.errors import ConfigError


def taught(parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> Lessons:
    lessons = Lessons(parts[0][0].shape[1])
    for part in parts:
        lessons.add(*part)
    return lessons


def some_lessons(seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Three examples: channel 0 says what is wanted, channel 1 misleads, the others are noise."""
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for _ in range(3):
        wanted = torch.rand(50, generator=rng)
        noise = torch.randn(50, 6, generator=rng) * 0.1
        noise[:, 0] += wanted
        example = torch.zeros(6)
        example[0] = 1.0
        parts.append((noise, wanted, example))
    return parts


def test_surroundings_fill_a_disc_around_the_example() -> None:
    around = Surroundings(reach=5.0, step=2.5, sigma=2.0)
    distances = np.hypot(*around.offsets.T)
    assert len(around.offsets) == 13  # of the 5 x 5 grid, those within the disc
    assert distances.max() <= 5.0
    assert around.bell == pytest.approx(np.exp(-(distances**2) / 8))
    assert around.bell[distances == 0] == pytest.approx([1.0])


def test_detector_is_ridge_regression_over_all_lessons_scaled_to_the_examples() -> None:
    parts, ridge = some_lessons(), 0.01
    detector = taught(parts).detector(ridge)
    x = torch.cat([part[0] for part in parts]).double().numpy()
    y = torch.cat([part[1] for part in parts]).double().numpy()
    examples = torch.stack([part[2] for part in parts]).double().numpy()
    centred = x - x.mean(0)
    penalty = ridge * centred.var(0).sum() * len(x)
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(6), centred.T @ (y - y.mean()))
    weights /= ((examples - x.mean(0)) @ weights).mean()
    assert detector.weights.numpy() == pytest.approx(weights, rel=1e-4, abs=1e-6)
    assert detector(torch.from_numpy(examples).float()).mean().item() == pytest.approx(1.0, abs=1e-5)
    assert detector(torch.from_numpy(x.mean(0, keepdims=True)).float()).item() == pytest.approx(0.0, abs=1e-5)


def test_detector_finds_the_channel_that_tells() -> None:
    detector = taught(some_lessons()).detector(1e-4)
    assert detector.weights.abs().argmax().item() == 0
    assert detector.weights[1:].abs().max() < 0.2 * detector.weights[0]


def test_order_of_lessons_does_not_matter() -> None:
    parts = some_lessons()
    forward, backward = taught(parts).detector(0.1), taught(parts[::-1]).detector(0.1)
    assert forward.weights.numpy() == pytest.approx(backward.weights.numpy(), abs=1e-6)


def test_nothing_is_answered_where_nothing_can_be_learnt() -> None:
    flat = torch.ones(20, 4)
    wanted = torch.linspace(0, 1, 20)
    assert torch.equal(taught([(flat, wanted, flat[0])]).detector(0.1)(flat), torch.zeros(20))
    assert torch.equal(Lessons(4).detector(0.1)(flat), torch.zeros(20))


@pytest.mark.parametrize("values", [(0.0, 1.0, 1.0), (2.0, 3.0, 1.0), (2.0, 0.0, 1.0), (2.0, 1.0, 0.0)])
def test_surroundings_that_make_no_sense(values: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="expected a sigma above 0"):
        Surroundings(*values)


@pytest.mark.parametrize("values", [{"ridge": 0.0}, {"weight": -1.0}])
def test_settings_that_make_no_sense(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected a ridge above 0"):
        AdaptParams(**values)
