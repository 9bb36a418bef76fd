"""The demo where no window can be made: the same search, and a picture drawn from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_ld._sample_data import Sample
    from napari_ld._types import Match, Position

_RGB = npt.NDArray[np.uint8]
_FOUND, _CLICKED = (0, 158, 115), (230, 159, 0)  # told apart by colour-blind people too
_SIDE = 256  # pixels of one plane in the picture, about
_RADIUS = 6


def propagate(sample: Sample) -> list[Match]:
    """Find the sample's first landmark on all its planes from its place on the first one."""
    from napari_ld.embedding import FeatureSource
    from napari_ld.localization import Template, locate
    from napari_ld.model.zoo import load_encoder
    from napari_ld.storage import Store

    click = sample.landmarks[0]
    source = FeatureSource(sample.image, load_encoder(), store=Store())
    template = Template(click.name, source, click.plane or 0, click.position)
    found = {match.plane: match for match in locate(source, [template])}  # a refined match replaces the coarse one
    return [found[plane] for plane in sorted(found)]


def contact_sheet(planes: Sequence[npt.NDArray[Any]], matches: Sequence[Match]) -> _RGB:
    """Draw all planes side by side: a disc is the click, a ring what was found.

    Parameters
    ----------
    planes : sequence of (rows, columns) or (rows, columns, channels) arrays
        All of one size.
    matches : sequence of Match
        One for each plane.

    Returns
    -------
    (rows, columns, 3) uint8 array
    """
    step = max(1, round(max(planes[0].shape[:2]) / _SIDE))
    tiles = [_tile(plane, match, step) for plane, match in zip(planes, matches, strict=True)]
    across = int(np.ceil(np.sqrt(len(tiles))))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    lines = [np.concatenate(tiles[first : first + across], axis=1) for first in range(0, len(tiles), across)]
    return np.concatenate(lines, axis=0)


def write_png(path: Path, picture: _RGB) -> None:
    """Save a picture, whole or not at all.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    import PIL.Image

    from napari_ld.storage import atomic_write

    with atomic_write(path) as file:
        PIL.Image.fromarray(picture).save(file, format="PNG")


def _tile(plane: npt.NDArray[Any], match: Match, step: int) -> _RGB:
    """One plane, made smaller, stretched to the full range, with its mark."""
    pixels = plane[::step, ::step].astype(np.float64)
    pixels = 255 * (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1e-9)
    tile = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
    tile = tile.astype(np.uint8)
    if match.position is not None:
        clicked = match.status == "verified"
        centre = match.position[0] / step, match.position[1] / step
        _mark(tile, centre, 0 if clicked else _RADIUS - 2, _CLICKED if clicked else _FOUND)
    return tile


def _mark(tile: _RGB, centre: Position, inner: float, colour: tuple[int, int, int]) -> None:
    """Draw in place a ring around ``centre``, a disc where ``inner`` is 0."""
    rows, columns = np.ogrid[: tile.shape[0], : tile.shape[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    tile[(distance >= inner) & (distance <= _RADIUS)] = colour
