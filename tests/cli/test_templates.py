"""Rows of a landmark table and the templates that they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image, Landmark
from napari_ld.cli.templates import plane_of, rows_of
from napari_ld.errors import LandmarkError

TABLE = Path("clicks.csv")
STACK = Image(np.zeros((3, 8, 9), np.uint8), "pyx", source="pages.tif")
FLAT = Image(np.zeros((8, 9), np.uint8), "yx", source="film.png")


def _row(image: str, plane: int | None = None, position: tuple[float, float] = (1.0, 2.0)) -> Landmark:
    return Landmark("sella", plane, position, image)


@pytest.mark.parametrize("name", ["film.png", "ann/film.png"])
def test_rows_carry_the_end_of_the_path(name: str) -> None:
    own, other = _row(name), _row("other.png")
    assert rows_of(Path("data/ann/film.png"), [], [other, own], TABLE) == [own]


@pytest.mark.parametrize("name", ["lm.png", "bob/film.png", ""])
def test_other_rows_do_not(name: str) -> None:
    with pytest.raises(LandmarkError, match=r"clicks.csv: no row for the template film.png"):
        rows_of(Path("data/ann/film.png"), [], [_row(name)], TABLE)


def test_two_templates_of_one_name_need_their_folders() -> None:
    ann, bob = Path("ann/film.png"), Path("bob/film.png")
    rows = [_row("ann/film.png"), _row("bob/film.png")]
    assert [rows_of(ann, [bob], rows, TABLE), rows_of(bob, [ann], rows, TABLE)] == [[rows[0]], [rows[1]]]
    with pytest.raises(LandmarkError, match="write enough of the path"):
        rows_of(ann, [bob], [_row("film.png")], TABLE)


def test_a_folder_is_no_template(tmp_path: Path) -> None:
    with pytest.raises(LandmarkError, match=r"the template .* is a folder; name the image"):
        rows_of(tmp_path, [], [_row("film.png")], TABLE)


@pytest.mark.parametrize(
    ("image", "plane", "default", "expected"),
    [(FLAT, None, None, 0), (FLAT, 0, None, 0), (STACK, 2, None, 2), (STACK, None, 1, 1), (STACK, 2, 1, 2)],
)
def test_plane(image: Image, plane: int | None, default: int | None, expected: int) -> None:
    assert plane_of(_row("", plane), image, default) == expected


@pytest.mark.parametrize(
    ("image", "row", "message"),
    [
        (STACK, _row(""), r"pages.tif: landmark 'sella' names no plane and the template has 3; .* --plane N"),
        (STACK, _row("", 3), r"pages.tif: .* plane 3, but the planes are 0 to 2; correct the column 'plane'"),
        (FLAT, _row("", 1), r"film.png: .* plane 1, but the only plane is 0; correct the column 'plane' or --plane"),
        (FLAT, _row("", None, (7.6, 0)), r"film.png: .* outside the image of 8 rows and 9 columns"),
        (FLAT, _row("", None, (0, -0.6)), r"film.png: .* outside the image"),
    ],
)
def test_rows_off_the_template(image: Image, row: Landmark, message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        plane_of(row, image, None)
