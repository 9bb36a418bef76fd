"""Features of stacks: lazy, tiled, cached on disk, cancellable."""

from napari_ld.embedding.device import Device, choose_device
from napari_ld.embedding.index import CoarseIndex
from napari_ld.embedding.source import FeatureSource

__all__ = ["CoarseIndex", "Device", "FeatureSource", "choose_device"]
