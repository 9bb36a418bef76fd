"""The images named on the command line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ld.cli.progress import tell

if TYPE_CHECKING:
    from napari_ld._types import Image


def read_searched(paths: Sequence[Path]) -> list[Image]:
    """Read files and folders, and check them before any work begins; what was left out of a folder is said in one line.

    Raises
    ------
    ImageError
        As :func:`napari_ld.io.images.read_images` and :func:`napari_ld.io.checks.check_pixels`.
    """
    from napari_ld.io.checks import check_pixels
    from napari_ld.io.images import read_images

    with warnings.catch_warnings(record=True) as left_out:
        warnings.simplefilter("always", UserWarning)
        images = read_images(paths)
    for warning in left_out:
        tell(str(warning.message))
    for image in images:
        check_pixels(image)
    return images
