"""How the axes of a stored volume lie in the patient, and the same volume in one common order of axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from napari_ld._types import Image

__all__ = ["Orientation"]

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Orientation:
    """The turn, by whole axes, that brings a stored volume to the common order.

    The common order is (inferior to superior, anterior to posterior, right to left), the world axes of LPS backwards,
    which is that of an axial stack as DICOM stores it. A volume without affine stays as it is stored.

    Attributes
    ----------
    order : (axis, axis, axis)
        The stored axis that becomes each axis of the common order.
    flips : (bool, bool, bool)
        Whether each axis of the common order runs against its stored axis.
    shape : (planes, rows, columns)
        Of the stored volume.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, image: Image) -> Orientation:
        """Orientation of a volume, from its affine; oblique ones go to the nearest axes."""
        shape = int(image.array.shape[0]), int(image.array.shape[1]), int(image.array.shape[2])
        if image.affine is None:
            return cls((0, 1, 2), (False, False, False), shape)
        find: Callable[..., Any] = nib.orientations.io_orientation  # nibabel does not annotate it
        found = find(image.affine)  # for each stored axis: world axis (L, P, S) and sign
        world = [int(axis) for axis in found[:, 0]]
        order = world.index(2), world.index(1), world.index(0)
        flips = bool(found[order[0], 1] < 0), bool(found[order[1], 1] < 0), bool(found[order[2], 1] < 0)
        return cls(order, flips, shape)

    @property
    def common_shape(self) -> tuple[int, int, int]:
        """Voxels along each axis of the common order."""
        return self.shape[self.order[0]], self.shape[self.order[1]], self.shape[self.order[2]]

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The volume (planes, rows, columns[, channels]) in the common order; a view."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array.transpose(*self.order, *range(3, array.ndim))[steps]

    def common(self, points: Points) -> Points:
        """Stored voxels (N, 3) to voxels of the common order."""
        turned = np.asarray(points, np.float64)[:, list(self.order)]
        last = np.array(self.common_shape) - 1.0
        return np.where(self.flips, last - turned, turned)

    def stored(self, points: Points) -> Points:
        """Voxels (N, 3) of the common order to stored ones; inverse of :meth:`common`."""
        last = np.array(self.common_shape) - 1.0
        straight = np.where(self.flips, last - points, points)
        return np.asarray(straight[:, np.argsort(self.order)], np.float64)
