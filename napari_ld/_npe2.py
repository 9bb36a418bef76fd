"""What napari calls to open and save files: images as layer data and back. Needs neither napari nor Qt.

A layer that was opened here carries ``metadata["napari-ld"]`` with the keys ``axes``, ``affine`` (to patient LPS
millimetres), ``spacing``, ``source`` and ``modality``, because layers are shown straight, in the axes of their voxels,
while the affine may be oblique. Nothing in it names a person, unless the path of the file does.
The readers claim common endings such as ``.png``, which napari and other plugins open as well: napari then asks once
which to use, and the pixels are the same.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError

if TYPE_CHECKING:
    from napari_ld._sample_data import Sample

__all__ = [
    "METADATA_KEY",
    "get_reader",
    "image_from_layer_data",
    "phantom_sample",
    "retina_sample",
    "to_layer_data",
    "write_labels_layer",
]

METADATA_KEY = "napari-ld"
LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Reader of one path, or of several that form a stack; None when an ending is not ours.

    Of a folder it looks at the first file: DICOM series and zarr folders are images.
    """
    from napari_ld.io.folders import holds_images
    from napari_ld.io.images import READERS

    paths = _listed(path)
    if len(paths) == 1 and os.path.isdir(paths[0]):
        return read_layers if holds_images(Path(paths[0])) else None
    names = [os.path.basename(one).lower() for one in paths]
    return read_layers if names and all(name.endswith(tuple(READERS)) for name in names) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read one file or folder, or several 2-D images of one size as one stack, as an image or labels layer.

    A folder with several DICOM series gives a layer for each, of which only the largest is shown; none is read before
    it is looked at.

    Raises
    ------
    ImageError
        A file that cannot be used, or images that do not form a stack.
    """
    from napari_ld.io.images import read_images

    paths = _listed(path)
    if len(paths) > 1:
        images = read_images(list(paths), several="largest")
        return [to_layer_data(_stacked(images), _layer_name(images[0]))]
    images = _parts_of(paths[0])
    if not any(image.is_stack for image in images):
        return [to_layer_data(_stacked(images), _layer_name(images[0]))]
    *others, largest = sorted(images, key=lambda image: image.n_planes)
    if others:
        hidden = ", ".join(_layer_name(image) for image in others)
        warnings.warn(
            f"{paths[0]} holds {len(images)} series; shown is {_layer_name(largest)}, the largest. The others are "
            f"hidden layers: {hidden}",
            UserWarning,
            stacklevel=2,
        )
    layers = [to_layer_data(image, _layer_name(image)) for image in (*others, largest)]
    for _, attributes, _ in layers[:-1]:
        attributes["visible"] = False
    return layers


def write_labels_layer(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Save a Labels layer in the geometry that the layer carries.

    Returns
    -------
    list of str
        The path written.

    Raises
    ------
    ImageError, StorageError
        See :func:`napari_ld.io.labels.write_labels`.
    """
    from napari_ld.io.labels import write_labels

    array = data[0] if attributes.get("multiscale") else data
    write_labels(path, array, image_from_layer_data(array, attributes))
    return [path]


def phantom_sample() -> list[LayerData]:
    """The phantom heads as an image layer."""
    from napari_ld._sample_data import phantom_stack

    return [_sample_layer(phantom_stack())]


def retina_sample() -> list[LayerData]:
    """The retina and its warped copies as an image layer."""
    from napari_ld._sample_data import retina_stack

    return [_sample_layer(retina_stack())]


def to_layer_data(image: Image, name: str) -> LayerData:
    """An image as napari takes it.

    Returns
    -------
    (array, attributes, "image" or "labels")
        Lazy stacks come as dask arrays of one plane a chunk, labels in memory, where they can be painted. Scale and
        units are in millimetres when the spacing is known, else napari's pixels.
    """
    attributes: dict[str, Any] = {
        "name": name,
        "axis_labels": tuple(image.axes.rstrip("c")),
        "metadata": {
            METADATA_KEY: {
                "axes": image.axes,
                "affine": image.affine,
                "spacing": image.spacing,
                "source": image.source,
                "modality": image.modality,
            }
        },
    }
    if image.spacing is not None:
        attributes["scale"] = image.spacing
        attributes["units"] = ("pixel",) * (len(image.spacing) - 3) + ("mm",) * min(len(image.spacing), 3)
    if image.kind == "labels":
        if image.label_names:
            attributes["metadata"][METADATA_KEY]["label_names"] = image.label_names
        return np.array(image.array), attributes, "labels"
    attributes["rgb"] = image.has_channels
    if image.display_range is not None and not image.has_channels:
        attributes["contrast_limits"] = image.display_range
    if image.levels:
        attributes["multiscale"] = True
        return [_for_napari(replace(image, array=level)) for level in (image.array, *image.levels)], attributes, "image"
    return _for_napari(image), attributes, "image"


