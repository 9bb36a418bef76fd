"""Points in space: orientation, joined views, alignment of volumes, and the search through them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_ld._types import Image, Match
from napari_ld.embedding import FeatureSource
from napari_ld.embedding.orientation import Orientation
from napari_ld.embedding.volume import VolumeSource, across
from napari_ld.errors import Cancelled, ImageError
from napari_ld.localization import Template, locate
from napari_ld.localization.alignment import fit_affine
from napari_ld.localization.field import Grid, interpolation, summits, top_summits
from napari_ld.model.checkpoint import LoadedModel

SourceOf = Callable[..., FeatureSource]
_SPACING = (2.0, 1.0, 1.0)
POINT = (11.0, 26.0, 22.0)


def affine_of(order: tuple[int, ...], signs: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Affine of a volume whose stored axis k runs along world axis ``order[k]`` in the direction ``signs[k]``."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, stored] = sign * spacing[stored]
    affine[:3, 3] = (5, -7, 11)
    return affine


turns = st.tuples(st.sampled_from(list(permutations(range(3)))), st.tuples(*[st.sampled_from((-1, 1))] * 3))


class TestOrientation:
    @given(turns)
    def test_voxels_follow_the_turn(self, turn: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        """In the common order the axes run to superior, posterior and left, whatever the file says."""
        pixels = np.arange(2 * 3 * 4).reshape(2, 3, 4)
        affine = affine_of(*turn, spacing=(1.0, 1.0, 1.0))
        orientation = Orientation.of(Image(pixels, "zyx", affine, (1.0, 1.0, 1.0)))
        common = orientation.apply(pixels)
        assert common.shape == orientation.common_shape
        points = np.argwhere(np.ones(pixels.shape)).astype(float)
        moved = orientation.common(points)
        assert (common[tuple(moved.astype(int).T)] == pixels.ravel()).all()
        np.testing.assert_array_equal(orientation.stored(moved), points)
        world = points @ affine[:3, :3].T
        for axis, of_world in enumerate((2, 1, 0)):
            steps = np.polyfit(moved[:, axis], world[:, of_world], 1)
            assert steps[0] == pytest.approx(1.0)

    def test_oblique_goes_to_the_nearest_axes(self) -> None:
        angle = np.deg2rad(20)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        affine = np.eye(4)
        affine[:3, :3] = turn @ affine_of((2, 1, 0), (1, -1, 1), (1, 1, 1))[:3, :3]
        orientation = Orientation.of(Image(np.zeros((2, 3, 4)), "zyx", affine, (1.0, 1.0, 1.0)))
        assert (orientation.order, orientation.flips) == ((0, 1, 2), (False, True, False))

    def test_without_affine_nothing_is_turned(self) -> None:
        orientation = Orientation.of(Image(np.zeros((2, 3, 4)), "zyx", None, (1.0, 1.0, 1.0)))
        assert (orientation.order, orientation.flips) == ((0, 1, 2), (False, False, False))


class TestField:
    @given(st.integers(1, 6), st.floats(-3, 3), st.floats(0.1, 3), st.lists(st.floats(-9, 9), min_size=1, max_size=5))
    def test_interpolation_equals_numpy(self, count: int, origin: float, step: float, line: list[float]) -> None:
        values = np.cos(np.arange(count) * 1.7)
        matrix = interpolation(count, origin, step, np.array(line)).double().numpy()
        expected = np.interp(line, origin + step * np.arange(count), values)
        np.testing.assert_allclose(matrix @ values, expected, atol=1e-5)

    def test_summit_lies_between_grid_points(self) -> None:
        grid = Grid((np.arange(5) * 2.0, np.arange(6) * 1.0, np.arange(7) * 0.5))
        tops = np.array([[4.4, 2.3, 1.1], [0.0, 5.0, 3.0]])
        fields = torch.stack([torch.from_numpy(-grid.squared_distances(top)).float() for top in tops])
        places, values = summits(fields, grid)
        np.testing.assert_allclose(places, tops, atol=1e-3)
        assert values[1] == 0

    def test_top_summits_keep_their_distance(self) -> None:
        field = torch.zeros(9, 9, 9)
        field[2, 2, 2], field[2, 2, 4], field[6, 6, 6] = 3.0, 2.0, 1.0
        grid = Grid((np.arange(9.0), np.arange(9.0), np.arange(9.0)))
        places, values = top_summits(field, grid, radius=3.0, count=2)
        assert places.tolist() == [[2, 2, 2], [6, 6, 6]]
        assert values.tolist() == [3, 1]


def test_affine_map_in_spite_of_wrong_pairs() -> None:
    rng = np.random.default_rng(0)
    here = rng.uniform(0, 50, (100, 3))
    matrix = np.vstack([np.eye(3) + rng.normal(0, 0.1, (3, 3)), [3, -2, 1]])
    there = np.c_[here, np.ones(100)] @ matrix + rng.normal(0, 0.1, (100, 3))
    there[:25] = rng.uniform(0, 50, (25, 3))
    np.testing.assert_allclose(fit_affine(here, there, 1.0)[:3], matrix[:3], atol=0.02)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the usual resolution, so that the tests take seconds."""
    monkeypatch.setattr("napari_ld.localization.volumes.VOLUME_SIZE", 128)


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    """Smooth noise in a ball: every place looks different."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(30, 60, 60)), (1.5, 3, 3))
    away = np.hypot(np.hypot(*np.mgrid[-1:1:60j, -1:1:60j])[None], np.linspace(-1, 1, 30)[:, None, None])
    return np.clip((noise / noise.std() * 40 + 110) * (away < 1.05), 0, 255).astype(np.uint8)


def stored_as(body: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> Image:
    """The body, kept by a file whose axes are turned; ``order`` and ``signs`` as in :func:`affine_of`."""
    # in the common order the axes are the world's z, y, x
    array = body.transpose([2 - world for world in order])[tuple(slice(None, None, sign) for sign in signs)]
    spacing = tuple(_SPACING[2 - world] for world in order)
    return Image(array, "zyx", affine_of(order, signs, spacing), spacing)


def place(point: tuple[float, ...], body: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """Where a voxel of the body lies in :func:`stored_as`."""
    found = [point[2 - world] for world in order]
    lengths = [body.shape[2 - world] for world in order]
    return np.array([v if s > 0 else n - 1 - v for v, n, s in zip(found, lengths, signs, strict=True)])


def moved(body: np.ndarray, shift: tuple[int, int, int]) -> np.ndarray:
    return np.asarray(ndimage.shift(body, shift, order=1))


def found_in(matches: list[Match], stage: str) -> np.ndarray:
    (match,) = [match for match in matches if match.stage == stage]
    assert match.point is not None
    assert match.position == match.point[1:]
    assert match.plane == round(match.point[0])
    assert match.unit == "mm"
    return np.array(match.point)


@pytest.mark.parametrize(
    ("order", "signs"), [((2, 1, 0), (1, 1, 1)), ((2, 1, 0), (1, -1, -1)), ((0, 2, 1), (-1, 1, -1))]
)
def test_a_point_is_found_whatever_the_orientation(
    source_of: SourceOf, body: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """Voxels are oblong, the target is moved by (1, -3, 4) and its axes may be turned: positions are the file's own."""
    source = source_of(stored_as(body, (2, 1, 0), (1, 1, 1)))
    target = source_of(stored_as(moved(body, (1, -3, 4)), order, signs))
    template = Template("spot", source, int(POINT[0]), POINT[1:])
    matches = list(locate(target, [template], stack_kind="volumes"))
    truth = place((POINT[0] + 1, POINT[1] - 3, POINT[2] + 4), body, order, signs)
    millimetres = np.array([_SPACING[2 - world] for world in order])
    assert np.linalg.norm((found_in(matches, "coarse") - truth) * millimetres) < 2
    assert np.linalg.norm((found_in(matches, "fine") - truth) * millimetres) < 1


