"""What a person points at: a clicked or outlined example, or counter-example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_ld._types import Position
from napari_ld.errors import RegionError
from napari_ld.proposals.masks import Mask

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource

__all__ = ["Example"]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One example: either an outline (``mask``) or a click (``position``).

    Attributes
    ----------
    source : FeatureSource
        Where the example lies; may be another one than that which is searched.
    plane : int
        Plane of ``source``.
    mask : Mask or None
        Outlined pixels, numbered by the planes of ``source``; may cover several planes.
    position : (row, column) or None
        Clicked point in stored pixels.
    positive : bool
        False for a counter-example.

    Raises
    ------
    RegionError
        When there is neither or both, the outline is empty or of another size, or the click lies outside.
    """

    source: FeatureSource
    plane: int
    mask: Mask | None = None
    position: Position | None = None
    positive: bool = True

    def __post_init__(self) -> None:
        if (self.mask is None) == (self.position is None):
            raise RegionError("an example needs either an outline or a clicked point; give one of them")
        shape = self.source.shape(self.plane)
        if self.mask is not None:
            if self.mask.shape != shape:
                raise RegionError(f"the outline is of {self.mask.shape} pixels and the image of {shape}; draw it anew")
            if not self.mask.area:
                raise RegionError("the outline of the example is empty; outline at least one pixel")
        elif self.position is not None:
            row, column = self.position
            if not (-0.5 <= row <= shape[0] - 0.5 and -0.5 <= column <= shape[1] - 0.5):
                raise RegionError(
                    f"the example at row {row:g}, column {column:g} lies outside the image of {shape[0]} rows and "
                    f"{shape[1]} columns; click inside"
                )
