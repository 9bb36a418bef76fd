"""Baselines: position, normalised cross-correlation, dense SIFT, optical flow, features of networks of others.

Each takes the images of a set, one template and its points, and returns the positions found on every image. The first
three are our own implementations on numpy and scipy; the flow is OpenCV's, for the networks see
:mod:`benchmarks.networks`.

References
----------
.. [1] Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60:91, 2004.
.. [2] Arandjelovic & Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012 (root-SIFT).
.. [3] Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal
from skimage.transform import resize

from napari_ld._types import Image

Array = npt.NDArray[np.float32]
Positions = npt.NDArray[np.float64]
Baseline = Callable[[Sequence[Image], Image, Positions, Mapping[str, Any]], Iterator[Positions]]

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as OpenCV's and Pillow's grey
_ORIENTATIONS = 8
_BINS = (-1.5, -0.5, 0.5, 1.5)  # centres of the 4 x 4 bins, in bins
_BIN_WEIGHTS = (0.55, 0.9, 0.9, 0.55)  # Gaussian window of sigma = 2 bins at the centre of the bins [1]
_CLIP = 0.2  # of the normalised histogram [1]
_KEPT = 200  # images whose features are kept
_CELLS: dict[str, dict[tuple[int, int], tuple[Image, Array]]] = {}  # with the image, so that its id stays its own


def same_position(
    images: Sequence[Image], template: Image, points: Positions, settings: Mapping[str, Any]
) -> Iterator[Positions]:
    """Give the template's position, relative to the size of the image."""
    for image in images:
        yield rescale(points, template.plane_shape, image.plane_shape)


def correlation(
    images: Sequence[Image], template: Image, points: Positions, settings: Mapping[str, Any]
) -> Iterator[Positions]:
    """Find the highest normalised cross-correlation of a window around each point, over the whole image."""
    side, window = settings["longest_side"], settings["window"]
    half = window // 2
    pad = ((half, half), (half, half), (0, 0))
    small = shrink(pixels_of(template), side)
    centres = np.rint(rescale(points, template.plane_shape, small.shape[:2])).astype(int)
    padded = np.pad(small, pad, mode="edge")
    windows = [padded[row : row + window, column : column + window] for row, column in centres]
    for image in images:
        searched = shrink(pixels_of(image), side)
        peaks = [highest(map_) for map_ in correlation_maps(np.pad(searched, pad, mode="edge"), windows)]
        yield rescale(np.array(peaks), searched.shape[:2], image.plane_shape)


def correlation_maps(image: Array, windows: Sequence[Array]) -> Iterator[Array]:
    """Correlation coefficient of each window ``(w, w, C)`` at every place of ``(H, W, C)`` that holds it whole."""
    area = windows[0].size
    ones = np.ones(windows[0].shape[:2], dtype=np.float32)
    sums = signal.fftconvolve(image.sum(-1), ones, mode="valid")
    squares = signal.fftconvolve((image**2).sum(-1), ones, mode="valid")
    spread = np.sqrt(np.maximum(squares - sums**2 / area, 1e-3 * area))
    for window in windows:
        centred = window - window.mean()
        products = signal.fftconvolve(image, centred[::-1, ::-1], mode="valid", axes=(0, 1)).sum(-1)
        yield products / (spread * max(float(np.linalg.norm(centred)), 1e-3))


def dense_sift(
    images: Sequence[Image], template: Image, points: Positions, settings: Mapping[str, Any]
) -> Iterator[Positions]:
    """Find the grid point whose upright root-SIFT descriptor has the highest cosine with the point's."""
    side, step = settings["longest_side"], settings["step"]
    wanted = descriptors(pixels_of(template), side, settings, rescale(points, template.plane_shape, None, side))
    for image in images:
        rows, columns = scaled_shape(image.plane_shape, side)
        grid = np.stack(np.meshgrid(cells(rows, step), cells(columns, step), indexing="ij"), axis=-1)
        similarity = wanted @ descriptors(pixels_of(image), side, settings, grid.reshape(-1, 2)).T
        maps = similarity.reshape(len(points), *grid.shape[:2])
        peaks = np.array([highest(map_) for map_ in maps]) * step + (step - 1) / 2
        yield rescale(peaks, (rows, columns), image.plane_shape)


