"""What models with a head find on images: label maps of segmenters, classes and their maps of classifiers.

Importing this package loads no torch; names are fetched when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ld.segmentation.predictor import Predictor as Predictor
    from napari_ld.segmentation.predictor import segment as segment
    from napari_ld.segmentation.windows import head_window as head_window

_HOMES = {"Predictor": "predictor", "head_window": "windows", "segment": "predictor"}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Fetch a name from its file."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
