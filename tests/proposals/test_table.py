"""regions.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_ld.errors import StorageError
from napari_ld.proposals import Mask, Region
from napari_ld.proposals.table import COLUMNS, write_regions


def test_each_region_is_a_row(tmp_path: Path) -> None:
    mask = Mask.from_stack(np.pad(np.ones((2, 2, 3), int), ((0, 0), (1, 4), (2, 5))), first_plane=4)
    one = Region(7, 0, mask, 0.25, np.ones(2, np.float32), label=3, decision="accepted")
    two = Region(8, 0, mask.on_plane(5), 0.5, np.ones(2, np.float32))
    write_regions(tmp_path / "regions.csv", [("a, b.tif", one), ("c.tif", two)])
    with (tmp_path / "regions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert list(rows[0].values()) == [
        "7", "a, b.tif", "4", "12", "0.2500", "4 1 2 6 3 5", "4.50 1.50 3.00", "3", "accepted",
    ]  # fmt: skip
    assert (rows[1]["class"], rows[1]["decision"], rows[1]["plane"]) == ("", "undecided", "5")


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"regions\.csv"):
        write_regions(tmp_path / "none" / "regions.csv", [])
