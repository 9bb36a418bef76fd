"""Series larger than the memory that may be taken: opened by their headers, and read plane by plane."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest

from benchmarks.synthetic import write_series
from napari_ld._npe2 import read_layers
from napari_ld.io.images import read_image

ROWS, COLUMNS, PLANES = 4096, 4096, 66
PIXEL_ELEMENT = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 8)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.2 GB of slices whose pixels are holes in their files: zeros that take no room on the disk."""
    folder = tmp_path_factory.mktemp("large")
    stored = np.zeros((PLANES, 2, 2), np.int16)
    for path in write_series(folder, stored, elements={"Rows": ROWS, "Columns": COLUMNS}):
        raw = path.read_bytes()
        start = raw.rindex(PIXEL_ELEMENT)
        size = ROWS * COLUMNS * 2
        path.write_bytes(raw[:start] + PIXEL_ELEMENT[:-4] + struct.pack("<L", size))
        with path.open("r+b") as file:
            file.truncate(start + len(PIXEL_ELEMENT) + size)
    assert sum(path.stat().st_size for path in folder.iterdir()) > 2.2e9
    return folder


def _peak(large: Path) -> float:
    """Megabytes that opening, as Python and as napari do it, and looking at two planes take."""
    read_layers(str(large))  # what is imported late is imported now
    tracemalloc.start()
    try:
        image = read_image(large)
        assert image.array.shape == (PLANES, ROWS, COLUMNS)
        ((pixels, _, _),) = read_layers(str(large))
        for plane in (0, PLANES - 1):
            assert (image.plane(plane) == -1024).all()
            assert np.asarray(pixels[plane, 1000, 1000]) == -1024
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_a_series_of_two_gigabytes_opens_lazily(large: Path) -> None:
    assert _peak(large) < 150  # a plane of 67 MB as it is shown, one of 34 MB as it is stored, and what compares them


def test_a_file_of_two_gigabytes_and_many_frames_opens_lazily(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, np.zeros((1, 2, 2), np.int16), elements={"Rows": 512, "Columns": 512})
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 4095
    dataset.save_as(path)
    raw = path.read_bytes()
    start, size = raw.rindex(PIXEL_ELEMENT), 4095 * 512 * 512 * 2
    path.write_bytes(raw[:start] + PIXEL_ELEMENT[:-4] + struct.pack("<L", size))
    with path.open("r+b") as file:
        file.truncate(start + len(PIXEL_ELEMENT) + size)
    tracemalloc.start()
    image = read_image(path)
    assert image.array.shape == (4095, 512, 512)
    assert (image.plane(4094) == -1024).all()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert peak < 40
