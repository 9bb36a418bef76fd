"""Label maps come back with the same values and the same geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_ld._types import Image
from napari_ld.errors import ImageError, StorageError
from napari_ld.io.images import READERS, read_image
from napari_ld.io.labels import WRITERS, write_labels

OBLIQUE = np.float32([[0.1, 0.2, 0.9, 3], [-0.3, 0.9, -0.2, 4], [2.1, 0.1, 0, -5], [0, 0, 0, 1]]).astype(float)
VOLUME = Image(np.zeros((2, 3, 4)), "zyx", OBLIQUE, tuple(np.linalg.norm(OBLIQUE[:3, :3], axis=0).tolist()))


PLAIN = sorted(set(WRITERS) - {".dcm"})  # a DICOM segmentation needs the series that it refers to


@st.composite
def _labelled(draw: st.DrawFn) -> tuple[Any, Image]:
    """Labels, and an image of any kind that they belong to."""
    axes = draw(st.sampled_from(["yx", "yxc", "zyx", "pyx", "tyx", "zyxc"]))
    ndim = len(axes.rstrip("c"))
    shape = draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, min_side=2, max_side=5))
    labels = draw(hnp.arrays(st.sampled_from(["?", "u1", "i2", "<u4", ">i8"]), shape, elements={"min_value": 0}))
    if labels.dtype == ">i8":
        labels %= 2**32
    whole = st.integers(-(2**20), 2**20).map(lambda number: number / 1024)  # exact in single precision
    affine = draw(st.none() | hnp.arrays(np.float64, (4, 4), elements=whole))
    if affine is not None:
        affine[3] = [0, 0, 0, 1]
        affine[:3, :3] += np.diag([4096.0, 4096.0, 4096.0])
    spacing = draw(st.none() | st.tuples(*[st.integers(1, 999).map(lambda number: number / 128)] * ndim))
    image = np.zeros((*shape, 3) if axes.endswith("c") else shape)
    return labels, Image(image, axes, affine, spacing)


@pytest.mark.parametrize("suffix", PLAIN)
@settings(max_examples=60, deadline=None)
@given(labelled=_labelled())
def test_round_trip(suffix: str, labelled: tuple[Any, Image], tmp_path_factory: pytest.TempPathFactory) -> None:
    labels, like = labelled
    path = tmp_path_factory.mktemp("labels") / f"a{suffix}"
    write_labels(path, labels, like)
    back = read_image(path)
    assert back.array.dtype.kind == "u"
    np.testing.assert_array_equal(np.asarray(back.array), labels)
    if like.affine is None:
        assert back.affine is None
    else:
        np.testing.assert_array_equal(back.affine, like.affine)
    if suffix.startswith(".tif"):
        assert back.axes == like.axes.rstrip("c")
        assert back.spacing == like.spacing
    else:
        assert back.axes == ("yx" if labels.ndim == 2 else "zyx")
        if like.affine is None:
            assert back.spacing == like.spacing


def test_every_format_written_can_be_read() -> None:
    assert set(WRITERS) <= set(READERS)


@pytest.mark.parametrize("suffix", PLAIN)
def test_an_oblique_nifti_keeps_its_affine_to_the_bit(tmp_path: Path, suffix: str) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2), np.uint8), OBLIQUE), tmp_path / "image.nii")
    image = read_image(tmp_path / "image.nii")
    write_labels(tmp_path / f"labels{suffix}", np.ones((2, 3, 4), bool), image)
    np.testing.assert_array_equal(read_image(tmp_path / f"labels{suffix}").affine, image.affine)
    if suffix.startswith(".nii"):
        np.testing.assert_array_equal(nib.load(tmp_path / f"labels{suffix}").affine, OBLIQUE.astype(np.float32))


def test_values_take_the_smallest_type(tmp_path: Path) -> None:
    for high, expected in ((1, np.uint8), (256, np.uint16), (70_000, np.uint32)):
        write_labels(tmp_path / "a.tif", np.full((2, 3, 4), high), VOLUME)
        assert read_image(tmp_path / "a.tif").array.dtype == expected


def test_equal_labels_give_equal_files(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz"):
        for name in "ab":
            write_labels(tmp_path / f"{name}{suffix}", np.ones((2, 3, 4), np.uint8), VOLUME)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("a.png", np.zeros((2, 3, 4), int), r"a\.png: its ending is none of \.dcm, .*choose one of them"),
        ("a.tif", np.zeros((2, 3, 5), int), r"a\.tif: labels of shape \(2, 3, 5\), expected \(2, 3, 4\), that of the"),
        ("a.tif", np.zeros((2, 3, 4)), r"a\.tif: labels of type float64; expected whole numbers or booleans"),
        ("a.nii", np.full((2, 3, 4), -1), r"a\.nii: labels from -1 to -1; expected 0 to 4294967295"),
        ("a.nii", np.full((2, 3, 4), 2**32), r"a\.nii: labels from 4294967296 to 4294967296"),
    ],
)
def test_labels_that_cannot_be_written(tmp_path: Path, name: str, labels: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        write_labels(tmp_path / name, labels, VOLUME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", PLAIN)
def test_disk_full_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    resource = pytest.importorskip("resource", reason="the system has no file size limit to imitate a full disk with")
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    labels = np.random.default_rng(0).integers(0, 2**16, (2, 300, 400))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*a\.\w+.*: .*free some space"):
            write_labels(path, labels, Image(labels, "zyx"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