def test_the_clicked_volume_keeps_its_point_and_others_are_answered(source_of: SourceOf, body: np.ndarray) -> None:
    """Two volumes in one source, one of them the template; the click lies between two planes."""
    images = [Image(body, "zyx", spacing=_SPACING), Image(moved(body, (2, 0, 0)), "zyx", spacing=_SPACING)]
    source = source_of(images)
    seen: list[tuple[int, int]] = []
    matches = list(
        locate(
            source,
            [Template("spot", source, 11, (26.0, 22.0), depth=11.4), Template("dot", source, 14, (30.0, 30.0))],
            stack_kind="volumes",
            refine=False,
            progress=lambda done, total: seen.append((done, total)),
        )
    )
    assert [(match.landmark, source.address(match.plane)[0]) for match in matches] == [
        ("spot", 0),
        ("dot", 0),
        ("spot", 1),
        ("dot", 1),
    ]
    assert (matches[0].point, matches[0].status) == ((11.4, 26.0, 22.0), "verified")
    assert matches[2].point == pytest.approx((13.4, 26.0, 22.0), abs=1.5)
    assert matches[2].plane == 30 + round(matches[2].point[0] if matches[2].point else 0)
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_features_of_slices_are_pooled_in_millimetres(model: LoadedModel, body: np.ndarray) -> None:
    """At a cell of the grid, the vector pooled around a point is that of the coarse grid."""
    volume = VolumeSource(Image(body, "zyx", spacing=_SPACING), model, device="cpu", precision="float32")
    for axis in range(3):
        _, origin, step = volume.grid(axis)
        order = [axis, *across(axis)]
        point = np.empty(3)
        point[order] = origin + step * np.array([4, 5, 6])
        direct = torch.nn.functional.normalize(volume.vector(axis, point), dim=0)
        kept = torch.nn.functional.normalize(volume.vectors_at(axis, point[None])[0], dim=0)
        assert float(direct @ kept) > 0.999


