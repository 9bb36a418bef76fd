"""Landmark tables: exact round trip, and errors that name file and line."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ld._types import Landmark, Match
from napari_ld.errors import LandmarkError, StorageError
from napari_ld.io.landmarks import read_landmarks, write_landmarks, write_matches

HEADER = "image,landmark,plane,row,column\n"


def _table(folder: Path, text: str | bytes) -> Path:
    path = folder / "points.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


_names = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12).map(str.strip)
_coordinates = st.floats(allow_nan=False, allow_infinity=False)


class TestReading:
    def test_rows_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        path = _table(tmp_path, HEADER + "a.png,nasion,,3,4.25\n\nb.tif, sella turcica ,2,-0.5,1e1\n")
        assert read_landmarks(path) == [
            Landmark("nasion", None, (3.0, 4.25), "a.png"),
            Landmark("sella turcica", 2, (-0.5, 10.0), "b.tif"),
        ]

    def test_byte_order_mark_other_order_and_more_columns(self, tmp_path: Path) -> None:
        path = _table(tmp_path, b"\xef\xbb\xbfColumn,row , plane,landmark,image,note\r\n4,3,0.0,n,a.png,x\r\n")
        assert read_landmarks(path) == [Landmark("n", 0, (3.0, 4.0), "a.png")]

    def test_a_fractional_plane_becomes_the_nearest(self, tmp_path: Path) -> None:
        path = _table(tmp_path, HEADER + "a,n,64.903,3,4\na,m,2.5,3,4\na,o,-0.4,3,4\n")
        assert [landmark.plane for landmark in read_landmarks(path)] == [65, 3, 0]

    def test_header_alone_is_an_empty_table(self, tmp_path: Path) -> None:
        assert read_landmarks(_table(tmp_path, HEADER)) == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"points\.csv, line 1: no column 'image', .*found an empty file"),
            ("image,landmark,row,column\n", r"points\.csv, line 1: no column 'plane'; expected image,landmark,plane"),
            ("image;landmark;plane;row;column\n", r"separated by commas, found image;landmark"),
            ("image,landmark,plane,row,column,row\n", r"line 1: column row stands there twice"),
            (HEADER + "a,n,,3,4\na,n2,,x,4\n", r"points\.csv, line 3: row is 'x'; expected a finite number"),
            (HEADER + "a,n,,3,\n", r"points\.csv, line 2: column is ''; expected a finite number"),
            (HEADER + "a,n,,nan,4\n", r"points\.csv, line 2: row is 'nan'; expected a finite number"),
            (HEADER + "a,n,,3,-inf\n", r"points\.csv, line 2: column is '-inf'"),
            (HEADER + "a,n,one,3,4\n", r"points\.csv, line 2: plane is 'one'; expected a finite number"),
            (HEADER + "a,n,-1,3,4\n", r"points\.csv, line 2: plane is '-1'; expected a number from 0"),
            (HEADER + "a, ,,3,4\n", r"points\.csv, line 2: the landmark has no name"),
            (HEADER + "a,n,,3,4\na,n,0,3,4\na,n,,5,6\n", r"line 4: landmark 'n' of image 'a' stands in line 2 already"),
            (HEADER + "a,n,7,3,4\na,n,7,3,4\n", r"line 3: landmark 'n' of image 'a' on plane 7 stands in line 2"),
            (HEADER + "a,n,,3,4,5\n", r"points\.csv, line 2: 6 cells, expected 5; quote names"),
            (HEADER + 'a,"n,,3,4\n', r"points\.csv, line 2: unexpected end of data; save the table as CSV again"),
            (b"image,landmark,plane,row,column\na,\xff\xfe,,1,2\n", r"points\.csv is not UTF-8 text"),
        ],
    )
    def test_bad_tables_name_file_line_and_remedy(self, tmp_path: Path, text: str | bytes, message: str) -> None:
        with pytest.raises(LandmarkError, match=message):
            read_landmarks(_table(tmp_path, text))

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(LandmarkError, match=r"cannot read .*none\.csv: .*check the path"):
            read_landmarks(tmp_path / "none.csv")

    @settings(max_examples=200, deadline=None)
    @given(raw=st.binary(max_size=200))
    def test_no_other_error_whatever_the_bytes(self, raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("table") / "points.csv"
        path.write_bytes(HEADER.encode() + raw)
        with contextlib.suppress(LandmarkError):
            read_landmarks(path)


class TestWriting:
    @settings(max_examples=100, deadline=None)
    @given(
        rows=st.lists(
            st.builds(
                Landmark,
                _names.filter(bool),
                st.none() | st.integers(0, 10**6),
                st.tuples(_coordinates, _coordinates),
                _names,
            ),
            unique_by=lambda row: (row.image, row.name, row.plane),
            max_size=6,
        )
    )
    def test_round_trip_is_exact(self, rows: list[Landmark], tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("table") / "points.csv"
        write_landmarks(path, rows)
        assert read_landmarks(path) == rows

    def test_numbers_of_numpy_are_written_plainly(self, tmp_path: Path) -> None:
        write_landmarks(tmp_path / "a.csv", [Landmark("n", 1, (np.float64(0.1), np.float32(2)))])
        assert (tmp_path / "a.csv").read_text() == HEADER + ",n,1,0.1,2.0\n"

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"cannot write .*a\.csv: .*create the folder first"):
            write_landmarks(tmp_path / "gone" / "a.csv", [])

    def test_a_carriage_return_in_a_name(self, tmp_path: Path) -> None:
        with pytest.raises(LandmarkError, match=r"cannot write .*a\.csv: a name in .* holds a carriage return"):
            write_landmarks(tmp_path / "a.csv", [Landmark("a\rb", None, (1.0, 2.0))])
        assert list(tmp_path.iterdir()) == []


class TestMatches:
    matches = (
        ("a.png", Match("n", 0, (1.23456, 7.0), 0.98765, 0.25, "confident")),
        ("b.png", Match("n", 0, None, 0.1, math.inf, "absent")),
    )

    def test_columns(self, tmp_path: Path) -> None:
        write_matches(tmp_path / "out.csv", self.matches, with_plane=True)
        assert (tmp_path / "out.csv").read_text().splitlines() == [
            "image,landmark,plane,row,column,score,margin,status,expected_error,expected_error_unit",
            "a.png,n,0,1.23456,7.0,0.9877,0.2500,confident,,",
            "b.png,n,0,,,0.1000,inf,absent,,",
        ]

    def test_what_is_expected_of_the_error(self, tmp_path: Path) -> None:
        match = Match("n", 0, (1.0, 7.0), 0.9, 0.2, "confident", expected_error=1.25, unit="mm")
        write_matches(tmp_path / "out.csv", [("a.png", match)], with_plane=False)
        assert (tmp_path / "out.csv").read_text().splitlines()[1].endswith(",confident,1.250,mm")

    def test_points_in_space(self, tmp_path: Path) -> None:
        """The plane keeps its fraction, also when the table is read as landmarks and written again."""
        match = Match("n", 12, (1.0, 7.0), 0.9, 0.2, "confident", point=(11.6, 1.0, 7.0))
        write_matches(tmp_path / "out.csv", [("a.nii", match)], with_plane=True, in_space=True)
        read = read_landmarks(tmp_path / "out.csv")
        assert read == [Landmark("n", 12, (1.0, 7.0), "a.nii", depth=11.6)]
        write_landmarks(tmp_path / "again.csv", read)
        assert read_landmarks(tmp_path / "again.csv") == read

    def test_a_verified_point_between_planes_keeps_its_fraction(self, tmp_path: Path) -> None:
        place = (1.0, 7.0)
        verified = Match("n", 12, place, 1, 1, "verified", point=(11.6, *place))
        moved = Match("m", 12, (2.0, 7.0), 1, 1, "verified", point=(11.6, *place))
        write_matches(tmp_path / "out.csv", [("a", verified), ("a", moved)], with_plane=True)
        assert read_landmarks(tmp_path / "out.csv") == [
            Landmark("n", 12, place, "a", depth=11.6),
            Landmark("m", 12, (2.0, 7.0), "a"),
        ]

    def test_the_plane_of_2d_images_stays_empty(self, tmp_path: Path) -> None:
        write_matches(tmp_path / "out.csv", self.matches, with_plane=False)
        assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("a.png,n,,1.23456,7.0,")

    def test_stacks_and_single_images_in_one_table(self, tmp_path: Path) -> None:
        write_matches(tmp_path / "out.csv", self.matches, with_plane=[False, True])
        rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
        assert [row.split(",")[2] for row in rows] == ["", "0"]

    def test_matches_are_landmarks_for_reading(self, tmp_path: Path) -> None:
        write_matches(tmp_path / "out.csv", self.matches, with_plane=True)
        assert read_landmarks(tmp_path / "out.csv") == [Landmark("n", 0, (1.23456, 7.0), "a.png")]
