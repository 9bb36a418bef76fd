"""Which images are searched together, and what the command line knows of their spacing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ld.errors import ImageError

if TYPE_CHECKING:
    from napari_ld._types import Image
    from napari_ld.embedding import FeatureSource


class Stack:
    """Images that are searched together; their features are opened when they are needed.

    Parameters
    ----------
    members : sequence of int
        Indices into ``images``.
    images : sequence of Image
        All images.
    open_source : callable
        Gives the features of some images.
    """

    def __init__(
        self, members: Sequence[int], images: Sequence[Image], open_source: Callable[[Sequence[Image]], FeatureSource]
    ) -> None:
        self.members = list(members)
        self.images = [images[index] for index in members]
        self._open = open_source

    @functools.cached_property
    def source(self) -> FeatureSource:
        """Features of all planes, numbered through."""
        return self._open(self.images)

    def close(self) -> None:
        """Let go of the features, whose files stay open otherwise; templates among them keep them."""
        self.__dict__.pop("source", None)

    def first_plane(self, member: int) -> int:
        """Number of the first plane of one of the images."""
        return sum(image.n_planes for image in self.images[:member])


def home_of(path: Path, stacks: Sequence[Stack]) -> tuple[Stack, int] | None:
    """Where a template stands among the searched images: there it is an anchor, not only an example."""
    for stack in stacks:
        for member, image in enumerate(stack.images):
            if Path(image.source).resolve() == path.resolve():
                return stack, member
    return None


def groups_of(images: Sequence[Image], stack_kind: str) -> list[list[int]]:
    """Which images are searched together: all, or each stack by itself and all 2-D images as one ordered stack.

    Of volumes each stands alone.
    """
    if stack_kind == "images":
        return [list(range(len(images)))]
    if stack_kind == "volumes":
        return [[index] for index in range(len(images))]
    slices = [index for index, image in enumerate(images) if not image.is_stack]
    return [[index] for index, image in enumerate(images) if image.is_stack] + ([slices] if slices else [])


def check_place(out: Path, images: Sequence[Image]) -> None:
    """Refuse points in space of anything but one image that says where it lies, before the work is done.

    Raises
    ------
    ImageError
    """
    if len(images) != 1:
        raise ImageError(
            f"{out} holds points in space, of one image; {len(images)} were given: name one, or write .csv"
        )
    if images[0].affine is None:
        raise ImageError(f"{images[0].source} does not say where it lies in the patient; write .csv instead of {out}")


def with_spacing(image: Image, spacing: tuple[float, ...] | None) -> Image:
    """Replace what the file says of its spacing, as far as the numbers given reach."""
    if spacing is None:
        return image
    if not image.is_stack:
        return dataclasses.replace(image, spacing=spacing[-2:])
    kept = image.spacing[:1] if image.spacing is not None and len(spacing) == 2 else ()
    return dataclasses.replace(image, spacing=(*kept, *spacing))