def test_results_repeat_exactly_after_pixels_were_released(source_of: SourceOf, body: np.ndarray) -> None:
    source = source_of(Image(body, "zyx", spacing=_SPACING))
    target = source_of(Image(moved(body, (0, 2, 2)), "zyx", spacing=_SPACING))
    template = Template("spot", source, int(POINT[0]), POINT[1:])
    first = list(locate(target, [template], stack_kind="volumes"))
    assert list(locate(target, [template], stack_kind="volumes")) == first


def test_cancel(source_of: SourceOf, body: np.ndarray) -> None:
    source = source_of(Image(body, "zyx", spacing=_SPACING))
    template = Template("spot", source, int(POINT[0]), POINT[1:])
    with pytest.raises(Cancelled):
        list(locate(source, [template], stack_kind="volumes", cancelled=lambda: True))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image(np.zeros((8, 8), np.uint8), "yx", source="one.png"), "one.png is a single plane; expected a volume"),
        (Image(np.zeros((4, 8, 8), np.uint8), "zyx", source="bare.tif"), "bare.tif: its spacing is None"),
        (Image(np.zeros((4, 8, 8), np.uint8), "zyx", spacing=(0.0, 1.0, 1.0)), "give --spacing PLANE,ROW,COLUMN"),
        (
            Image(np.zeros((4, 8, 8), np.uint8), "zyx", np.eye(4), (1.0, 1.0, 1.0), "turned.nii"),
            "turned.nii does, so left and right cannot be told apart",
        ),
    ],
)
def test_refuses_what_cannot_be_compared(source_of: SourceOf, body: np.ndarray, image: Image, message: str) -> None:
    source = source_of(Image(body, "zyx", spacing=_SPACING))
    template = Template("spot", source, int(POINT[0]), POINT[1:])
    with pytest.raises(ImageError, match=message):
        list(locate(source_of(image), [template], stack_kind="volumes"))


def test_a_series_of_volumes_is_refused(model: LoadedModel) -> None:
    series = Image(np.zeros((2, 4, 8, 8), np.uint8), "tzyx", source="beat.nii")
    with pytest.raises(ImageError, match=r"beat\.nii holds a series of volumes .* choose a time point"):
        VolumeSource(series, model)
