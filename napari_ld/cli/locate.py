"""``napari-ld locate``: landmarks of template images, found on all other images."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ld.cli.options import Device, DeviceOption, Encoder, Images, check_output, parse_spacing
from napari_ld.cli.progress import progress_bar, tell
from napari_ld.cli.reading import read_searched
from napari_ld.cli.templates import named, plane_of, rows_of

if TYPE_CHECKING:
    from napari_ld._types import Image, Match
    from napari_ld.embedding import FeatureSource
    from napari_ld.localization import Template


def locate(
    images: Images,
    template: Annotated[
        list[Path], typer.Option(metavar="IMAGE", help="Image that the landmarks were marked on; may be repeated.")
    ],
    landmarks: Annotated[
        Path, typer.Option(metavar="LANDMARKS.csv", help="Table with columns image, landmark, plane, row, column.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.csv", help="Table to write.")],
    encoder: Encoder = None,
    stack_kind: Annotated[
        str,
        typer.Option(
            metavar="images|volume", help="'images': every plane is another patient; 'volume': ordered slices of one."
        ),
    ] = "images",
    spacing: Annotated[
        str | None,
        typer.Option(metavar="ROW,COLUMN|PLANE,ROW,COLUMN", help="Millimetres per pixel, instead of what files say."),
    ] = None,
    device: DeviceOption = Device.auto,
    plane: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Plane of a multi-plane template whose rows name none; from 0."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Find only this landmark of the table; may be repeated.")
    ] = None,
) -> None:
    """Find the landmarks of template images on all IMAGES."""
    millimetres = parse_spacing(spacing)
    check_output(out, inputs=[landmarks, *template, *images])

    from napari_ld.embedding import FeatureSource
    from napari_ld.io.images import image_keys
    from napari_ld.io.landmarks import read_landmarks, write_matches
    from napari_ld.localization import STACK_KINDS, Template
    from napari_ld.model.zoo import DEFAULT_ENCODER, load_encoder
    from napari_ld.storage import Store

    if stack_kind not in STACK_KINDS:
        raise typer.BadParameter(f"{stack_kind!r}; choose one of {', '.join(STACK_KINDS)}", param_hint="--stack-kind")
    model = load_encoder(encoder or DEFAULT_ENCODER)

    def open_source(members: Sequence[Image]) -> FeatureSource:
        """All sources are read alike: template and searched images must mean the same by a vector."""
        kept = [_with_spacing(image, millimetres) for image in members]
        # slices of one body share their intensities, pictures of many do not
        shared = stack_kind != "images"
        return FeatureSource(kept, model, device=device.value, store=Store(), shared_limits=shared)

    marked = named(read_landmarks(landmarks), only or [], landmarks)
    rows = [rows_of(path, template[:n] + template[n + 1 :], marked, landmarks) for n, path in enumerate(template)]
    searched = read_searched(images)
    stacks = [_Stack(members, searched, open_source) for members in _groups(searched, stack_kind)]
    templates: list[Template] = []
    for path, own in zip(template, rows, strict=True):
        stack, member = _home(path, stacks) or (_Stack([0], read_searched([path]), open_source), 0)
        image, first = stack.images[member], stack.first_plane(member)
        templates += [
            Template(row.name, stack.source, first + plane_of(row, image, plane), row.position) for row in own
        ]
    tell(f"{model.header.name} on {templates[0].source.device.reason}")
    found = _search(stacks, templates, stack_kind)
    keys = image_keys(searched)
    stacked = [searched[index].is_stack for index, _ in found]
    write_matches(out, [(keys[index], match) for index, match in found], with_plane=stacked)
    tell(f"{len(searched)} {'image' if len(searched) == 1 else 'images'}: {_counts([match for _, match in found])}")


class _Stack:
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


def _home(path: Path, stacks: Sequence[_Stack]) -> tuple[_Stack, int] | None:
    """Where a template stands among the searched images: there it is an anchor, not only an example."""
    for stack in stacks:
        for member, image in enumerate(stack.images):
            if Path(image.source).resolve() == path.resolve():
                return stack, member
    return None


def _search(stacks: Sequence[_Stack], templates: Sequence[Template], stack_kind: str) -> list[tuple[int, Match]]:
    """Locate all templates on all images.

    Returns
    -------
    list of (int, Match)
        Index of the image and the match, whose plane counts within that image; by image, plane and landmark.
    """
    from napari_ld.localization import locate as locate_in

    found: dict[tuple[int, int, str], Match] = {}
    for stack in stacks:
        with progress_bar("locate") as show:
            for match in locate_in(stack.source, templates, stack_kind=stack_kind, progress=show):
                member, plane = stack.source.address(match.plane)
                # a refined match comes after the coarse one and replaces it
                found[stack.members[member], plane, match.landmark] = _listed(match, plane)
        stack.close()
    order = list(dict.fromkeys(template.landmark for template in templates))
    keys = sorted(found, key=lambda key: (key[0], key[1], order.index(key[2])))
    return [(key[0], found[key]) for key in keys]


def _listed(match: Match, plane: int) -> Match:
    """The match as the table shows it; what the table of landmarks says itself is as sure as can be."""
    status = "confident" if match.status == "verified" else match.status
    return dataclasses.replace(match, plane=plane, status=status)


def _groups(images: Sequence[Image], stack_kind: str) -> list[list[int]]:
    """Which images are searched together: all, or for ordered slices each stack by itself and all 2-D images as one."""
    if stack_kind == "images":
        return [list(range(len(images)))]
    slices = [index for index, image in enumerate(images) if not image.is_stack]
    return [[index] for index, image in enumerate(images) if image.is_stack] + ([slices] if slices else [])


def _with_spacing(image: Image, spacing: tuple[float, ...] | None) -> Image:
    """Replace what the file says of its spacing, as far as the numbers given reach."""
    if spacing is None:
        return image
    if not image.is_stack:
        return dataclasses.replace(image, spacing=spacing[-2:])
    kept = image.spacing[:1] if image.spacing is not None and len(spacing) == 2 else ()
    return dataclasses.replace(image, spacing=(*kept, *spacing))


def _counts(matches: Sequence[Match]) -> str:
    """How many landmarks were found, by status."""
    counts = collections.Counter(match.status for match in matches)
    return ", ".join(f"{number} {status}" for status, number in counts.most_common())
