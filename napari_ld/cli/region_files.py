"""Files that ``napari-ld propose`` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_ld.cli.options import make_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_ld._types import Image
    from napari_ld.proposals import Regions


def output_stems(images: Sequence[Image]) -> list[str]:
    """Names for the outputs of images, without ending, all different in any case of letters.

    The name of the file without its ending; where those of files in several folders are the same, the folder stands
    before it as a folder, and where files of one folder differ in their ending only, the ending stays.
    """
    from napari_ld.io.images import image_keys

    keys = [PurePosixPath(key.replace("\\", "/")) for key in image_keys(images)]
    parts = [[part for part in key.parts if part not in {"..", key.anchor}] for key in keys]
    plain = [_without_suffix(part[-1]) for part in parts]
    shared = Counter(name.casefold() for name in plain)
    stems = []
    for image, part, name in zip(images, parts, plain, strict=True):
        folder = part[:-1] or ([Path(image.source).resolve().parent.name] if shared[name.casefold()] > 1 else [])
        stems.append("/".join([*folder, name]))
    again = Counter(stem.casefold() for stem in stems)
    for index, (part, stem) in enumerate(zip(parts, stems, strict=True)):
        if again[stem.casefold()] > 1:
            stems[index] = "/".join([*stem.split("/")[:-1], part[-1]])
    taken: Counter[str] = Counter()
    for index, stem in enumerate(stems):
        taken[stem.casefold()] += 1
        if taken[stem.casefold()] > 1:
            stems[index] = f"{stem}-{taken[stem.casefold()]}"
    return stems


def files_of(stem: Path, image: Image, *, with_scores: bool) -> list[Path]:
    """Files that :func:`write_label_maps` writes: the label map, and the scores; NIfTI and NRRD stay what they are."""
    source = image.source.lower()
    ending = ".nii.gz" if source.endswith((".nii", ".nii.gz")) else ".nrrd" if source.endswith(".nrrd") else ".tif"
    labels, scores = Path(f"{stem}_labels{ending}"), Path(f"{stem}_score{ending}")
    return [labels, scores] if with_scores else [labels]


def write_label_maps(stem: Path, image: Image, regions: Regions, scores: npt.NDArray[np.float32] | None) -> None:
    """Write ``STEM_labels`` and, where there are scores, ``STEM_score``; each whole or not at all."""
    import numpy as np

    from napari_ld.io.labels import write_labels, write_scores

    shape = image.plane_shape
    # regions of a cut do not overlap; those of one plane are found once, not once per plane
    maps = np.zeros((image.n_planes, *shape), np.int32)
    for region in regions:
        for plane in region.planes:
            region.mask.paint(maps[plane], plane, region.id)
    make_folder(stem.parent)
    labels, *score_files = files_of(stem, image, with_scores=scores is not None)
    write_labels(labels, maps if image.is_stack else maps[0], image)
    if scores is not None:
        write_scores(score_files[0], scores if image.is_stack else scores[0], image)


def _without_suffix(name: str) -> str:
    lower = name.lower()
    for double in (".nii.gz", ".ome.tif", ".ome.tiff", ".ome.zarr"):
        if lower.endswith(double) and lower != double:
            return name[: -len(double)]
    return PurePosixPath(name).stem
