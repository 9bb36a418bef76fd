"""DICOM: order and place of planes, values, several series, and pydicom's own files as golden values."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_rescale
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from benchmarks.synthetic import write_series
from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io import dicom_pixels
from napari_ld.io.images import read_image, read_images
from napari_ld.io.lazy import LazyStack

STORED = np.random.default_rng(0).integers(0, 4000, (5, 6, 7)).astype(np.int16)


def _edit(path: Path, **elements: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def _bundled(name: str) -> Path:
    """A file that lies inside the pydicom package; nothing is fetched."""
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    return Path(found)


class TestSeries:
    def test_values_order_and_place(self, tmp_path: Path) -> None:
        write_series(tmp_path / "ct", STORED)
        image = read_image(tmp_path / "ct")
        assert (image.axes, image.modality, image.display_range) == ("zyx", "CT", (-160.0, 240.0))
        assert image.source == str(tmp_path / "ct")
        assert isinstance(image.array, LazyStack)
        np.testing.assert_array_equal(np.asarray(image.array), STORED.astype(np.int32) - 1024)
        assert image.spacing == pytest.approx((2.5, 0.75, 0.5))
        assert image.affine is not None
        np.testing.assert_allclose(image.affine @ [2, 3, 4, 1], [-100 + 4 * 0.5, -120 + 3 * 0.75, 30 + 2 * 2.5, 1])

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
        tilt=st.floats(-0.3, 0.3),
        spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
        signed=st.booleans(),
    )
    def test_any_orientation_agrees_with_the_standard_s_equation(
        self, angles: Any, tilt: float, spacing: Any, signed: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """PS3.3, C.7.6.2.1.1: position + column * spacing * along a row + row * spacing * along a column."""
        from scipy.spatial.transform import Rotation

        turned = Rotation.from_euler("zyx", angles).as_matrix()
        orientation = np.round([*turned[0], *turned[1]], 10)
        step = np.cross(orientation[:3], orientation[3:]) * spacing[0] + tilt * orientation[3:]  # sheared by the gantry
        stored = STORED if signed else STORED.astype(np.uint16)
        folder = tmp_path_factory.mktemp("series")
        paths = write_series(folder, stored, orientation=orientation, spacing=spacing, step=step)
        image = read_image(folder)
        assert image.affine is not None
        for plane, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            np.testing.assert_array_equal(image.plane(plane), apply_rescale(dataset.pixel_array, dataset))
            position, facing, size = (
                np.array(dataset[name].value, float)
                for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
            )
            expected = position + 4 * size[1] * facing[:3] + 3 * size[0] * facing[3:]
            np.testing.assert_allclose((image.affine @ [plane, 3, 4, 1])[:3], expected, atol=1e-6)

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        kind=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
        unused=st.integers(0, 5),
        slope=st.sampled_from([1, -1, 2, -3, 0.5]),
        intercept=st.sampled_from([0, -1024, 255, 32768, -7]),
        seed=st.integers(0, 9),
    )
    def test_values_are_pydicom_s_whatever_the_bits(
        self, kind: Any, unused: int, slope: float, intercept: int, seed: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Plane by plane and as one array; the type is as narrow as the declared bits allow."""
        bits = np.iinfo(kind).bits - unused
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if np.iinfo(kind).min else (0, (1 << bits) - 1)
        stored = np.random.default_rng(seed).integers(low, high, (3, 4, 6), endpoint=True).astype(kind)
        stored[0, 0, :2] = low, high
        elements = {"BitsStored": bits, "HighBit": bits - 1}
        folder = tmp_path_factory.mktemp("bits")
        paths = write_series(folder, stored, slope=slope, intercept=intercept, elements=elements)
        image = read_image(folder)
        whole = np.asarray(image.array)
        assert whole.dtype == image.array.dtype
        for plane, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            expected = apply_rescale(dataset.pixel_array.astype(np.int64), dataset)
            np.testing.assert_array_equal(image.plane(plane), expected)
            np.testing.assert_array_equal(whole[plane], expected)
        if whole.dtype.kind in "ui":
            found = sorted([low * slope + intercept, high * slope + intercept])
            types = [np.iinfo(t) for t in (np.uint8, np.uint16, np.int16) if np.iinfo(t).bits < whole.itemsize * 8]
            assert not any(one.min <= found[0] and found[1] <= one.max for one in types)

    def test_opening_reads_no_pixels_and_a_plane_only_its_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = write_series(tmp_path, STORED)
        seen: list[Path] = []
        real = dicom_pixels.read_plane
        monkeypatch.setattr(
            "napari_ld.io.dicom.read_plane",
            lambda place, dtype, out=None: [seen.append(place.header.path), real(place, dtype, out)][1],
        )
        image = read_image(tmp_path)
        assert seen == []
        image.plane(3)
        assert seen == [paths[3]]

    def test_missing_planes_are_said_and_positions_not_made_up(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, STORED)
        paths[2].unlink()
        with pytest.warns(UserWarning, match=r"1 planes are missing \(1 after plane 1\); positions in mm are left out"):
            image = read_image(tmp_path)
        assert (image.affine, image.spacing, image.n_planes) == (None, (2.5, 0.75, 0.5), 4)

    def test_uneven_planes(self, tmp_path: Path) -> None:
        _edit(write_series(tmp_path, STORED)[3], ImagePositionPatient=[-100, -120, 38.4])
        with pytest.warns(UserWarning, match="unevenly spaced, 1.6 to 3.4 mm apart"):
            assert read_image(tmp_path).affine is None

    def test_a_file_copied_twice_is_named(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, STORED)
        (tmp_path / "x-copy.dcm").write_bytes(paths[1].read_bytes())
        with pytest.warns(UserWarning, match=r"left out, another file has the same place: x-copy\.dcm"):
            assert read_image(tmp_path).n_planes == 5

    def test_repeated_places_are_times(self, tmp_path: Path) -> None:
        uid = pydicom.uid.generate_uid()
        for time in range(2):
            write_series(tmp_path / str(time), STORED + time, series=uid, elements={"AcquisitionNumber": 2 - time})
            for path in (tmp_path / str(time)).iterdir():
                path.rename(tmp_path / f"{time}-{path.name}")
        for time in range(2):
            (tmp_path / str(time)).rmdir()
        image = read_image(tmp_path)
        assert (image.axes, image.array.shape) == ("tzyx", (2, 5, 6, 7))
        np.testing.assert_array_equal(image.plane(5), STORED[0] - 1024)
        volumes = read_images([tmp_path])
        assert [one.source for one in volumes] == [f"{tmp_path}#0", f"{tmp_path}#1"]
        np.testing.assert_array_equal(np.asarray(volumes[1].array), STORED - 1024)

    def test_planes_of_other_pixel_sizes(self, tmp_path: Path) -> None:
        _edit(write_series(tmp_path, STORED)[0], PixelSpacing=[1, 1])
        with pytest.warns(UserWarning, match="differ in the size of their pixels"):
            assert read_image(tmp_path).spacing is None

    def test_skewed_rows_and_columns(self, tmp_path: Path) -> None:
        write_series(tmp_path, STORED, orientation=(1, 0, 0, 0.7, 0.7, 0), step=(0, 0, 1))
        with pytest.raises(ImageError, match="expected perpendicular directions"):
            read_image(tmp_path)

    def test_a_plane_without_position_in_a_volume(self, tmp_path: Path) -> None:
        _edit(write_series(tmp_path, STORED)[4], ImagePositionPatient=None)
        with pytest.raises(ImageError, match="does not say where its plane lies, unlike its series"):
            read_image(tmp_path)

    def test_changed_since_it_was_opened(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, STORED)
        image = read_image(tmp_path)
        paths[2].unlink()
        with pytest.raises(ImageError, match=r"cannot read .*No such file"):
            image.plane(2)
        paths[1].write_bytes(paths[1].read_bytes()[:-8])
        with pytest.raises(ImageError, match="it ends before its pixels do"):
            image.plane(1)


