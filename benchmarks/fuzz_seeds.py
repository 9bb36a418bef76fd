"""Small sound files of every format that napari-ld reads, and archives that unpack to far more than they are."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import PIL.Image
import pydicom
import tifffile
import zarr
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from benchmarks.synthetic import write_series
from napari_ld._types import Image, Landmark
from napari_ld.io.labels import write_labels
from napari_ld.io.landmarks import write_landmarks
from napari_ld.io.markups import Markup, write_markups
from napari_ld.io.ome_zarr import write_zarr

__all__ = ["BOMBS", "write_seeds"]

_BOMB_BYTES = 2**31


def write_seeds(folder: Path) -> list[Path]:
    """Write one file, or zarr folder, of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 900, (3, 40, 48)).astype(np.int16)
    grey = (stack[0] // 4).astype(np.uint8)
    colour = np.dstack([grey, grey[:, ::-1], grey[::-1]])
    _write_pictures(folder, grey, colour, stack)
    for name, volume in (("a.nii", stack), ("b.nii.gz", stack), ("c.nii.gz", np.stack([stack, stack]))):
        nib.save(nib.Nifti1Image(volume.T, np.diag([0.5, 0.5, 2, 1])), folder / name)  # type: ignore[no-untyped-call]
    for encoding in ("raw", "gzip", "bzip2", "ascii"):
        nrrd.write(str(folder / f"{encoding}.nrrd"), stack.T, {"encoding": encoding, "space directions": np.eye(3)})
    _write_dicom(folder, stack)
    write_zarr(folder / "a.zarr", Image(stack, "zyx"))
    write_markups(folder / "a.mrk.json", [Markup("a", (1.0, 2.0, 3.0)), Markup("b", None, "missing")])
    (folder / "a.fcsv").write_text("# CoordinateSystem = LPS\n# columns = id,x,y,z,label\n0,1,2,3,a\n1,4,5,6,b\n")
    write_landmarks(folder / "a.csv", [Landmark("a", 1, (3.0, 4.0), "x.png"), Landmark("b", 1, (3.0, 4.5), "x.png")])
    _write_models(folder)
    return sorted(folder.iterdir())


def _write_pictures(folder: Path, grey: Any, colour: Any, stack: Any) -> None:
    PIL.Image.fromarray(grey).save(folder / "grey.png")
    PIL.Image.fromarray(colour).save(folder / "colour.png")
    PIL.Image.fromarray(grey).convert("P").save(folder / "palette.png")
    PIL.Image.fromarray(colour).save(folder / "colour.jpg")
    tifffile.imwrite(folder / "plain.tif", stack, photometric="minisblack")
    tifffile.imwrite(folder / "packed.tif", stack, photometric="minisblack", compression="zlib")
    tifffile.imwrite(folder / "imagej.tif", stack, imagej=True, metadata={"axes": "ZYX", "unit": "mm", "spacing": 2.0})
    tifffile.imwrite(folder / "ome.tif", stack, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    write_labels(folder / "labels.tif", stack % 3, Image(stack, "zyx", np.eye(4)))
    PIL.Image.fromarray(grey).save(folder / "lzw.tif", compression="tiff_lzw")


def _write_dicom(folder: Path, stack: Any) -> None:
    series = folder / "series"
    paths = write_series(series, stack)
    paths[0].rename(folder / "plain.dcm")
    for name, syntax in (("rle", RLELossless), ("j2k", JPEG2000Lossless), ("jls", JPEGLSLossless)):
        dataset = pydicom.dcmread(folder / "plain.dcm")
        dataset.compress(syntax)
        dataset.save_as(folder / f"{name}.dcm")
    dataset = pydicom.dcmread(folder / "plain.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(folder / "deflated.dcm")
    dataset = pydicom.dcmread(folder / "plain.dcm")
    dataset.NumberOfFrames, dataset.PixelData = 3, stack.tobytes()
    dataset.save_as(folder / "frames.dcm")
    jpeg = pydicom.dcmread(folder / "plain.dcm")
    buffer = io.BytesIO()
    PIL.Image.fromarray((stack[0] // 4).astype(np.uint8)).save(buffer, "JPEG")
    jpeg.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    jpeg.BitsAllocated, jpeg.BitsStored, jpeg.HighBit, jpeg.PixelRepresentation = 8, 8, 7, 0
    jpeg.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    jpeg["PixelData"].VR = "OB"
    jpeg.save_as(folder / "jpeg.dcm")
    for path in paths[1:]:
        path.unlink()
    series.rmdir()


def _write_models(folder: Path) -> None:
    from napari_ld.model.checkpoint import ModelHeader, save_model
    from napari_ld.model.encoder import EncoderConfig, build_encoder
    from napari_ld.model.heads import HeadConfig, build_with_head

    config = EncoderConfig(working_size=64, embedding_dim=16, level_dims=(2,) * 8)
    save_model(folder / "a.safetensors", build_encoder(config, seed=0), ModelHeader("encoder", "random", config))
    head = HeadConfig(((1, "one"), (2, "two")), working_size=64, tile=64)
    for kind in ("segmenter", "classifier"):
        header = ModelHeader(kind, "random", config, head=head)
        save_model(folder / f"{kind}.safetensors", build_with_head(kind, config, head), header)


def _packed_zeros(bytes_: int, pack: Any) -> bytes:
    """A stream of zeros, packed piece by piece."""
    piece, parts = bytes(2**24), []
    for _ in range(bytes_ // len(piece)):
        parts.append(pack.compress(piece))
    return b"".join([*parts, pack.flush()])


def _cached(path: Path, content: Callable[[], bytes]) -> Path:
    if not path.exists():
        path.write_bytes(content())
    return path


def _nifti_bomb(folder: Path) -> Path:
    """A small declared volume before gigabytes of zeros."""

    def content() -> bytes:
        volume: Any = nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4))  # type: ignore[no-untyped-call]
        return gzip.compress(volume.to_bytes()) + gzip.compress(bytes(2**24)) * (_BOMB_BYTES // 2**24)

    return _cached(folder / "bomb.nii.gz", content)


def _nrrd_bomb(folder: Path) -> Path:
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 9 9 9\nencoding: gzip\n\n"
    return _cached(
        folder / "bomb.nrrd", lambda: header + _packed_zeros(_BOMB_BYTES, zlib.compressobj(6, zlib.DEFLATED, 31))
    )


def _deflated_bomb(folder: Path) -> Path:
    def content() -> bytes:
        (path,) = write_series(folder / "bomb", np.zeros((1, 9, 9), np.int16))
        dataset = pydicom.dcmread(path)
        path.unlink()
        path.parent.rmdir()
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        buffer = io.BytesIO()
        del dataset.PixelData
        dataset.save_as(buffer)
        raw = buffer.getvalue()
        start = 144 + int.from_bytes(raw[140:144], "little")
        return raw[:start] + _packed_zeros(_BOMB_BYTES, zlib.compressobj(6, zlib.DEFLATED, -15))

    return _cached(folder / "bomb.dcm", content)


def _png_bomb(folder: Path) -> Path:
    """A picture of 13,000 x 13,000 pixels in few bytes."""

    def content() -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            PIL.Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
        return buffer.getvalue()

    return _cached(folder / "bomb.png", content)


def _tiff_bomb(folder: Path) -> Path:
    def content() -> bytes:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.zeros((2, 8, 8), np.uint8), compression="zlib")
        whole = bytearray(buffer.getvalue())
        place = whole.find(zlib.compress(bytes(64), 6)[:2])
        return bytes(whole[:place]) + _packed_zeros(2**26, zlib.compressobj(9)) + bytes(whole[place:])

    return _cached(folder / "bomb.tif", content)


def _zarr_bomb(folder: Path) -> Path:
    """A chunk that unpacks to more than its array declares."""
    path = folder / "bomb.zarr"
    if not path.exists():
        from zarr.codecs import GzipCodec

        zarr.create_array(path, data=np.zeros((2, 8, 8), np.uint8) + 1, compressors=GzipCodec())
        chunk = next(one for one in path.rglob("*") if one.is_file() and one.name != "zarr.json")
        chunk.write_bytes(_packed_zeros(_BOMB_BYTES, zlib.compressobj(6, zlib.DEFLATED, 31)))
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    "nifti": _nifti_bomb,
    "nrrd": _nrrd_bomb,
    "deflated": _deflated_bomb,
    "png": _png_bomb,
    "tiff": _tiff_bomb,
    "zarr": _zarr_bomb,
}
"""Name to what writes it into a folder."""