def descriptors(pixels: Array, side: int, settings: Mapping[str, Any], positions: Positions) -> Array:
    """Unit descriptors ``(N, octaves * 128)`` at positions ``(N, 2)`` of the image shrunk to ``side``."""
    grey = pixels @ _GREY if pixels.shape[-1] == 3 else pixels[..., 0]
    full = scaled_shape(grey.shape, side)
    parts = []
    for octave in range(settings["octaves"]):
        small = shrink(grey[..., None], side >> octave)[..., 0]
        histograms = orientation_histograms(small, settings["bin"])
        parts.append(sample_descriptors(histograms, rescale(positions, full, small.shape), settings["bin"]))
    return np.concatenate(parts, axis=1) / np.float32(np.sqrt(len(parts)))


def orientation_histograms(grey: Array, bin_size: int) -> Array:
    """Gradient magnitude per orientation, gathered in triangular bins: ``(8, H, W)``."""
    rows, columns = np.gradient(ndimage.gaussian_filter(grey, 0.8))
    magnitude = np.hypot(rows, columns)
    angle = np.arctan2(rows, columns) % (2 * np.pi) * (_ORIENTATIONS / (2 * np.pi))
    lower = np.floor(angle)
    share = angle - lower
    maps = np.zeros((_ORIENTATIONS, *grey.shape), dtype=np.float32)
    for orientation in range(_ORIENTATIONS):
        below = lower % _ORIENTATIONS == orientation
        above = (lower + 1) % _ORIENTATIONS == orientation
        maps[orientation] = magnitude * (below * (1 - share) + above * share)
    for axis in (1, 2, 1, 2):  # two box filters make a triangle
        maps = ndimage.uniform_filter1d(maps, bin_size, axis=axis, mode="constant")
    return np.maximum(maps, 0)  # running sums leave tiny negative rests


def sample_descriptors(histograms: Array, positions: Positions, bin_size: int) -> Array:
    """Root-SIFT ``(N, 128)`` from histograms at positions ``(N, 2)``; bins outside the image are empty."""
    limits = np.array(histograms.shape[1:]) - 1
    parts = []
    for row, row_weight in zip(_BINS, _BIN_WEIGHTS, strict=True):
        for column, column_weight in zip(_BINS, _BIN_WEIGHTS, strict=True):
            place = positions + np.array([row, column]) * bin_size
            inside = ((place >= 0) & (place <= limits)).all(axis=1)
            r, c = np.clip(np.rint(place), 0, limits).astype(int).T
            parts.append(histograms[:, r, c] * (row_weight * column_weight * inside))
    joined = np.concatenate(parts).T
    joined = np.minimum(joined / (np.linalg.norm(joined, axis=1, keepdims=True) + 1e-3), _CLIP)
    rooted = np.sqrt(joined / (joined.sum(axis=1, keepdims=True) + 1e-6))
    return np.asarray(rooted, dtype=np.float32)


def optical_flow(
    images: Sequence[Image], template: Image, points: Positions, settings: Mapping[str, Any]
) -> Iterator[Positions]:
    """Follow the dense flow [3] from the template to each image, brought to the template's size."""
    import cv2

    side = settings["longest_side"]
    shape = scaled_shape(template.plane_shape, side)
    start, places = _grey_bytes(template, shape), rescale(points, template.plane_shape, shape)
    for image in images:
        dis: Any = cv2.DISOpticalFlow_create(settings["preset"])  # type: ignore[attr-defined, unused-ignore]
        flow = dis.calc(start, _grey_bytes(image, shape), None)
        moved = [ndimage.map_coordinates(flow[..., axis], places.T, order=1, mode="nearest") for axis in (1, 0)]
        yield rescale(places + np.stack(moved, axis=1), shape, image.plane_shape)


