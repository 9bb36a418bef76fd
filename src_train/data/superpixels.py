"""Felzenszwalb super-pixels of training images, computed once and kept in the store [reconstruction of LRC].

LRC (Yan et al., arXiv 2304.03406) contrasts regions of Felzenszwalb's segmentation; parameters, guard and background
rule here are ours, measured on chest X-rays and a CT phantom. Labels are never interpolated.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.errors import StorageError
from napari_ld.storage import Store, content_key

Labels = npt.NDArray[np.int32]

DROPPED = -1
_VERSION = "superpixels-1"
_ROUNDS = 6


@dataclass(frozen=True)
class SuperpixelParams:
    """Of Felzenszwalb's segmentation and its guard.

    Attributes
    ----------
    scale, sigma, min_size
        As in :func:`skimage.segmentation.felzenszwalb`; 50 to 100 is the usable band of ``scale`` on grey medical
        images, where the settings for photographs give one blob.
    longest_side : int
        Larger images are reduced to it first, so that the parameters mean the same on all.
    fewest, most : int
        Numbers of regions outside which ``scale`` is halved or doubled and the segmentation repeated.
    largest : float
        A region that is not air and covers more than this share of the image halves ``scale`` too.
    """

    scale: float = 50.0
    sigma: float = 0.8
    min_size: int = 50
    longest_side: int = 256
    fewest: int = 8
    most: int = 256
    largest: float = 0.5


def superpixels(image: npt.NDArray[Any], params: SuperpixelParams = SuperpixelParams()) -> Labels:
    """Segment a grey image and drop its background.

    Parameters
    ----------
    image : (H, W) float array
        In [0, 1]; CT must have been windowed.
    params : SuperpixelParams

    Returns
    -------
    (H, W) int32 array
        Region of every pixel, 0 to n - 1 without gaps; -1 where it was dropped: dark regions (mean below Otsu's
        threshold) that touch the border.
    """
    from skimage.segmentation import felzenszwalb

    scale, tried = params.scale, set()
    for _ in range(_ROUNDS):
        raw = felzenszwalb(image, scale=scale, sigma=params.sigma, min_size=params.min_size, channel_axis=None)
        labels = _without_air(raw.astype(np.int32), image)
        tried.add(scale)
        wanted = _next_scale(labels, scale, params)
        if wanted in tried:  # nothing to change, or halving and doubling would alternate: the last map stands
            break
        scale = wanted
    return labels


def stored_superpixels(image: npt.NDArray[Any], params: SuperpixelParams, store: Store) -> Labels:
    """Return :func:`superpixels` from the store, or compute and keep them.

    The key is the image's content with every parameter, so nothing can be stale.
    """
    key = content_key(_VERSION, repr(params), image)
    found = store.get(key)
    if found is None:
        labels = superpixels(image, params)
        with contextlib.suppress(StorageError):  # a full disk costs time, not the run
            store.put(key, {"labels": labels})
        return labels
    return np.asarray(found["labels"])


def regions_of(pixels: Tensor, params: SuperpixelParams, store: Store) -> Tensor:
    """Super-pixels of a training image, from the store where they are there.

    Parameters
    ----------
    pixels : (C, H, W) uint8 tensor
    params : SuperpixelParams
    store : Store

    Returns
    -------
    (h, w) int32 tensor
        At most ``longest_side`` pixels long; same extent as the image.
    """
    grey = pixels.cpu().float().mean(0)[None, None] / 255
    factor = params.longest_side / max(grey.shape[-2:])
    if factor < 1:
        size = [max(1, round(n * factor)) for n in grey.shape[-2:]]
        grey = F.interpolate(grey, size=size, mode="bilinear", antialias=True, align_corners=False)
    # Rounded, so that another machine's last bits do not make another key.
    image = (grey[0, 0] * 255).round() / 255
    return torch.from_numpy(stored_superpixels(image.numpy(), params, store).copy())


def warp_labels(labels: Tensor, positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Read a label map where a view looks, the nearest label each.

    Parameters
    ----------
    labels : (h, w) int tensor
        Label map of an image, possibly smaller than the image.
    positions : (V, V, 2) tensor
        Image position ``(x, y)`` of every view pixel (:meth:`Geometry.grid`).
    size : (rows, columns)
        Of the image.

    Returns
    -------
    (V, V) tensor of the same type; -1 beyond the image.
    """
    height, width = labels.shape
    rows, columns = size
    column = ((positions[..., 0] + 0.5) * (width / columns)).floor()
    row = ((positions[..., 1] + 0.5) * (height / rows)).floor()
    outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
    found: Tensor = labels.flatten()[index]
    return found.masked_fill(outside, DROPPED)


def region_cells(labels: Tensor, stride: int, purity: float = 0.7) -> Tensor:
    """Majority label of every cell of a feature map.

    Parameters
    ----------
    labels : (B, H, W) int tensor
        Label map of the view; H and W divisible by ``stride``.
    stride : int
        Pixels per cell.
    purity : float
        Cells of whose pixels a smaller share has the majority label become -1: at borders labels are noise.

    Returns
    -------
    (B, H/stride, W/stride) tensor of the same type
    """
    count, height, width = labels.shape
    if height % stride or width % stride:
        raise ValueError(f"label map of {height} x {width} pixels cannot be divided in cells of {stride} pixels")
    cells = labels.reshape(count, height // stride, stride, width // stride, stride).permute(0, 1, 3, 2, 4).flatten(3)
    majority = cells.mode(-1).values
    share = (cells == majority[..., None]).float().mean(-1)
    return torch.where(share >= purity, majority, torch.full_like(majority, DROPPED))


def _without_air(labels: Labels, image: npt.NDArray[Any]) -> Labels:
    from skimage.filters import threshold_otsu

    count = int(labels.max()) + 1
    if float(image.min()) == float(image.max()):
        return labels
    mean = np.bincount(labels.ravel(), image.ravel().astype(np.float64)) / np.bincount(labels.ravel())
    border = np.zeros(count, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        border[edge] = True
    threshold = float(threshold_otsu(image))  # type: ignore[no-untyped-call]  # partly typed library
    air = border & (mean < threshold)
    numbers = np.where(air, DROPPED, np.cumsum(~air) - 1).astype(np.int32)
    return np.asarray(numbers[labels])


def _next_scale(labels: Labels, scale: float, params: SuperpixelParams) -> float:
    sizes = np.bincount(labels[labels >= 0]) if bool((labels >= 0).any()) else np.zeros(0, np.int64)
    if len(sizes) > params.most:
        return scale * 2
    if len(sizes) < params.fewest or sizes.max() > params.largest * labels.size:
        return max(10.0, scale / 2)
    return scale
