"""The two networks: counts, shapes, unit length, padding, and the clustering that is not a softmax."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from napari_ld.errors import ImageError, ModelFileError
from napari_ld.model.backbones.fast import FastPyramid
from napari_ld.model.backbones.vgg_tiny import FULL, SMALL, Vgg16Bn
from napari_ld.model.encoder import (
    CONFIGURATIONS,
    DenseEncoder,
    EncoderConfig,
    PaperNetwork,
    build_encoder,
    join_levels,
    normalize_clusters,
)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("channels", "encoder"), [(3, 922_896), (1, 922_608)])
def test_parameter_counts_of_the_paper(channels: int, encoder: int) -> None:
    network = PaperNetwork(replace(CONFIGURATIONS["ld-paper"], in_channels=channels))
    assert network.clustering is not None
    counts = [_count(part) for part in (network.encoder, network.trunk, network.embedding, network.clustering)]
    assert counts == [encoder, 484_848, 18_560, 6_976]


def test_parameter_counts_of_the_variants() -> None:
    assert [_count(Vgg16Bn(3, blocks)) for blocks in (SMALL, FULL)] == [3_684_384, 14_723_136]
    assert [_count(Vgg16Bn(1, blocks)) for blocks in (SMALL, FULL)] == [3_683_808, 14_721_984]
    network = PaperNetwork(replace(CONFIGURATIONS["ld-paper"], clusters=8))
    assert network.clustering is not None
    assert _count(network.clustering) == 2_912


def test_paper_pyramid_and_its_size_rule() -> None:
    encoder = Vgg16Bn(1).eval()
    pyramid = encoder(torch.zeros(1, 1, 32, 48))
    expected = [(16, 32, 48), (32, 16, 24), (64, 8, 12), (128, 4, 6), (128, 2, 3)]
    assert [tuple(level.shape[1:]) for level in pyramid] == expected
    with pytest.raises(ValueError, match="33 x 48 pixels: the network needs sizes divisible by 16"):
        encoder(torch.zeros(1, 1, 33, 48))


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_grey_or_colour(name: str, size: tuple[int, int], channels: int) -> None:
    encoder = build_encoder(CONFIGURATIONS[name], 0).eval()
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        dense = encoder(x)
    stride = encoder.config.output_stride
    assert dense.embedding.shape == (2, encoder.config.embedding_dim, -(-size[0] // stride), -(-size[1] // stride))
    torch.testing.assert_close(dense.embedding.norm(dim=1), torch.ones_like(dense.embedding[:, 0]), atol=1e-5, rtol=0)
    assert dense.clusters is not None
    assert dense.clusters.shape[2:] == dense.embedding.shape[2:]
    assert float(dense.clusters.min()) >= 0
    torch.testing.assert_close(dense.clusters.sum(1), torch.ones_like(dense.clusters[:, 0]), atol=1e-6, rtol=1e-6)


def test_grey_equals_grey_in_three_channels() -> None:
    encoder = build_encoder(EncoderConfig(), 0).eval()
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x).embedding, encoder(x.expand(-1, 3, -1, -1)).embedding)


@pytest.mark.parametrize("shape", [(1, 2, 32, 32), (1, 4, 32, 32)])
def test_wrong_channels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="channels: this encoder takes 1 or 3"):
        build_encoder(EncoderConfig(), 0)(torch.zeros(shape))


def test_no_pixels() -> None:
    with pytest.raises(ImageError, match="0 x 5 pixels"):
        build_encoder(EncoderConfig(), 0)(torch.zeros(1, 1, 0, 5))


def test_clustering_is_not_a_softmax() -> None:
    logits = torch.full((1, 16, 1, 1), -20.0)
    logits[0, 0], logits[0, 1] = 10.0, 0.0
    assert float(normalize_clusters(logits)[0, 0]) == pytest.approx(0.66666, abs=1e-4)


def test_product_of_joined_vectors_is_the_mean_cosine_of_the_levels() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(1, 3, 8, 8, generator=generator), torch.randn(1, 5, 4, 4, generator=generator)]
    joined = join_levels(levels)[0].flatten(1)
    raised = nn.functional.interpolate(levels[1], size=(8, 8), mode="bilinear", align_corners=False)
    cosines = [
        nn.functional.cosine_similarity(level[0].flatten(1)[:, 3], level[0].flatten(1)[:, 50], dim=0)
        for level in (levels[0], raised)
    ]
    torch.testing.assert_close(joined[:, 3] @ joined[:, 50], torch.stack(cosines).mean())


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_inside_the_receptive_margin_a_crop_equals_the_whole(name: str) -> None:
    encoder = build_encoder(CONFIGURATIONS[name], 0).eval()
    margin, step, stride = encoder.receptive_margin, encoder.alignment, encoder.config.output_stride
    assert margin % step == 0
    core = 2 * step
    whole = torch.randn(1, 3, core, core + 2 * margin + 2 * step, generator=torch.Generator().manual_seed(0))
    crop = whole[..., step : step + core + 2 * margin]
    with torch.no_grad():
        a = encoder(whole).embedding[..., (step + margin) // stride : (step + margin + core) // stride]
        b = encoder(crop).embedding[..., margin // stride : (margin + core) // stride]
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_unknown_backbone() -> None:
    with pytest.raises(ModelFileError, match="unknown backbone 'resnet': this version knows fast, vgg16_bn_tiny"):
        build_encoder(EncoderConfig(backbone="resnet"))


def test_seeded_weights_leave_the_global_state_alone() -> None:
    state = torch.random.get_rng_state()
    first, again = build_encoder(EncoderConfig(), 3), build_encoder(EncoderConfig(), 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert isinstance(first, DenseEncoder)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


def test_pyramid_refuses_other_numbers_of_levels() -> None:
    with pytest.raises(ValueError, match="expected 4 level_dims and 5 widths"):
        FastPyramid(3, (32, 32))
