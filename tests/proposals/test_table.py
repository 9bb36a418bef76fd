"""regions.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.errors import StorageError
from napari_ld.proposals import Mask, Region
from napari_ld.proposals.table import write_regions


def test_each_region_is_a_row(tmp_path: Path) -> None:
    mask = Mask.from_stack(np.pad(np.ones((2, 2, 3), int), ((0, 0), (1, 4), (2, 5))), first_plane=4)
    one = Region(7, 0, mask, 0.25, np.ones(2, np.float32), area_mm2=3.0, label=3, decision="accepted")
    two = Region(8, 0, Mask(mask.shape, mask.on_plane(4).runs - (4, 0, 0)), 0.5, np.ones(2, np.float32))
    stack, single = Image(np.zeros((6, 7, 10)), "zyx"), Image(np.zeros((7, 10)), "yx")
    write_regions(tmp_path / "regions.csv", [("a, b.tif", stack, [one]), ("c.tif", single, [two])])
    with (tmp_path / "regions.csv").open(newline="") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    assert rows == [
        ["7", "a, b.tif", "4-5", "12", "0.2500", "4 1 2 6 3 5", "4.50 1.50 3.00", "3", "accepted", "3.0000"],
        ["8", "c.tif", "", "6", "0.5000", "1 2 3 5", "1.50 3.00", "", "undecided", ""],
    ]


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"regions\.csv"):
        write_regions(tmp_path / "none" / "regions.csv", [])
