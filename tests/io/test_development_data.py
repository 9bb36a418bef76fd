"""The readers on real files; skipped where the development data are absent."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from napari_ld.io.images import READERS, read_image
from napari_ld.io.landmarks import read_landmarks

DATA = Path(os.environ.get("NAPARI_LD_DATA", ""))
TABLES = sorted(DATA.glob("*/images.csv")) if os.environ.get("NAPARI_LD_DATA") else []

pytestmark = pytest.mark.skipif(not TABLES, reason="NAPARI_LD_DATA names no folder with development data")


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.parent.name)
def test_sizes_and_spacings_are_those_of_the_table(table: Path) -> None:
    with open(table, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["image"].lower().endswith(tuple(READERS))]
    if not rows:
        pytest.skip("no file in a format read so far")
    for row in rows[:: max(1, len(rows) // 3)]:
        image = read_image(table.parent / "images" / row["image"])
        assert image.plane_shape == (int(row["rows"]), int(row["columns"]))
        assert image.n_planes == int(row["planes"] or 1)
        assert image.plane(image.n_planes - 1).shape[:2] == image.plane_shape
        if image.spacing is not None and row["spacing_row_mm"]:
            expected = float(row["spacing_row_mm"]), float(row["spacing_column_mm"])
            np.testing.assert_allclose(image.spacing[-2:], expected, rtol=1e-3)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.parent.name)
def test_landmarks_are_read_and_lie_in_their_image(table: Path) -> None:
    path = table.parent / "landmarks.csv"
    if not path.exists():
        pytest.skip("a set without landmarks")
    landmarks = read_landmarks(path)
    assert landmarks
    first = landmarks[0]
    rows, columns = read_image(table.parent / "images" / first.image).plane_shape
    assert -0.5 <= first.position[0] <= rows - 0.5
    assert -0.5 <= first.position[1] <= columns - 0.5
