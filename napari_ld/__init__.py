"""Find landmarks across stacks of medical images from one click, with Local Discrimination encoders.

Importing this package loads neither torch, Qt nor napari; each name below is fetched when it is first used.

Examples
--------
>>> import numpy as np
>>> import napari_ld
>>> "locate" in napari_ld.__all__
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ld._sample_data import SAMPLES as SAMPLES
    from napari_ld._types import Embedding as Embedding
    from napari_ld._types import Image as Image
    from napari_ld._types import Landmark as Landmark
    from napari_ld._types import Match as Match
    from napari_ld.embedding import FeatureSource as FeatureSource
    from napari_ld.errors import NapariLDError as NapariLDError
    from napari_ld.io.images import read_image as read_image
    from napari_ld.io.images import read_images as read_images
    from napari_ld.io.landmarks import read_landmarks as read_landmarks
    from napari_ld.localization import LocateParams as LocateParams
    from napari_ld.localization import Template as Template
    from napari_ld.localization import locate as locate
    from napari_ld.localization import suggest_template as suggest_template
    from napari_ld.model.checkpoint import LoadedModel as LoadedModel
    from napari_ld.model.checkpoint import load_model as load_model
    from napari_ld.model.zoo import load_encoder as load_encoder
    from napari_ld.proposals import Regions as Regions
    from napari_ld.proposals import propose_regions as propose_regions
    from napari_ld.segmentation import segment as segment
    from napari_ld.storage import Store as Store

__all__ = [
    "SAMPLES",
    "Embedding",
    "FeatureSource",
    "Image",
    "Landmark",
    "LoadedModel",
    "LocateParams",
    "Match",
    "NapariLDError",
    "Regions",
    "Store",
    "Template",
    "__version__",
    "load_encoder",
    "load_model",
    "locate",
    "propose_regions",
    "read_image",
    "read_images",
    "read_landmarks",
    "segment",
    "suggest_template",
]

_HOMES = {
    "SAMPLES": "napari_ld._sample_data",
    "Embedding": "napari_ld._types",
    "FeatureSource": "napari_ld.embedding",
    "Image": "napari_ld._types",
    "Landmark": "napari_ld._types",
    "LoadedModel": "napari_ld.model.checkpoint",
    "LocateParams": "napari_ld.localization",
    "Match": "napari_ld._types",
    "NapariLDError": "napari_ld.errors",
    "Regions": "napari_ld.proposals",
    "Store": "napari_ld.storage",
    "Template": "napari_ld.localization",
    "load_encoder": "napari_ld.model.zoo",
    "load_model": "napari_ld.model.checkpoint",
    "locate": "napari_ld.localization",
    "propose_regions": "napari_ld.proposals",
    "read_image": "napari_ld.io.images",
    "read_images": "napari_ld.io.images",
    "read_landmarks": "napari_ld.io.landmarks",
    "segment": "napari_ld.segmentation",
    "suggest_template": "napari_ld.localization",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room."""
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-ld")
    if name not in _HOMES:
        raise AttributeError(f"module 'napari_ld' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
