"""What an encoder reaches on an image: verified points, accepted masks, known warps, and the embedded samples.

Each measure gives a value for every single answer, so that two encoders can be compared answer by answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Embedding, Image, Position
from napari_ld.errors import Cancelled

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource

__all__ = ["MEASURES", "Answer", "CompareRequest", "landmark_errors", "mask_overlaps", "sample_errors", "warp_hits"]

TEMPLATES = 3
WARPED_PLANES = 3
SAMPLE_PLANES = 4  # of each sample; the first is the click
_POINTS = 12  # looked for again on each warped plane
_NEAR = 3.0  # % of the longest side
_ANGLE, _ZOOM, _GAMMA = 15.0, 0.1, 0.3
IsCancelled = Callable[[], bool]
Points = Mapping[str, Mapping[int, Position]]
Masks = Mapping[int, npt.NDArray[np.uint8]]

Answer = tuple[str, int, int]
"""Landmark, class or point; plane it was clicked on (-1: all others); plane it was looked for on."""
Values = dict[Answer, float]


@dataclass(frozen=True, slots=True, eq=False)
class CompareRequest:
    """Compare encoders ``old`` and ``new`` (names or paths) on ``image``.

    ``points`` are verified positions by landmark and plane, ``masks`` accepted classes by plane; each on two planes or
    more, or empty.
    """

    image: Image
    old: str
    new: str
    points: Points
    stack_kind: str = "images"
    device: str = "auto"
    mirror: bool = True
    masks: Masks = field(default_factory=dict)


def landmark_errors(request: CompareRequest, encoder: str, cancelled: IsCancelled) -> Values:
    """Error of each answer in mm, or in pixels where the spacing is unknown; an absent answer counts half the side.

    Each of up to :data:`TEMPLATES` planes in turn is the click, and the others are judged.
    """
    from napari_ld.localization import LocateParams, Template, locate

    source = _source(request, request.image, encoder)
    spacing = np.array(request.image.pixel_spacing or (1.0, 1.0))
    half = max(np.array(request.image.plane_shape) * spacing) / 2
    errors = {}
    for name, points in request.points.items():
        for clicked in list(points)[:TEMPLATES]:
            others = [plane for plane in points if plane != clicked]
            template = Template(name, source, clicked, points[clicked])
            for match in locate(
                source,
                [template],
                stack_kind=request.stack_kind,
                params=LocateParams(mirror=request.mirror),
                planes=others,
                cancelled=cancelled,
            ):
                miss = half if match.position is None else _distance(match.position, points[match.plane], spacing)
                errors[name, clicked, match.plane] = float(miss)
    return errors


def mask_overlaps(request: CompareRequest, encoder: str, cancelled: IsCancelled) -> Values:
    """Dice of each class on each plane in %, cross-validated: cells take the nearest class mean of the other planes."""
    from napari_ld.evaluation import dice

    source = _source(request, request.image, encoder)
    planes = list(request.masks)
    embeddings = {plane: source.plane(plane, cancelled) for plane in planes}
    small = {plane: _at_cells(request.masks[plane], embeddings[plane]) for plane in planes}
    sums = {plane: _class_sums(embeddings[plane], small[plane]) for plane in planes}
    overlaps = {}
    for plane in planes:
        others = {label for other in planes if other != plane for label in sums[other]}
        means = {
            label: np.sum([sums[other][label] for other in planes if other != plane and label in sums[other]], axis=0)
            for label in sorted(others)
        }
        unit = np.array([mean / max(float(np.linalg.norm(mean)), 1e-9) for mean in means.values()])
        vectors = np.asarray(embeddings[plane].vectors, np.float32)
        told = np.array(list(means))[np.tensordot(unit, vectors, 1).argmax(0)]
        for label in set(sums[plane]) & set(means) - {0}:
            overlaps[f"class {label}", -1, plane] = 100 * dice(told == label, small[plane] == label)
    return overlaps


def warp_hits(request: CompareRequest, encoder: str, cancelled: IsCancelled) -> Values:
    """100 for each point found again within 3 % of the longest side on a warped copy of its plane, else 0."""
    from napari_ld.localization import LocateParams, Template, locate

    image = request.image
    hits = {}
    for plane in np.unique(np.linspace(0, image.n_planes - 1, WARPED_PLANES).astype(int)).tolist():
        if cancelled():
            raise Cancelled("The comparison was cancelled.")
        pixels, copy, points, goals = warped(image.plane(plane), plane)
        pair = Image(np.stack([pixels, copy]), "pyxc" if pixels.ndim == 3 else "pyx", window=image.window)
        source = _source(request, pair, encoder)
        templates = [Template(str(number), source, 0, point) for number, point in enumerate(points)]
        params = LocateParams(mirror=False)
        for match in locate(source, templates, params=params, planes=[1], refine=False, cancelled=cancelled):
            near = match.position is not None and (
                math.dist(match.position, goals[int(match.landmark)]) <= _NEAR / 100 * max(image.plane_shape)
            )
            hits[match.landmark, plane, plane] = 100.0 * near
    return hits


def sample_errors(request: CompareRequest, encoder: str, cancelled: IsCancelled) -> Values:
    """Error of coarse answers on the embedded samples in % of the side: what an encoder unlearned shows there."""
    from napari_ld._sample_data import phantom_stack, retina_stack
    from napari_ld.localization import LocateParams, Template, locate

    errors = {}
    for number, sample in enumerate((phantom_stack(SAMPLE_PLANES), retina_stack(SAMPLE_PLANES))):
        source, side = _source(request, sample.image, encoder, keep=True), max(sample.image.plane_shape)
        truth = {(row.name, row.plane): row.position for row in sample.landmarks}
        templates = [Template(name, source, 0, place) for (name, plane), place in truth.items() if plane == 0]
        planes = list(range(1, sample.image.n_planes))
        params = LocateParams(mirror=False)
        for match in locate(source, templates, params=params, planes=planes, refine=False, cancelled=cancelled):
            goal = truth[match.landmark, match.plane]
            miss = 0.5 if match.position is None else math.dist(match.position, goal) / side
            errors[match.landmark, 0, 100 * number + match.plane] = 100 * miss
    return errors


MEASURES: dict[str, Callable[[CompareRequest, str, IsCancelled], Values]] = {
    "landmarks": landmark_errors,
    "masks": mask_overlaps,
    "warps": warp_hits,
    "samples": sample_errors,
}


def _at_cells(mask: npt.NDArray[np.uint8], embedding: Embedding) -> npt.NDArray[np.uint8]:
    """Label of the pixel in the middle of each cell."""
    rows, columns = (
        np.clip(np.round(embedding.origin[axis] + np.arange(count) * embedding.step[axis]), 0, mask.shape[axis] - 1)
        for axis, count in enumerate(embedding.vectors.shape[1:])
    )
    labels: npt.NDArray[np.uint8] = mask[np.ix_(rows.astype(int), columns.astype(int))]
    return labels


def _class_sums(embedding: Embedding, labels: npt.NDArray[np.uint8]) -> dict[int, npt.NDArray[np.float64]]:
    vectors = np.asarray(embedding.vectors, np.float32)
    return {int(label): vectors[:, labels == label].sum(1, dtype=np.float64) for label in np.unique(labels)}


def warped(
    pixels: npt.NDArray[Any], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[Position], list[Position]]:
    """A plane, its copy turned, scaled and with another gamma, and points of both; only on structure, none outside."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    rng = np.random.default_rng(seed)
    plain = pixels.astype(np.float32)
    low, high = np.nanmin(plain), np.nanmax(plain)
    plain = np.nan_to_num((plain - low) / max(float(high - low), 1e-9))
    shape = np.array(plain.shape[:2])
    angle, zoom = np.radians(rng.uniform(-_ANGLE, _ANGLE)), 1 + rng.uniform(-_ZOOM, _ZOOM)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (shape - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    # Pixel p of the copy shows pixel turn (p - middle) + middle of the plane.
    places = np.tensordot(turn, grid - middle[:, None, None], 1) + middle[:, None, None]
    channels = plain[..., None] if plain.ndim == 2 else plain
    copy = np.stack([map_coordinates(c, places, order=1, mode="nearest") for c in np.moveaxis(channels, -1, 0)], -1)
    copy = copy.reshape(plain.shape) ** np.float32(1 + rng.uniform(-_GAMMA, _GAMMA))
    grey = channels.mean(-1)
    structure = np.abs(grey - gaussian_filter(grey, max(float(shape.max()) / 50, 1)))
    candidates = np.argwhere(structure >= np.quantile(structure, 0.8)).astype(float)
    goals = (candidates - middle) @ np.linalg.inv(turn).T + middle
    inside = np.all((goals >= 0) & (goals <= shape - 1), 1)
    chosen = rng.choice(np.flatnonzero(inside), min(_POINTS, int(inside.sum())), replace=False)
    first, second = (
        [(float(row), float(column)) for row, column in positions[chosen]] for positions in (candidates, goals)
    )
    return plain, copy.astype(np.float32), first, second


def _source(request: CompareRequest, image: Image, encoder: str, *, keep: bool = False) -> FeatureSource:
    from napari_ld.embedding import FeatureSource
    from napari_ld.model.zoo import load_encoder
    from napari_ld.storage import Store

    shared = image is request.image and request.stack_kind != "images"
    # Features of the image itself are kept: whoever switches need not wait for them again.
    store = Store() if keep or image is request.image else None
    return FeatureSource(image, load_encoder(encoder), device=request.device, store=store, shared_limits=shared)


def _distance(first: Position, second: Position, spacing: npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm((np.array(first) - np.array(second)) * spacing))
