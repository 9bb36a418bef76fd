"""The manifest and the functions it names, through npe2 as napari calls them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import npe2
import numpy as np
import PIL.Image
import pydicom
import pytest
import tifffile
from npe2 import PluginManager, PluginManifest

import napari_ld
from benchmarks.synthetic import write_series
from napari_ld._npe2 import (
    METADATA_KEY,
    get_reader,
    image_from_layer_data,
    read_layers,
    to_layer_data,
    write_labels_layer,
)
from napari_ld._sample_data import SAMPLES
from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.images import FOLDER_READERS, READERS, read_image
from napari_ld.io.labels import WRITERS

YAML = Path(napari_ld.__file__).with_name("napari.yaml")
STACK = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 6)
OBLIQUE = np.float32([[0.9, 0.2, 0, 3], [-0.2, 0.9, 0.5, 4], [0, -0.1, 2, -5], [0, 0, 0, 1]]).astype(float)


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(YAML)


@pytest.fixture
def plugins(manifest: PluginManifest, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    """A plugin manager that knows this plugin alone."""
    manager = PluginManager()
    manager.register(manifest)
    monkeypatch.setattr(PluginManager, "instance", classmethod(lambda cls: manager))
    return manager


class TestManifest:
    def test_it_is_valid_and_carries_the_name_of_the_distribution(self, manifest: PluginManifest) -> None:
        assert manifest.name == "napari-ld"
        manifest.validate_imports()

    def test_readers_are_those_of_the_table(self, manifest: PluginManifest) -> None:
        patterns = [pattern for reader in manifest.contributions.readers for pattern in reader.filename_patterns]
        assert sorted(patterns) == sorted(f"*{suffix}" for suffix in (*READERS, *FOLDER_READERS))

    def test_writers_are_those_of_the_table(self, manifest: PluginManifest) -> None:
        (writer,) = manifest.contributions.writers
        assert sorted(writer.filename_extensions) == sorted(WRITERS)

    def test_samples_are_those_of_the_table(self, manifest: PluginManifest) -> None:
        assert sorted(sample.key for sample in manifest.contributions.sample_data) == sorted(SAMPLES)

    def test_the_panel_is_in_the_menus(self, manifest: PluginManifest) -> None:
        (widget,) = manifest.contributions.widgets
        (item,) = manifest.contributions.menus["napari/layers/annotate"]
        assert widget.command == item.command == "napari-ld.panel"

    def test_every_command_has_a_title_that_says_what_it_does(self, manifest: PluginManifest) -> None:
        assert all(len(command.title.split()) >= 4 for command in manifest.contributions.commands)


def test_the_entry_points_load_neither_napari_nor_qt_nor_torch() -> None:
    code = (
        "import sys; import napari_ld._npe2 as n; n.get_reader('a.png'); n.phantom_sample();"
        "print([m for m in ('napari', 'qtpy', 'PyQt6', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def _layer(data: tuple[Any, ...]) -> Any:
    from napari.layers import Layer

    return Layer.create(*data)


class TestReading:
    def test_a_stack_with_its_geometry(self, plugins: PluginManager, tmp_path: Path) -> None:
        path = str(tmp_path / "a.b.nii.gz")
        nib.save(nib.Nifti1Image(STACK.T, OBLIQUE), path)
        (data,) = npe2.read([path], stack=False)
        layer = _layer(data)
        assert (layer.name, layer.axis_labels, layer.rgb) == ("a.b", ("z", "y", "x"), False)
        np.testing.assert_allclose(layer.scale, np.linalg.norm(OBLIQUE[:3, :3], axis=0)[::-1])
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        np.testing.assert_array_equal(layer.metadata[METADATA_KEY]["affine"], read_image(path).affine)
        assert layer.metadata[METADATA_KEY]["source"] == path
        np.testing.assert_array_equal(np.asarray(layer.data), STACK)

    def test_pixels_alone(self, plugins: PluginManager, tmp_path: Path) -> None:
        PIL.Image.fromarray(np.dstack([STACK[0]] * 3)).save(tmp_path / "A.PNG", format="PNG")
        (data,) = npe2.read([str(tmp_path / "A.PNG")], stack=False)
        layer = _layer(data)
        assert (layer.name, layer.axis_labels, layer.rgb) == ("A", ("y", "x"), True)
        assert [str(unit) for unit in layer.units] == ["pixel"] * 2

    def test_a_narrow_grey_stack_is_no_colour_image(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", STACK[..., :3], photometric="minisblack")
        (data,) = get_reader(str(tmp_path / "a.tif"))(str(tmp_path / "a.tif"))  # type: ignore[misc]  # is a reader
        assert (data[1]["rgb"], data[0].shape) == (False, (2, 5, 3))

    def test_lazy_stacks_are_dask_by_plane(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib")
        data, _, _ = to_layer_data(read_image(tmp_path / "a.tif"), "a")
        assert data.chunks == ((1, 1), (5,), (6,))
        np.testing.assert_array_equal(data[1, 2:].compute(), STACK[1, 2:])

    def test_several_files_as_a_stack(self, plugins: PluginManager, tmp_path: Path) -> None:
        paths = [str(tmp_path / f"{index}.png") for index in range(2)]
        for path, plane in zip(paths, STACK, strict=True):
            PIL.Image.fromarray(plane).save(path)
        (data,) = npe2.read(paths, stack=True)
        np.testing.assert_array_equal(np.asarray(data[0]), STACK)
        assert data[1]["axis_labels"] == ("p", "y", "x")

    def test_files_that_do_not_form_a_stack(self, tmp_path: Path) -> None:
        paths = [str(tmp_path / f"{index}.png") for index in range(2)]
        for path, plane in zip(paths, (STACK[0], STACK[0].T), strict=True):
            PIL.Image.fromarray(plane).save(path)
        reader = get_reader(paths)
        assert reader is not None
        with pytest.raises(ImageError, match=r"0\.png and 1 more files do not form one stack: .*open them one by one"):
            reader(paths)

    def test_each_series_of_a_folder_is_a_layer_and_the_largest_is_shown(
        self, plugins: PluginManager, tmp_path: Path
    ) -> None:
        """Nothing is dropped: series of other sizes, a scout of one plane, repeated volumes."""
        stored = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(np.int16)
        for number, planes in ((1, stored[:1, :4]), (2, stored), (3, stored[:3])):
            for path in write_series(tmp_path / str(number), planes, elements={"SeriesNumber": number}):
                path.rename(tmp_path / f"{number}-{path.name}")
            (tmp_path / str(number)).rmdir()
        with pytest.warns(
            UserWarning, match=r"holds 3 series; shown is .*#1, the largest. .* hidden layers: .*#0, .*#2"
        ):
            read = npe2.read([str(tmp_path)], stack=False)
        layers = [_layer(data) for data in read]
        name = tmp_path.name
        assert [(layer.name, layer.visible) for layer in layers] == [
            (f"{name}#0", False),
            (f"{name}#2", False),
            (f"{name}#1", True),
        ]
        np.testing.assert_array_equal(np.asarray(layers[-1].data), stored - 1024)

    def test_volumes_in_time_of_a_folder_are_one_layer(self, tmp_path: Path) -> None:
        stored = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(np.int16)
        series = pydicom.uid.generate_uid()
        for time in range(2):
            folder = tmp_path / str(time)
            for path in write_series(folder, stored + time, series=series, elements={"AcquisitionNumber": time}):
                path.rename(tmp_path / f"{time}-{path.name}")
            folder.rmdir()
        ((data, attributes, _),) = read_layers(str(tmp_path))
        assert attributes["axis_labels"] == ("t", "z", "y", "x")
        np.testing.assert_array_equal(np.asarray(data[1]), stored - 1023)

    @pytest.mark.parametrize("path", ["a.txt", "folder", ["a.png", "b.csv"], []])
    def test_what_is_not_ours(self, path: str | list[str]) -> None:
        assert get_reader(path) is None

    @pytest.mark.parametrize("name", SAMPLES)
    def test_samples_open_as_layers(self, plugins: PluginManager, manifest: PluginManifest, name: str) -> None:
        (sample,) = (one for one in manifest.contributions.sample_data if one.key == name)
        (data,) = sample.open(_registry=plugins.commands)
        layer = _layer(data)
        assert layer.ndim == 3
        assert layer.metadata["note"]


class TestWriting:
    @pytest.mark.parametrize("suffix", sorted(set(WRITERS) - {".dcm"}))
    def test_labels_get_the_geometry_of_the_image(self, plugins: PluginManager, tmp_path: Path, suffix: str) -> None:
        from napari.layers import Labels

        nib.save(nib.Nifti1Image(STACK.T, OBLIQUE), tmp_path / "a.nii")
        image = read_image(tmp_path / "a.nii")
        _, attributes, _ = to_layer_data(image, "a")
        layer = Labels(STACK // 20, **{key: attributes[key] for key in ("scale", "units", "metadata")})
        (path,) = npe2.write(str(tmp_path / f"b{suffix}"), [layer.as_layer_data_tuple()], plugin_name="napari-ld")
        back = read_image(path)
        np.testing.assert_array_equal(np.asarray(back.array), STACK // 20)
        np.testing.assert_array_equal(back.affine, image.affine)

    def test_scale_alone_gives_spacing(self, tmp_path: Path) -> None:
        from napari.layers import Labels

        layer = Labels(STACK // 20, scale=(2000, 500, 250), units="um")
        data, attributes, _ = layer.as_layer_data_tuple()
        write_labels_layer(str(tmp_path / "a.tif"), data, attributes)
        assert read_image(tmp_path / "a.tif").spacing == (2.0, 0.5, 0.25)

    def test_finest_level_of_multiscale_labels(self, tmp_path: Path) -> None:
        levels = [STACK // 20, STACK[:, ::2, ::2] // 20]
        write_labels_layer(str(tmp_path / "a.tif"), levels, {"multiscale": True})
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.tif").array), levels[0])


class TestLayersToImages:
    @pytest.mark.parametrize(
        "image",
        [
            Image(STACK, "zyx", OBLIQUE, (2.0, 0.5, 0.25), "a.nii"),
            Image(STACK, "tyx"),
            Image(STACK, "yxc", None, (2.0, 0.5)),
            Image(STACK[0], "yx", OBLIQUE, (1.0, 1.0)),
        ],
    )
    def test_there_and_back(self, image: Image) -> None:
        array, attributes, _ = to_layer_data(image, "a")
        back = image_from_layer_data(array, attributes)
        assert (back.axes, back.spacing, back.source) == (image.axes, image.spacing, image.source)
        assert back.affine is image.affine

    def test_another_scale_makes_the_affine_void(self) -> None:
        image = Image(STACK, "zyx", OBLIQUE, (2.0, 0.5, 0.25))
        array, attributes, _ = to_layer_data(image, "a")
        back = image_from_layer_data(array, {**attributes, "scale": (4.0, 0.5, 0.25)})
        assert (back.axes, back.affine, back.spacing) == ("zyx", None, (4.0, 0.5, 0.25))

    def test_layers_of_others(self) -> None:
        assert image_from_layer_data(STACK, {}).axes == "pyx"
        assert image_from_layer_data(STACK[0], {"scale": (2, 2), "units": ("pixel", "pixel")}).spacing is None
        assert image_from_layer_data(STACK, {"metadata": {METADATA_KEY: {"axes": "yx"}}}).axes == "pyx"

    def test_too_many_axes(self) -> None:
        with pytest.raises(ImageError, match=r"a layer of 5 axes; .*split the layer"):
            image_from_layer_data(STACK[None, None], {})
