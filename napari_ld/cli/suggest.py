"""``napari-ld suggest``: which image to annotate first."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_ld.cli.options import Device, DeviceOption, Encoder, Images, Window
from napari_ld.cli.progress import progress_bar, tell
from napari_ld.cli.reading import read_searched


def suggest(
    images: Images,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many, the best first.")] = 1,
    encoder: Encoder = None,
    device: DeviceOption = Device.auto,
    window: Window = None,
) -> None:
    """Name the image on which to mark landmarks: the one that shows best what the others show.

    One line per suggestion on standard output; of a stack, the plane follows after a colon.
    """
    from napari_ld.embedding import FeatureSource
    from napari_ld.io.images import image_keys
    from napari_ld.io.windows import with_window
    from napari_ld.localization import suggest_template
    from napari_ld.model.zoo import DEFAULT_ENCODER, load_encoder
    from napari_ld.storage import Store

    model = load_encoder(encoder or DEFAULT_ENCODER)
    source = FeatureSource(with_window(read_searched(images), window), model, device=device.value, store=Store())
    tell(f"{model.header.name} on {source.device.reason}")
    keys = image_keys(source.images)
    with progress_bar("compare") as show:
        chosen = suggest_template(source, count, progress=show)
    for image, plane in map(source.address, chosen):
        print(f"{keys[image]}:{plane}" if source.images[image].is_stack else keys[image])
