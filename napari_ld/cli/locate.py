"""``napari-ld locate``: landmarks of template images, found on all other images."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ld.adaptation import ADAPTABLE_KINDS, WORTHWHILE, AdaptParams
from napari_ld.cli.options import (
    Adapt,
    Device,
    DeviceOption,
    Encoder,
    Images,
    LandmarkFile,
    Overwrite,
    Spacing,
    Window,
    check_output,
    parse_spacing,
)
from napari_ld.cli.progress import progress_bar, tell
from napari_ld.cli.reading import read_searched
from napari_ld.cli.stacks import Stack, check_place, groups_of, home_of, with_spacing
from napari_ld.cli.templates import depth_of, named, once_each, plane_of, rows_in, rows_of

if TYPE_CHECKING:
    from napari_ld._types import Image, Match
    from napari_ld.embedding import FeatureSource
    from napari_ld.localization import LocateParams, Template


def locate(
    images: Images,
    template: Annotated[
        list[Path], typer.Option(metavar="IMAGE", help="Image that the landmarks were marked on; may be repeated.")
    ],
    landmarks: LandmarkFile,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="OUT.csv", help="Table to write; .mrk.json: points in space of one volume."
        ),
    ],
    encoder: Encoder = None,
    stack_kind: Annotated[
        str,
        typer.Option(
            metavar="images|volume|volumes|timelapse",
            help="'images': every plane is another patient; 'volume': ordered slices of one; 'volumes': every image "
            "is one patient's volume, and points are found in space; 'timelapse': planes are moments of one scene.",
        ),
    ] = "images",
    spacing: Spacing = None,
    mirror: Annotated[
        bool, typer.Option(help="'images': also look for mirrored copies, as left and right eyes or hands are.")
    ] = True,
    adapt: Adapt = None,
    device: DeviceOption = Device.auto,
    plane: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Plane of a multi-plane template whose rows name none; from 0."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Find only this landmark of the table; may be repeated.")
    ] = None,
    window: Window = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the landmarks of template images on all IMAGES."""
    millimetres = parse_spacing(spacing)
    check_output(out, inputs=[landmarks, *template, *images], overwrite=overwrite)

    from napari_ld.embedding import FeatureSource
    from napari_ld.io.windows import with_window
    from napari_ld.localization import STACK_KINDS, LocateParams, Template
    from napari_ld.model.zoo import DEFAULT_ENCODER, load_encoder
    from napari_ld.storage import Store

    if stack_kind not in STACK_KINDS:
        raise typer.BadParameter(f"{stack_kind!r}; choose one of {', '.join(STACK_KINDS)}", param_hint="--stack-kind")
    _check_adaptable(adapt, stack_kind)
    model = load_encoder(encoder or DEFAULT_ENCODER)

    def open_source(members: Sequence[Image]) -> FeatureSource:
        """All sources are read alike: template and searched images must mean the same by a vector."""
        kept = [with_spacing(image, millimetres) for image in with_window(members, window)]
        # slices of one body share their intensities, pictures of many do not
        shared = stack_kind != "images"
        return FeatureSource(kept, model, device=device.value, store=Store(), shared_limits=shared)

    marked = named(rows_in(landmarks, template), only or [], landmarks)
    rows = [rows_of(path, template[:n] + template[n + 1 :], marked, landmarks) for n, path in enumerate(template)]
    if stack_kind == "volumes":
        once_each(rows, landmarks)
    searched = read_searched(images)
    if _in_space(out):
        check_place(out, searched)
    stacks = [Stack(members, searched, open_source) for members in groups_of(searched, stack_kind)]
    templates: list[Template] = []
    for path, own in zip(template, rows, strict=True):
        stack, member = home_of(path, stacks) or (Stack([0], read_searched([path]), open_source), 0)
        image, first = stack.images[member], stack.first_plane(member)
        for row in own:
            at = plane_of(row, image, plane)
            templates.append(Template(row.name, stack.source, first + at, row.position, depth_of(row, at)))
    tell(f"{model.header.name} on {templates[0].source.device.reason}")
    params = LocateParams(mirror=mirror, adapt=_adaptation(adapt, stack_kind, searched))
    found = _search(stacks, templates, stack_kind, params)
    _write(out, searched, found, stack_kind)
    counts = _counts([_listed(match) for _, match in found])
    tell(f"{len(searched)} {'image' if len(searched) == 1 else 'images'}: {counts}")


def _check_adaptable(adapt: bool | None, stack_kind: str) -> None:
    if adapt and stack_kind not in ADAPTABLE_KINDS:
        kinds = " or ".join(ADAPTABLE_KINDS)
        raise typer.BadParameter(f"works with --stack-kind {kinds}, not {stack_kind}", param_hint="--adapt")


def _adaptation(adapt: bool | None, stack_kind: str, searched: Sequence[Image]) -> AdaptParams | None:
    """As asked for; unasked where the stack is large enough to teach."""
    if adapt is None:
        adapt = stack_kind in ADAPTABLE_KINDS and sum(image.n_planes for image in searched) >= WORTHWHILE
    return AdaptParams() if adapt else None


def _search(
    stacks: Sequence[Stack], templates: Sequence[Template], stack_kind: str, params: LocateParams
) -> list[tuple[int, Match]]:
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
            for match in locate_in(stack.source, templates, stack_kind=stack_kind, params=params, progress=show):
                member, plane = stack.source.address(match.plane)
                # a refined match comes after the coarse one and replaces it; a volume has one answer for a landmark
                key = stack.members[member], 0 if stack_kind == "volumes" else plane, match.landmark
                found[key] = dataclasses.replace(match, plane=plane)
        stack.close()
    order = list(dict.fromkeys(template.landmark for template in templates))
    keys = sorted(found, key=lambda key: (key[0], key[1], order.index(key[2])))
    return [(key[0], found[key]) for key in keys]


def _in_space(out: Path) -> bool:
    return out.name.lower().endswith(".mrk.json")


def _write(out: Path, searched: Sequence[Image], found: Sequence[tuple[int, Match]], stack_kind: str) -> None:
    """Write the table, or the points in space of the only image."""
    from napari_ld.io.images import image_keys
    from napari_ld.io.landmarks import write_matches
    from napari_ld.io.markups import found_markups, write_markups

    if _in_space(out):
        points = found_markups([match for _, match in found], searched[0])
        write_markups(out, points, name=Path(searched[0].source).name)
        return
    keys = image_keys(searched)
    stacked = [searched[index].is_stack for index, _ in found]
    rows_found = [(keys[index], _listed(match)) for index, match in found]
    write_matches(out, rows_found, with_plane=stacked, in_space=stack_kind == "volumes")


def _listed(match: Match) -> Match:
    """The match as the table shows it; what the table of landmarks says itself is as sure as can be."""
    return dataclasses.replace(match, status="confident") if match.status == "verified" else match


def _counts(matches: Sequence[Match]) -> str:
    """How many landmarks were found, by status."""
    counts = collections.Counter(match.status for match in matches)
    return ", ".join(f"{number} {status}" for status, number in counts.most_common())
