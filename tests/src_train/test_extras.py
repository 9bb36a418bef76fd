"""Extras of the view maker: the clean target keeps the geometry of what the network sees, labels follow the pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data, transform
from torch import Tensor

from napari_ld.storage import Store
from src_train.data import views as views_module
from src_train.data.corruption import CorruptionParams
from src_train.data.dataset import Plane
from src_train.data.draws import Draws
from src_train.data.extras import NAMES, ViewExtras
from src_train.data.superpixels import region_cells
from src_train.data.views import ViewMaker, ViewParams

PARAMS = ViewParams(size=128, working_size=128, fine_share=0.0)


@pytest.fixture(scope="module")
def planes() -> list[Plane]:
    result = []
    for picture in (data.camera(), data.moon()):
        levels = [
            (transform.resize(picture, (n, n + 20), anti_aliasing=True) * 255).astype(np.uint8) for n in (160, 80)
        ]
        result.append(Plane((torch.from_numpy(levels[0])[None], torch.from_numpy(levels[1])[None]), "a.png"))
    return result


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_the_clean_target_has_the_geometry_of_the_input(
    planes: list[Plane], flip: float, turn: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a flip that reaches the input only makes half of the targets mirror images."""

    def unchanged(views: Tensor, draws: Draws) -> Tensor:
        return views

    monkeypatch.setattr(views_module, "change_intensity", unchanged)
    extras = ViewExtras(frozenset({"clean"}))
    maker = ViewMaker(replace(PARAMS, flip=flip, turn=turn), 0.5, 0.25, extras=extras)
    for seed in range(3):
        batch = maker([(planes[0], planes[1])], np.random.default_rng(seed))
        assert batch.clean is not None
        torch.testing.assert_close(batch.clean, batch.first * 0.25 + 0.5)
        assert not torch.allclose(batch.clean, batch.clean.flip(-1), atol=0.05)  # a mirrored target would be noticed


def test_corruption_spares_the_target_and_changes_both_views(planes: list[Plane]) -> None:
    couple = [(planes[0], planes[1])]
    always = CorruptionParams(cut_out=1.0, outer=0.0, swap=0.0)
    plain = ViewMaker(PARAMS, 0.5, 0.25, extras=ViewExtras(frozenset({"clean"})))(couple, np.random.default_rng(0))
    extras = ViewExtras(frozenset({"clean", "corruption"}), corruption=always)
    corrupted = ViewMaker(PARAMS, 0.5, 0.25, extras=extras)(couple, np.random.default_rng(0))
    assert plain.clean is not None
    assert corrupted.clean is not None
    assert torch.equal(plain.clean, corrupted.clean)
    black = torch.tensor(-2.0)
    for before, after in ((plain.first, corrupted.first), (plain.second, corrupted.second)):
        hidden = (after == black).all(1) & ~(before == black).all(1)
        assert 0.02 < float(hidden.float().mean()) < 0.9


def test_extras_do_not_change_the_views(planes: list[Plane], tmp_path: Path) -> None:
    couple = [(planes[0], planes[1])]
    plain = ViewMaker(PARAMS, 0.5, 0.25)(couple, np.random.default_rng(5))
    extras = ViewExtras(frozenset({"clean", "labels"}), store=Store(tmp_path))
    more = ViewMaker(PARAMS, 0.5, 0.25, extras=extras)(couple, np.random.default_rng(5))
    assert torch.equal(plain.first, more.first)
    assert torch.equal(plain.partner, more.partner)
    assert plain.clean is None
    assert plain.labels is None
    assert {"clean", "corruption", "labels", "turns"} == NAMES


def test_partners_carry_the_same_label(planes: list[Plane], tmp_path: Path) -> None:
    extras = ViewExtras(frozenset({"labels"}), store=Store(tmp_path))
    maker = ViewMaker(PARAMS, 0.5, 0.25, extras=extras)
    same = other = 0
    for seed in range(3):
        batch = maker([(planes[0], planes[1])], np.random.default_rng(seed))
        assert batch.labels is not None
        cells = [region_cells(labels, 4, 1.0) for labels in batch.labels]
        goal = ((batch.partner - 1.5) / 4).round().long()
        for i in range(2):
            kept = batch.overlap[i] & (cells[0][i] >= 0)
            found = cells[1][i][goal[i][kept][:, 1].clamp(0, 31), goal[i][kept][:, 0].clamp(0, 31)]
            pure = found >= 0
            same += int((found == cells[0][i][kept])[pure].sum())
            other += int((found != cells[0][i][kept])[pure].sum())
    assert same > 500
    assert same / (same + other) >= 0.99


def test_labels_need_no_store_of_ones_own() -> None:
    assert ViewExtras(frozenset({"labels"})).store is not None
    assert ViewExtras().store is None
