"""NIfTI: axes, patient coordinates, laziness, and no error but ImageError."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_ld.errors import ImageError
from napari_ld.io.images import read_image
from napari_ld.io.lazy import LazyStack
from napari_ld.io.nifti import from_ras, to_ras

STACK = np.random.default_rng(0).integers(0, 200, (5, 7, 9)).astype(np.int16)
OBLIQUE = np.array([[0.9, 0.2, 0, 3], [-0.2, 0.9, 0.5, 4], [0, -0.1, 2, -5], [0, 0, 0, 1]])


def _written(path: Path, pixels: Any, affine: Any = OBLIQUE, unit: str = "mm") -> Path:
    volume = nib.Nifti1Image(pixels, affine)
    volume.header.set_xyzt_units(unit)
    nib.save(volume, path)
    return path


@pytest.fixture(params=[".nii", ".nii.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"a.b{request.param}"


class TestGeometry:
    def test_array_and_positions(self, path: Path) -> None:
        image = read_image(_written(path, STACK.T))
        assert image.axes == "zyx"
        np.testing.assert_array_equal(np.asarray(image.array), STACK)
        ras = nib.load(path).affine @ [3, 2, 1, 1]  # column, row, plane
        assert image.affine is not None
        np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], ras * [-1, -1, 1, 1], rtol=1e-12)
        assert image.spacing == pytest.approx((np.hypot(0.5, 2), np.sqrt(0.86), np.hypot(0.9, 0.2)), rel=1e-6)

    @given(affine=hnp.arrays(np.float64, (4, 4), elements=st.floats(-1e3, 1e3)))
    def test_turning_round_twice_changes_nothing(self, affine: Any) -> None:
        np.testing.assert_array_equal(to_ras(from_ras(affine)), affine)

    def test_units(self, path: Path) -> None:
        for unit, scale in (("mm", 1.0), ("micron", 1e-3), ("meter", 1e3)):
            image = read_image(_written(path, STACK.T, np.diag([1, 2, 3, 1.0]), unit))
            assert image.spacing == pytest.approx((3 * scale, 2 * scale, scale))

    def test_without_orientation(self, path: Path) -> None:
        volume = nib.Nifti1Image(STACK.T, None)
        nib.save(volume, path)
        assert (read_image(path).affine, read_image(path).spacing) == (None, None)
        volume.header.set_zooms((0.5, 0.25, 2))
        nib.save(volume, path)
        assert (read_image(path).affine, read_image(path).spacing) == (None, (2.0, 0.25, 0.5))

    def test_single_slice(self, path: Path) -> None:
        for pixels in (STACK[0].T, STACK[:1].T):
            image = read_image(_written(path, pixels, np.diag([1, 2, 3, 1.0])))
            assert (image.axes, image.spacing) == ("yx", (2.0, 1.0))
            assert image.affine is not None
            np.testing.assert_array_equal(np.asarray(image.array), STACK[0])


class TestPixels:
    def test_scaled_values_are_float32(self, path: Path) -> None:
        volume = nib.Nifti1Image(STACK.T, OBLIQUE)
        volume.header.set_slope_inter(2, 1)
        nib.save(volume, path)
        image = read_image(path)
        np.testing.assert_array_equal(np.asarray(image.array), STACK * np.float32(2) + 1, strict=True)
        np.testing.assert_array_equal(image.plane(3), STACK[3] * np.float32(2) + 1)

    def test_big_endian(self, path: Path) -> None:
        header = nib.Nifti1Header(endianness=">")
        header.set_data_dtype(np.int16)
        nib.save(nib.Nifti1Image(STACK.T, OBLIQUE, header), path)
        np.testing.assert_array_equal(np.asarray(read_image(path).array), STACK, strict=True)

    def test_trailing_axes_of_one(self, path: Path) -> None:
        for extra in (STACK.T[..., None], STACK.T[..., None, None]):
            np.testing.assert_array_equal(np.asarray(read_image(_written(path, extra)).array), STACK)

    def test_rgb_voxels(self, path: Path) -> None:
        colour = np.random.default_rng(1).integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
        voxels = np.ascontiguousarray(colour.transpose(2, 1, 0, 3)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])
        image = read_image(_written(path, voxels[..., 0]))
        assert image.axes == "zyxc"
        np.testing.assert_array_equal(np.asarray(image.array), colour)

    def test_uncompressed_volumes_stay_on_disk(self, tmp_path: Path) -> None:
        assert isinstance(read_image(_written(tmp_path / "a.nii", STACK.T)).array, np.memmap)
        volume = nib.Nifti1Image(STACK.T, OBLIQUE)
        volume.header.set_slope_inter(2, 0)
        nib.save(volume, tmp_path / "b.nii")
        assert isinstance(read_image(tmp_path / "b.nii").array, LazyStack)


class TestBadInput:
    def test_more_than_four_dimensions(self, path: Path) -> None:
        with pytest.raises(ImageError, match=r"shape \(9, 7, 5, 1, 2\), more than four dimensions; save one volume"):
            read_image(_written(path, np.stack([STACK.T[..., None]] * 2, -1)))

    def test_complex_numbers(self, path: Path) -> None:
        with pytest.raises(ImageError, match="holds values of type complex64; expected real numbers"):
            read_image(_written(path, STACK.T.astype(np.complex64)))

    def test_affine_that_cannot_be_inverted(self, path: Path) -> None:
        volume = nib.Nifti1Image(STACK.T, np.eye(4))
        volume.header["srow_y"] = 0
        volume.header["srow_z"] = 0
        volume.header["sform_code"] = 1
        raw = volume.header.binaryblock + b"\0\0\0\0" + STACK.tobytes()
        raw = raw[:344] + b"n+1\0" + raw[348:]
        raw = raw[:108] + np.float32(352).tobytes() + raw[112:]
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
        with pytest.raises(ImageError, match="affine that cannot be inverted"):
            read_image(path)

    def test_no_pixels(self, path: Path) -> None:
        with pytest.raises(ImageError, match=r"has the shape .*; expected rows, columns and planes, at least one each"):
            read_image(_written(path, np.zeros((3, 4, 0), np.uint8)))

    def test_wrong_ending(self, tmp_path: Path) -> None:
        _written(tmp_path / "a.nii", STACK.T).rename(tmp_path / "b.nii.gz")
        _written(tmp_path / "a.nii.gz", STACK.T).rename(tmp_path / "b.nii")
        with pytest.raises(ImageError, match=r"b\.nii\.gz is a NIfTI file, expected gzip by its name; rename it"):
            read_image(tmp_path / "b.nii.gz")
        with pytest.raises(ImageError, match=r"b\.nii is a gzip file, expected NIfTI by its name; rename it to"):
            read_image(tmp_path / "b.nii")

    @pytest.mark.parametrize("keep", [0.9, 0.4, 0.05])
    def test_truncated(self, path: Path, keep: float) -> None:
        raw = _written(path, STACK.repeat(4, 1).T).read_bytes()
        path.write_bytes(raw[: int(keep * len(raw))])
        with pytest.raises(ImageError, match=r"a\.b\.nii.* export it again"):
            read_image(path)

    def test_absurd_size(self, path: Path) -> None:
        raw = bytearray(_written(path.with_name("small.nii"), STACK.T).read_bytes())
        for declared, message in (
            (30_000, "unpacks to|is truncated"),
            (400, "is truncated: it declares 128000000 bytes"),
        ):
            raw[42:48] = np.array([declared] * 3, np.int16).tobytes()
            path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))
            with pytest.raises(ImageError, match=message):
                read_image(path)

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_a_scale_beyond_float32_gives_infinite_pixels(self, tmp_path: Path, ending: str) -> None:
        raw = bytearray(_written(tmp_path / "a.nii", STACK.T).read_bytes())
        raw[112:116] = np.float32(3e38).tobytes()  # scl_slope
        path = tmp_path / f"b{ending}"
        path.write_bytes(gzip.compress(raw) if ending == ".nii.gz" else raw)
        assert np.isinf(np.asarray(read_image(path).array)).any()

    @settings(max_examples=200, deadline=None)
    @given(
        packed=st.booleans(),
        where=st.integers(0, 400),
        value=st.none() | st.binary(min_size=1, max_size=4),
        inside=st.booleans(),
    )
    def test_damage_anywhere_gives_pixels_or_an_image_error(
        self, packed: bool, inside: bool, where: int, value: bytes | None, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("damaged")
        raw = bytearray(_written(folder / "a.nii", STACK.T).read_bytes())
        raw = raw if inside or not packed else bytearray(gzip.compress(raw, mtime=0))
        if value is None:
            del raw[where:]
        else:
            raw[where : where + len(value)] = value
        path = folder / ("b.nii.gz" if packed else "b.nii")
        path.write_bytes(gzip.compress(raw) if packed and inside else raw)
        with contextlib.suppress(ImageError):
            np.asarray(read_image(path).array)