class TestFolders:
    def test_several_series_are_a_choice(self, tmp_path: Path) -> None:
        for number, planes in ((2, 5), (1, 3)):
            paths = write_series(tmp_path / "x", STORED[:planes], elements={"SeriesNumber": number})
            for path in paths:
                path.rename(tmp_path / f"{number}-{path.name}")
        (tmp_path / "x").rmdir()
        with pytest.raises(
            ImageError, match=r"holds 2 series; name one of them: .*#0 \(CT, 3 planes of 6 x 7, .*#1 \("
        ):
            read_image(tmp_path)
        assert read_image(f"{tmp_path}#1").n_planes == 5
        with pytest.warns(UserWarning, match="opened is the largest"):
            (largest,) = read_images([tmp_path], several="largest")
        assert (largest.n_planes, largest.source) == (5, f"{tmp_path}#1")
        assert [image.n_planes for image in read_images([tmp_path], several="all")] == [3, 5]
        uid = str(pydicom.dcmread(next(tmp_path.glob("1-*"))).SeriesInstanceUID)
        assert read_image(f"{tmp_path}#{uid}").n_planes == 3
        with pytest.raises(ImageError, match=r"has no part '7'; it has 0 to 1"):
            read_image(f"{tmp_path}#7")

    def test_files_named_one_by_one_are_one_volume(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, STORED)
        (image,) = read_images(paths[::-1])
        np.testing.assert_array_equal(np.asarray(image.array), STORED.astype(int) - 1024)
        (single,) = read_images(paths[:1])
        assert (single.axes, single.source) == ("yx", str(paths[0]))

    def test_archives_with_folders_in_folders(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            for path in write_series(tmp_path / "patient" / name, STORED):
                path.rename(path.with_suffix(""))  # archives give files no ending
        images = read_images([tmp_path])
        assert [image.source for image in images] == [str(tmp_path / "patient" / name) for name in "ab"]

    def test_other_files_beside_a_series_are_named(self, tmp_path: Path) -> None:
        write_series(tmp_path, STORED)
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "report.dcm").write_bytes(_bundled("test-SR.dcm").read_bytes())
        with pytest.warns(UserWarning, match="left out of") as caught:
            read_image(tmp_path)
        messages = " ".join(str(one.message) for one in caught)
        assert "not DICOM: notes.txt" in messages
        assert "DICOM files without an image: report.dcm" in messages

    def test_no_image_among_dicom_files(self, tmp_path: Path) -> None:
        (tmp_path / "report.dcm").write_bytes(_bundled("test-SR.dcm").read_bytes())
        with pytest.raises(ImageError, match="holds DICOM files, but none with an image"):
            read_image(tmp_path)

    def test_pictures_without_places_stay_pictures(self, tmp_path: Path) -> None:
        for path in write_series(tmp_path, STORED[:2]):
            _edit(path, ImagePositionPatient=None, ImageOrientationPatient=None)
        assert [image.axes for image in read_images([tmp_path])] == ["yx", "yx"]
        with pytest.raises(ImageError, match="holds 2 pictures; expected one series"):
            read_image(tmp_path)


