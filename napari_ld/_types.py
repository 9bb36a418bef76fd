"""Frozen values that every room may hold.

Conventions, everywhere in napari-ld:

* array order is ``(plane, row, column[, channel])``; positions are ``(row, column)`` in pixels of the *stored*
  image, the **centre** of the first pixel is 0, so a pixel covers -0.5 to 0.5;
* an affine maps homogeneous ``(plane, row, column, 1)`` (2-D images: plane = 0) to patient **LPS** millimetres;
* spacing is in millimetres, in array order; ``None`` means unknown, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Status = Literal["confident", "uncertain", "absent", "verified"]
Stage = Literal["coarse", "fine"]
Position = tuple[float, float]


@runtime_checkable
class ArrayLike(Protocol):
    """What napari-ld asks of pixels: numpy, dask, zarr and memory maps all fulfil it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """Pixels and where they lie in the patient.

    Attributes
    ----------
    array : ArrayLike
        Pixels, possibly lazy.
    axes : str
        One letter per array axis: ``z`` ordered slices, ``p`` pages or patients, ``t`` time, ``y`` rows,
        ``x`` columns, ``c`` channels (always last, 3 or 4 samples). Examples: ``"yx"``, ``"yxc"``, ``"zyx"``,
        ``"pyxc"``. A series of volumes has two axes in front, as in ``"tzyx"``; most rooms take one volume of it, see
        :func:`napari_ld.io.parts.volumes_of`.
    affine : (4, 4) float64 array or None
        ``(plane, row, column, 1)`` to patient LPS millimetres.
    spacing : tuple of float or None
        Millimetres per step, for ``(row, column)`` of 2-D and ``(plane, row, column)`` of stacks.
    source : str
        Path it was read from, or ``""``; ``path#N`` for the N-th part (from 0) of what holds several.
    kind : {"image", "labels"}
        Whether the file says that its values are labels, 0 being background.
    label_names : tuple of (int, str)
        Names of labels, where the file tells them.
    modality : str
        As DICOM abbreviates it, ``"CT"``, ``"MR"`` …; ``""`` when unknown.
    display_range : (low, high) or None
        Intensities that the file wants to be shown as black and white; for viewers only.
    window : (low, high) or None
        Intensities that the encoder gets as darkest and brightest; None: robust limits of the pixels themselves.
    levels : tuple of ArrayLike
        Coarser copies of ``array``, finest first, of a multiscale file; for viewers only.
    """

    array: ArrayLike
    axes: str
    affine: npt.NDArray[np.float64] | None = None
    spacing: tuple[float, ...] | None = None
    source: str = ""
    kind: Literal["image", "labels"] = "image"
    label_names: tuple[tuple[int, str], ...] = ()
    modality: str = ""
    display_range: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    levels: tuple[ArrayLike, ...] = ()

    @property
    def has_channels(self) -> bool:
        """Whether the last axis holds colour samples."""
        return self.axes.endswith("c")

    @property
    def is_stack(self) -> bool:
        """Whether there is a plane axis in front of rows and columns."""
        return len(self.axes.rstrip("c")) > 2

    @property
    def n_planes(self) -> int:
        """Number of planes; 1 for a single 2-D image."""
        return int(np.prod(self.array.shape[: len(self.axes.rstrip("c")) - 2], dtype=np.int64))

    @property
    def plane_shape(self) -> tuple[int, int]:
        """``(rows, columns)`` of one plane."""
        first = len(self.axes.rstrip("c")) - 2
        return int(self.array.shape[first]), int(self.array.shape[first + 1])

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """``(row, column)`` millimetres per pixel, or None when unknown."""
        return None if self.spacing is None else (float(self.spacing[-2]), float(self.spacing[-1]))

    def plane(self, index: int) -> npt.NDArray[Any]:
        """Read one plane as ``(rows, columns)`` or ``(rows, columns, channels)``; the only place that loads pixels."""
        leading = tuple(int(length) for length in self.array.shape[: len(self.axes.rstrip("c")) - 2])
        if len(leading) < 2:
            return np.asarray(self.array[index] if leading else self.array)
        return np.asarray(self.array[tuple(int(place) for place in np.unravel_index(index, leading))])


@dataclass(frozen=True, slots=True)
class Landmark:
    """One known position of a named landmark.

    Attributes
    ----------
    name : str
        Name of the landmark.
    plane : int or None
        Index of the plane; None for a single 2-D image.
    position : (row, column)
        Pixels, centre of the first pixel at 0.
    image : str
        File name of the image, or ``""``.
    depth : float or None
        Plane with its fraction, for a point of a volume that lies between two planes.
    """

    name: str
    plane: int | None
    position: Position
    image: str = ""
    depth: float | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Answer of :func:`napari_ld.localization.locate` for one landmark on one plane.

    Attributes
    ----------
    landmark, plane
        What and where it was looked for.
    position : (row, column) or None
        None when ``status`` is ``"absent"``.
    score : float
        Cosine similarity in [-1, 1] at the peak.
    margin : float
        Score minus the score of the best other peak.
    expected_error : float or None
        In ``unit``; None where no calibration exists.
    unit : {"mm", "px"}
        Unit of ``expected_error``.
    status : {"confident", "uncertain", "absent", "verified"}
    stage : {"coarse", "fine"}
        Whether the full-resolution refinement has been done.
    point : (plane, row, column) or None
        Place in space in stored voxels, where the stack kind finds one: of this volume (``volumes``), or of the whole
        stack, the same on all its planes (``volume``).
    """

    landmark: str
    plane: int
    position: Position | None
    score: float
    margin: float
    status: Status
    stage: Stage = "fine"
    expected_error: float | None = None
    unit: Literal["mm", "px"] = "px"
    point: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open box of pixels: rows ``top`` to ``bottom``, columns ``left`` to ``right``."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Dense features of one plane or of one crop of it.

    A grid cell ``(i, j)`` has its centre at image pixel ``(origin[0] + i * step[0], origin[1] + j * step[1])``.

    Attributes
    ----------
    vectors : (D, h, w) float16 or float32 array
        Unit length along D.
    clusters : (K, h, w) float16 array or None
        Soft cluster map, sums to 1 along K.
    origin, step : (row, column)
        Position of cell (0, 0) and distance between cells, in pixels of the stored image.
    shape : (rows, columns)
        Size of the stored image in pixels.
    """

    vectors: npt.NDArray[Any]
    clusters: npt.NDArray[Any] | None
    origin: tuple[float, float]
    step: tuple[float, float]
    shape: tuple[int, int]
    notes: tuple[str, ...] = field(default=())

    def to_pixel(self, cell: Position) -> Position:
        """Grid position (may be fractional) to image pixels."""
        return self.origin[0] + cell[0] * self.step[0], self.origin[1] + cell[1] * self.step[1]

    def to_cell(self, pixel: Position) -> Position:
        """Image pixels to (fractional) grid position; inverse of :meth:`to_pixel`."""
        return (pixel[0] - self.origin[0]) / self.step[0], (pixel[1] - self.origin[1]) / self.step[1]
