"""The evaluated sets and the settings of the landmark benchmark, as the files of this folder fix them."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.folds import data_root
from napari_ld._types import Image
from napari_ld.io.images import read_image
from napari_ld.io.landmarks import read_landmarks

SETTINGS_FILE = Path(__file__).with_name("landmarks.toml")

Positions = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Images with known landmarks.

    Attributes
    ----------
    name, unit : str
        ``unit`` is that of the errors: ``"mm"``, ``"% of width"`` or ``"% of height"``.
    names : tuple of str
        File names of the images, sorted.
    images : tuple of Image
    landmarks : tuple of str
    truth : (images, landmarks, 2) float64 array
        Row and column in pixels.
    templates, hard : tuple of str
        File names; the first template is the headline's. Hard images are reported apart.
    folder : str
        Key of the set in ``folds.json``.
    headline : bool
    """

    name: str
    unit: str
    names: tuple[str, ...]
    images: tuple[Image, ...]
    landmarks: tuple[str, ...]
    truth: Positions
    templates: tuple[str, ...]
    hard: tuple[str, ...] = ()
    folder: str = ""
    headline: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)

    def only(self, names: Collection[str]) -> EvaluationSet:
        """The same set with these images alone."""
        kept = [index for index, name in enumerate(self.names) if name in names]
        return replace(
            self,
            names=tuple(self.names[index] for index in kept),
            images=tuple(self.images[index] for index in kept),
            truth=self.truth[kept],
        )

    def scale(self, index: int) -> tuple[float, float]:
        """Units of error per pixel of an image, along rows and along columns."""
        image = self.images[index]
        rows, columns = image.plane_shape
        if self.unit == "mm":
            if image.pixel_spacing is None:
                raise ValueError(f"{self.names[index]}: errors in mm need the size of a pixel")
            return image.pixel_spacing
        length = {"% of width": columns, "% of height": rows}[self.unit]
        return 100 / length, 100 / length

    def errors(self, index: int, found: Positions) -> Positions:
        """Radial errors ``(landmarks,)`` of positions ``(landmarks, 2)`` on one image, in ``unit``.

        A position that is not finite (the landmark was called absent, though it is on every image) counts as half
        the longest side of the image.
        """
        scale = np.asarray(self.scale(index))
        radial = np.hypot(*((found - self.truth[index]) * scale).T)
        missed = max(np.asarray(self.images[index].plane_shape) * scale) / 2
        return np.asarray(np.where(np.isfinite(radial), radial, missed))


def load_settings(path: Path = SETTINGS_FILE) -> dict[str, Any]:
    """Read ``landmarks.toml``."""
    return tomllib.loads(path.read_text())


def load_set(name: str, settings: Mapping[str, Any], root: Path | None = None) -> EvaluationSet:
    """Load one set of the settings file; ``root`` is the folder of the development data."""
    if name not in settings["sets"]:
        raise ValueError(f"unknown set {name!r}; landmarks.toml has {', '.join(settings['sets'])}")
    entry = settings["sets"][name]
    if "folder" not in entry:
        return phantom_set(name, entry, settings["seed"])
    folder = (root or data_root()) / entry["folder"]
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for row in read_landmarks(folder / "landmarks.csv"):
        if row.name in entry.get("landmarks", [row.name]):
            points.setdefault(row.image, {})[row.name] = row.position
    names = tuple(sorted(points))
    landmarks = tuple(sorted(points[names[0]]))
    spacing = read_spacing(folder / "images.csv")
    return EvaluationSet(
        name=name,
        unit=entry["unit"],
        names=names,
        images=tuple(_with_spacing(read_image(folder / "images" / image), spacing.get(image)) for image in names),
        landmarks=landmarks,
        truth=np.array([[points[image][landmark] for landmark in landmarks] for image in names]),
        templates=tuple(entry["templates"]),
        hard=tuple(entry.get("hard", ())),
        folder=entry["folder"],
        settings=entry,
    )


def phantom_set(name: str, entry: Mapping[str, Any], seed: int) -> EvaluationSet:
    """Every plane of the synthetic stack as an image of its own; the names are plane numbers."""
    from napari_ld._sample_data import phantom_stack

    sample = phantom_stack(n_planes=entry["planes"], shape=tuple(entry["shape"]), seed=seed)
    planes = range(sample.image.n_planes)
    landmarks = tuple(sorted({row.name for row in sample.landmarks}))
    where = {(row.plane, row.name): row.position for row in sample.landmarks}
    axes = sample.image.axes[1:]
    return EvaluationSet(
        name=name,
        unit=entry["unit"],
        names=tuple(str(plane) for plane in planes),
        images=tuple(Image(sample.image.plane(plane), axes) for plane in planes),
        landmarks=landmarks,
        truth=np.array([[where[plane, landmark] for landmark in landmarks] for plane in planes]),
        templates=tuple(entry["templates"]),
        headline=entry["headline"],
        settings=entry,
    )


def read_spacing(path: Path) -> dict[str, tuple[float, float]]:
    """Millimetres per (row, column) of the images whose table gives them."""
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["image"]: (float(row["spacing_row_mm"]), float(row["spacing_column_mm"]))
        for row in rows
        if row["spacing_row_mm"] and row["spacing_column_mm"]
    }


def _with_spacing(image: Image, spacing: tuple[float, float] | None) -> Image:
    """Decode once and put the table's spacing in: the files carry none."""
    return Image(image.plane(0), image.axes, image.affine, spacing, image.source)


def subset(data: EvaluationSet, names: Sequence[str]) -> EvaluationSet:
    """Keep only the named images, in the set's order."""
    keep = [i for i, name in enumerate(data.names) if name in set(names)]
    return replace(
        data,
        names=tuple(data.names[i] for i in keep),
        images=tuple(data.images[i] for i in keep),
        truth=data.truth[keep],
    )
