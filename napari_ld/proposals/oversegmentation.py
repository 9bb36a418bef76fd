"""Full-resolution image evidence, and the finest regions: basins of its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.model.preprocessing import IntensityNormalization

__all__ = ["balanced", "basins", "channels_of", "gradient_of"]

Array = npt.NDArray[np.float32]


def channels_of(
    pixels: npt.NDArray[Any], normalization: IntensityNormalization, limits: tuple[float, float] | None = None
) -> Array:
    """Colour channels of a plane, scaled so that the plane's own 0.5 and 99.5 percentiles are about 0 and 1.

    Parameters
    ----------
    pixels : (rows, columns) or (rows, columns, channels) array
    normalization : IntensityNormalization
        Of the encoder.
    limits : (low, high), optional
        Intensity window of a whole volume.

    Returns
    -------
    (C, rows, columns) float32 array
    """
    scaled = normalization.apply(pixels, limits)
    return np.asarray(scaled * normalization.std + normalization.mean, np.float32)


def balanced(channels: Array) -> Array:
    """Channels for comparing colours: each divided by the root of its contrast, relative to the strongest one.

    A weak channel, such as the green one of a fundus, may be the one that shows the structures. A grey image counts as
    three equal channels.

    Parameters
    ----------
    channels : (C, rows, columns) float32 array
    """
    if len(channels) == 1:
        return channels * np.float32(np.sqrt(3))
    contrast = channels.std(axis=(1, 2), keepdims=True) + 1e-3
    return np.asarray(channels / np.sqrt(contrast / contrast.max()), np.float32)


def gradient_of(channels: Array, sigma: float) -> Array:
    """Length of the gradient over all channels, ``(rows, columns)``, with a Gaussian derivative of ``sigma`` pixels."""
    squared = np.zeros(channels.shape[1:], np.float32)
    for channel in channels:
        for order in ((0, 1), (1, 0)):
            squared += ndimage.gaussian_filter(channel, sigma, order=order, truncate=3.0) ** 2
    return np.sqrt(squared)


def basins(relief: Array) -> npt.NDArray[np.int32]:
    """Catchment basins: every pixel flows to its lowest neighbour.

    Ties and plateaus flow to the first of the lowest neighbours in row-major order, so that the result is
    deterministic.

    Parameters
    ----------
    relief : (rows, columns) float32 array

    Returns
    -------
    (rows, columns) int32 array
        0 to L-1, in the order of the minima.
    """
    rows, columns = relief.shape
    place = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    lowest, target = relief.copy(), place.copy()
    for down, right in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        here = slice(max(0, -down), rows - max(0, down)), slice(max(0, -right), columns - max(0, right))
        there = slice(max(0, down), rows + min(0, down)), slice(max(0, right), columns + min(0, right))
        # on a plateau only earlier pixels are flowed to: no circles
        lower = (relief[there] < lowest[here]) | ((relief[there] == lowest[here]) & (place[there] < target[here]))
        lowest[here] = np.where(lower, relief[there], lowest[here])
        target[here] = np.where(lower, place[there], target[here])
    flow = target.reshape(-1)
    while True:
        further = flow[flow]
        if np.array_equal(further, flow):
            break
        flow = further
    _, labels = np.unique(flow, return_inverse=True)
    return labels.reshape(rows, columns).astype(np.int32)