GREY = ["CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless"]
GREY += ["MR_small_jpeg_ls_lossless", "JPEG2000", "JPEGLSNearLossless_16", "rtdose_1frame", "image_dfl"]
COLOUR = ["SC_rgb_jpeg_dcmtk", "SC_rgb_rle", "examples_ybr_color", "SC_ybr_full_422_uncompressed", "SC_rgb_small_odd"]


class TestFiles:
    @pytest.mark.parametrize("name", GREY)
    def test_grey_values_are_pydicom_s(self, name: str) -> None:
        path = _bundled(f"{name}.dcm")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom on its own odd files
            dataset = pydicom.dcmread(path)
            expected = apply_rescale(dataset.pixel_array, dataset)
            if "DoseGridScaling" in dataset:
                expected = expected * dataset.DoseGridScaling
        image = read_image(path)
        np.testing.assert_allclose(np.asarray(image.array), expected, rtol=1e-6)
        if "PixelSpacing" in dataset:
            assert image.pixel_spacing == tuple(map(float, dataset.PixelSpacing))

    @pytest.mark.parametrize("name", COLOUR)
    def test_colours_are_rgb(self, name: str) -> None:
        path = _bundled(f"{name}.dcm")
        image = read_image(path)
        assert image.axes.endswith("yxc")
        expected = pydicom.dcmread(path).pixel_array
        np.testing.assert_array_equal(np.asarray(image.array), expected)

    def test_palette(self) -> None:
        path = _bundled("examples_palette.dcm")
        dataset = pydicom.dcmread(path)
        expected = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
        np.testing.assert_array_equal(
            np.asarray(read_image(path).array), expected >> 8 if expected.max() > 255 else expected
        )

    def test_dose_grid_has_a_place_for_every_frame(self) -> None:
        path = _bundled("rtdose.dcm")
        image, dataset = read_image(path), pydicom.dcmread(path)
        assert (image.axes, image.n_planes) == ("zyx", int(dataset.NumberOfFrames))
        assert image.affine is not None
        assert (image.affine @ [3, 0, 0, 1])[2] == pytest.approx(
            dataset.ImagePositionPatient[2] + dataset.GridFrameOffsetVector[3]
        )
        np.testing.assert_allclose(image.plane(3), dataset.pixel_array[3] * float(dataset.DoseGridScaling), rtol=1e-6)

    def test_films_have_times(self) -> None:
        image = read_image(_bundled("examples_ybr_color.dcm"))
        assert image.axes == "tyxc"
        assert isinstance(image.array, LazyStack)

    def test_old_files_without_mark(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, STORED[:1])
        raw = path.read_bytes()
        path.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
        assert path.read_bytes().startswith(b"\x08\0")
        np.testing.assert_array_equal(np.asarray(read_image(path).array), STORED[0].astype(int) - 1024)

    def test_monochrome1_is_turned_round(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, (STORED[:1] % 1024).astype(np.uint16), intercept=0)
        _edit(path, PhotometricInterpretation="MONOCHROME1", BitsStored=10, HighBit=9)
        np.testing.assert_array_equal(np.asarray(read_image(path).array), 1023 - STORED[0] % 1024)

    def test_bits_beyond_the_stored_ones_are_no_part_of_the_value(self, tmp_path: Path) -> None:
        stored = (STORED[:1] % 1024).astype(np.uint16)
        (path,) = write_series(tmp_path, stored | 0x8000, intercept=0)
        _edit(path, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(np.asarray(read_image(path).array), stored[0])

    def test_fractional_rescale_is_float32(self, tmp_path: Path) -> None:
        write_series(tmp_path, STORED, slope=0.25, intercept=-3.5)
        image = read_image(tmp_path)
        assert np.dtype(image.array.dtype) == np.float32
        np.testing.assert_array_equal(image.plane(1), STORED[1] * np.float32(0.25) - np.float32(3.5))

    def test_compressed_series(self, tmp_path: Path) -> None:
        for path in write_series(tmp_path, STORED):
            dataset = pydicom.dcmread(path)
            dataset.compress(RLELossless)
            dataset.save_as(path)
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path).array), STORED.astype(int) - 1024)

    def test_a_table_of_values(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, (STORED[:1] % 8).astype(np.uint16))
        table = pydicom.Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [8, 0, 16], "US"
        table.LUTData = [7, 6, 5, 4, 3, 2, 1, 900]
        table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
        _edit(path, ModalityLUTSequence=[table], RescaleSlope=None, RescaleIntercept=None)
        expected = np.array([7, 6, 5, 4, 3, 2, 1, 900])[STORED[0] % 8]
        np.testing.assert_array_equal(np.asarray(read_image(path).array), expected)


