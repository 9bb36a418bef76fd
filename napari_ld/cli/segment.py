"""``napari-ld segment``: label maps of images by a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_ld.cli.options import Device, DeviceOption, Images, Overwrite, Window, check_output, make_folder
from napari_ld.cli.progress import progress_bar, tell
from napari_ld.cli.reading import read_searched

ModelFile = Annotated[
    Path, typer.Option(metavar="FILE", help="Segmenter, as 'python -m src_train finetune' writes it.")
]


def segment(
    images: Images,
    model: ModelFile,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to write to; made if missing.")],
    device: DeviceOption = Device.auto,
    window: Window = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a label map of each of IMAGES.

    They go to DIR/NAME-labels in the geometry of the image, and in its format where that holds labels, else as .tif.
    """
    import numpy as np

    from napari_ld.cli.region_files import output_stems
    from napari_ld.io.labels import Segment, labels_path, write_labels
    from napari_ld.io.windows import with_window
    from napari_ld.model.checkpoint import load_head
    from napari_ld.segmentation import Predictor

    loaded = load_head(model, ("segmenter",))
    searched = with_window(read_searched(images), window)
    endings = [labels_path(image, out).name.rpartition("-labels")[2] for image in searched]
    targets = [out / f"{stem}-labels{ending}" for stem, ending in zip(output_stems(searched), endings, strict=True)]
    make_folder(out)
    for target in targets:
        if target.parent.is_dir():
            check_output(target, [Path(image.source) for image in searched], overwrite=overwrite)
    predictor = Predictor(searched, loaded, device=device.value)
    tell(f"{loaded.header.name} on {predictor.device.reason}")
    segments = {value: Segment(name) for value, name in loaded.head.classes}
    first = 0
    with progress_bar("segment") as show:
        for image, target in zip(predictor.images, targets, strict=True):
            planes = []
            for plane in range(first, first + image.n_planes):
                planes.append(predictor.labels(plane))
                show(plane + 1, predictor.n_planes)
            first += image.n_planes
            shape = image.array.shape[: len(image.axes.rstrip("c"))]
            make_folder(target.parent)
            write_labels(target, np.stack(planes).reshape(shape), image, segments=segments)
