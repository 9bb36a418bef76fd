"""The planes of one or many images, in one row, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import ArrayLike, Image
from napari_ld.errors import ImageError
from napari_ld.model.preprocessing import IntensityNormalization

__all__ = ["Planes", "as_image", "intensity_limits", "without_alpha"]

_SAMPLES = (1, 3, 4)
# Intensity limits shared by a volume are read from at most this many pixels, spread evenly.
_LIMIT_PIXELS = 4_000_000


def as_image(pixels: Image | ArrayLike) -> Image:
    """Wrap a bare array; an :class:`Image` passes through.

    A bare array is read as follows: 2 axes are one grey plane; a last axis of 3 or 4 holds colour; any other third
    axis in front holds planes. Pass an :class:`Image` with its axes where this guess is wrong, for instance for a
    stack that is 3 columns wide.

    Raises
    ------
    ImageError
        When the array has no pixels, its axes do not fit its shape, or its values are not real numbers.
    """
    image = pixels if isinstance(pixels, Image) else Image(pixels, _guess_axes(_shape(pixels)))
    name = image.source or "image"
    shape = _shape(image.array)
    bare = image.axes.removesuffix("c")
    if len(shape) != len(image.axes) or bare[-2:] != "yx" or len(bare) not in (2, 3):
        raise ImageError(
            f"{name}: axes {image.axes!r} do not fit the shape {shape}; expected rows and columns as 'yx', with at "
            "most one plane axis in front ('z', 'p' or 't') and colour 'c' last"
        )
    if image.has_channels and shape[-1] not in _SAMPLES:
        raise ImageError(f"{name}: {shape[-1]} channels; expected 1, 3 or 4: split the channels or convert to RGB")
    if 0 in shape:
        raise ImageError(f"{name}: shape {shape} holds no pixels; expected at least one plane, row and column")
    kind = np.dtype(image.array.dtype).kind
    if kind not in "buif":
        raise ImageError(f"{name}: values of type {image.array.dtype}; expected integers, floats or booleans")
    return image


class Planes:
    """All planes of the given images, numbered through.

    Parameters
    ----------
    images : Image, array, or sequence of them
        Sizes may differ between images.

    Raises
    ------
    ImageError
        As :func:`as_image`; also for an empty sequence.
    """

    def __init__(self, images: Image | ArrayLike | Sequence[Image | ArrayLike]) -> None:
        if isinstance(images, (list, tuple)):
            self.images = [as_image(image) for image in images]
        else:
            self.images = [as_image(images)]  # type: ignore[arg-type]  # sequences other than list, tuple are arrays
        if not self.images:
            raise ImageError("no image was given; expected at least one")
        self._address = [(k, p) for k, image in enumerate(self.images) for p in range(image.n_planes)]

    def __len__(self) -> int:
        return len(self._address)

    def address(self, index: int) -> tuple[int, int]:
        """``(image, plane within it)`` of plane ``index``."""
        if not 0 <= index < len(self._address):
            raise ImageError(f"plane {index} was asked for; there are planes 0 to {len(self._address) - 1}")
        return self._address[index]

    def image(self, index: int) -> Image:
        """The image that plane ``index`` belongs to."""
        return self.images[self.address(index)[0]]

    def load(self, index: int) -> npt.NDArray[Any]:
        """Pixels of one plane, ``(rows, columns)`` or ``(rows, columns, channels)``."""
        image_index, plane = self.address(index)
        pixels = self.images[image_index].plane(plane)
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels

    def sample(self, image_index: int) -> npt.NDArray[Any]:
        """Evenly spread pixels of a whole image, flat, for limits that all its planes share."""
        image = self.images[image_index]
        rows, columns = image.plane_shape
        planes = np.unique(np.linspace(0, image.n_planes - 1, min(image.n_planes, 64)).round().astype(int))
        step = max(1, int(np.ceil(np.sqrt(len(planes) * rows * columns / _LIMIT_PIXELS))))
        parts = [np.asarray(image.plane(int(plane))[::step, ::step]).reshape(-1) for plane in planes]
        return np.concatenate(parts)


def without_alpha(pixels: npt.NDArray[Any], image: Image) -> npt.NDArray[np.generic]:
    """Leave alpha out of limits: its constant 255 would pass for the brightest tissue."""
    return pixels[..., :3] if image.has_channels else pixels


def intensity_limits(
    planes: Planes, image_index: int, pixels: npt.NDArray[Any] | None, normalization: IntensityNormalization
) -> tuple[float, float]:
    """Darkest and brightest value for the encoder: the image's window, else robust limits.

    Parameters
    ----------
    pixels : array or None
        One plane, or None for limits that all planes of the image share.
    """
    image = planes.images[image_index]
    if image.window is not None:
        return image.window
    return normalization.limits(planes.sample(image_index) if pixels is None else without_alpha(pixels, image))


def _shape(array: ArrayLike) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in array.shape)
    except (AttributeError, TypeError) as error:
        raise ImageError(f"got {type(array).__name__}; expected an Image, an array, or a list of them") from error


def _guess_axes(shape: tuple[int, ...]) -> str:
    colour = len(shape) > 2 and shape[-1] in (3, 4)
    axes = {2: "yx", 3: "yxc" if colour else "zyx", 4: "zyxc" if colour else ""}.get(len(shape), "")
    if not axes:
        raise ImageError(
            f"array of shape {shape}; expected (rows, columns), (planes, rows, columns) or these with 3 or 4 channels "
            "last: choose one channel or time point"
        )
    return axes
