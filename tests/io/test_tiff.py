"""TIFF: axes, spacing, laziness, and no error but ImageError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ld.errors import ImageError
from napari_ld.io.images import read_image
from napari_ld.io.lazy import LazyStack

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 256, (5, 7, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)


def _written(path: Path, pixels: Any, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **options)
    return path


class TestAxes:
    @pytest.mark.parametrize(
        ("pixels", "options", "axes"),
        [
            (STACK[0], {}, "yx"),
            (COLOUR[0], {}, "yxc"),
            (STACK, {}, "pyx"),
            (STACK, {"metadata": None}, "pyx"),
            (STACK, {"compression": "zlib"}, "pyx"),
            (STACK, {"metadata": {"axes": "ZYX"}}, "zyx"),
            (STACK, {"imagej": True, "metadata": {"axes": "ZYX"}}, "zyx"),
            (STACK, {"imagej": True, "metadata": {"axes": "TYX"}}, "tyx"),
            (STACK, {"imagej": True, "metadata": {"axes": "CYX"}}, "pyx"),
            (STACK.astype(np.uint16), {"imagej": True, "metadata": {"axes": "ZYX"}}, "zyx"),
            (COLOUR, {"photometric": "rgb"}, "pyxc"),
            (COLOUR, {"imagej": True, "metadata": {"axes": "ZYXS"}}, "zyxc"),
            (STACK.astype(np.float32), {"byteorder": ">"}, "pyx"),
        ],
    )
    def test_axes_and_pixels(self, tmp_path: Path, pixels: Any, options: dict[str, Any], axes: str) -> None:
        image = read_image(_written(tmp_path / "a.tif", pixels, **options))
        assert image.axes == axes
        assert image.array.dtype == pixels.dtype.newbyteorder("=")
        assert image.source == str(tmp_path / "a.tif")
        np.testing.assert_array_equal(np.asarray(image.array), pixels)
        np.testing.assert_array_equal(image.plane(image.n_planes - 1), pixels[-1] if image.is_stack else pixels)

    def test_separate_colour_planes_become_samples(self, tmp_path: Path) -> None:
        path = _written(tmp_path / "a.tif", COLOUR.transpose(0, 3, 1, 2), photometric="rgb", planarconfig="separate")
        image = read_image(path)
        assert image.axes == "pyxc"
        np.testing.assert_array_equal(np.asarray(image.array), COLOUR)

    def test_alpha_of_grey_is_dropped(self, tmp_path: Path) -> None:
        path = _written(tmp_path / "a.tif", COLOUR[0, ..., :2], photometric="minisblack", extrasamples=["unassalpha"])
        np.testing.assert_array_equal(read_image(path).array, COLOUR[0, ..., 0])

    def test_white_is_zero_is_turned_round(self, tmp_path: Path) -> None:
        for name, pixels in (("a.tif", STACK[0]), ("b.tif", STACK)):
            image = read_image(_written(tmp_path / name, pixels, photometric="miniswhite"))
            np.testing.assert_array_equal(np.asarray(image.array), 255 - pixels)

    def test_bits_become_0_and_255(self, tmp_path: Path) -> None:
        image = read_image(_written(tmp_path / "a.tif", STACK > 99, photometric="minisblack"))
        np.testing.assert_array_equal(np.asarray(image.array), (STACK > 99) * np.uint8(255), strict=True)

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
    def test_compressions_of_other_programs(self, tmp_path: Path, compression: str) -> None:
        pages = [PIL.Image.fromarray(plane) for plane in STACK]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression=compression)
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.tif").array), STACK)

    def test_jpeg_and_palette_inside_tiff(self, tmp_path: Path) -> None:
        picture = PIL.Image.fromarray(COLOUR[0])
        picture.save(tmp_path / "a.tif", compression="jpeg")
        picture.quantize(8).save(tmp_path / "b.tif")
        for name in ("a.tif", "b.tif"):
            assert read_image(tmp_path / name).axes == "yxc"

    def test_thumbnails_are_left_aside(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
            tif.write(STACK[0])
            tif.write(STACK[0, ::2, ::2], subfiletype=1)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, STACK[0])


class TestSpacing:
    def test_imagej(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"imagej": True, "resolution": (10.0, 5.0)}
        for unit, scale in (("mm", 1.0), ("um", 1e-3), ("cm", 10.0)):
            metadata = {"axes": "ZYX", "spacing": 2.0, "unit": unit}
            image = read_image(_written(tmp_path / "a.tif", STACK, metadata=metadata, **options))
            assert image.spacing == pytest.approx((2.0 * scale, 0.2 * scale, 0.1 * scale))
        flat = read_image(_written(tmp_path / "b.tif", STACK[0], metadata={"unit": "mm"}, **options))
        assert flat.spacing == pytest.approx((0.2, 0.1))
        pages = read_image(_written(tmp_path / "c.tif", STACK, metadata={"unit": "mm"}, **options))
        assert pages.spacing == pytest.approx((1.0, 0.2, 0.1))

    @pytest.mark.parametrize("metadata", [{}, {"unit": "pixel"}, {"unit": "mm", "spacing": float("nan")}])
    def test_unknown_stays_unknown(self, tmp_path: Path, metadata: dict[str, Any]) -> None:
        path = _written(tmp_path / "a.tif", STACK, imagej=True, resolution=(10.0, 5.0), metadata=metadata)
        assert read_image(path).spacing is None

    def test_dots_per_inch_are_no_spacing(self, tmp_path: Path) -> None:
        path = _written(tmp_path / "a.tif", STACK[0], resolution=(72.0, 72.0), resolutionunit="inch")
        assert read_image(path).spacing is None

    def test_ome(self, tmp_path: Path) -> None:
        sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 250.0, "PhysicalSizeZ": 2.0, "PhysicalSizeXUnit": "mm"}
        metadata = {"axes": "ZYX", **sizes, "PhysicalSizeZUnit": "mm"}
        image = read_image(_written(tmp_path / "a.ome.tif", STACK, metadata=metadata))
        assert image.axes == "zyx"
        assert image.spacing == pytest.approx((2.0, 0.25, 0.5))
        assert read_image(_written(tmp_path / "b.ome.tif", STACK, metadata={"axes": "ZYX"})).spacing is None


class TestLaziness:
    def test_uncompressed_stacks_are_mapped(self, tmp_path: Path) -> None:
        for name, options in (("a.tif", {}), ("b.tif", {"imagej": True})):
            array = read_image(_written(tmp_path / name, STACK, **options)).array
            assert isinstance(array, np.memmap)
            assert not array.flags.writeable

    def test_compressed_stacks_are_read_page_by_page(self, tmp_path: Path) -> None:
        assert isinstance(read_image(_written(tmp_path / "a.tif", STACK, compression="zlib")).array, LazyStack)

    def test_a_file_that_changed_is_noticed(self, tmp_path: Path) -> None:
        image = read_image(_written(tmp_path / "a.tif", STACK, compression="zlib"))
        _written(tmp_path / "a.tif", STACK[:, 1:], compression="zlib")
        with pytest.raises(ImageError, match=r"a\.tif has changed since it was opened; open it again"):
            image.plane(1)
        (tmp_path / "a.tif").unlink()
        with pytest.raises(ImageError, match=r"cannot read .*a\.tif"):
            image.plane(1)


class TestBadInput:
    def test_a_page_whose_values_have_no_type(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path = _written(tmp_path / "a.tif", STACK[0], metadata={})
        raw = bytearray(path.read_bytes())
        entry = raw.find((258).to_bytes(2, "little") + b"\x03\0")  # bits of a sample, as a number of two bytes
        raw[entry + 2] = 19
        path.write_bytes(raw)
        with pytest.raises(ImageError, match=r"cannot read .*a\.tif: .*damaged or not complete"):
            read_image(path)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize(
        ("pixels", "options", "message"),
        [
            (STACK[None].repeat(2, 0), {"imagej": True, "metadata": {"axes": "TZYX"}}, "more than one axis of pages"),
            (STACK.astype(np.complex64), {}, r"a\.tif holds values of type complex64; expected real numbers"),
            (
                STACK.transpose(1, 2, 0),
                {"photometric": "minisblack", "planarconfig": "contig"},
                r"a\.tif has 5 samples a pixel; .*: save the channel to look at",
            ),
            (
                COLOUR[0, ..., :2],
                {"photometric": "minisblack", "planarconfig": "contig"},
                r"a\.tif has 2 samples a pixel, the second of them no alpha; save the channel",
            ),
        ],
    )
    def test_errors_name_file_and_remedy(
        self, tmp_path: Path, pixels: Any, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ImageError, match=message):
            read_image(_written(tmp_path / "a.tif", pixels, **options))

    def test_no_page(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").write_bytes(b"II*\0\0\0\0\0")
        with pytest.raises(ImageError, match=r"a\.tif holds no page; export it again"):
            read_image(tmp_path / "a.tif")

    def test_no_pixels(self, tmp_path: Path) -> None:
        path = _written(tmp_path / "a.tif", STACK[0], metadata=None)
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages.first.tags["ImageWidth"].overwrite(0)
        with pytest.raises(ImageError, match=r"a\.tif holds no pixels; export it again"):
            read_image(path)

    @pytest.mark.parametrize(
        ("places", "message"),
        [
            (
                ['IFD="0"><UUID FileName="b.ome.tif">urn:uuid:b</UUID></TiffData>'],
                "in several files; save",
            ),
            (['IFD="0"/>'], r"a\.ome\.tif declares 2 pages and holds 1; export it again"),
        ],
    )
    def test_ome_pages_elsewhere_or_nowhere(self, tmp_path: Path, places: list[str], message: str) -> None:
        data = "".join(f'<TiffData FirstZ="{z}" PlaneCount="1" {place}' for z, place in enumerate(places))
        for name in ("a.ome.tif", "b.ome.tif"):
            xml = (
                f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{name[0]}">'
                '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" '
                f'SizeX="9" SizeY="7" SizeZ="2" SizeC="1" SizeT="1">{data}</Pixels></Image></OME>'
            )
            _written(tmp_path / name, STACK[:2], description=xml, metadata=None, compression="zlib")
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / "a.ome.tif")

    def test_pages_of_different_sizes(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
            tif.write(STACK[0])
            tif.write(STACK[0, :3])
        with pytest.raises(ImageError, match=r"images of different sizes \(\(7, 9\), \(3, 9\)\); save each as a file"):
            read_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("options", [{}, {"imagej": True}, {"compression": "zlib"}, {"metadata": None}])
    @pytest.mark.parametrize("keep", [0.9, 0.6])
    def test_truncated(self, tmp_path: Path, options: dict[str, Any], keep: float) -> None:
        path = _written(tmp_path / "a.tif", STACK.repeat(8, 1).repeat(8, 2), **options)
        raw = path.read_bytes()
        path.write_bytes(raw[: int(keep * len(raw))])
        with pytest.raises(ImageError, match=r"a\.tif.* copy or export it again"):
            read_image(path)

    def test_absurd_size(self, tmp_path: Path) -> None:
        path = _written(tmp_path / "a.tif", STACK[0], compression="zlib")
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages.first.tags["ImageWidth"].overwrite(60_000)
            tif.pages.first.tags["ImageLength"].overwrite(60_000)
        with pytest.raises(ImageError, match=r"a\.tif declares 60000 x 60000 pixels, more than 178956970; make it"):
            read_image(path)

    @settings(max_examples=200, deadline=None)
    @given(
        compression=st.sampled_from([None, "zlib"]),
        where=st.floats(0, 1, exclude_max=True),
        value=st.none() | st.binary(min_size=1, max_size=4),
    )
    def test_damage_anywhere_gives_pixels_or_an_image_error(
        self, compression: str | None, where: float, value: bytes | None, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = _written(tmp_path_factory.mktemp("damaged") / "a.tif", STACK, compression=compression, metadata=None)
        raw = bytearray(path.read_bytes())
        index = int(where * len(raw))
        if value is None:
            del raw[index:]
        else:
            raw[index : index + len(value)] = value
        path.write_bytes(raw)
        with contextlib.suppress(ImageError):
            image = read_image(path)
            for plane in range(image.n_planes):
                image.plane(plane)
