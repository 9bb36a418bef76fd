"""Proposed regions and the frozen table that holds them; they may overlap and nest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_ld.errors import RegionError
from napari_ld.proposals.masks import Mask

__all__ = ["Decision", "Region", "Regions"]

Decision = Literal["undecided", "accepted", "rejected"]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One proposed region.

    Attributes
    ----------
    id : int
        From 1, unique within a table.
    image : int
        Which of the feature source's images it lies on.
    mask : Mask
        Its planes are numbered as by the feature source; several when slices were linked.
    score : float
        In [0, 1]; what it means is the proposer's, higher is better.
    embedding : (D,) float32 array
        Mean embedding of its pixels, of unit length.
    area_mm2 : float or None
        Area summed over planes; None where the size of a pixel is unknown.
    parent : int or None
        Id of the region that this one lies in.
    kind : str
        Name of the proposer.
    cluster : int or None
        Cluster of the encoder, where the proposer knows it.
    label : int
        Class given by a person, from 1; 0 for none.
    decision : {"undecided", "accepted", "rejected"}
    """

    id: int
    image: int
    mask: Mask
    score: float
    embedding: npt.NDArray[np.float32]
    area_mm2: float | None = None
    parent: int | None = None
    kind: str = ""
    cluster: int | None = None
    label: int = 0
    decision: Decision = "undecided"

    @property
    def planes(self) -> tuple[int, ...]:
        """Planes that it touches, ascending."""
        return self.mask.planes

    @property
    def area(self) -> int:
        """Pixels, over all planes."""
        return self.mask.area

    @property
    def bbox(self) -> tuple[int, int, int, int, int, int]:
        """Half-open ``(plane, row, column, plane, row, column)``."""
        return self.mask.bbox

    @property
    def centroid(self) -> tuple[float, float, float]:
        """Mean ``(plane, row, column)``, centre of the first pixel at 0."""
        return self.mask.centroid


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """A frozen table of regions, in the order in which they were proposed.

    Parameters
    ----------
    rows : sequence of Region
        With different ids.

    Raises
    ------
    RegionError
        When two regions have the same id.
    """

    rows: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        ids = [region.id for region in self.rows]
        if len(set(ids)) != len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise RegionError(f"two regions have the id {twice}; expected different ids: number them anew")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Region]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Region:
        return self.rows[index]

    # --- columns ------------------------------------------------------------------------------------------------------

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """``(N,)`` ids."""
        return np.array([region.id for region in self.rows], np.int64)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """``(N,)`` scores."""
        return np.array([region.score for region in self.rows], np.float64)

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """``(N,)`` areas in pixels."""
        return np.array([region.area for region in self.rows], np.int64)

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """``(N, D)`` mean embeddings; ``(0, 0)`` for an empty table."""
        return np.stack([region.embedding for region in self.rows]) if self.rows else np.zeros((0, 0), np.float32)

    # --- finding ------------------------------------------------------------------------------------------------------

    def by_id(self, region_id: int) -> Region:
        """The region with an id.

        Raises
        ------
        RegionError
            When there is none.
        """
        for region in self.rows:
            if region.id == region_id:
                return region
        raise RegionError(f"there is no region {region_id}; the table holds {len(self.rows)} regions")

    def on_plane(self, plane: int) -> Regions:
        """Those that touch a plane."""
        return self.where(lambda region: plane in region.planes)

    def at(self, plane: int, row: int, column: int) -> Regions:
        """Those that hold a pixel, smallest first."""
        found = [region for region in self.rows if region.mask.contains(plane, row, column)]
        return Regions(tuple(sorted(found, key=lambda region: (region.area, region.id))))

    def where(self, keep: Callable[[Region], bool]) -> Regions:
        """Those that fulfil a condition, in the same order."""
        return Regions(tuple(region for region in self.rows if keep(region)))

    # --- new tables ---------------------------------------------------------------------------------------------------

    def replaced(self, region: Region) -> Regions:
        """A table with ``region`` in the place of the one that has its id."""
        self.by_id(region.id)
        return Regions(tuple(region if old.id == region.id else old for old in self.rows))

    def added(self, regions: Iterable[Region]) -> Regions:
        """A table with further regions at its end; their ids stay as they are."""
        return Regions((*self.rows, *regions))

    def without(self, ids: Sequence[int]) -> Regions:
        """A table without some regions; parents that go are forgotten."""
        gone = set(ids)
        kept = (region for region in self.rows if region.id not in gone)
        return Regions(tuple(replace(region, parent=None) if region.parent in gone else region for region in kept))

    # --- projections --------------------------------------------------------------------------------------------------

    def label_map(self, plane: int, shape: tuple[int, int], values: str = "id") -> npt.NDArray[np.int32]:
        """Project the regions of a plane to one label map.

        Where regions overlap the smaller one lies on top, so that nested ones stay visible; ties go to the lower id.

        Parameters
        ----------
        plane : int
        shape : (rows, columns)
        values : {"id", "label"}
            What is painted: the id, or the class.

        Returns
        -------
        (rows, columns) int32 array
            0 where there is no region.

        Raises
        ------
        RegionError
            For unknown ``values``, or masks of another size.
        """
        if values not in ("id", "label"):
            raise RegionError(f"cannot paint {values!r}; expected 'id' or 'label'")
        canvas = np.zeros(shape, np.int32)
        for region in sorted(self.on_plane(plane), key=lambda region: (-region.area, -region.id)):
            region.mask.paint(canvas, plane, region.id if values == "id" else region.label)
        return canvas

    @classmethod
    def from_label_map(cls, labels: npt.NDArray[np.integer], plane: int = 0, image: int = 0, kind: str = "") -> Regions:
        """Regions of a label map (rows, columns): one per value other than 0, whose id it becomes.

        Scores are 0 and embeddings empty.
        """
        found = []
        for value in np.unique(labels[labels > 0]).tolist():
            mask = Mask.from_array(labels == value, plane)
            found.append(Region(int(value), image, mask, 0.0, np.zeros(0, np.float32), kind=kind))
        return cls(tuple(found))
