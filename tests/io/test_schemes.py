"""Schemes from CSV and .mrk.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_ld.errors import LandmarkError
from napari_ld.io.schemes import SchemeEntry, read_scheme


def written(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_names_and_colours_in_their_order(tmp_path: Path) -> None:
    scheme = read_scheme(
        written(tmp_path, "ceph.csv", "color,landmark\n#FF8800,sella\n,nasion\n\n#00aa00,  A  point \n")
    )
    assert scheme.name == "ceph"
    assert scheme.entries == (
        SchemeEntry("sella", "#ff8800"),
        SchemeEntry("nasion"),
        SchemeEntry("A point", "#00aa00"),
    )


def test_any_table_of_landmarks_will_do(tmp_path: Path) -> None:
    text = "image,landmark,plane,row,column\na,n,,1,2\na,s,,3,4\nb,n,,5,6\n"
    assert [entry.name for entry in read_scheme(written(tmp_path, "x.csv", text)).entries] == ["n", "s"]


def test_labels_of_markups(tmp_path: Path) -> None:
    points = [{"label": "sella", "position": [1, 2, 3]}, {"label": "nasion"}]
    lists = [{"controlPoints": points, "display": {"color": [1, 0.5, 0]}}, {"controlPoints": [{"label": "menton"}]}]
    one = read_scheme(written(tmp_path, "one.mrk.json", json.dumps({"markups": lists[:1]})))
    assert (one.name, one.entries) == ("one", (SchemeEntry("sella"), SchemeEntry("nasion")))
    two = read_scheme(written(tmp_path, "two.mrk.json", json.dumps({"markups": lists})))
    assert two.entries[0] == SchemeEntry("sella", "#ff8000")
    assert two.entries[2] == SchemeEntry("menton")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "no column 'landmark'; expected landmark,color .* found an empty file"),
        ("a.csv", "landmark\n", "holds no landmark; expected one name a row"),
        ("a.csv", "what\nsella\n", "no column 'landmark'.*found what"),
        ("a.csv", "landmark,color\n,#ff0000\n", "a landmark has no name"),
        ("a.csv", "landmark,color\nn,red\n", "the colour of 'n' is 'red'; expected one as in #ff8800"),
        ("a.csv", "landmark,color\nn,#ff0000\nn,#00ff00\n", "'n' has the colours #ff0000 and #00ff00"),
        ("a.csv", 'landmark\n"n', "a.csv is damaged"),
        ("a.mrk.json", "{", "a.mrk.json is damaged"),
        ("a.mrk.json", "[3]", "holds no landmark"),
        ("a.mrk.json", '{"markups": [{"controlPoints": [{}]}]}', "a landmark has no name"),
    ],
)
def test_refuses(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        read_scheme(written(tmp_path, name, text))


def test_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LandmarkError, match=r"cannot read .*missing\.csv"):
        read_scheme(tmp_path / "missing.csv")
    (tmp_path / "latin.csv").write_bytes(b"landmark\n\xe9\n")
    with pytest.raises(LandmarkError, match="not UTF-8"):
        read_scheme(tmp_path / "latin.csv")
    with open(tmp_path / "huge.csv", "wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(LandmarkError, match="larger than"):
        read_scheme(tmp_path / "huge.csv")
