"""PNG and JPEG: every kind of pixel, and no error but ImageError."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ld.errors import ImageError
from napari_ld.io.images import read_image

RGB = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def _save(path: Path, picture: PIL.Image.Image, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]  # any encoder option
    return path


class TestPixels:
    def test_grey(self, tmp_path: Path) -> None:
        image = read_image(_save(tmp_path / "a.png", PIL.Image.fromarray(GREY)))
        assert (image.axes, image.spacing, image.affine) == ("yx", None, None)
        assert image.source == str(tmp_path / "a.png")
        np.testing.assert_array_equal(image.array, GREY, strict=True)

    def test_16_bit(self, tmp_path: Path) -> None:
        deep = GREY.astype(np.uint16) * 257
        np.testing.assert_array_equal(
            read_image(_save(tmp_path / "a.png", PIL.Image.fromarray(deep))).array, deep, strict=True
        )

    def test_1_bit_becomes_0_and_255(self, tmp_path: Path) -> None:
        image = read_image(_save(tmp_path / "a.png", PIL.Image.fromarray(GREY > 99)))
        np.testing.assert_array_equal(image.array, (GREY > 99) * np.uint8(255), strict=True)

    def test_rgb_and_rgba(self, tmp_path: Path) -> None:
        rgba = np.dstack([RGB, GREY])
        for pixels in (RGB, rgba):
            image = read_image(_save(tmp_path / "a.png", PIL.Image.fromarray(pixels)))
            assert image.axes == "yxc"
            np.testing.assert_array_equal(image.array, pixels, strict=True)

    def test_alpha_of_grey_is_dropped(self, tmp_path: Path) -> None:
        image = read_image(_save(tmp_path / "a.png", PIL.Image.fromarray(RGB[..., :2], "LA")))
        np.testing.assert_array_equal(image.array, GREY, strict=True)

    def test_palette_becomes_colour(self, tmp_path: Path) -> None:
        palette = PIL.Image.fromarray(RGB).quantize(8)
        image = read_image(_save(tmp_path / "a.png", palette))
        np.testing.assert_array_equal(image.array, np.asarray(palette.convert("RGB")), strict=True)

    def test_palette_of_greys_becomes_grey(self, tmp_path: Path) -> None:
        palette = PIL.Image.fromarray(GREY, "P")
        palette.putpalette([255 - value // 3 for value in range(768)])
        image = read_image(_save(tmp_path / "a.png", palette))
        np.testing.assert_array_equal(image.array, 255 - GREY, strict=True)

    def test_palette_with_transparency_becomes_rgba(self, tmp_path: Path) -> None:
        image = read_image(_save(tmp_path / "a.png", PIL.Image.fromarray(RGB).quantize(8), transparency=0))
        assert image.array.shape == (7, 9, 4)

    def test_jpeg(self, tmp_path: Path) -> None:
        for name, mode, axes in (("a.jpg", "L", "yx"), ("b.JPEG", "RGB", "yxc"), ("c.jpg", "CMYK", "yxc")):
            image = read_image(_save(tmp_path / name, PIL.Image.fromarray(RGB).convert(mode), format="JPEG"))
            assert image.axes == axes
            assert image.array.shape == RGB.shape[: len(axes)]

    def test_exif_orientation_is_not_applied(self, tmp_path: Path) -> None:
        exif = PIL.Image.Exif()
        exif[0x0112] = 6  # shown turned by a quarter
        image = read_image(_save(tmp_path / "a.jpg", PIL.Image.fromarray(GREY), exif=exif))
        assert image.array.shape == (7, 9)

    def test_one_pixel(self, tmp_path: Path) -> None:
        assert read_image(_save(tmp_path / "a.png", PIL.Image.new("L", (1, 1)))).array.shape == (1, 1)


def _png_that_declares(columns: int, rows: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))).save(buffer, kind)
    return buffer.getvalue()


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.png", b"", r"a\.png is empty; copy or export it again"),
            ("a.png", b"nonsense", r"a\.png is not a PNG file as its name says, or it is damaged"),
            ("a.png", _encoded("JPEG"), r"a\.png is a JPEG file, expected PNG by its name; rename it to \.jpg"),
            ("a.jpg", _encoded("PNG"), r"a\.jpg is a PNG file, expected JPEG by its name; rename it to \.png"),
            ("a.jpg", b"\0" * 128 + b"DICM", r"a\.jpg is a DICOM file, .*; rename it to \.dcm"),
            ("a.png", _encoded("PNG")[:300], r"cannot read .*a\.png: .*; the file is damaged or not complete"),
            ("a.jpg", _encoded("JPEG")[:-600], r"cannot read .*a\.jpg: .*; the file is damaged or not complete"),
            ("a.png", _png_that_declares(2**30, 2**30), r"a\.png is too large to be decoded .*make it smaller"),
            ("a.png", _png_that_declares(0, 5), r"cannot read .*a\.png: .*; the file is damaged or not complete"),
        ],
    )
    def test_errors_name_file_and_remedy(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"cannot read .*none\.png: No such file.*check the path"):
            read_image(tmp_path / "none.png")

    def test_animated_png(self, tmp_path: Path) -> None:
        frames = [PIL.Image.fromarray(GREY), PIL.Image.fromarray(255 - GREY)]
        frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match=r"a\.png is an animated PNG; save its frames as a multi-page TIFF"):
            read_image(tmp_path / "a.png")

    @settings(max_examples=150, deadline=None)
    @given(kind=st.sampled_from(["PNG", "JPEG"]), where=st.floats(0, 1), value=st.binary(min_size=1, max_size=4))
    def test_damage_anywhere_gives_pixels_or_an_image_error(
        self, kind: str, where: float, value: bytes, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        raw = bytearray(_encoded(kind))
        index = int(where * len(raw))
        raw[index : index + len(value)] = value
        path = tmp_path_factory.mktemp("damaged") / f"a.{kind.lower()}"
        path.write_bytes(raw)
        with contextlib.suppress(ImageError):
            read_image(path)

    @settings(max_examples=100, deadline=None)
    @given(kind=st.sampled_from(["PNG", "JPEG"]), where=st.floats(0, 1, exclude_max=True))
    def test_truncation_never_changes_pixels(
        self, kind: str, where: float, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.mktemp("damaged") / f"a.{kind.lower()}"
        path.write_bytes(_encoded(kind))
        whole = read_image(path).array
        path.write_bytes(_encoded(kind)[: int(where * len(_encoded(kind)))])
        with contextlib.suppress(ImageError):
            np.testing.assert_array_equal(read_image(path).array, whole)
