"""Samples with known truth, opened from the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image as ImageLayer


def sample_names() -> list[str]:
    """Names of the samples that ship with the package."""
    from napari_ld._sample_data import SAMPLES

    return list(SAMPLES)


def add_sample(viewer: Viewer, name: str) -> ImageLayer:
    """Open a sample as an image layer with its geometry."""
    from napari_ld._npe2 import to_layer_data
    from napari_ld._sample_data import SAMPLES

    array, attributes, _ = to_layer_data(SAMPLES[name]().image, name)
    return viewer.add_image(array, **attributes)
