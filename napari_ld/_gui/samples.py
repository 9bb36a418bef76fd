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
    """Open a sample as an image layer with its scale and units."""
    from napari_ld._sample_data import SAMPLES

    image = SAMPLES[name]().image
    spacing = image.spacing
    return viewer.add_image(
        image.array,
        name=name,
        rgb=image.has_channels,
        scale=spacing,
        units=None if spacing is None else ("mm",) * len(spacing),
    )
