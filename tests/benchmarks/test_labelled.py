"""Planes for tuning and planes that are reported never mix."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from benchmarks.labelled import labelled_planes


def volume(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), path)


def make_set(root: Path, names: list[str], masks: np.ndarray) -> None:
    for place, name in enumerate(names):
        volume(root / "set" / "images" / name, np.full(masks.shape, place, np.int16))
        volume(root / "set" / "masks" / name, masks)
    rows = "\n".join(f"{name},masks/{name}" for name in names)
    (root / "set" / "images.csv").write_text(f"image,mask\n{rows}\n")


def test_no_patient_stands_in_both_splits(tmp_path: Path) -> None:
    masks = np.zeros((3, 4, 5), np.uint8)
    masks[1, :2] = 1
    make_set(tmp_path, [f"p{patient}_{frame}.nii.gz" for patient in range(5) for frame in "ab"], masks)
    given = {"tuning": 3, "patient": "_"}
    tuning, report = (list(labelled_planes(tmp_path, "set", given, split, 99)) for split in ("tuning", "report"))
    assert len(tuning) == 3
    assert report
    patients = [{name.split("_")[0] for name, *_ in found} for found in (tuning, report)]
    assert not patients[0] & patients[1]
    assert (report[0][2] > 0).sum() == 10
    assert len(list(labelled_planes(tmp_path, "set", {"tuning": 3}, "report", 99))) == 7
    assert len(list(labelled_planes(tmp_path, "set", {"tuning": 3}, "report", 2))) == 2


def test_one_volume_is_split_in_halves(tmp_path: Path) -> None:
    masks = np.zeros((12, 4, 5), np.uint8)
    masks[2:10, 0, 0] = 1
    make_set(tmp_path, ["a.nii.gz"], masks)
    tuning, report = (
        [name for name, *_ in labelled_planes(tmp_path, "set", {"one_volume": True}, split, 3)]
        for split in ("tuning", "report")
    )
    assert tuning == ["a.nii.gz 2", "a.nii.gz 4", "a.nii.gz 5"]
    assert report == ["a.nii.gz 6", "a.nii.gz 8", "a.nii.gz 9"]
