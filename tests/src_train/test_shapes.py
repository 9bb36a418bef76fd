"""The shape prior: masks drawn, the game, and what an encoder trained with it puts out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imsave
from torch import Tensor, nn

from napari_ld.errors import Cancelled, ConfigError
from napari_ld.model.encoder import Dense, EncoderConfig, build_encoder
from napari_ld.segmentation.shapes import shape_outputs, soft_label, uncertainty
from src_train.data.shapes import draw_shapes, load_shapes
from src_train.data.views import ViewBatch
from src_train.engine import Trainer
from src_train.methods import build_method
from src_train.methods.ld import LDParams, Weights
from src_train.networks.shape_discriminator import ShapeDiscriminator
from src_train.objectives.shapes import LookLikeShapes, ShapeParams, TellShapes, masks_like
from src_train.protocol import Method, StepContext
from src_train.schedules import Schedule

CONFIG = EncoderConfig(embedding_dim=32, level_dims=(4,) * 8, clusters=4)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three masks of crossing lines that cover about a sixteenth."""
    folder = tmp_path_factory.mktemp("masks")
    rows, columns = np.mgrid[:160, :160]
    for index, tilt in enumerate((0.1, 0.5, 0.9)):
        lines = ((rows * math.cos(tilt) + columns * math.sin(tilt)) % 80 < 2.5) | ((columns - rows * tilt) % 80 < 2.5)
        imsave(folder / f"{index}.png", lines.astype(np.uint8) * 255, check_contrast=False)
    return folder


def _method(masks: Path, name: str = "ld+shapes", **schedule: float) -> Method:
    torch.manual_seed(0)
    times = Schedule(steps=60, couples=1, warmup=1, learning_rate=5e-3, first_phase=0.0, average=0.0)
    times = replace(times, **schedule)  # type: ignore[arg-type]  # numbers of both types
    quiet = Weights(pixel=0.0, level=0.0, patch=0.2, region=1.0, entropy=0.1, balance=0.0, mutual=0.0)
    tables = {"weights": quiet, "losses": LDParams(grid=4, points=16), "shapes": ShapeParams((str(masks),), 3.0, 0.3)}
    return build_method(name, build_encoder(CONFIG, 0), times, tables)


def _batch(seed: int) -> ViewBatch:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(2, 3, 64, 64, generator=generator) for _ in range(2))
    line = torch.arange(16) * 4 + 1.5
    partner = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).expand(2, -1, -1, -1)
    inside = torch.ones(2, 16, 16, dtype=torch.bool)
    return ViewBatch(first, second, partner, inside, inside, inside)


def test_the_discriminator_is_the_published_one() -> None:
    network = ShapeDiscriminator()
    assert sum(p.numel() for p in network.parameters()) == 52_129
    with torch.no_grad():
        assert network.features(torch.rand(1, 1, 448, 448)).shape == (1, 32, 10, 10)
        assert network(torch.rand(3, 1, 64, 64)).shape == (3,)
        assert network(torch.rand(2, 1, 5, 9)).shape == (2,)
        linear = ShapeDiscriminator(leaky_slope=1.0).features(torch.zeros(1, 1, 16, 16))
    assert linear.shape == (1, 32, 4, 4)
    with pytest.raises(ValueError, match=r"maps of \(4, 4\) cells: expected 5 or more"):
        network(torch.rand(1, 1, 4, 4))


def test_masks_are_drawn_from_the_seed_alone_and_keep_their_area(masks: Path) -> None:
    shapes = load_shapes([str(masks)])
    drawn = draw_shapes(shapes, 40, 96, torch.Generator().manual_seed(3))
    assert drawn.shape == (40, 1, 96, 96)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn, draw_shapes(shapes, 40, 96, torch.Generator().manual_seed(3)))
    assert not torch.equal(drawn[0], drawn[1])
    area = float(torch.stack([shape.mean() for shape in shapes]).mean())
    # Turned squares lose their corners, and low levels thicken lines.
    assert 0.6 * area < float(drawn.mean()) < 2 * area
    full = draw_shapes([torch.ones(1, 50, 50)], 6, 64, torch.Generator().manual_seed(0))
    assert bool((full[:, 0, 28:36, 28:36] == 1).all())  # the middle stays, whatever is cut and turned


def test_masks_that_show_no_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no masks to take shapes from: give .* shapes.masks"):
        load_shapes([])
    imsave(tmp_path / "0.png", np.zeros((20, 20), np.uint8), check_contrast=False)
    imsave(tmp_path / "1.png", np.full((20, 20), 9, np.uint8), check_contrast=False)
    with pytest.raises(ConfigError, match="no mask with an inside and an outside"):
        load_shapes([str(tmp_path)])


