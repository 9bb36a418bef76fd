"""Examples named on the command line or in a table."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from napari_ld.errors import RegionError

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource
    from napari_ld.proposals import Example

COLUMNS = ("image", "mask", "plane", "row", "column", "positive")
_YES, _NO = {"1", "true", "yes", ""}, {"0", "false", "no"}


@dataclass(frozen=True, slots=True)
class Marked:
    """One example as it was named.

    Attributes
    ----------
    image : Path
    mask : Path or None
        Image whose nonzero pixels are the outline.
    plane : int or None
    position : (row, column) or None
    positive : bool
    """

    image: Path
    mask: Path | None
    plane: int | None
    position: tuple[float, float] | None
    positive: bool = True

    def on(self, source: FeatureSource) -> Example:
        """The example on the features of its image.

        Raises
        ------
        RegionError
            When mask and image differ in size, the mask is empty, or the point lies outside.
        """
        from napari_ld.proposals import Example

        image = source.images[0]
        if self.plane is not None and self.plane >= image.n_planes:
            raise RegionError(f"{self.image}: plane {self.plane} is not there; planes are 0 to {image.n_planes - 1}")
        if self.mask is None:
            if self.plane is None and image.n_planes > 1:
                raise RegionError(f"{self.image} has {image.n_planes} planes; name one, as PLANE,ROW,COLUMN from 0")
            return Example(source, self.plane or 0, position=self.position, positive=self.positive)
        return self._outlined(source)

    def _outlined(self, source: FeatureSource) -> Example:
        import numpy as np

        from napari_ld.io.images import read_image
        from napari_ld.proposals import Example, Mask

        image, drawn = source.images[0], read_image(self.mask or self.image)
        if drawn.plane_shape != image.plane_shape or drawn.n_planes not in (1, image.n_planes):
            raise RegionError(
                f"{self.mask}: the mask has {drawn.n_planes} planes of {drawn.plane_shape} pixels and {self.image} "
                f"{image.n_planes} of {image.plane_shape}; give a mask of the image's own size"
            )
        if drawn.n_planes == 1 and image.n_planes > 1 and self.plane is None:
            raise RegionError(f"{self.mask} is one plane and {self.image} has {image.n_planes}; name its plane")
        chosen = [self.plane] if self.plane is not None else list(range(image.n_planes))
        parts = []
        for plane in chosen:
            pixels = np.asarray(drawn.plane(plane if drawn.n_planes > 1 else 0))
            flat = np.asarray(pixels[..., :3].any(axis=-1) if drawn.has_channels else pixels != 0)
            parts.append(Mask.from_array(flat, plane))
        mask = Mask.join(parts)
        if not mask.area:
            raise RegionError(f"{self.mask}: the mask is empty; outline at least one pixel")
        return Example(source, mask.first_plane, mask=mask, positive=self.positive)


def marked_examples(example: Path | None, mask: Path | None, point: str | None, table: Path | None) -> list[Marked]:
    """Examples of the options ``--example``, ``--example-mask``, ``--example-point`` and ``--examples``.

    Raises
    ------
    typer.BadParameter
        When the options do not go together, or the point is no point.
    RegionError
        For a table that cannot be used.
    """
    found = [] if table is None else read_examples(table)
    if example is None:
        if mask is not None or point is not None:
            raise typer.BadParameter("is missing: name the image that the example lies on", param_hint="--example")
        return found
    if (mask is None) == (point is None):
        raise typer.BadParameter("needs either --example-mask or --example-point", param_hint="--example")
    plane, position = (None, None) if point is None else _point(point)
    return [*found, Marked(example, mask, plane, position)]


def read_examples(table: Path) -> list[Marked]:
    """Read a table with the columns image, mask, plane, row, column and positive.

    Paths may be relative to the table's folder or to the present one. A row holds either a mask or a row and column;
    an empty ``positive`` means 1.

    Raises
    ------
    RegionError
        Unreadable table, missing column, or a row that is neither; names the line.
    """
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS[:5] if name not in (reader.fieldnames or [])]
            if missing:
                raise RegionError(f"{table}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
            rows = [{name: (row.get(name) or "").strip() for name in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RegionError(f"cannot read {table}: {error}; expected a CSV table in UTF-8") from error
    if not rows:
        raise RegionError(f"{table} holds no example; add at least one line")
    return [_marked(table, line, row) for line, row in enumerate(rows, start=2)]


def _marked(table: Path, line: int, row: dict[str, str]) -> Marked:
    where = f"{table}, line {line}"
    if not row["image"]:
        raise RegionError(f"{where}: no image; fill the column 'image'")
    if bool(row["mask"]) == bool(row["row"] and row["column"]):
        raise RegionError(f"{where}: expected either a mask, or a row and a column")
    answer = row["positive"].lower()
    if answer not in _YES | _NO:
        raise RegionError(f"{where}: positive is {row['positive']!r}; expected 1 or 0")
    try:
        plane = int(row["plane"]) if row["plane"] else None
        position = (float(row["row"]), float(row["column"])) if row["row"] and row["column"] else None
    except ValueError as error:
        raise RegionError(f"{where}: {error}; expected numbers for plane, row and column") from error
    if plane is not None and plane < 0:
        raise RegionError(f"{where}: plane {plane}; planes count from 0")
    mask = _path(table, row["mask"]) if row["mask"] else None
    return Marked(_path(table, row["image"]), mask, plane, position, answer in _YES)


def _path(table: Path, text: str) -> Path:
    beside = table.parent / text
    return beside if beside.exists() else Path(text)


def _point(text: str) -> tuple[int | None, tuple[float, float]]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    whole = len(numbers) == 3 and numbers[0] >= 0 and numbers[0].is_integer()
    if not (len(numbers) == 2 or whole):
        raise typer.BadParameter(
            f"{text!r}; expected ROW,COLUMN or PLANE,ROW,COLUMN in pixels from 0, as in 120,88 or 14,120,88",
            param_hint="--example-point",
        )
    return (int(numbers[0]) if whole else None), (numbers[-2], numbers[-1])
