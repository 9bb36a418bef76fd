"""Points of 3D Slicer: its documented examples, both coordinate systems, round trips in space, bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_ld._types import Image, Landmark, Match
from napari_ld.errors import LandmarkError
from napari_ld.io.markups import Markup, found_markups, landmarks_in, markups_of, read_markups, write_markups

# The two examples of 3D Slicer's developer guide, page "Markups".
JSON = """{"@schema": "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Markups/Resources/Schema/\
markups-schema-v1.0.0.json#",
"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [
    { "label": "F-1", "position": [-53.388409961685827, -73.33572796934868, 0.0] },
    { "label": "F-2", "position": [49.8682950191571, -88.58955938697324, 0.0] },
    { "label": "F-3", "position": [-25.22749042145594, 59.255268199233729, 0.0] }
]}]}"""
FCSV = """# Markups fiducial file version = 4.13
# CoordinateSystem = LPS
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
0,-19.906699999999987,13.9347,29.442970822281154,0,0,0,1,1,1,0,F-1,,
1,-7.3939,-76.94990495817181,17.552540297898375,0,0,0,1,1,1,0,F-2,,
2,81.73332450520303,-42.9415,9.625586614976527,0,0,0,1,1,1,0,F-3,,
"""


def _file(tmp_path: Path, text: str, ending: str = ".mrk.json") -> Path:
    path = tmp_path / f"a{ending}"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_documented_example(tmp_path: Path) -> None:
    points = read_markups(_file(tmp_path, JSON))
    assert [point.label for point in points] == ["F-1", "F-2", "F-3"]
    assert points[1].position == (49.8682950191571, -88.58955938697324, 0.0)
    assert {point.status for point in points} == {"defined"}


def test_what_we_write_has_the_structure_of_the_documented_example(tmp_path: Path) -> None:
    documented = json.loads(JSON)
    points = read_markups(_file(tmp_path, JSON))
    write_markups(tmp_path / "b.mrk.json", points, colour=(1.0, 0.5, 0.0))
    ours = json.loads((tmp_path / "b.mrk.json").read_text(encoding="utf-8"))
    assert ours["@schema"] == documented["@schema"]
    (list_ours,), (list_documented,) = ours["markups"], documented["markups"]
    assert {key: list_ours[key] for key in ("type", "coordinateSystem")} == {
        key: list_documented[key] for key in ("type", "coordinateSystem")
    }
    kept = [{key: control[key] for key in ("label", "position")} for control in list_ours["controlPoints"]]
    assert kept == list_documented["controlPoints"]
    assert {control["positionStatus"] for control in list_ours["controlPoints"]} == {"defined"}
    assert list_ours["display"]["selectedColor"] == [1.0, 0.5, 0.0]


def test_the_documented_fcsv(tmp_path: Path) -> None:
    points = read_markups(_file(tmp_path, FCSV, ".fcsv"))
    assert points[2] == Markup("F-3", (81.73332450520303, -42.9415, 9.625586614976527))
    turned = read_markups(_file(tmp_path, FCSV.replace("LPS", "0"), ".fcsv"))
    assert turned[2].position == (-81.73332450520303, 42.9415, 9.625586614976527)


def test_right_anterior_superior_is_turned(tmp_path: Path) -> None:
    (point, *_) = read_markups(_file(tmp_path, JSON.replace('"LPS"', '"RAS"')))
    assert point.position == (53.388409961685827, 73.33572796934868, 0.0)


def test_status_and_description_are_kept(tmp_path: Path) -> None:
    points = [
        Markup("a", (1.0, 2, 3), description="left"),
        Markup("b", None, "missing"),
        Markup("c", None, "undefined"),
    ]
    write_markups(tmp_path / "a.mrk.json", points)
    assert read_markups(tmp_path / "a.mrk.json") == points
    assert landmarks_in(points[1:], Image(np.zeros((2, 3, 4)), "zyx", np.eye(4))) == []


@given(
    angles=st.tuples(*[st.floats(-3.2, 3.2)] * 3),
    sizes=st.tuples(*[st.floats(0.05, 8)] * 3),
    origin=st.tuples(*[st.floats(-1e3, 1e3)] * 3),
    shear=st.floats(-0.4, 0.4),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    place=st.tuples(st.floats(0, 300), st.floats(-0.5, 600), st.floats(-0.5, 600)),
)
def test_there_and_back_through_any_affine(
    tmp_path_factory: Any, angles: Any, sizes: Any, origin: Any, shear: float, flips: Any, place: Any
) -> None:
    """Oblique, sheared and left-handed: the same place in space and in the image."""
    affine = np.eye(4)
    sheared = np.eye(3)
    sheared[0, 1] = shear
    affine[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() @ sheared @ np.diag(np.multiply(sizes, flips))
    affine[:3, 3] = origin
    image = Image(np.zeros((300, 2, 2)), "zyx", affine)
    plane = int(np.floor(place[0] + 0.5))
    landmark = Landmark("x", plane, place[1:], "a", place[0])
    path = tmp_path_factory.mktemp("m") / "a.mrk.json"
    (point,) = markups_of([landmark], image)
    write_markups(path, [point])
    (back,) = landmarks_in(read_markups(path), image, "a")
    (again,) = markups_of([back], image)
    assert again.position is not None
    assert point.position is not None
    assert np.linalg.norm(np.subtract(again.position, point.position)) < 1e-6
    np.testing.assert_allclose([back.depth if back.depth is not None else back.plane, *back.position], place, atol=1e-6)


def test_single_images_have_no_plane() -> None:
    image = Image(np.zeros((9, 9)), "yx", np.diag([1, 0.5, 0.25, 1.0]))
    (point,) = markups_of([Landmark("a", None, (4.0, 2.0))], image)
    assert point.position == (0.0, 2.0, 0.5)
    assert landmarks_in([point], image) == [Landmark("a", None, (4.0, 2.0))]


def test_a_point_beside_a_single_plane_is_not_pressed_onto_it() -> None:
    image = Image(np.zeros((9, 9)), "yx", np.diag([2, 0.5, 0.25, 1.0]), source="a.dcm")
    assert landmarks_in([Markup("a", (0.9, 2.0, 0.5))], image)[0].position == (4.0, 2.0)
    with pytest.raises(LandmarkError, match=r"'a' lies 30 mm beside the plane of a\.dcm; choose the image that it"):
        landmarks_in([Markup("a", (30.0, 2.0, 0.5))], image)


def test_what_was_found_is_one_point_a_landmark_and_what_is_verified_stays_exact() -> None:
    image = Image(np.zeros((9, 9, 9)), "zyx", np.diag([2, 0.5, 0.25, 1.0]))
    at = (4.0, 8.0)
    matches = [
        Match("clicked", 3, at, 1, 1, "verified"),
        Match("clicked", 4, (5.0, 8.0), 0.9, 0.1, "confident", point=(3.3, 4.0, 8.0)),
        Match("between", 3, at, 1, 1, "verified", point=(3.25, *at)),
        Match("moved", 3, at, 1, 1, "verified", point=(3.25, 9.0, 9.0)),
        Match("in space", 2, at, 0.5, 0.1, "uncertain", point=(2.5, 4.0, 8.0)),
        Match("in space", 3, at, 0.9, 0.1, "confident", point=(2.5, 4.0, 8.0)),
        Match("plane by plane", 5, at, 0.5, 0.1, "confident"),
        Match("plane by plane", 6, at, 0.75, 0.1, "confident"),
        Match("nowhere", 0, None, 0.1, 0.1, "absent"),
    ]
    assert found_markups(matches, image) == [
        Markup("clicked", (6.0, 2.0, 2.0), description="verified"),
        Markup("between", (6.5, 2.0, 2.0), description="verified"),
        Markup("moved", (6.0, 2.0, 2.0), description="verified"),
        Markup("in space", (5.0, 2.0, 2.0), description="confident, score 0.900"),
        Markup("plane by plane", (12.0, 2.0, 2.0), description="confident, score 0.750"),
        Markup("nowhere", None, "missing"),
    ]
    with pytest.raises(LandmarkError, match="does not say where it lies in the patient"):
        found_markups(matches, Image(np.zeros((9, 9, 9)), "zyx"))


def test_images_without_a_place_have_no_points_in_space() -> None:
    with pytest.raises(LandmarkError, match="does not say where it lies in the patient; use a CSV table"):
        markups_of([Landmark("a", 0, (1.0, 1.0))], Image(np.zeros((2, 2, 2)), "zyx"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: "),
        ("[1]", "no list 'markups'"),
        ('{"markups": []}', "holds no control points"),
        ('{"markups": [{"controlPoints": 3}]}', "its control points are no list"),
        (JSON.replace('"LPS"', '"XYZ"'), "has the coordinate system 'XYZ'; expected LPS or RAS"),
        (JSON.replace('"type"', '"coordinateUnits": "cm", "type"'), "counts in 'cm'; expected mm"),
        (JSON.replace("49.8682950191571", "null"), r"'F-2' has the position \[None, .*three finite numbers"),
        (JSON.replace("49.8682950191571", "NaN"), "'F-2' has the position"),
        (JSON.replace('"F-3",', '"F-3", "positionStatus": "odd",'), "'F-3' has the status 'odd'; expected defined"),
    ],
)
def test_bad_json(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        read_markups(_file(tmp_path, text))


def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LandmarkError, match="cannot read"):
        read_markups(tmp_path / "none.mrk.json")
    (tmp_path / "b.mrk.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(LandmarkError, match="is not UTF-8 text"):
        read_markups(tmp_path / "b.mrk.json")
    with pytest.raises(LandmarkError, match="has no column z"):
        read_markups(_file(tmp_path, FCSV.replace("x,y,z", "x,y,u"), ".fcsv"))
    with pytest.raises(LandmarkError, match="expected three finite numbers"):
        read_markups(_file(tmp_path, FCSV.replace("9.625586614976527", "up"), ".fcsv"))
    monkeypatch.setattr("napari_ld.io.markups._MAX_BYTES", 10)
    with pytest.raises(LandmarkError, match="is larger than 10 bytes"):
        read_markups(_file(tmp_path, JSON))