def image_from_layer_data(array: ArrayLike, attributes: Mapping[str, Any]) -> Image:
    """The image that a layer shows; inverse of :func:`to_layer_data`.

    Parameters
    ----------
    array : array
        Data of the layer; the finest level of a multiscale layer.
    attributes : mapping
        Attributes of the layer: ``scale``, ``units``, ``rgb`` and ``metadata`` are looked at. When the layer has got
        another scale since it was opened, the affine of its file no longer holds and is left out.
    """
    channels = "c" if attributes.get("rgb") else ""
    ndim = len(array.shape) - len(channels)
    if ndim not in (2, 3, 4):
        raise ImageError(f"a layer of {ndim} axes; expected rows and columns, with or without planes: split the layer")
    spacing = _spacing(attributes, ndim)
    ours = (attributes.get("metadata") or {}).get(METADATA_KEY) or {}
    source = str(ours.get("source", ""))
    axes = str(ours.get("axes", "")).rstrip("c")
    modality = str(ours.get("modality", ""))
    names = tuple(ours.get("label_names", ()))
    if len(axes) != ndim:
        return Image(array, {2: "yx", 3: "pyx", 4: "tzyx"}[ndim] + channels, None, spacing, source)
    if ours["spacing"] is None or spacing == tuple(map(float, ours["spacing"])):
        affine, spacing = ours["affine"], ours["spacing"] or spacing
        return Image(array, axes + channels, affine, spacing, source, label_names=names, modality=modality)
    return Image(array, axes + channels, None, spacing, source, label_names=names, modality=modality)


def _spacing(attributes: Mapping[str, Any], ndim: int) -> tuple[float, ...] | None:
    """Millimetres from scale and units; None unless the units of all axes but time are lengths."""
    from napari_ld.io.tiff_calibration import MILLIMETRES

    scale, units = attributes.get("scale"), attributes.get("units")
    if scale is None or units is None:
        return None
    names = [units] * ndim if isinstance(units, str) else list(units)
    factors = [MILLIMETRES.get(str(unit).lower()) for unit in names[-ndim:]]
    if ndim == 4:
        factors[0] = 1.0
    steps = [float(step) for step in scale][-ndim:]
    known = [step * factor for step, factor in zip(steps, factors, strict=True) if factor is not None]
    return tuple(known) if len(known) == ndim else None


def _sample_layer(sample: Sample) -> LayerData:
    array, attributes, kind = to_layer_data(sample.image, sample.name)
    attributes["metadata"]["note"] = sample.note
    return array, attributes, kind


def _for_napari(image: Image) -> Any:
    """Lazy stacks as dask, which napari slices in the background; other arrays as they are."""
    from napari_ld.io.lazy import LazyArray, LazyStack

    if not isinstance(image.array, LazyStack | LazyArray):
        return image.array
    import dask.array

    leading = len(image.axes.rstrip("c")) - 2
    by_plane = (1,) * leading + image.array.shape[leading:]
    chunks = image.array.chunks if isinstance(image.array, LazyArray) else by_plane
    from_array: Callable[..., Any] = dask.array.from_array  # dask does not annotate it
    return from_array(image.array, chunks=chunks, name=False)


def _stacked(images: Sequence[Image]) -> Image:
    """One image, or several of one size as a lazy stack."""
    from napari_ld.io.lazy import LazyStack

    first = images[0]
    if len(images) == 1:
        return first
    kinds = {(image.axes, tuple(image.array.shape), str(image.array.dtype)) for image in images}
    if len(kinds) > 1 or first.is_stack:
        raise ImageError(
            f"{first.source} and {len(images) - 1} more files do not form one stack: expected single images of one "
            "size and type; open them one by one"
        )
    shape = (len(images), *first.array.shape)
    spacing = first.spacing and (1.0, *first.spacing)
    stack = LazyStack(shape, first.array.dtype, lambda index: images[index].plane(0))
    return Image(stack, "p" + first.axes, None, spacing, str(Path(first.source).parent))


def _parts_of(path: str) -> list[Image]:
    """The image of a file, or those of a folder of DICOM; a series of volumes is one."""
    from napari_ld.io.images import read_dicom_folder, read_image
    from napari_ld.io.ome_zarr import is_zarr
    from napari_ld.io.parts import split_part

    folder, part = split_part(path)
    if folder.is_dir() and not is_zarr(folder):
        return read_dicom_folder(folder, part, "all")
    return [read_image(path)]


def _layer_name(image: Image) -> str:
    """Name of the file or folder without its ending, with the number of the part."""
    from napari_ld.io.folders import known_suffix
    from napari_ld.io.images import FOLDER_READERS, READERS

    name = Path(image.source).name
    suffix = known_suffix(Path(name), (*READERS, *FOLDER_READERS))
    return name[: -len(suffix)] if suffix else name


def _listed(path: str | Sequence[str]) -> Sequence[str]:
    return [path] if isinstance(path, str) else path
