"""Two folds by image for every evaluated set, and the pictures that training must leave out.

``python -m benchmarks.folds`` writes ``folds.json`` from the development images alone (no landmark is read)::

    {"ceph": {"a": [names], "b": [names]}, "hand": …, "idrid_points": …, "exclude": {"idrid_segmentation": [names]}}

An encoder "of fold a" is trained without the images under ``a``. Images under ``exclude`` are the same photograph as
an evaluated one, kept in another set; no encoder sees them. Pictures of one evaluated set that look alike (repeats
of one patient) stay in the same fold. Everything is decided by content or by a hash of the name, never by a result.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from scipy import ndimage

FOLDS_FILE = Path(__file__).with_name("folds.json")
EVALUATED: dict[str, tuple[str, ...]] = {  # set -> other sets of the same kind of picture, in which copies may lie
    "ceph": (),
    "hand": ("hand",),
    "idrid_points": ("idrid_segmentation", "idrid_unlabelled", "fundus_unlabelled", "drive", "drishti_gs"),
}
THUMBNAIL = 96  # pixels of the square on which pictures are compared
MAX_SHIFT = 6  # thumbnails may be shifted by this many pixels against each other
SAME_PICTURE = 0.95  # copies measured 0.9995 or more, different pictures 0.87 at most
LOOK_ALIKE = 0.85  # within one set: kept in the same fold, whether or not they are one patient

Array = npt.NDArray[np.float32]


def data_root() -> Path:
    """Return the folder of the development data named by ``NAPARI_LD_DATA``.

    Raises
    ------
    FileNotFoundError
        When the variable is unset or names no folder.
    """
    root = os.environ.get("NAPARI_LD_DATA", "")
    if not root or not Path(root).is_dir():
        raise FileNotFoundError(
            f"NAPARI_LD_DATA is {root!r}, but the benchmarks need the folder of the development data; "
            "set it, for example: export NAPARI_LD_DATA=/path/to/data"
        )
    return Path(root)


def image_names(root: Path, name: str, *, labelled: bool) -> list[str]:
    """List the images of a set, sorted: those with landmarks, or those whose split is ``unlabelled`` or another use."""
    with open(root / name / "images.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return sorted(row["image"] for row in rows if (row["split"] != "unlabelled") == labelled)


def thumbnail(path: Path, size: int = THUMBNAIL) -> Array:
    """Reduce a picture to ``(size, size)`` local contrast of unit norm, cropped to what is not background."""
    picture = PILImage.open(path).convert("L")
    small = np.asarray(picture.resize((128, 128), PILImage.Resampling.BILINEAR), dtype=np.float32)
    bright = small > small.min() + 0.12 * (np.percentile(small, 99) - small.min())
    rows, columns = (np.flatnonzero(bright.mean(axis) > 0.05) for axis in (1, 0))
    x, y = picture.width / 128, picture.height / 128
    box = (columns[0] * x, rows[0] * y, (columns[-1] + 1) * x, (rows[-1] + 1) * y)
    pixels = np.asarray(picture.resize((size, size), PILImage.Resampling.BOX, box=box), dtype=np.float32)
    detail = ndimage.gaussian_filter(pixels, 1) - ndimage.gaussian_filter(pixels, 6)
    detail /= np.sqrt(ndimage.gaussian_filter(detail**2, 8)) + 2
    detail *= np.sqrt(np.outer(np.hanning(size), np.hanning(size)))
    detail -= detail.mean()
    return np.asarray(detail / (np.linalg.norm(detail) + 1e-9), dtype=np.float32)


def likeness(first: Array, second: Array, max_shift: int = MAX_SHIFT) -> Array:
    """Highest correlation of thumbnails over small shifts and mirroring.

    Parameters
    ----------
    first, second : (N, size, size), (M, size, size) float32 arrays
        Thumbnails of unit norm.

    Returns
    -------
    (N, M) float32 array in [-1, 1]
    """
    size = first.shape[1:]
    spectra = [np.fft.rfft2(second), np.fft.rfft2(second[:, :, ::-1])]
    window = np.r_[-max_shift : max_shift + 1]
    best = np.full((len(first), len(second)), -1, np.float32)
    for i, spectrum in enumerate(np.fft.rfft2(first)):
        for other in spectra:
            correlation = np.fft.irfft2(spectrum * other.conj(), s=size)[:, window][:, :, window]
            best[i] = np.maximum(best[i], correlation.reshape(len(second), -1).max(axis=1))
    return best


def groups_of(names: Sequence[str], alike: npt.NDArray[np.bool_]) -> list[list[str]]:
    """Join names that are alike, directly or over others, into groups; every name is in exactly one."""
    group = {name: [name] for name in names}
    for i, j in zip(*np.nonzero(alike), strict=True):
        one, other = group[names[i]], group[names[j]]
        if one is not other:
            one.extend(other)
            group.update((name, one) for name in other)
    return [members for name, members in group.items() if members[0] == name]


def split_in_two(groups: Iterable[Sequence[str]], salt: str) -> dict[str, list[str]]:
    """Deal groups, in the order of the sha256 of ``salt/first name``, to the fold that has fewer images (ties: a)."""
    ordered = sorted(groups, key=lambda members: hashlib.sha256(f"{salt}/{min(members)}".encode()).hexdigest())
    folds: dict[str, list[str]] = {"a": [], "b": []}
    for members in sorted(ordered, key=len, reverse=True):
        folds["a" if len(folds["a"]) <= len(folds["b"]) else "b"].extend(members)
    return {fold: sorted(names) for fold, names in folds.items()}


def folds_of(root: Path, name: str) -> dict[str, list[str]]:
    """Split the labelled images of a set in two."""
    names = image_names(root, name, labelled=True)
    own = thumbnails(root, name, names)
    return split_in_two(groups_of(names, np.triu(likeness(own, own) >= LOOK_ALIKE, 1)), name)


def copies_of(root: Path, name: str, other: str) -> list[str]:
    """Images of the set ``other`` that show the same photograph as a labelled image of the set ``name``."""
    candidates = image_names(root, other, labelled=other != name and not other.endswith("_unlabelled"))
    own, foreign = thumbnails(root, name, image_names(root, name, labelled=True)), thumbnails(root, other, candidates)
    return [candidates[i] for i in np.flatnonzero((likeness(own, foreign) >= SAME_PICTURE).any(axis=0))]


def thumbnails(root: Path, name: str, images: Sequence[str]) -> Array:
    """Thumbnails ``(N, size, size)`` of images of a set."""
    return np.stack([thumbnail(root / name / "images" / image) for image in images])


def build_folds(root: Path) -> dict[str, dict[str, list[str]]]:
    """Compute the content of ``folds.json`` from the images below ``root``."""
    table = {name: folds_of(root, name) for name in EVALUATED}
    found = {other: copies_of(root, name, other) for name, others in EVALUATED.items() for other in others}
    return table | {"exclude": {other: images for other, images in found.items() if images}}


def load_folds(path: Path = FOLDS_FILE) -> dict[str, dict[str, list[str]]]:
    """Read ``folds.json``."""
    content: dict[str, dict[str, list[str]]] = json.loads(path.read_text())
    return content


def main() -> None:
    """Write ``folds.json`` beside this file."""
    table = build_folds(data_root())
    FOLDS_FILE.write_text(json.dumps(table, indent=1) + "\n")
    for name, folds in table.items():
        print(name, {fold: len(images) for fold, images in folds.items()})


if __name__ == "__main__":
    main()
