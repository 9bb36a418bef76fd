"""The table of readers, folders, names that tell images apart."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io import images as module
from napari_ld.io.images import READERS, image_keys, read_image, read_images
from napari_ld.io.lazy import LazyImage


def _picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("L", (4, 3), value).save(path)
    return path


class TestReadImage:
    def test_the_table_covers_the_formats_we_promise(self) -> None:
        promised = ".dcm .dicom .ima .jpeg .jpg .nhdr .nii .nii.gz .nrrd .png .tif .tiff"
        assert sorted(READERS) == promised.split()

    def test_any_case_of_letters_and_dots_in_the_name(self, tmp_path: Path) -> None:
        assert read_image(_picture(tmp_path / "a.v1.5.PNG")).axes == "yx"

    @pytest.mark.parametrize("name", ["a.bmp", "png", ".png", "a.gz", "a"])
    def test_unknown_ending(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ImageError, match=r"its ending is none of \.dcm, \.dicom, .*; convert it"):
            read_image(tmp_path / name)

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="is a folder; expected a file: use read_images"):
            read_image(tmp_path)


class TestReadImages:
    def test_folders_in_natural_order_and_files_as_given(self, tmp_path: Path) -> None:
        for name in ("s10.png", "s9.png", "S1.png", ".hidden"):
            _picture(tmp_path / "f" / f"{name}" if name != ".hidden" else tmp_path / "f" / ".hidden.png")
        last = _picture(tmp_path / "z.jpg")
        images = read_images([last, tmp_path / "f", str(tmp_path / "f" / "s9.png")])
        assert [Path(image.source).name for image in images] == ["z.jpg", "S1.png", "s9.png", "s10.png"]

    def test_what_is_left_out_is_named(self, tmp_path: Path) -> None:
        _picture(tmp_path / "a.png")
        _picture(tmp_path / "inner" / "b.png")
        (tmp_path / "points.csv").write_text("")
        with pytest.warns(UserWarning, match=r"left out of .*, not images: inner, points\.csv"):
            assert len(read_images([tmp_path])) == 1

    def test_long_lists_are_shortened(self, tmp_path: Path) -> None:
        _picture(tmp_path / "a.png")
        for index in range(7):
            (tmp_path / f"{index}.txt").touch()
        with pytest.warns(UserWarning, match=r"4\.txt and 2 more$"):
            read_images([tmp_path])

    def test_a_damaged_file_stops_at_once(self, tmp_path: Path) -> None:
        _picture(tmp_path / "a.png")
        (tmp_path / "b.png").touch()
        with pytest.raises(ImageError, match=r"b\.png is empty"):
            read_images([tmp_path])

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="holds no image; expected files that end in"):
            read_images([tmp_path])
        with pytest.raises(ImageError, match="no image was given"):
            read_images([])

    def test_many_pixels_are_not_held(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "HELD_BYTES", 30)
        paths = [_picture(tmp_path / f"{value}.png", value) for value in range(4)]
        tifffile.imwrite(tmp_path / "t.tif", np.zeros((3, 4), np.uint8))
        images = read_images([*paths, tmp_path / "t.tif"])
        assert [isinstance(image.array, LazyImage) for image in images] == [False, False, True, True, False]
        assert [int(image.plane(0).max()) for image in images] == [0, 1, 2, 3, 0]
        _picture(paths[3]).write_bytes(_picture(tmp_path / "other.png").read_bytes())
        assert int(images[3].plane(0).max()) == 0
        PIL.Image.new("RGB", (4, 3)).save(paths[3])
        with pytest.raises(ImageError, match=r"3\.png has changed since it was opened"):
            images[3].plane(0)


class TestImageKeys:
    def _keys(self, *sources: str) -> list[str]:
        return image_keys([Image(np.zeros((1, 1)), "yx", source=source) for source in sources])

    def test_file_names_where_they_differ(self) -> None:
        assert self._keys("/d/a.png", "/d/e/b.png", "c.png") == ["a.png", "b.png", "c.png"]

    def test_paths_where_names_collide(self) -> None:
        assert self._keys("/d/x/a.png", "/d/y/z/a.png", "/d/b.png") == ["x/a.png", "y/z/a.png", "b.png"]
        assert self._keys("/d/a.png", "/d/y/a.png") == ["a.png", "y/a.png"]

    def test_the_same_file_twice_and_arrays(self) -> None:
        assert self._keys("/d/a.png", "", "/d/a.png", "", "/d/a.png") == [
            "a.png",
            "image-1",
            "a.png#2",
            "image-3",
            "a.png#3",
        ]

    def test_relative_and_absolute_paths_are_the_same_file(self) -> None:
        assert self._keys("a.png", str(Path("a.png").absolute())) == ["a.png", "a.png#2"]


def test_a_folder_of_images_alone_gives_no_warning(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_images([tmp_path])