def test_the_add_on_joins_the_phases_that_train_clusters(masks: Path) -> None:
    method = _method(masks, first_phase=0.5)
    assert [[group.name for group in phase.groups] for phase in method.phases] == [["model"], ["model", "shape_critic"]]
    assert "shape" not in method.phases[0].groups[0].terms
    critic = method.phases[1].groups[1]
    assert critic.optimizer.learning_rate == pytest.approx(5e-3 * 0.3)
    with pytest.raises(ConfigError, match="no phase of this run trains clusters"):
        _method(masks, first_phase=1.0)
    with pytest.raises(ConfigError, match="'shapes' needs clusters"):
        _contrast(masks)


def _contrast(masks: Path) -> Method:
    from src_train.objectives.discrimination import ContrastParams

    tables = {"contrast": ContrastParams(hidden=8, dim=4, queue=4), "shapes": ShapeParams((str(masks),))}
    return build_method("moco+shapes", build_encoder(CONFIG, 0), Schedule(), tables)


def test_each_player_trains_itself_only(masks: Path) -> None:
    trainer = Trainer(_method(masks), Schedule(average=0.0, clip=0.0), seed=0)
    method, phase = trainer.method, trainer.method.phases[0]
    for group, silent in zip(phase.groups, ("shape_discriminator", "encoder"), strict=True):
        method.zero_grad(set_to_none=True)
        trainer._train_only(group)
        context = method.context(_batch(0))
        torch.stack(list(method.terms(context, group).values())).sum().backward()
        moved = {name: any(p.grad is not None for p in net.parameters()) for name, net in method.networks.items()}
        assert not moved[silent]
        assert any(moved.values())


def test_maps_take_on_the_area_of_the_masks(masks: Path) -> None:
    """Toy game without an encoder: free maps begin at half the image, masks cover less."""
    shapes = load_shapes([str(masks)])
    torch.manual_seed(0)
    network, free = ShapeDiscriminator(), (0.1 * torch.randn(8, 1, 40, 40)).requires_grad_()
    providers = {"shape_fakes": lambda context: torch.sigmoid(free), "shape_masks": masks_like(shapes)}
    players = torch.optim.Adam([free], 0.05), torch.optim.Adam(network.parameters(), 2e-3)
    areas = []
    for step in range(60):
        for objective, optimizer in zip((LookLikeShapes(), TellShapes()), players, strict=True):
            context = StepContext(_batch(0), {"shape_discriminator": network}, providers, step=step)
            optimizer.zero_grad()
            objective(context).backward()
            optimizer.step()
        areas.append(float(torch.sigmoid(free.detach()).mean()))
    reference = float(draw_shapes(shapes, 50, 40, torch.Generator().manual_seed(0)).mean())
    assert reference < 0.35
    away = [abs(area - reference) for area in (0.5, float(np.mean(areas[-20:])))]
    assert away[1] < 0.6 * away[0], (reference, areas[::6])


def test_outputs_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    clusters = torch.rand(3, 4, 5, generator=generator)
    clusters = clusters / clusters.sum(0)
    embedding = nn.functional.normalize(torch.randn(6, 4, 5, generator=generator), dim=0)
    inside = torch.rand(4, 5, generator=generator) > 0.3
    first, second = shape_outputs(clusters, embedding, inside)
    regions = []
    for k in range(3):
        total = sum(clusters[k, i, j] * embedding[:, i, j] * inside[i, j] for i in range(4) for j in range(5))
        regions.append(torch.as_tensor(total) / torch.as_tensor(total).norm())
    for i in range(4):
        for j in range(5):
            shares = [math.exp(float(r @ embedding[:, i, j]) / 0.2) for r in regions]
            assert float(second[i, j]) == pytest.approx(shares[0] / sum(shares) * bool(inside[i, j]), abs=1e-5)
            assert float(first[i, j]) == pytest.approx(float(clusters[0, i, j]) * bool(inside[i, j]), abs=1e-6)


def test_uncertainty_is_the_entropy_in_bits() -> None:
    found = uncertainty(torch.tensor([0.5, 0.9, 0.1, 0.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.46900, 0.46900, 0.0, 0.0]), atol=1e-5, rtol=0)


def test_the_soft_label_turns_with_the_image() -> None:
    """An encoder that looks at single cells gives the same whichever way the image is turned."""

    def encoder(x: Tensor) -> Dense:
        cells = nn.functional.avg_pool2d(x.mean(1, keepdim=True), 4)
        return Dense(nn.functional.normalize(torch.cat([cells, 1 - cells], 1), dim=1), torch.cat([cells, 1 - cells], 1))

    image = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(6, 10, dtype=torch.bool)
    inside[0] = False
    found = soft_label(encoder, image, inside[None])
    dense = encoder(image)
    assert dense.clusters is not None
    outputs = shape_outputs(dense.clusters[0], dense.embedding[0], inside)
    torch.testing.assert_close(found.label, (outputs[0] + outputs[1])[None] / 2)
    torch.testing.assert_close(found.spread, (outputs[0] - outputs[1]).square()[None] / 4, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.unsure, uncertainty(found.label))
    with pytest.raises(Cancelled):
        soft_label(encoder, image, inside[None], lambda: True)
    with pytest.raises(ValueError, match="no clusters"):
        soft_label(lambda x: Dense(x, None), image, inside[None])