class TestBadFiles:
    def test_no_pixels(self) -> None:
        with pytest.raises(ImageError, match=r"DICOM file without pixels \(Basic Text SR Storage\)|without pixels"):
            read_image(_bundled("test-SR.dcm"))

    def test_truncated(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, STORED[:1])
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(ImageError, match="is truncated: it declares 84 bytes of pixels and holds 74"):
            read_image(path)

    def test_not_dicom(self, tmp_path: Path) -> None:
        (tmp_path / "a.dcm").write_bytes(b"hello, this is no image at all" * 20)
        with pytest.raises(ImageError, match=r"is not a DICOM file as its name says"):
            read_image(tmp_path / "a.dcm")
        with pytest.raises(ImageError, match=r"cannot read .*No such file"):
            read_image(tmp_path / "b.dcm")

    @pytest.mark.parametrize(
        ("elements", "message"),
        [
            ({"Rows": 0}, "declares 0 x 7 pixels; expected at least one"),
            ({"Rows": 60000, "Columns": 60000}, "more than 178956970"),
            ({"SamplesPerPixel": 2}, "has 2 samples a pixel; expected 1 or 3"),
            ({"NumberOfFrames": 100000}, "declares 100000 frames, more than it has bytes"),
            ({"RescaleSlope": "0"}, "a rescale slope of 0"),
        ],
    )
    def test_absurd_headers(self, tmp_path: Path, elements: dict[str, Any], message: str) -> None:
        (path,) = write_series(tmp_path, STORED[:1])
        _edit(path, **elements)
        with pytest.raises(ImageError, match=message):
            read_image(path)

    def test_unknown_compression(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, STORED[:1])
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.4.100")
        dataset.PixelData = pydicom.encaps.encapsulate([b"12345678"])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
        with pytest.raises(ImageError, match=r"is compressed as MPEG2 .*, which cannot be decoded here"):
            read_image(path)

    def test_twelve_bit_jpeg_needs_a_decoder_that_is_not_free_enough(self) -> None:
        with pytest.raises(ImageError, match=r"JPGExtended\.dcm: .*cannot be decoded here; save it uncompressed"):
            read_image(_bundled("JPGExtended.dcm"))

    def test_a_packed_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (path,) = write_series(tmp_path, np.zeros((1, 2000, 2000), np.int16))
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
        monkeypatch.setattr("napari_ld.io.dicom_headers._MAX_UNPACKED_BYTES", 2**22)
        with pytest.raises(ImageError, match="unpacks to more than 4194304 bytes"):
            read_image(path)


def test_the_development_series_lie_on_the_grids_of_their_masks(development_data: Path) -> None:
    """The masks were made from the same series by another library."""
    for name in ("mr_t1_sts001", "pet_headneck"):
        series = read_image(development_data / "dicom_series" / "images" / name)
        mask = read_image(development_data / "dicom_series" / "masks" / f"{name}.nii.gz")
        assert series.array.shape == mask.array.shape
        assert series.affine is not None
        np.testing.assert_allclose(series.affine, mask.affine, atol=1e-4)


def test_images_of_four_axes_count_planes_through() -> None:
    pixels = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    image = Image(pixels, "tzyx")
    assert (image.n_planes, image.plane_shape, image.is_stack) == (6, (4, 5), True)
    np.testing.assert_array_equal(image.plane(4), pixels[1, 1])
