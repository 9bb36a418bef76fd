"""``napari-ld embed``: dense vectors of images, as plain arrays on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ld.cli.options import Device, DeviceOption, Encoder, Images, Overwrite, Window, check_output, make_folder
from napari_ld.cli.progress import progress_bar, tell
from napari_ld.cli.reading import read_searched

if TYPE_CHECKING:
    from napari_ld._types import Embedding


def embed(
    images: Images,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to write to; made if missing.")],
    encoder: Encoder = None,
    device: DeviceOption = Device.auto,
    window: Window = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the vectors of every plane of IMAGES.

    They go to DIR/NAME.npz, those of stacks to DIR/NAME.0000.npz and so on.
    """
    from napari_ld.embedding import FeatureSource
    from napari_ld.io.images import image_keys
    from napari_ld.io.windows import with_window
    from napari_ld.model.zoo import DEFAULT_ENCODER, load_encoder
    from napari_ld.storage import Store

    model = load_encoder(encoder or DEFAULT_ENCODER)
    source = FeatureSource(with_window(read_searched(images), window), model, device=device.value, store=Store())
    tell(f"{model.header.name} on {source.device.reason}")
    keys = image_keys(source.images)
    make_folder(out)
    targets = []
    for image, plane in map(source.address, range(source.n_planes)):
        suffix = f".{plane:04d}.npz" if source.images[image].is_stack else ".npz"
        targets.append(_below(out, keys[image] + suffix))
        if targets[-1].parent.is_dir():
            check_output(targets[-1], overwrite=overwrite)
    with progress_bar("embed") as show:
        for i, target in enumerate(targets):
            _save(target, source.plane(i), model.sha256)
            show(i + 1, source.n_planes)


def _save(path: Path, embedding: Embedding, encoder: str) -> None:
    """Write one plane, whole or not at all."""
    import numpy as np

    from napari_ld.storage import atomic_write

    arrays: dict[str, Any] = {
        "vectors": embedding.vectors,
        "origin": np.asarray(embedding.origin),
        "step": np.asarray(embedding.step),
        "shape": np.asarray(embedding.shape),
        "encoder_sha256": np.asarray(encoder),
    }
    if embedding.clusters is not None:
        arrays["clusters"] = embedding.clusters
    make_folder(path.parent)
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def _below(folder: Path, key: str) -> Path:
    """Path for an image's key, which may hold folders but never leads out of ``folder``."""
    return folder.joinpath(*(part for part in Path(key).parts if part not in {"..", Path(key).anchor}))
