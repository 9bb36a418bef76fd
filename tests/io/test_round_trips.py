"""There and back through every writer of masks and landmarks, whatever the geometry and the type of the values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from benchmarks.synthetic import write_series
from napari_ld._types import Image, Landmark, Match
from napari_ld.io.coco import decode_counts, write_coco_of
from napari_ld.io.images import read_image
from napari_ld.io.labels import write_labels
from napari_ld.io.landmarks import read_landmarks, write_landmarks, write_matches
from napari_ld.io.markups import found_markups, landmarks_in, markups_of, read_markups, write_markups
from napari_ld.io.ome_zarr import write_zarr

SHAPE = (4, 5, 6)
angles = st.tuples(*[st.floats(-3.1, 3.1)] * 3)
values = hnp.arrays(st.sampled_from(["?", "u1", "i2", "<u2", ">i4"]), SHAPE, elements={"min_value": 0})


@st.composite
def affines(draw: st.DrawFn) -> Any:
    """Oblique, sheared, and left-handed as often as not; columns for plane, row and column."""
    sizes = np.array(draw(st.tuples(*[st.floats(0.1, 6)] * 3)))
    flips = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    sheared = np.eye(3)
    sheared[0, 1:] = draw(st.tuples(*[st.floats(-0.4, 0.4)] * 2))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", draw(angles)).as_matrix() @ sheared @ np.diag(sizes * flips)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-900, 900)] * 3))
    return affine


@settings(max_examples=8, deadline=None)
@given(
    angles=angles,
    tilt=st.floats(-0.4, 0.4),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    labels=hnp.arrays(st.sampled_from(["u1", "i4"]), SHAPE, elements=st.integers(0, 3)),
    top=st.sampled_from([1, 80]),
)
def test_dicom_segmentations(
    angles: Any, tilt: float, spacing: Any, labels: Any, top: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any orientation, and slices that a tilted gantry has sheared."""
    pytest.importorskip("highdicom")
    turned = Rotation.from_euler("zyx", angles).as_matrix()
    orientation = np.round([*turned[0], *turned[1]], 10)
    step = np.cross(orientation[:3], orientation[3:]) * spacing[0] + tilt * orientation[3:]
    folder = tmp_path_factory.mktemp("segmentation")
    write_series(folder / "ct", np.zeros(SHAPE, np.int16), orientation=orientation, spacing=spacing, step=step)
    image = read_image(folder / "ct")
    labels = labels.astype(np.int32) * top
    labels[0, 0, 0] = top  # an empty one is refused
    write_labels(folder / "a.dcm", labels, image)
    back = read_image(folder / "a.dcm")
    np.testing.assert_array_equal(np.asarray(back.array), labels)
    corners = np.array([[0, 0, 0, 1], [3, 4, 5, 1], [3, 0, 5, 1], [0, 4, 0, 1]]).T
    assert image.affine is not None
    np.testing.assert_allclose(back.affine @ corners, image.affine @ corners, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(affine=affines(), pixels=values)
def test_zarr(affine: Any, pixels: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("zarr") / "a.zarr"
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0).tolist())
    write_zarr(path, Image(pixels, "zyx", affine, spacing))
    back = read_image(path)
    np.testing.assert_array_equal(np.asarray(back.array), pixels)
    np.testing.assert_array_equal(back.affine, affine)
    assert back.spacing == spacing


@settings(max_examples=15, deadline=None)
@given(labels=values)
def test_coco(labels: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("coco") / "a.json"
    write_coco_of(path, labels, Image(labels, "pyx", source="a.tif"))
    whole = json.loads(path.read_text(encoding="utf-8"))
    back = np.zeros(SHAPE, np.int64)
    for one in whole["annotations"]:
        back[one["image_id"] - 1][decode_counts(one["segmentation"]["counts"], SHAPE[1:])] = one["category_id"]
    np.testing.assert_array_equal(back, labels.astype(np.int64))


places = st.tuples(st.floats(0, 299), st.floats(-0.5, 511.5), st.floats(-0.5, 511.5))


@settings(max_examples=40, deadline=None)
@given(affine=affines(), place=places, between=st.booleans())
def test_landmarks_through_tables_and_points_in_space(
    affine: Any, place: Any, between: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Clicked points, and points between planes: after each file they are where they were, to a millionth of a mm."""
    folder = tmp_path_factory.mktemp("landmarks")
    image = Image(np.broadcast_to(np.uint8(0), (300, 512, 512)), "zyx", affine)
    plane = int(np.floor(place[0] + 0.5))
    depth = place[0] if between else float(plane)
    there = (affine @ [depth, *place[1:], 1])[:3]

    def away(found: list[Landmark]) -> float:
        (point,) = markups_of(found, image)
        assert point.position is not None
        return float(np.linalg.norm(np.subtract(point.position, there)))

    clicked = Landmark("n", plane, place[1:], "a", depth if depth != plane else None)
    write_landmarks(folder / "clicked.csv", [clicked])
    assert away(read_landmarks(folder / "clicked.csv")) < 1e-6
    write_markups(folder / "clicked.mrk.json", markups_of([clicked], image))
    assert away(landmarks_in(read_markups(folder / "clicked.mrk.json"), image, "a")) < 1e-6
    verified = Match("n", plane, place[1:], 1, 1, "verified", point=(depth, *place[1:]) if between else None)
    write_matches(folder / "saved.csv", [("a", verified)], with_plane=True)
    assert away(read_landmarks(folder / "saved.csv")) < 1e-6
    write_markups(folder / "saved.mrk.json", found_markups([verified], image))
    assert away(landmarks_in(read_markups(folder / "saved.mrk.json"), image, "a")) < 1e-6
    in_space = Match("n", plane, place[1:], 0.9, 0.1, "confident", point=(depth, *place[1:]))
    write_matches(folder / "found.csv", [("a", in_space)], with_plane=True, in_space=True)
    assert away(read_landmarks(folder / "found.csv")) < 1e-6
    write_markups(folder / "found.mrk.json", found_markups([in_space], image))
    assert away(landmarks_in(read_markups(folder / "found.mrk.json"), image, "a")) < 1e-6
