"""NRRD: axes, spaces, encodings, detached headers, labels, and no error but ImageError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_ld.errors import ImageError
from napari_ld.io.images import read_image

STACK = np.random.default_rng(0).integers(0, 200, (5, 7, 9)).astype(np.int16)  # planes, rows, columns
DIRECTIONS = np.array([[0.5, 0.1, 0], [-0.1, 0.6, 0.2], [0, -0.3, 2.0]])  # of column, row and plane


def _written(path: Path, array: Any = None, **header: Any) -> Path:
    fields = {"space": "left-posterior-superior", "space directions": DIRECTIONS, "space origin": [3.0, 4, 5]}
    detached = str(path.with_suffix(".raw").name) if path.suffix == ".nhdr" else None
    nrrd.write(
        str(path), (STACK if array is None else array).T, {**fields, **header}, detached_header=False
    ) if detached is None else nrrd.write(str(path), STACK.T, {**fields, **header}, relative_data_path=True)
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_array_and_positions(tmp_path: Path, encoding: str) -> None:
    image = read_image(_written(tmp_path / "a.nrrd", encoding=encoding))
    assert (image.axes, image.kind) == ("zyx", "image")
    np.testing.assert_array_equal(np.asarray(image.array), STACK)
    assert image.affine is not None
    world = np.array([3, 4, 5]) + 3 * DIRECTIONS[0] + 2 * DIRECTIONS[1] + 1 * DIRECTIONS[2]
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], [*world, 1])
    assert image.spacing == pytest.approx(tuple(np.linalg.norm(DIRECTIONS, axis=1)[::-1]))


def test_raw_files_stay_on_disk(tmp_path: Path) -> None:
    assert isinstance(read_image(_written(tmp_path / "a.nrrd", encoding="raw")).array, np.memmap)


@pytest.mark.parametrize(
    ("space", "signs"), [("right-anterior-superior", (-1, -1, 1)), ("LAS", (1, -1, 1)), ("scanner-xyz", None)]
)
def test_spaces(tmp_path: Path, space: str, signs: tuple[int, int, int] | None) -> None:
    image = read_image(_written(tmp_path / "a.nrrd", space=space))
    if signs is None:
        assert image.affine is None
        assert image.spacing is not None
    else:
        assert image.affine is not None
        np.testing.assert_allclose(image.affine[:3, 3], np.array([3, 4, 5]) * signs)


def test_detached_header(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.nhdr")
    np.testing.assert_array_equal(np.asarray(read_image(path).array), STACK)
    text = path.read_text().replace("data file: a.raw.gz", "data file: ../b.raw.gz")
    path.write_text(text)
    with pytest.raises(ImageError, match=r"names the data file '\.\./b\.raw\.gz', which lies elsewhere"):
        read_image(path)
    path.write_text(text.replace("../b.raw.gz", "a%03d.raw 1 5 1"))
    with pytest.raises(ImageError, match="spreads its pixels over several files"):
        read_image(path)


def test_single_images_colour_and_times(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "a.nrrd"), STACK[0].T, {"spacings": [0.5, 0.25]})
    image = read_image(tmp_path / "a.nrrd")
    assert (image.axes, image.affine, image.spacing) == ("yx", None, (0.25, 0.5))
    colour = np.random.default_rng(1).integers(0, 255, (5, 7, 9, 3)).astype(np.uint8)
    nrrd.write(str(tmp_path / "b.nrrd"), colour.transpose(3, 2, 1, 0), {"kinds": ["RGB-color", *["domain"] * 3]})
    image = read_image(tmp_path / "b.nrrd")
    assert image.axes == "zyxc"
    np.testing.assert_array_equal(np.asarray(image.array), colour)
    nrrd.write(str(tmp_path / "c.nrrd"), np.stack([STACK, STACK + 1]).T, {"kinds": [*["domain"] * 3, "time"]})
    assert read_image(tmp_path / "c.nrrd").axes == "tzyx"
    np.testing.assert_array_equal(np.asarray(read_image(f"{tmp_path / 'c.nrrd'}#1").array), STACK + 1)
    with pytest.raises(ImageError, match=r"has no part '2'; it holds 2, counted from 0"):
        read_image(f"{tmp_path / 'c.nrrd'}#2")


def test_big_endian(tmp_path: Path) -> None:
    raw = _written(tmp_path / "a.nrrd", encoding="raw").read_bytes()
    head, _, _ = raw.partition(b"\n\n")
    (tmp_path / "b.nrrd").write_bytes(
        head.replace(b"endian: little", b"endian: big") + b"\n\n" + STACK.astype(">i2").tobytes()
    )
    image = read_image(tmp_path / "b.nrrd")
    np.testing.assert_array_equal(np.asarray(image.array), STACK)
    assert np.dtype(image.array.dtype).isnative


def test_segmentations_are_labels(tmp_path: Path) -> None:
    fields = {
        "Segment0_LabelValue": "1",
        "Segment0_Name": "liver",
        "Segment1_LabelValue": "3",
        "Segment1_Name": "spleen",
    }
    image = read_image(_written(tmp_path / "a.seg.nrrd", STACK % 4, **fields))
    assert (image.kind, image.label_names) == ("labels", ((1, "liver"), (3, "spleen")))


class TestBadInput:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (b"sizes: 9 7 5", b"sizes: 9 7 0", r"has the sizes \(9, 7, 0\); expected rows and columns"),
            (b"sizes: 9 7 5", b"sizes: 9 7 500", "is truncated: it declares 63000 bytes"),
            (b"type: int16", b"type: block", "holds blocks of bytes"),
            (b"type: int16", b"type: quux", "the type 'quux' is unknown"),
            (b"encoding: raw", b"encoding: hex", "the encoding 'hex' is unknown"),
            (b"kinds: domain", b"kinds: 3D-vector", "axes of kind 3d-vector; save one volume"),
            (b"(0,-0.3", b"(0.5,0.1", "space directions that cannot be inverted|damaged"),
        ],
    )
    def test_absurd_headers(self, tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
        path = _written(tmp_path / "a.nrrd", encoding="raw", kinds=["domain"] * 3)
        raw = path.read_bytes()
        assert old in raw or old == b"(0,-0.3"
        if old == b"(0,-0.3":
            path = _written(tmp_path / "a.nrrd", **{"space directions": np.outer([1, 2, 3], [1, 1, 1])})
        else:
            path.write_bytes(raw.replace(old, new))
        with pytest.raises(ImageError, match=message):
            read_image(path)

    def test_what_would_not_fit_the_memory(self, tmp_path: Path) -> None:
        path = _written(tmp_path / "a.nrrd", encoding="gzip")
        path.write_bytes(path.read_bytes().replace(b"sizes: 9 7 5", b"sizes: 9000 7000 5000"))
        with pytest.raises(ImageError, match="unpacks to 630000000000 bytes; save it with raw encoding"):
            read_image(path)

    def test_metaimage_is_said_not_to_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="MetaImage is not read: save it as NRRD or NIfTI"):
            read_image(tmp_path / "a.mha")

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(where=st.integers(0, 500), value=st.none() | st.binary(min_size=1, max_size=4), packed=st.booleans())
    def test_damage_anywhere_gives_pixels_or_an_image_error(
        self, where: int, value: bytes | None, packed: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("damaged")
        raw = bytearray(_written(folder / "a.nrrd", encoding="gzip" if packed else "raw").read_bytes())
        if value is None:
            del raw[where:]
        else:
            raw[where : where + len(value)] = value
        (folder / "b.nrrd").write_bytes(raw)
        with contextlib.suppress(ImageError):
            np.asarray(read_image(folder / "b.nrrd").array)
