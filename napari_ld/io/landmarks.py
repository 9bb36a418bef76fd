"""Tables of landmarks and of matches as CSV.

Columns ``image,landmark,plane,row,column``: ``image`` is the file name, ``plane`` counts from 0 and is empty for a
single 2-D image, ``row`` and ``column`` are pixels of the stored image with the centre of the first pixel at 0.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_ld._types import Landmark, Match
from napari_ld.errors import LandmarkError
from napari_ld.storage import atomic_write

__all__ = ["COLUMNS", "MATCH_COLUMNS", "exact_plane", "read_landmarks", "write_landmarks", "write_matches"]

COLUMNS = ("image", "landmark", "plane", "row", "column")
MATCH_COLUMNS = (*COLUMNS, "score", "margin", "status", "expected_error", "expected_error_unit")


def read_landmarks(path: str | Path) -> list[Landmark]:
    """Read a table of landmarks.

    Parameters
    ----------
    path : str or Path
        UTF-8 CSV, with or without byte order mark, with the columns ``image,landmark,plane,row,column`` in any
        order. Further columns are ignored, so tables of :func:`write_matches` can be read too; their rows of status
        ``absent`` hold no position and are left out. A fractional plane, as points of volumes have, becomes the
        nearest whole one; the exact one is the landmark's ``depth``.

    Returns
    -------
    list of Landmark
        In the order of the file.

    Raises
    ------
    LandmarkError
        Unreadable file, missing column, empty name, position that is not a finite number, negative
        plane, the same landmark twice on one plane. Names the file, the line and the remedy.
    """
    landmarks: list[Landmark] = []
    lines: dict[tuple[str, str, int | None], int] = {}
    for line, row in _rows(Path(path)):
        where = f"{path}, line {line}"
        if row.get("status") == "absent" and not row["row"] and not row["column"]:
            continue
        landmark = _landmark(row, where)
        key = (landmark.image, landmark.name, landmark.plane)
        if key in lines:
            on_plane = "" if landmark.plane is None else f" on plane {landmark.plane}"
            raise LandmarkError(
                f"{where}: landmark {landmark.name!r} of image {landmark.image!r}{on_plane} stands in line "
                f"{lines[key]} already; keep one of the two lines"
            )
        lines[key] = line
        landmarks.append(landmark)
    return landmarks


def exact_plane(match: Match) -> float:
    """Plane of a match, with its fraction where a person's point lies between two planes."""
    between = match.status == "verified" and match.point is not None and match.point[1:] == match.position
    return match.point[0] if match.point is not None and between else float(match.plane)


def write_landmarks(path: str | Path, rows: Sequence[Landmark]) -> None:
    """Write a table of landmarks; :func:`read_landmarks` gives back the same values exactly.

    Raises
    ------
    StorageError
        When the file cannot be written; an older file is then unchanged.
    LandmarkError
        When a name holds a carriage return, which CSV cannot carry.
    """
    lines = [(row.image, row.name, _plane_cell(row), *(repr(float(value)) for value in row.position)) for row in rows]
    _write(path, COLUMNS, lines)


def write_matches(
    path: str | Path,
    matches: Sequence[tuple[str, Match]],
    *,
    with_plane: bool | Sequence[bool],
    in_space: bool = False,
) -> None:
    """Write where landmarks were found.

    Parameters
    ----------
    path : str or Path
        CSV with the columns ``image,landmark,plane,row,column,score,margin,status,expected_error,expected_error_unit``;
        the last two are empty where nothing is expected, for want of a calibration.
    matches : sequence of (image, Match)
        ``image`` is the name that tells the image apart, see :func:`napari_ld.io.images.image_keys`.
    with_plane : bool or sequence of bool
        Write the plane; False for 2-D images, whose column stays empty. One value for all, or one for each match.
    in_space : bool
        Write the point in space of each match, whose plane has a fraction, instead of its place on the plane.

    Raises
    ------
    StorageError
        When the file cannot be written; an older file is then unchanged.
    LandmarkError
        When a name holds a carriage return, which CSV cannot carry.
    """
    planes = [with_plane] * len(matches) if isinstance(with_plane, bool) else with_plane
    lines = []
    for (image, match), has_plane in zip(matches, planes, strict=True):
        place = _place(match, has_plane, in_space)
        expected = ("", "") if match.expected_error is None else (f"{match.expected_error:.3f}", match.unit)
        lines.append(
            (image, match.landmark, *place, f"{match.score:.4f}", f"{match.margin:.4f}", match.status, *expected)
        )
    _write(path, MATCH_COLUMNS, lines)


def _write(path: str | Path, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    for line in lines:
        # The csv module leaves a lone carriage return unquoted, and the table could not be read again.
        if any(isinstance(cell, str) and "\r" in cell for cell in line):
            raise LandmarkError(f"cannot write {path}: a name in {line!r} holds a carriage return; rename it")
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number (from 1; the last line of a row that spans several) and cells without surrounding blanks."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            _check_header(header, path)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise LandmarkError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, expected {len(header)}; "
                        "quote names that contain a comma"
                    )
                yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except OSError as error:
        raise LandmarkError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise LandmarkError(f"{path} is not UTF-8 text; save the table as CSV in UTF-8") from error
    except csv.Error as error:
        raise LandmarkError(f"{path}, line {reader.line_num}: {error}; save the table as CSV again") from error


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        found = ",".join(header) if header else "an empty file"
        raise LandmarkError(
            f"{path}, line 1: no column {', '.join(map(repr, missing))}; expected {','.join(COLUMNS)} "
            f"separated by commas, found {found}"
        )
    twice = sorted({name for name in header if name in MATCH_COLUMNS and header.count(name) > 1})
    if twice:
        raise LandmarkError(f"{path}, line 1: column {', '.join(twice)} stands there twice; keep one")


def _landmark(row: dict[str, str], where: str) -> Landmark:
    if not row["landmark"]:
        raise LandmarkError(f"{where}: the landmark has no name; fill the column 'landmark'")
    position = _number(row["row"], "row", where), _number(row["column"], "column", where)
    plane = _plane(row["plane"], where)
    exact = None if plane is None else _number(row["plane"], "plane", where)
    return Landmark(row["landmark"], plane, position, row["image"], None if exact == plane else exact)


def _place(match: Match, has_plane: bool, in_space: bool) -> tuple[str, str, str]:
    """Cells of plane, row and column."""
    if in_space:
        plane, row, column = ("", "", "") if match.point is None else map(_text, match.point)
        return plane, row, column
    row, column = ("", "") if match.position is None else map(_text, match.position)
    exact = exact_plane(match)
    return (_text(exact) if exact % 1 else str(match.plane)) if has_plane else "", row, column


def _text(value: float) -> str:
    """A place in pixels, to a ten-millionth: what is read back is as good as the same."""
    return repr(round(float(value), 7))


def _plane_cell(row: Landmark) -> str:
    if row.plane is None:
        return ""
    return str(row.plane) if row.depth is None else repr(float(row.depth))


def _plane(text: str, where: str) -> int | None:
    if not text:
        return None
    number = math.floor(_number(text, "plane", where) + 0.5)
    if number < 0:
        raise LandmarkError(f"{where}: plane is {text!r}; expected a number from 0, or nothing for a 2-D image")
    return number


def _number(text: str, column: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise LandmarkError(f"{where}: {column} is {text!r}; expected a finite number of pixels, as in 12.5")
    return number
