"""Views know their geometry: partners, masks and affines against images whose content says where it is from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src_train.data.dataset import Plane
from src_train.data.draws import Draws
from src_train.data.geometry import Geometry, affine, invert, pixel_grid, sample, smooth_displacement, transform
from src_train.data.views import ViewMaker, ViewParams, change_intensity


def _coordinate_plane(rows: int = 300, columns: int = 200) -> Plane:
    """Red rises with the column, green with the row: a pixel's colour is its place."""
    y, x = np.mgrid[:rows, :columns]
    pixels = np.stack([x / columns, y / rows, np.full_like(x, 0.5, dtype=float)])
    full = torch.from_numpy((pixels * 255).round().astype(np.uint8))
    half = torch.nn.functional.avg_pool2d(full.float()[None], 2)[0].round().to(torch.uint8)
    return Plane((full, half), "coordinates.png")


def test_partners_show_the_same_place() -> None:
    maker = ViewMaker(ViewParams(size=128, working_size=200), 0.5, 0.25)
    plane = _coordinate_plane()
    first, second = maker._geometries([plane] * 8, Draws(3, 8))
    views = [maker._resample([plane] * 8, geometry) for geometry in (first, second)]
    partner = second.to_view(first.cells(4))
    here = sample(views[0], pixel_grid(32, 4).expand(8, -1, -1, -1))
    there = sample(views[1], partner)
    batch = maker([(plane, plane)] * 4, np.random.default_rng(0))
    assert batch.partner.shape == (8, 32, 32, 2)
    within = ((partner > 4) & (partner < 123)).all(-1)
    places = first.cells(4)
    inside = ((places > 4) & (places < torch.tensor([195.0, 295.0]))).all(-1) & within
    assert int(inside.sum()) > 500
    difference = (here - there).abs().permute(0, 2, 3, 1)[inside] * torch.tensor([200.0, 300.0, 0.0])
    assert float(difference.max()) < 4  # pixels of the stored image; its 8 bits hold about 1


def test_overlap_excludes_what_lies_beyond_the_image() -> None:
    maker = ViewMaker(
        ViewParams(size=128, working_size=64, fine_share=0.0), 0.5, 0.25
    )  # the view is larger than the image
    batch = maker([(_coordinate_plane(), _coordinate_plane())], np.random.default_rng(1))
    assert 0 < float(batch.inside_first.float().mean()) < 0.9
    assert not bool((batch.overlap & ~batch.inside_first).any())


def test_the_same_seed_makes_the_same_views() -> None:
    maker = ViewMaker(ViewParams(size=64), 0.5, 0.25)
    couples = [(_coordinate_plane(), _coordinate_plane())]
    first, again, other = (maker(couples, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.first, again.first)
    assert torch.equal(first.partner, again.partner)
    assert not torch.equal(first.first, other.first)


def test_intensity_changes_stay_in_range() -> None:
    views = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    changed = change_intensity(views.clone(), Draws(1, 6))
    assert changed.shape == views.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert not torch.equal(changed, views)


@settings(deadline=None, max_examples=30)
@given(
    angle=st.floats(-3, 3),
    scale=st.floats(0.3, 4),
    x=st.floats(-50, 300),
    stretch=st.floats(0.8, 1.2),
    flip=st.booleans(),
)
def test_inverse_and_centre_of_an_affine(angle: float, scale: float, x: float, stretch: float, flip: bool) -> None:
    matrix = affine(
        torch.tensor([[x, 20.0]]),
        torch.tensor([scale]),
        torch.tensor([angle]),
        65,
        torch.tensor([stretch]),
        torch.tensor([flip]),
    )
    middle = torch.tensor([[[32.0, 32.0]]])
    torch.testing.assert_close(transform(matrix, middle), torch.tensor([[[x, 20.0]]]), atol=1e-3, rtol=1e-4)
    points = torch.tensor([[[0.0, 5.0], [64.0, 1.0]]])
    torch.testing.assert_close(transform(invert(matrix), transform(matrix, points)), points, atol=1e-2, rtol=1e-3)
    area = float(torch.linalg.det(matrix[0, :, :2]))
    assert abs(area) == pytest.approx(scale**2, rel=1e-3)
    assert (area < 0) == flip


def test_a_displaced_view_has_no_closed_inverse() -> None:
    shift = smooth_displacement(Draws(0, 1).normal(2, 5, 5), 16, torch.tensor([2.0]))
    geometry = Geometry(torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]]), 16, shift)
    torch.testing.assert_close(geometry.grid() - shift, pixel_grid(16, 1))
    with pytest.raises(ValueError, match="no closed inverse"):
        geometry.to_view(torch.zeros(1, 2, 2))


def test_processes_share_the_batch_of_one() -> None:
    maker = ViewMaker(ViewParams(size=64), 0.5, 0.25)
    couples = [(_coordinate_plane(rows), _coordinate_plane()) for rows in (300, 150, 200, 260)]
    whole = maker(couples, np.random.default_rng(5))
    shares = [maker(couples, np.random.default_rng(5), slice(start, start + 2)) for start in (0, 2)]
    for name in ("first", "second", "partner", "overlap", "inside_first", "inside_second"):
        joined = torch.cat([getattr(share, name) for share in shares])
        assert torch.equal(joined, getattr(whole, name)), name
