"""Which rows of a landmark table belong to which template image, and on which plane they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from napari_ld.errors import LandmarkError

if TYPE_CHECKING:
    from napari_ld._types import Image, Landmark


def rows_in(table: Path, templates: Sequence[Path]) -> list[Landmark]:
    """Read a file of landmarks; points in space become those of the only template, whose geometry is looked up.

    Raises
    ------
    LandmarkError
        As :func:`napari_ld.io.landmarks.read_landmarks` and :func:`napari_ld.io.markups.read_markups`; also for points
        in space and several templates.
    """
    from napari_ld.io.landmarks import read_landmarks
    from napari_ld.io.markups import MARKUP_ENDINGS, landmarks_in, read_markups

    if not table.name.lower().endswith(MARKUP_ENDINGS):
        return read_landmarks(table)
    if len(templates) > 1:
        raise LandmarkError(f"{table} holds points in space, which belong to one template; {len(templates)} were given")
    from napari_ld.io.images import read_image

    return landmarks_in(read_markups(table), read_image(templates[0]), templates[0].name)


def rows_of(template: Path, others: Sequence[Path], rows: Sequence[Landmark], table: Path) -> list[Landmark]:
    """Select the rows that were marked on one template.

    Parameters
    ----------
    template : Path
        The template image.
    others : sequence of Path
        The other templates.
    rows : sequence of Landmark
        The table; ``image`` is a file name, or as much of the end of a path as tells files apart.
    table : Path
        File that the rows came from, for messages.

    Raises
    ------
    LandmarkError
        When the template is a folder of several images, there is no such row, or a row fits two templates of the same
        file name.
    """
    from napari_ld.io.folders import holds_images

    if template.is_dir() and not holds_images(template):
        raise LandmarkError(f"the template {template} is a folder; name the image that the landmarks were marked on")
    own = [row for row in rows if _names(row.image, template)]
    if not own:
        named = ", ".join(sorted({row.image for row in rows})) or "none"
        raise LandmarkError(
            f"{table}: no row for the template {template.name}; the column 'image' must hold its file name "
            f"(images in the table: {named})"
        )
    for row in own:
        for other in others:
            if _names(row.image, other):
                raise LandmarkError(
                    f"{table}: {row.image!r} may be {template} or {other}; write enough of the path into the column "
                    "'image' to tell them apart"
                )
    return own


def named(rows: Sequence[Landmark], names: Sequence[str], table: Path) -> list[Landmark]:
    """Keep the rows of the landmarks that were asked for; all of them where none were.

    Raises
    ------
    LandmarkError
        When the table has no landmark of one of the names; lists those that it has.
    """
    known = list(dict.fromkeys(row.name for row in rows))
    for name in names:
        if name not in known:
            raise LandmarkError(f"{table}: unknown landmark {name!r}; the table has {', '.join(known) or 'none'}")
    return [row for row in rows if not names or row.name in names]


def plane_of(row: Landmark, image: Image, default: int | None) -> int:
    """Plane of the template that a row lies on.

    Parameters
    ----------
    row : Landmark
        A row of the table.
    image : Image
        The template.
    default : int or None
        Plane for rows that name none.

    Raises
    ------
    LandmarkError
        When the plane is not named or not there, or the position lies outside the image.
    """
    plane = default if row.plane is None else row.plane
    if plane is None and image.n_planes > 1:
        raise LandmarkError(
            f"{image.source}: landmark {row.name!r} names no plane and the template has {image.n_planes}; fill the "
            "column 'plane' or give --plane N, counted from 0"
        )
    plane = plane or 0
    if plane >= image.n_planes:
        planes = f"planes are 0 to {image.n_planes - 1}" if image.n_planes > 1 else "only plane is 0"
        raise LandmarkError(
            f"{image.source}: landmark {row.name!r} lies on plane {plane}, but the {planes}; correct the column "
            "'plane' or --plane"
        )
    rows, columns = image.plane_shape
    if not (-0.5 <= row.position[0] <= rows - 0.5 and -0.5 <= row.position[1] <= columns - 0.5):
        raise LandmarkError(
            f"{image.source}: landmark {row.name!r} at row {row.position[0]:g}, column {row.position[1]:g} lies "
            f"outside the image of {rows} rows and {columns} columns; correct the table or choose another template"
        )
    return plane


def depth_of(row: Landmark, plane: int) -> float:
    """Plane of a row with its fraction, where the table gives one."""
    return float(plane) if row.depth is None else row.depth


def once_each(rows: Sequence[Sequence[Landmark]], table: Path) -> None:
    """Refuse a landmark that was marked twice in one volume: a point in space is one.

    Parameters
    ----------
    rows : sequence of sequence of Landmark
        The rows of each template.
    table : Path
        File that the rows came from, for messages.

    Raises
    ------
    LandmarkError
        Names the landmark and its planes.
    """
    for own in rows:
        for row in own:
            planes = [str(other.plane) for other in own if other.name == row.name]
            if len(planes) > 1:
                raise LandmarkError(
                    f"{table}: landmark {row.name!r} is marked on the planes {', '.join(planes)} of {row.image}; a "
                    "point in a volume stands on one plane: keep one of the rows"
                )


def _names(image: str, path: Path) -> bool:
    """Whether the text in the table is the end of the path."""
    parts = PurePath(image).parts
    return bool(parts) and path.resolve().parts[-len(parts) :] == parts
