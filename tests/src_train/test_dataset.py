"""Training data from every kind of file, and bounded memory."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import PIL.Image
import pytest
import tifffile
import torch

from benchmarks.synthetic import SECRET_ID, write_series
from napari_ld._types import Image
from napari_ld.errors import StorageError
from napari_ld.io.labels import write_labels
from napari_ld.io.ome_zarr import write_zarr
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.data import dataset as module
from src_train.data.dataset import Dataset, load_dataset

STACK = np.random.default_rng(0).integers(0, 1000, (3, 40, 48)).astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of every kind, 19 planes in all, and labels."""
    data = tmp_path / "data"
    write_series(data / "patient" / "ct", STACK)
    write_series(data / "patient" / "mr", STACK + 5)
    nib.save(nib.Nifti1Image(STACK.T, np.eye(4)), data / "a.nii.gz")
    nrrd.write(str(data / "a.nrrd"), STACK.T)
    tifffile.imwrite(data / "a.tif", STACK.astype(np.uint16), photometric="minisblack")
    write_zarr(data / "a.zarr", Image(STACK, "zyx"))
    PIL.Image.fromarray((STACK[0] // 4).astype(np.uint8)).save(data / "a.png")
    write_labels(data / "mask.tif", STACK % 3, Image(STACK, "zyx"))
    return data


def _load(folder: Path) -> tuple[Dataset, str]:
    said: list[str] = []
    loaded = load_dataset([folder], longest_side=32, normalization=IntensityNormalization(), report=said.append)
    return loaded, "\n".join(said)


def test_every_kind_of_file(folder: Path) -> None:
    dataset, said = _load(folder)
    names = {plane.image for plane in dataset.groups[0].planes}
    assert names == {"ct", "mr", "a.nii.gz", "a.nrrd", "a.tif", "a.zarr", "a.png"}
    assert len(dataset) == 19
    assert "1 label images left out" in said
    assert SECRET_ID not in said + repr(dataset.groups)


def test_what_does_not_fit_is_mapped_and_equal(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_LD_CACHE", str(tmp_path / "cache"))
    held, _ = _load(folder)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(module, "HELD_BYTES", 4000)
    monkeypatch.setattr(module, "_FILE_BYTES", 10_000)
    mapped, _ = _load(folder)
    for one, other in zip(held.groups[0].planes, mapped.groups[0].planes, strict=True):
        assert one.image == other.image
        assert all(torch.equal(a, b) for a, b in zip(one.levels, other.levels, strict=True))
    drawn = [
        [(first.image, second.image) for first, second in dataset.draw_couples(8, np.random.default_rng(1))]
        for dataset in (held, mapped)
    ]
    assert drawn[0] == drawn[1]
    assert list((tmp_path / "cache").iterdir()) == []  # the file has no name


def test_no_room(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 0)
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_LD_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot keep 268435456 bytes of decoded images"):
        _load(folder)
