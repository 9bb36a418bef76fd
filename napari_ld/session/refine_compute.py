"""The plain functions between a question about labels and their refined ones; they run on worker threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ImageError, RegionError
from napari_ld.session.compute import Sources, with_axes
from napari_ld.session.repaint import Repaint
from napari_ld.session.requests import LabelsRefined, RefinedPlane, RefineRequest, Result, SourceReady
from napari_ld.torch_loading import load_torch

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource

IsCancelled = Callable[[], bool]
Labels = npt.NDArray[np.integer[Any]]
_RIM = 3  # pixels around the labels, so that their contours can be drawn


def refine_labels(request: RefineRequest, sources: Sources, cancelled: IsCancelled) -> Iterator[Result]:
    """Refine labels plane by plane, or all slices of a body together.

    Raises
    ------
    Cancelled
        Soon after ``cancelled`` turned true.
    NapariLDError
        When the encoder, the image or the labels cannot be used; of several planes one that cannot be refined is left
        as it is, which the answer tells.
    """
    load_torch()
    from napari_ld.refinement import REFINERS

    source = None
    if REFINERS[request.method].embeds:
        source, name = sources.get(request)
        device = f"{source.device.name} · {source.device.dtype}"
        yield SourceReady(request.serial, request.context, name, device, source.device.reason)
    yield from (_solid if request.solid else _by_planes)(request, source, cancelled)


def _by_planes(request: RefineRequest, source: FeatureSource | None, cancelled: IsCancelled) -> Iterator[Result]:
    total = len(request.planes)
    for done, plane in enumerate(request.planes, start=1):
        _check(cancelled)
        answer = LabelsRefined(request.serial, request.context, request.run, done, total)
        labels = request.labels(plane)
        if not labels.any():
            if total == 1:
                raise RegionError(
                    "No label lies on this plane. Outline the structure roughly first, or go to a plane with labels."
                )
            yield answer
            continue
        try:
            yield _one_plane(request, source, plane, labels, answer, cancelled)
        except (ImageError, RegionError) as error:
            if total == 1:
                raise
            yield replace(answer, note=f"plane {plane}: {error}")


def _one_plane(
    request: RefineRequest,
    source: FeatureSource | None,
    plane: int,
    labels: Labels,
    answer: LabelsRefined,
    cancelled: IsCancelled,
) -> LabelsRefined:
    from napari_ld.refinement import refine

    pixels = request.image.plane(plane)
    image = Image(pixels, "yxc" if request.image.has_channels else "yx")
    steps = None if request.steps is None else request.steps[-2:]
    seeds = None if request.scribbles is None else _seeds(request.scribbles(plane), labels)
    found = refine(
        request.method, image, labels, seeds=seeds, source=source, spacing=steps, first=plane, cancelled=cancelled
    )
    return replace(answer, planes=(_cut(plane, labels, found.mask),), changes=found.changes)


def _solid(request: RefineRequest, source: FeatureSource | None, cancelled: IsCancelled) -> Iterator[Result]:
    from napari_ld.refinement import refine

    stack = {plane: labels for plane in request.planes if (labels := _read(request, plane, cancelled)).any()}
    if not stack:
        raise RegionError("There is no label on any plane. Outline the structure roughly first.")
    first, last = min(stack), max(stack)
    total = last - first + 2
    for done, plane in enumerate(range(first, last + 1), start=1):
        _check(cancelled)
        if source is not None:
            source.plane(plane, cancelled)
        yield LabelsRefined(request.serial, request.context, request.run, done, total)
    empty = np.zeros_like(stack[first])
    labels = np.stack([stack.get(plane, empty) for plane in range(first, last + 1)])
    pixels = np.stack([request.image.plane(plane) for plane in range(first, last + 1)])
    image = with_axes(replace(request.image, array=pixels, affine=None, levels=()), "volume")
    seeds = None
    if request.scribbles is not None:
        seeds = _seeds(np.stack([request.scribbles(plane) for plane in range(first, last + 1)]), labels)
    found = refine(
        request.method,
        image,
        labels,
        seeds=seeds,
        source=source,
        spacing=request.steps,
        first=first,
        cancelled=cancelled,
    )
    planes = tuple(
        _cut(first + index, before, after)
        for index, (before, after) in enumerate(zip(labels, found.mask, strict=True))
        if before.any() or after.any()
    )
    yield LabelsRefined(request.serial, request.context, request.run, total, total, planes, found.changes)


def _read(request: RefineRequest, plane: int, cancelled: IsCancelled) -> Labels:
    _check(cancelled)
    return request.labels(plane)


def _check(cancelled: IsCancelled) -> None:
    if cancelled():
        raise Cancelled("refining was cancelled")


def _seeds(scribbles: Labels, labels: Labels) -> Labels:
    """What a refiner takes for seeds: a scribble with a number that the labels do not have says that none is there."""
    known = np.isin(scribbles, np.unique(labels)) | (scribbles == 0)
    return np.where(known, scribbles.astype(np.int64), -1)


def _cut(plane: int, before: Labels, after: Labels) -> RefinedPlane:
    """The part of a plane in which there are labels."""
    there = (before != 0) | (after != 0)
    sides = [np.flatnonzero(there.any(axis=axis)) for axis in (1, 0)]
    low = [max(0, int(side[0]) - _RIM) for side in sides]
    high = [int(side[-1]) + _RIM + 1 for side in sides]
    box = slice(low[0], high[0]), slice(low[1], high[1])
    parts, corner = (before[box].copy(), after[box].copy()), (low[0], low[1])
    return RefinedPlane(plane, corner, *parts, Repaint.between(plane, *parts, corner, before.shape[1]))
