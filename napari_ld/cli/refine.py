"""``napari-ld refine``: a rough mask, made to fit its image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ld.cli.options import Device, DeviceOption, Encoder, Overwrite, Spacing, Window, check_output, parse_spacing
from napari_ld.cli.progress import tell

if TYPE_CHECKING:
    from napari_ld._types import Image
    from napari_ld.embedding import FeatureSource


def refine(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image or volume.")],
    mask: Annotated[Path, typer.Argument(metavar="MASK", help="Label map on its grid; 0 is background.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Label map to write: .tif, .nii.gz, .nrrd.")],
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="prototype (default), learnt, embedding_walker, boundary_snap, watershed."),
    ] = None,
    seeds: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="Known pixels: a label of MASK, 0 unknown, negative for no label."),
    ] = None,
    encoder: Encoder = None,
    device: DeviceOption = Device.auto,
    window: Window = None,
    spacing: Spacing = None,
    overwrite: Overwrite = False,
) -> None:
    """Refine the labels of MASK by IMAGE.

    OUT has the shape, geometry and label values of MASK. A label that the method is unsure of stays as it was.
    """
    import numpy as np

    from napari_ld.io.checks import check_pixels
    from napari_ld.io.images import read_image
    from napari_ld.io.labels import write_labels
    from napari_ld.io.windows import with_window
    from napari_ld.refinement import DEFAULT_REFINER, REFINERS
    from napari_ld.refinement import refine as run

    name = method or DEFAULT_REFINER
    if name not in REFINERS:
        raise typer.BadParameter(f"unknown {name!r}; there are {', '.join(REFINERS)}", param_hint="--method")
    inputs = [image, mask, *([seeds] if seeds else [])]
    steps = parse_spacing(spacing)
    check_output(out, inputs, overwrite=overwrite)
    picture = with_window([read_image(image)], window)[0]
    check_pixels(picture)
    rough = read_image(mask)
    known = None if seeds is None else np.asarray(read_image(seeds).array)
    source = _features(picture, encoder, device) if REFINERS[name].embeds else None
    found = run(name, picture, np.asarray(rough.array), seeds=known, source=source, spacing=steps)
    # some files hold labels as floating-point numbers
    write_labels(out, found.mask.astype(np.int64), rough)
    for change in found.changes:
        tell(f"label {change.label}: {change.text}; {change.before:,} px before, {change.after:,} px after")


def _features(picture: Image, encoder: str | None, device: Device) -> FeatureSource:
    from napari_ld.embedding import FeatureSource
    from napari_ld.model.zoo import DEFAULT_ENCODER, load_encoder
    from napari_ld.storage import Store

    model = load_encoder(encoder or DEFAULT_ENCODER)
    slices = picture.axes.startswith("z")
    source = FeatureSource(picture, model, device=device.value, store=Store(), shared_limits=slices)
    tell(f"{model.header.name} on {source.device.reason}")
    return source
