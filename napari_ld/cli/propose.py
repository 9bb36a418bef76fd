"""``napari-ld propose``: regions of images as label maps, by their boundaries or by examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ld.cli.options import (
    Device,
    DeviceOption,
    Encoder,
    Images,
    Overwrite,
    Window,
    check_output,
    make_folder,
)
from napari_ld.cli.progress import progress_bar, tell
from napari_ld.cli.reading import read_searched

if TYPE_CHECKING:
    from napari_ld._types import Image
    from napari_ld.cli.example_tables import Marked
    from napari_ld.embedding import FeatureSource
    from napari_ld.model.checkpoint import LoadedModel
    from napari_ld.proposals import Example, ExampleModel, Regions


def propose(
    images: Images,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to write to; made if missing.")],
    n_regions: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Regions per image; 100 when absent. Of ordered slices: per volume."),
    ] = None,
    example: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Image with an example: find regions like it.")
    ] = None,
    example_mask: Annotated[
        Path | None, typer.Option(metavar="MASK", help="Outline of the example: nonzero pixels of this image.")
    ] = None,
    example_point: Annotated[
        str | None,
        typer.Option(metavar="ROW,COLUMN|PLANE,ROW,COLUMN", help="A point inside the example, in pixels from 0."),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Table of examples: image, mask, plane, row, column, positive."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="Least score of what is like the examples; 0.5 when absent.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Segmenter or classifier of your own: regions that it finds.")
    ] = None,
    encoder: Encoder = None,
    device: DeviceOption = Device.auto,
    window: Window = None,
    overwrite: Overwrite = False,
) -> None:
    """Propose regions of IMAGES.

    Writes a label map per image, DIR/NAME_labels.tif (.nii.gz for NIfTI, .nrrd for NRRD), and the table
    DIR/regions.csv; with examples also the map of scores, DIR/NAME_score.tif.
    """
    from napari_ld.cli.example_tables import marked_examples
    from napari_ld.cli.region_files import output_stems
    from napari_ld.embedding import FeatureSource
    from napari_ld.io.images import image_keys
    from napari_ld.io.windows import with_window
    from napari_ld.model.zoo import DEFAULT_ENCODER, load_encoder
    from napari_ld.proposals.table import write_regions
    from napari_ld.storage import Store

    marked = marked_examples(example, example_mask, example_point, examples)
    _check(marked, n_regions, threshold)
    _check_model(model, marked, n_regions)
    loaded = load_encoder(encoder or DEFAULT_ENCODER)
    searched = with_window(read_searched(images), window)
    keys, stems = image_keys(searched), output_stems(searched)
    make_folder(out)
    _check_outputs(out, searched, stems, with_scores=bool(marked), overwrite=overwrite)
    like = _learn(marked, loaded, device, threshold, window) if marked else None
    found: list[tuple[str, Image, Regions]] = []
    with progress_bar("propose") as show:
        for done, (image, key, stem) in enumerate(zip(searched, keys, stems, strict=True), start=1):
            # slices of one body share their intensities, pictures of many do not
            source = FeatureSource(image, loaded, device=device.value, store=Store(), shared_limits=_is_volume(image))
            if done == 1:
                tell(f"{loaded.header.name} on {source.device.reason}")
            found.append((key, image, _one_image(source, out / stem, n_regions, like, model)))
            show(done, len(searched))
    write_regions(out / "regions.csv", found)
    number = sum(len(regions) for _, _, regions in found)
    tell(f"{len(searched)} {'image' if len(searched) == 1 else 'images'}: {number} regions")


def _check(marked: Sequence[Marked], n_regions: int | None, threshold: float | None) -> None:
    """Refuse options that do not go together."""
    if marked and n_regions is not None:
        raise typer.BadParameter("does not go with examples, which decide how many there are", param_hint="--n-regions")
    if threshold is not None and not marked:
        raise typer.BadParameter("needs an example: give --example or --examples", param_hint="--threshold")
    if threshold is not None and not 0 < threshold < 1:
        raise typer.BadParameter(f"{threshold:g}; expected a number between 0 and 1", param_hint="--threshold")
    if marked and not any(one.positive for one in marked):
        raise typer.BadParameter("holds counter-examples only; add a positive example", param_hint="--examples")


def _check_model(model: Path | None, marked: Sequence[Marked], n_regions: int | None) -> None:
    """Refuse what does not go with a model, and a file that is none, before any image is read."""
    if model is None:
        return
    if marked or n_regions is not None:
        raise typer.BadParameter("does not go with examples or a number of regions", param_hint="--model")
    from napari_ld.model.checkpoint import read_header
    from napari_ld.model.heads import KINDS

    read_header(model, KINDS)


def _check_outputs(
    out: Path, images: Sequence[Image], stems: Sequence[str], *, with_scores: bool, overwrite: bool
) -> None:
    """Refuse to replace files that are there, before any work is done."""
    from napari_ld.cli.region_files import files_of

    targets = [out / "regions.csv"]
    for image, stem in zip(images, stems, strict=True):
        targets += files_of(out / stem, image, with_scores=with_scores)
    for target in targets:
        if target.parent.is_dir():
            check_output(target, overwrite=overwrite)


def _learn(
    marked: Sequence[Marked], model: LoadedModel, device: Device, threshold: float | None, window: str | None
) -> ExampleModel:
    """What the examples have in common."""
    from napari_ld.embedding import FeatureSource
    from napari_ld.io.windows import with_window
    from napari_ld.proposals import LikeParams, fit_examples
    from napari_ld.storage import Store

    sources: dict[Path, FeatureSource] = {}
    examples: list[Example] = []
    for one in marked:
        path = one.image.resolve()
        if path not in sources:
            (image,) = with_window(read_searched([one.image]), window)
            sources[path] = FeatureSource(
                image, model, device=device.value, store=Store(), shared_limits=_is_volume(image)
            )
        examples.append(one.on(sources[path]))
    params = LikeParams() if threshold is None else LikeParams(threshold=threshold)
    return fit_examples(examples, params)


def _one_image(
    source: FeatureSource, stem: Path, n_regions: int | None, like: ExampleModel | None, model: Path | None
) -> Regions:
    """Propose, write the files of one image, and return its regions under the numbers of its label map."""
    import numpy as np

    from napari_ld.cli.region_files import write_label_maps
    from napari_ld.proposals import HierarchyParams, ModelParams, propose_regions
    from napari_ld.proposals.like_examples import score_and_regions

    image = source.images[0]
    options: dict[str, Any] = {"stack_kind": "volume" if _is_volume(image) else "images"}
    scores = None
    if model is not None:
        regions = propose_regions(source, "model", params=ModelParams(model=str(model)), **options)
    elif like is None:
        params = HierarchyParams() if n_regions is None else HierarchyParams(n_regions=n_regions)
        regions = propose_regions(source, "hierarchy", params=params, **options)
    else:
        scores = np.zeros((source.n_planes, *source.shape(0)), np.float32)
        regions = score_and_regions(source, like, scores, **options)
    write_label_maps(stem, image, regions, scores)
    return regions


def _is_volume(image: Image) -> bool:
    return image.is_stack and image.axes.startswith("z")
