"""Options that several commands share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from napari_ld.cli.options import check_output, make_folder, parse_spacing
from napari_ld.errors import StorageError


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that may be read but not written to; root becomes somebody else meanwhile."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        yield Path(name)
        os.seteuid(user)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("0.1,0.2", (0.1, 0.2)), ("2.5, 0.1, 1e-1", (2.5, 0.1, 0.1))]
)
def test_spacing(text: str | None, expected: tuple[float, ...] | None) -> None:
    assert parse_spacing(text) == expected


@pytest.mark.parametrize("text", ["", "1", "1,2,3,4", "a,b", "0,1", "1,-1", "inf,1", "nan,1"])
def test_spacing_that_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected two or three positive numbers in mm"):
        parse_spacing(text)


def test_output_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "old.csv").touch()
    check_output(tmp_path / "old.csv", overwrite=True)
    check_output(tmp_path / "new.csv")


def test_output_that_is_there_already(tmp_path: Path) -> None:
    (tmp_path / "old.csv").touch()
    with pytest.raises(StorageError, match=r"old\.csv: it exists already; choose another name or add --overwrite"):
        check_output(tmp_path / "old.csv")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"it is a folder; add a file name"):
        check_output(tmp_path)
    with pytest.raises(StorageError, match=r"out.csv: there is no folder .*; create it first"):
        check_output(tmp_path / "no" / "out.csv")


def test_output_that_is_an_input(tmp_path: Path) -> None:
    table = tmp_path / "clicks.csv"
    table.touch()
    with pytest.raises(StorageError, match=r"clicks.csv: it is one of the files to be read; choose another name"):
        check_output(tmp_path / "films" / ".." / "clicks.csv", inputs=[table])


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="there is no such file there")
def test_output_that_is_no_file() -> None:
    with pytest.raises(StorageError, match=r"/dev/null: it is not a regular file; choose another name"):
        check_output(Path("/dev/null"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions work in another way there")
def test_no_permission(closed_folder: Path) -> None:
    with pytest.raises(StorageError, match=r"out.csv: no permission; choose a folder that you may write to"):
        check_output(closed_folder / "out.csv")
    with pytest.raises(StorageError, match=r"cannot make the folder .*: Permission denied; choose another one"):
        make_folder(closed_folder / "new")
