"""Heads beside the encoder: sizes, shapes, and what must not be shared."""

from __future__ import annotations

import pytest
import torch

from src_train.networks.discriminator import PatchDiscriminator
from src_train.networks.projectors import DenseProjector, GlobalProjector, predictor
from src_train.networks.restorer import Restorer


@pytest.mark.parametrize(("nd", "expected"), [(2, 1_554_433), (3, 4_661_377)])
def test_discriminator_parameters(nd: int, expected: int) -> None:
    assert sum(p.numel() for p in PatchDiscriminator(nd).parameters()) == expected


def test_discriminator_scores_patches() -> None:
    network = PatchDiscriminator()
    assert network(torch.zeros(1, 1, 224, 224)).shape == (1, 1, 28, 28)
    assert network(torch.rand(2, 1, 64, 64)).shape == (2, 1, 8, 8)
    weights = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim == 4])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.02)
    with pytest.raises(ValueError, match="4 dimensions"):
        PatchDiscriminator(4)


def test_restorer_reaches_full_resolution_and_stays_in_range() -> None:
    levels = [torch.randn(2, 8, 16 // 2**i, 16 // 2**i) for i in range(3)]
    restored = Restorer((8, 8, 8), stride=4)(levels)
    assert restored.shape == (2, 1, 64, 64)
    assert 0 <= float(restored.detach().min()) <= float(restored.detach().max()) <= 1
    assert Restorer((8,), stride=1)(levels[:1]).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="power of 2"):
        Restorer((8,), stride=6)


def test_global_projector_averages_every_level() -> None:
    levels = [torch.randn(4, 3, 8, 8), torch.randn(4, 5, 4, 4)]
    projector = GlobalProjector((3, 5), (16, 6), normalised=True, last_normalised=True)
    assert projector(levels).shape == (4, 6)
    shuffled = [level.flatten(2)[..., torch.randperm(level[0, 0].numel())].reshape(level.shape) for level in levels]
    torch.testing.assert_close(projector(shuffled), projector(levels), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(projector(levels).mean(0), torch.zeros(6), atol=1e-5, rtol=0)


def test_dense_projector_gives_unit_vectors_and_the_predictor_its_own_width() -> None:
    maps = DenseProjector(8, 16, 5)(torch.randn(2, 8, 3, 4))
    assert maps.shape == (2, 5, 3, 4)
    torch.testing.assert_close(maps.norm(dim=1), torch.ones(2, 3, 4))
    assert predictor(6, 3)(torch.randn(4, 6)).shape == (4, 6)
