"""Naming a part of what holds several: ``path#N``, the N-th series of a folder or the N-th volume of a file, from 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.lazy import LazyStack

__all__ = ["choose", "split_part", "volumes_of"]

_T = TypeVar("_T")


def split_part(path: str | Path) -> tuple[Path, str | None]:
    """The path on disk, and what stands behind ``#``; None where nothing does or the whole is a file's own name."""
    whole = Path(path)
    stem, mark, part = whole.name.rpartition("#")
    if not mark or not stem or whole.exists():
        return whole, None
    return whole.with_name(stem), part


def choose(candidates: Sequence[_T], names: Sequence[str], part: str, where: Path) -> _T:
    """The candidate that ``part`` names: its number from 0, or its whole name.

    Raises
    ------
    ImageError
        When there is none; lists what there is.
    """
    if part in names:
        return candidates[names.index(part)]
    if part.isdecimal() and int(part) < len(candidates):
        return candidates[int(part)]
    raise ImageError(f"{where} has no part {part!r}; it has 0 to {len(candidates) - 1}: write {where}#0 for the first")


def volumes_of(image: Image) -> list[Image]:
    """The volumes of a series, one for each time; an image with at most one axis of planes is its only one.

    Nothing is read; each volume is called ``source#N``.
    """
    bare = image.axes.rstrip("c")
    if len(bare) < 4:
        return [image]
    array, shape = image.array, tuple(image.array.shape)[1:]

    def volume(time: int) -> Image:
        if isinstance(array, np.ndarray):
            pixels = array[time]
        else:
            pixels = LazyStack(shape, array.dtype, lambda plane: np.asarray(array[time, plane]))
        spacing = None if image.spacing is None else image.spacing[-3:]
        return replace(
            image, array=pixels, axes=image.axes[1:], spacing=spacing, source=f"{image.source}#{time}", levels=()
        )

    return [volume(time) for time in range(int(array.shape[0]))]
