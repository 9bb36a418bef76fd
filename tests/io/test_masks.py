"""Masks in the geometry of their image: every format, any affine, voxel for voxel; DICOM segmentations; COCO."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from benchmarks.synthetic import SECRET_ID, write_series
from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.coco import decode_counts, encode_counts, write_coco, write_coco_of
from napari_ld.io.images import read_image
from napari_ld.io.labels import WRITERS, Segment, labels_path, write_labels

LABELS = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint8)
STORED = np.random.default_rng(1).integers(0, 900, (5, 6, 7)).astype(np.int16)

affines = st.builds(
    lambda angles, sizes, flips, origin, shear: (
        Rotation.from_euler("xyz", angles).as_matrix()
        @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
        @ np.diag(np.multiply(sizes, flips)),
        np.array(origin),
    ),
    st.tuples(*[st.floats(-3.2, 3.2)] * 3),
    st.tuples(*[st.floats(0.1, 7)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.floats(-0.3, 0.3),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=affines,
    ending=st.sampled_from(sorted(set(WRITERS) - {".dcm", ".tiff"})),
    dtype=st.sampled_from([np.bool_, np.uint8, np.int16, np.uint16, np.int64]),
    top=st.sampled_from([1, 255, 256, 70000]),
)
def test_round_trip(parts: Any, ending: str, dtype: Any, top: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    matrix, origin = parts
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    labels = np.minimum(LABELS.astype(np.int64) * top, np.iinfo(dtype).max if dtype is not np.bool_ else 1).astype(
        dtype
    )
    spacing = tuple(float(step) for step in np.linalg.norm(matrix, axis=0))
    image = Image(STORED, "zyx", affine, spacing)
    path = tmp_path_factory.mktemp("mask") / f"a{ending}"
    write_labels(path, labels, image)
    back = read_image(path)
    assert (back.kind, back.axes) == ("labels", "zyx") if labels.any() else back.axes == "zyx"
    np.testing.assert_array_equal(np.asarray(back.array), labels.astype(np.int64))
    assert back.affine is not None
    corners = np.array([[0, 0, 0, 1], [4, 5, 6, 1], [4, 0, 6, 1], [0, 5, 0, 1]]).T
    # NIfTI keeps its affine in single precision
    np.testing.assert_allclose(back.affine @ corners, affine @ corners, atol=2e-3 if "nii" in ending else 1e-9)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_other_libraries_see_the_same_place(tmp_path: Path, ending: str) -> None:
    """The voxel [column 6, row 5, plane 4] lies where the image says, as nibabel and pynrrd tell it."""
    affine = np.array([[0.1, 0.2, 0.9, 3], [-0.2, 0.9, 0.5, 4], [2, -0.1, 0.1, -5], [0, 0, 0, 1]])
    write_labels(tmp_path / f"a{ending}", LABELS, Image(STORED, "zyx", affine))
    expected = (affine @ [4, 5, 6, 1])[:3]
    if ending == ".nrrd":
        pixels, header = nrrd.read(str(tmp_path / "a.nrrd"))
        found = header["space origin"] + np.array([6, 5, 4]) @ header["space directions"]
        assert header["space"] == "left-posterior-superior"
    else:
        volume = nib.load(tmp_path / "a.nii.gz")
        pixels, found = np.asarray(volume.dataobj), (volume.affine @ [6, 5, 4, 1])[:3] * [-1, -1, 1]
        assert volume.header.get_intent()[0] == "label"
    assert pixels[6, 5, 4] == LABELS[4, 5, 6]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("axes", ["yx", "tzyx"])
@pytest.mark.parametrize("ending", [".nii", ".nrrd"])
def test_other_numbers_of_axes(tmp_path: Path, axes: str, ending: str) -> None:
    labels = LABELS[0] if axes == "yx" else np.stack([LABELS, LABELS[::-1]])
    spacing = (0.5, 0.25) if axes == "yx" else (1.0, 2.0, 0.5, 0.25)
    write_labels(tmp_path / f"a{ending}", labels, Image(labels, axes, None, spacing))
    back = read_image(tmp_path / f"a{ending}")
    assert back.axes == axes
    np.testing.assert_array_equal(np.asarray(back.array), labels)


def test_the_format_of_the_source_is_the_default(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", STORED)
    image = read_image(tmp_path / "ct")
    with_segmentations = find_spec("highdicom") is not None  # an extra; without it NIfTI keeps the geometry too
    assert labels_path(image, tmp_path) == tmp_path / f"ct-labels{'.dcm' if with_segmentations else '.nii.gz'}"
    for name, expected in (
        ("a.nii", ".nii.gz"),
        ("a.nii.gz", ".nii.gz"),
        ("a.nrrd", ".nrrd"),
        ("a.png", ".tif"),
        ("a", ".tif"),
    ):
        assert labels_path(Image(LABELS, "zyx", source=name), "out") == Path("out") / f"a-labels{expected}"
    assert labels_path(Image(LABELS, "zyx"), "out") == Path("out/image-labels.tif")


class TestSegmentation:
    def _image(self, folder: Path, **options: Any) -> Image:
        write_series(folder, STORED, orientation=(0.8, 0.6, 0, -0.6, 0.8, 0), **options)
        return read_image(folder)

    def test_voxels_names_codes_and_references(self, tmp_path: Path) -> None:
        pytest.importorskip("highdicom")
        image = self._image(tmp_path / "ct")
        labels = np.where(LABELS == 2, 9, LABELS).astype(np.uint8)
        labels[0] = 0
        segments = {1: Segment("liver", kind=("10200004", "SCT", "Liver"))}
        write_labels(tmp_path / "a.dcm", labels, image, segments=segments)
        back = read_image(tmp_path / "a.dcm")
        assert (back.kind, back.label_names) == ("labels", ((1, "liver"), (3, "label 3"), (9, "label 9")))
        np.testing.assert_array_equal(np.asarray(back.array), labels)
        np.testing.assert_allclose(back.affine, image.affine, atol=1e-9)
        written = pydicom.dcmread(tmp_path / "a.dcm")
        assert written.SOPClassUID.name == "Segmentation Storage"
        assert written.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
        source = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
        assert written.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
        assert (written.FrameOfReferenceUID, written.PatientID) == (source.FrameOfReferenceUID, SECRET_ID)

    def test_highdicom_reads_the_same(self, tmp_path: Path) -> None:
        seg = pytest.importorskip("highdicom.seg")
        image = self._image(tmp_path / "ct")
        write_labels(tmp_path / "a.dcm", (LABELS == 2).astype(np.uint8), image)
        volume = seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True)
        ours = np.indices(LABELS.shape).reshape(3, -1)
        theirs = np.linalg.inv(volume.affine) @ image.affine @ np.vstack([ours, np.ones(ours.shape[1])])
        np.testing.assert_allclose(theirs, theirs.round(), atol=1e-6)  # it may count planes from the other end
        found = volume.array[tuple(theirs[:3].round().astype(int))]
        np.testing.assert_array_equal(found, (LABELS == 2).ravel())

    def test_sparse_masks_get_their_empty_planes_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("highdicom")
        monkeypatch.setattr("napari_ld.io.dicom_seg_writer._MAX_FRAMES", 1)
        labels = np.zeros_like(LABELS)
        labels[1, 2, 3] = labels[2, 2, 3] = labels[4, 1, 1] = 1
        image = self._image(tmp_path / "ct")
        write_labels(tmp_path / "a.dcm", labels, image)
        back = read_image(tmp_path / "a.dcm")
        np.testing.assert_array_equal(np.asarray(back.array), labels[1:])
        np.testing.assert_allclose(back.affine[:, 3], image.affine @ [1, 0, 0, 1], atol=1e-9)

    def test_only_images_from_dicom_can_be_referenced(self, tmp_path: Path) -> None:
        pytest.importorskip("highdicom")
        with pytest.raises(ImageError, match=r"cannot read .*x\.nii"):
            write_labels(tmp_path / "a.dcm", LABELS, Image(STORED, "zyx", source=str(tmp_path / "x.nii")))
        with pytest.raises(ImageError, match="the image came from no DICOM file"):
            write_labels(tmp_path / "a.dcm", LABELS, Image(STORED, "zyx"))
        with pytest.raises(ImageError, match="holds no DICOM files"):
            write_labels(tmp_path / "a.dcm", LABELS, Image(STORED, "zyx", source=str(tmp_path)))
        assert list(tmp_path.iterdir()) == []

    def test_what_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("highdicom")
        image = self._image(tmp_path / "ct")
        with pytest.raises(ImageError, match="needs at least one label; the mask is empty"):
            write_labels(tmp_path / "a.dcm", LABELS * 0, image)
        next((tmp_path / "ct").iterdir()).unlink()
        with pytest.raises(ImageError, match="which has changed; open it again"):
            write_labels(tmp_path / "a.dcm", LABELS, image)
        monkeypatch.setitem(sys.modules, "highdicom.seg", None)
        with pytest.raises(ImageError, match=r"need highdicom: pip install 'napari-ld\[dicom-seg\]'"):
            write_labels(tmp_path / "a.dcm", LABELS, image)
        assert [path.name for path in tmp_path.iterdir()] == ["ct"]

    def test_a_source_that_lacks_what_the_standard_demands(self, tmp_path: Path) -> None:
        pytest.importorskip("highdicom")
        for path in write_series(tmp_path / "ct", STORED):
            dataset = pydicom.dcmread(path)
            del dataset.StudyInstanceUID
            dataset.save_as(path)
        with pytest.raises(ImageError, match="cannot be the source of a DICOM segmentation"):
            write_labels(tmp_path / "a.dcm", LABELS, read_image(tmp_path / "ct"))

    def test_overlapping_and_unplaced_segments(self, tmp_path: Path) -> None:
        pytest.importorskip("highdicom")
        image = self._image(tmp_path / "ct")
        write_labels(tmp_path / "a.dcm", LABELS, image)
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        dataset.PixelData = b"\xff" * len(dataset.PixelData)
        dataset.save_as(tmp_path / "b.dcm")
        with pytest.warns(UserWarning, match="segments overlap; where they do, the higher number is seen"):
            assert (np.asarray(read_image(tmp_path / "b.dcm").array) == 3).all()
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        frame = dataset.PerFrameFunctionalGroupsSequence[3]
        frame.PlanePositionSequence[0].ImagePositionPatient = [1, 2, 3.3]
        dataset.save_as(tmp_path / "c.dcm")
        with pytest.raises(ImageError, match="has planes at uneven distances"):
            read_image(tmp_path / "c.dcm")
        del frame.PlanePositionSequence
        dataset.save_as(tmp_path / "d.dcm")
        with pytest.raises(ImageError, match="has frames without place, or of several orientations"):
            read_image(tmp_path / "d.dcm")


class TestCoco:
    def test_runs_are_those_of_the_mask(self) -> None:
        mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
        assert encode_counts(mask) == [2, 3, 1]
        assert encode_counts(~mask) == [0, 2, 3, 1]
        for one in (mask, ~mask, mask & False, mask | True):
            np.testing.assert_array_equal(decode_counts(encode_counts(one), (2, 3)), one)
        with pytest.raises(ImageError, match="runs of 5 pixels; expected 2 x 3"):
            decode_counts([2, 3], (2, 3))

    def test_file(self, tmp_path: Path) -> None:
        write_coco(tmp_path / "a.json", [("x.png", LABELS[0]), ("y.png", LABELS[1] * 0)], {1: "vessel"})
        whole = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
        assert [image["file_name"] for image in whole["images"]] == ["x.png", "y.png"]
        assert whole["categories"][0] == {"id": 1, "name": "vessel"}
        for one in whole["annotations"]:
            mask = decode_counts(one["segmentation"]["counts"], (6, 7))
            np.testing.assert_array_equal(mask, LABELS[0] == one["category_id"])
            assert one["area"] == mask.sum()
            left, top, width, height = one["bbox"]
            assert mask[top : top + height, left : left + width].sum() == mask.sum()
            assert mask[top].any()
            assert mask[:, left + width - 1].any()

    def test_a_stack_of_pictures_is_a_file_of_many_images(self, tmp_path: Path) -> None:
        for axes, names in (("pyx", [f"films#{plane}" for plane in range(5)]), ("yx", ["films"])):
            labels = LABELS if axes == "pyx" else LABELS[2]
            write_coco_of(tmp_path / "a.json", labels, Image(labels, axes, source="x/films"), {1: "class 1"})
            whole = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
            assert [image["file_name"] for image in whole["images"]] == names
            stack = np.zeros((len(names), 6, 7), int)
            for one in whole["annotations"]:
                mask = decode_counts(one["segmentation"]["counts"], (6, 7))
                stack[one["image_id"] - 1][mask] = one["category_id"]
            np.testing.assert_array_equal(np.squeeze(stack), labels)
        with pytest.raises(ImageError, match="films is a volume, and COCO holds pictures; save it as NIfTI"):
            write_coco_of(tmp_path / "b.json", LABELS, Image(LABELS, "zyx", source="films"))
        assert not (tmp_path / "b.json").exists()

    def test_stacks_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="COCO holds 2-D label maps"):
            write_coco(tmp_path / "a.json", [("x", LABELS)])
