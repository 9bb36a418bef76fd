"""Refine rough segmentations by the image and its embedding.

Importing this package loads no torch; names are fetched when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ld.refinement._refine import DEFAULT_REFINER as DEFAULT_REFINER
    from napari_ld.refinement._refine import REFINERS as REFINERS
    from napari_ld.refinement._refine import Change as Change
    from napari_ld.refinement._refine import Refined as Refined
    from napari_ld.refinement._refine import Refiner as Refiner
    from napari_ld.refinement._refine import refine as refine
    from napari_ld.refinement.boundary_snap import SnapParams as SnapParams
    from napari_ld.refinement.embedding_walker import WalkerParams as WalkerParams
    from napari_ld.refinement.learnt import LearntParams as LearntParams
    from napari_ld.refinement.prototype import PrototypeParams as PrototypeParams
    from napari_ld.refinement.watershed import WatershedParams as WatershedParams

_HOMES = {
    "Change": "_refine",
    "DEFAULT_REFINER": "_refine",
    "LearntParams": "learnt",
    "PrototypeParams": "prototype",
    "REFINERS": "_refine",
    "Refined": "_refine",
    "Refiner": "_refine",
    "SnapParams": "boundary_snap",
    "WalkerParams": "embedding_walker",
    "WatershedParams": "watershed",
    "refine": "_refine",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Fetch a name from its file."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
