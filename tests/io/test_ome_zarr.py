"""Zarr: laziness, levels, channels, physical space, what we write, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_ld._npe2 import read_layers
from napari_ld._types import Image
from napari_ld.errors import ImageError, StorageError
from napari_ld.io.images import read_image, read_images
from napari_ld.io.lazy import LazyArray, LazyStack
from napari_ld.io.ome_zarr import write_zarr

STACK = np.random.default_rng(0).integers(0, 200, (5, 7, 9)).astype(np.int16)
OBLIQUE = np.array([[0.9, 0.2, 0, 3], [-0.2, 0.9, 0.5, 4], [0, -0.1, 2, -5], [0, 0, 0, 1]])


def _multiscale(path: Path, array: Any, names: str, unit: str | None = "micrometer", version: str = "0.4") -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=array, chunks=(1,) * (array.ndim - 2) + array.shape[-2:])
    group.create_array("1", data=np.ascontiguousarray(array[..., ::2, ::2]))
    axes = [{"name": name, "type": "space", **({"unit": unit} if unit and name in "zyx" else {})} for name in names]
    scale = [1.0 if name in "tc" else {"z": 2000.0, "y": 500.0, "x": 250.0}[name] for name in names]
    datasets = [{"path": level, "coordinateTransformations": [{"type": "scale", "scale": scale}]} for level in "01"]
    described = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs.update(described if version == "0.4" else {"ome": {"version": version, **described}})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_multiscale_images(tmp_path: Path, version: str) -> None:
    image = read_image(_multiscale(tmp_path / "a.ome.zarr", STACK[None, None], "tczyx", version=version))
    assert (image.axes, image.spacing, len(image.levels)) == ("zyx", (2.0, 0.5, 0.25), 1)
    assert isinstance(image.array, LazyArray)
    np.testing.assert_array_equal(image.plane(3), STACK[3])
    ((levels, attributes, kind),) = read_layers(str(tmp_path / "a.ome.zarr"))
    assert (kind, attributes["multiscale"], attributes["name"]) == ("image", True, "a.ome")
    assert [level.shape for level in levels] == [(5, 7, 9), (5, 4, 5)]
    np.testing.assert_array_equal(levels[0][2].compute(), STACK[2])


def test_channels_are_a_choice(tmp_path: Path) -> None:
    path = _multiscale(tmp_path / "a.zarr", np.stack([STACK, STACK + 1]), "czyx")
    with pytest.raises(ImageError, match=r"has 2 channels; name one of them: .*a\.zarr#0 to .*a\.zarr#1"):
        read_image(path)
    np.testing.assert_array_equal(np.asarray(read_image(f"{path}#1").array), STACK + 1)


def test_plain_arrays_and_what_is_indexed(tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "a.zarr", STACK)
    (image,) = read_images([tmp_path / "a.zarr"])
    assert (image.axes, image.spacing) == ("zyx", None)
    for key in [np.s_[2], np.s_[1:3, ::2], np.s_[..., 1], np.s_[[0, 2]], np.s_[::-1, 0], np.s_[-1, :, 2]]:
        np.testing.assert_array_equal(image.array[key], STACK[key])
    zarr.save_array(tmp_path / "b.zarr", np.stack([STACK, STACK]))
    assert [one.axes for one in read_images([tmp_path])] == ["zyx", "zyx", "zyx"]


def test_label_images_open_as_labels_that_can_be_painted(tmp_path: Path) -> None:
    path = _multiscale(tmp_path / "a.zarr", STACK.astype(np.uint8), "zyx")
    zarr.open_group(path, mode="a").attrs["image-label"] = {"version": "0.4"}
    ((pixels, _, kind),) = read_layers(str(path))
    assert kind == "labels"
    assert isinstance(pixels, np.ndarray)
    assert pixels.flags.writeable


@pytest.mark.parametrize("axes", ["yx", "zyx", "pyx", "tzyx", "zyxc"])
def test_what_we_write_is_read_back_exactly(tmp_path: Path, axes: str) -> None:
    pixels = np.random.default_rng(1).random(
        {"yx": (4, 5), "tzyx": (2, 3, 4, 5), "zyxc": (2, 4, 5, 3)}.get(axes, (3, 4, 5))
    )
    steps = (1.0, 2.0, 0.5, 0.25)[-len(axes.rstrip("c")) :]
    write_zarr(tmp_path / "a.zarr", Image(pixels, axes, OBLIQUE, steps))
    back = read_image(tmp_path / "a.zarr")
    assert (back.axes, back.spacing) == (axes, steps)
    np.testing.assert_array_equal(np.asarray(back.array), pixels)
    np.testing.assert_array_equal(back.affine, OBLIQUE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    with pytest.raises(StorageError, match="it exists already; choose another name"):
        write_zarr(tmp_path / "a.zarr", Image(pixels, axes))


def test_writing_holds_one_plane_and_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    write_zarr(tmp_path / "a.zarr", Image(STACK, "zyx"), progress=lambda now, all_: done.append((now, all_)))
    assert done[-1] == (5, 5)

    def gone(plane: int) -> Any:
        raise ImageError("gone")

    with pytest.raises(ImageError, match="gone"):
        write_zarr(tmp_path / "b.zarr", Image(LazyStack((2, 3, 4), np.uint8, gone), "zyx"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    with pytest.raises(StorageError, match="cannot write"):
        write_zarr(Path("/proc/nowhere/a.zarr"), Image(STACK, "zyx"))


class TestBadInput:
    def test_no_zarr(self, tmp_path: Path) -> None:
        from napari_ld.io.ome_zarr import read_zarr

        with pytest.raises(ImageError, match="is no zarr folder"):
            read_zarr(tmp_path)

    def test_group_without_image(self, tmp_path: Path) -> None:
        zarr.open_group(tmp_path / "a.zarr", mode="w").create_array("inner", data=STACK)
        with pytest.raises(ImageError, match="a zarr group without an image of its own; name one in it: inner"):
            read_image(tmp_path / "a.zarr")

    def test_damaged_description(self, tmp_path: Path) -> None:
        zarr.save_array(tmp_path / "a.zarr", STACK)
        (tmp_path / "a.zarr" / "zarr.json").write_text("{")
        with pytest.raises(ImageError, match=r"a\.zarr: .*damaged or not complete"):
            read_image(tmp_path / "a.zarr")

    def test_damaged_chunk_names_the_folder(self, tmp_path: Path) -> None:
        zarr.save_array(tmp_path / "a.zarr", STACK)
        chunk = next(path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file() and path.name != "zarr.json")
        chunk.write_bytes(b"nothing")
        image = read_image(tmp_path / "a.zarr")
        with pytest.raises(ImageError, match=r"cannot read .*a\.zarr"):
            image.plane(0)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ([10**7, 3, 5], "declares 10000000 planes"),
            ([10**7, 3, 3], "has 30000000 chunks a plane"),
            ([3, 10**5, 10**5], "more than 178956970"),
            ([0, 3, 3], r"has the shape \(0, 3, 3\); expected at least one pixel"),
            ([3, 4, 5, 6, 7], "has no names of its axes"),
        ],
    )
    def test_absurd_sizes(self, tmp_path: Path, shape: list[int], message: str) -> None:
        zarr.save_array(tmp_path / "a.zarr", STACK)
        path = tmp_path / "a.zarr" / "zarr.json"
        described = json.loads(path.read_text())
        described["shape"] = shape
        described["chunk_grid"]["configuration"]["chunk_shape"] = [1] * len(shape)
        path.write_text(json.dumps(described))
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / "a.zarr")

    def test_a_chunk_that_unpacks_to_more_than_it_declares(self, tmp_path: Path) -> None:
        zarr.save_array(tmp_path / "a.zarr", STACK)
        chunk = next(path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file() and path.name != "zarr.json")
        chunk.write_bytes(bytes(2**18))
        with pytest.raises(ImageError, match="larger than it declares"):
            read_image(tmp_path / "a.zarr")

    def test_axes_channels_and_values_that_are_not_understood(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="has the axes xyz"):
            read_image(_multiscale(tmp_path / "a.zarr", STACK, "xyz"))
        zarr.create_array(tmp_path / "b.zarr", data=STACK, dimension_names=["y", "x", "c"])
        with pytest.raises(ImageError, match="has 9 channels; expected 1, 3 or 4"):
            read_image(tmp_path / "b.zarr")
        zarr.save_array(tmp_path / "c.zarr", STACK.astype(np.complex64))
        with pytest.raises(ImageError, match="holds values of type complex64"):
            read_image(tmp_path / "c.zarr")