def _grey_bytes(image: Image, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    pixels = pixels_of(image)
    grey = pixels @ _GREY if pixels.shape[-1] == 3 else pixels[..., 0]
    small = resize(grey, shape, order=1, anti_aliasing=True, preserve_range=True)  # type: ignore[no-untyped-call]
    return np.asarray(np.clip(np.rint(small), 0, 255), np.uint8)


def network_features(
    images: Sequence[Image], template: Image, points: Positions, settings: Mapping[str, Any]
) -> Iterator[Positions]:
    """Find the cell whose feature has the highest cosine with that of the point."""
    import torch
    from torch.nn import functional

    from benchmarks.networks import STRIDE

    side = settings["longest_side"]
    own = torch.from_numpy(_cells_of(template, settings["network"], side))
    places = rescale(points, template.plane_shape, None, side) / STRIDE
    grid = torch.from_numpy(2 * places[:, ::-1] / (np.array(own.shape[:0:-1]) - 1) - 1).float()
    wanted = functional.grid_sample(own[None], grid[None, None], padding_mode="border", align_corners=True)[0, :, 0]
    wanted = functional.normalize(wanted, dim=0)
    for image in images:
        cells = torch.from_numpy(_cells_of(image, settings["network"], side))
        maps = torch.einsum("dn,dhw->nhw", wanted, cells).numpy()
        peaks = np.array([highest(map_) for map_ in maps]) * STRIDE
        yield rescale(peaks, scaled_shape(image.plane_shape, side), image.plane_shape)


def _cells_of(image: Image, network: str, side: int) -> Array:
    """Features (D, h, w) of an image of 8 bits; those of all images of a set are kept for the next template."""
    known = _CELLS.setdefault(network, {})
    key = id(image), side
    if key not in known:
        import torch

        from benchmarks.networks import dense_features

        pixels = torch.from_numpy(shrink(pixels_of(image), side) / 255).permute(2, 0, 1).expand(3, -1, -1)
        known[key] = image, dense_features(network, pixels.contiguous()).numpy()
        while len(known) > _KEPT:
            known.pop(next(iter(known)))
    return known[key][1]


def pixels_of(image: Image) -> Array:
    """Pixels as ``(H, W, 1 or 3)`` float32."""
    pixels = image.plane(0).astype(np.float32)
    return pixels[..., :3] if pixels.ndim == 3 else pixels[..., None]


def scaled_shape(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Rows and columns after shrinking the longest side to ``side``."""
    zoom = side / max(shape)
    return max(1, round(shape[0] * zoom)), max(1, round(shape[1] * zoom))


def shrink(pixels: Array, side: int) -> Array:
    """Resize ``(H, W, C)`` so that the longest side is ``side``."""
    shape = scaled_shape(pixels.shape[:2], side)
    size = (*shape, pixels.shape[2])
    resized = resize(pixels, size, order=1, anti_aliasing=True, preserve_range=True)  # type: ignore[no-untyped-call]
    return np.asarray(resized, dtype=np.float32)


def rescale(points: Positions, old: Sequence[int], new: Sequence[int] | None, side: int = 0) -> Positions:
    """Move positions from an image of shape ``old`` to ``new`` (or ``old`` shrunk to ``side``); centres at integers."""
    target = scaled_shape(old, side) if new is None else new
    zoom = np.array(target[:2], dtype=float) / np.array(old[:2], dtype=float)
    return np.asarray((points + 0.5) * zoom - 0.5)


def cells(length: int, step: int) -> Positions:
    """Centres of the cells of ``step`` pixels that a side holds whole."""
    return np.asarray(np.arange(length // step) * step + (step - 1) / 2, dtype=np.float64)


def highest(map_: npt.NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Position of the highest value, with a parabola through its neighbours along each axis."""
    peak = np.unravel_index(int(map_.argmax()), map_.shape)
    found = [float(index) for index in peak]
    for axis, index in enumerate(peak):
        if 0 < index < map_.shape[axis] - 1:
            line = np.moveaxis(map_, axis, 0)[index - 1 : index + 2, peak[1 - axis]]
            bend = float(line[0] - 2 * line[1] + line[2])
            if bend < 0:
                found[axis] += 0.5 * float(line[0] - line[2]) / bend
    return found[0], found[1]


BASELINES: dict[str, Baseline] = {
    "same_position": same_position,
    "correlation": correlation,
    "sift": dense_sift,
    "sift_octaves": dense_sift,
    "flow": optical_flow,
    "imagenet": network_features,
    "xfeat": network_features,
    "xfeat_512": network_features,
}
