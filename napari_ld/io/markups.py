"""Landmarks of 3D Slicer: ``.mrk.json`` read and written, ``.fcsv`` read; points in space, patient LPS millimetres.

Formats as in 3D Slicer's developer guide, "Markups": control points with label, position, status; the coordinate system
stands in the file and may be LPS or RAS. Old ``.fcsv`` files number it: 0 is RAS, 1 is LPS.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from napari_ld._types import Image, Landmark, Match
from napari_ld.errors import LandmarkError
from napari_ld.io.landmarks import exact_plane
from napari_ld.storage import atomic_write

__all__ = ["MARKUP_ENDINGS", "Markup", "found_markups", "landmarks_in", "markups_of", "read_markups", "write_markups"]

MARKUP_ENDINGS = (".mrk.json", ".fcsv")
"""Endings of files with points in space."""

SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.0.json#"
)
PositionStatus = Literal["defined", "undefined", "missing", "preview"]
_MAX_BYTES = 64 * 2**20
_TURNED = {"LPS": (1.0, 1.0, 1.0), "1": (1.0, 1.0, 1.0), "RAS": (-1.0, -1.0, 1.0), "0": (-1.0, -1.0, 1.0)}
_NEAR_PLANE = 1e-9  # of a plane: less is rounding

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Markup:
    """A named point in space.

    Attributes
    ----------
    label : str
    position : (x, y, z) or None
        Patient LPS millimetres; None unless ``status`` is ``"defined"``.
    status : {"defined", "undefined", "missing", "preview"}
        As 3D Slicer keeps it: ``missing`` is a landmark that was looked for and is not there.
    description : str
    """

    label: str
    position: tuple[float, float, float] | None
    status: PositionStatus = "defined"
    description: str = ""


def read_markups(path: str | Path) -> list[Markup]:
    """Read the control points of all point lists of a file.

    Raises
    ------
    LandmarkError
        Unreadable file, no markups, unknown coordinate system or unit, position that is not three finite numbers.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise LandmarkError(f"{path} is larger than {_MAX_BYTES} bytes; expected a list of points")
        text = path.read_text(encoding="utf-8-sig")
        points = _from_fcsv(path, text) if path.name.lower().endswith(".fcsv") else _from_json(path, text)
    except OSError as error:
        raise LandmarkError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise LandmarkError(f"{path} is not UTF-8 text; save it with 3D Slicer again") from error
    except (json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise LandmarkError(f"{path} is damaged: {error}; save it with 3D Slicer again") from error
    if not points:
        raise LandmarkError(f"{path} holds no control points; place some in 3D Slicer and save it again")
    return points


def write_markups(
    path: str | Path, points: Sequence[Markup], *, name: str = "landmarks", colour: Colour | None = None
) -> None:
    """Write one point list in LPS, which 3D Slicer opens; :func:`read_markups` gives back the same values exactly.

    Parameters
    ----------
    path : str or Path
        An existing file is replaced in one step.
    points : sequence of Markup
    name : str
        Of the list.
    colour : (red, green, blue), optional
        0 to 1, of all points: 3D Slicer keeps one colour a list.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    markup: dict[str, Any] = {
        "type": "Fiducial",
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": [_control_point(number, point) for number, point in enumerate(points, start=1)],
    }
    if colour is not None:
        markup["display"] = {"visibility": True, "color": list(colour), "selectedColor": list(colour)}
    with atomic_write(path, "w") as file:
        json.dump({"@schema": SCHEMA, "markups": [markup]}, file, indent=2, ensure_ascii=False)
        file.write("\n")


def markups_of(landmarks: Sequence[Landmark], image: Image) -> list[Markup]:
    """Landmarks of an image as points in space.

    Raises
    ------
    LandmarkError
        When the image does not say where it lies in the patient.
    """
    affine = _affine(image)
    points = []
    for landmark in landmarks:
        depth = landmark.depth if landmark.depth is not None else float(landmark.plane or 0)
        x, y, z = (affine @ [depth, *landmark.position, 1.0])[:3]
        points.append(Markup(landmark.name, (float(x), float(y), float(z))))
    return points


def found_markups(matches: Sequence[Match], image: Image) -> list[Markup]:
    """What was found in one image as points in space.

    Parameters
    ----------
    matches : sequence of Match
        Of all landmarks and planes of the image; ``landmark`` is a name.
    image : Image

    Returns
    -------
    list of Markup
        A landmark that a person verified stands where they put it, once for each of these planes. Any other stands
        once: at its point in space where the stack kind gives one, else on the plane where its score is best; status
        and score are its description. One that is on no plane is ``missing``.

    Raises
    ------
    LandmarkError
        When the image does not say where it lies in the patient.
    """
    affine = _affine(image)
    points = []
    for name in dict.fromkeys(match.landmark for match in matches):
        own = [match for match in matches if match.landmark == name and match.position is not None]
        chosen = [match for match in own if match.status == "verified"] or sorted(own, key=_certainty)[:1]
        points += [_found(match, affine) for match in chosen] or [Markup(name, None, "missing")]
    return points


def _certainty(match: Match) -> tuple[bool, float, int]:
    return match.point is None, -match.score, match.plane


def _found(match: Match, affine: Any) -> Markup:
    verified = match.status == "verified" or match.point is None
    place = (exact_plane(match), *(match.position or ())) if verified else match.point
    x, y, z = (affine @ [*(place or ()), 1.0])[:3]
    about = match.status if match.status == "verified" else f"{match.status}, score {match.score:.3f}"
    return Markup(match.landmark, (float(x), float(y), float(z)), description=about)


def landmarks_in(points: Sequence[Markup], image: Image, name: str = "") -> list[Landmark]:
    """Points in space as landmarks of an image; those without a position are left out.

    Parameters
    ----------
    points : sequence of Markup
    image : Image
    name : str
        What to call the image.

    Returns
    -------
    list of Landmark
        On the nearest plane, with the exact ``depth`` where a point lies between planes. A point may lie outside.

    Raises
    ------
    LandmarkError
        When the image does not say where it lies in the patient, or is a single plane beside which a point lies.
    """
    inverse = np.linalg.inv(_affine(image))
    found = []
    for point in points:
        if point.position is None:
            continue
        depth, row, column = (float(value) for value in (inverse @ [*point.position, 1.0])[:3])
        plane = math.floor(depth + 0.5)
        if plane and not image.is_stack:
            raise LandmarkError(
                f"{point.label!r} lies {abs(depth) * np.linalg.norm(_affine(image)[:3, 0]):.3g} mm beside the plane of "
                f"{image.source or 'the image'}; choose the image that it was placed on, or the whole volume"
            )
        exact = None if abs(depth - plane) < _NEAR_PLANE else depth
        place = (plane, exact) if image.is_stack else (None, None)
        found.append(Landmark(point.label, place[0], (row, column), name, place[1]))
    return found


def _affine(image: Image) -> Any:
    if image.affine is None:
        raise LandmarkError(
            f"{image.source or 'the image'} does not say where it lies in the patient; use a CSV table with rows and "
            "columns instead"
        )
    return image.affine


def _control_point(number: int, point: Markup) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": str(number), "label": point.label, "description": point.description}
    if point.position is not None:
        fields["position"] = [float(value) for value in point.position]
    return {**fields, "selected": True, "locked": False, "visibility": True, "positionStatus": point.status}


def _from_json(path: Path, text: str) -> list[Markup]:
    whole = json.loads(text)
    lists = whole.get("markups") if isinstance(whole, dict) else None
    if not isinstance(lists, list) or not all(isinstance(one, dict) for one in lists):
        raise LandmarkError(f"{path} is no markups file of 3D Slicer: it has no list 'markups'")
    points = []
    for one in lists:
        signs = _signs(path, str(one.get("coordinateSystem", "LPS")))
        if str(one.get("coordinateUnits", "mm")) not in ("mm", "[mm]", "millimeter"):
            raise LandmarkError(f"{path} counts in {one['coordinateUnits']!r}; expected mm: save it in 3D Slicer again")
        controls = one.get("controlPoints") or []
        if not isinstance(controls, list) or not all(isinstance(control, dict) for control in controls):
            raise LandmarkError(f"{path} is damaged: its control points are no list; save it with 3D Slicer again")
        points += [_point(path, index, control, signs) for index, control in enumerate(controls)]
    return points


def _point(path: Path, index: int, control: dict[str, Any], signs: Colour) -> Markup:
    label = str(control.get("label") or f"point {index + 1}")
    status = str(control.get("positionStatus", "defined"))
    if status not in get_args(PositionStatus):
        raise LandmarkError(
            f"{path}: {label!r} has the status {status!r}; expected {', '.join(get_args(PositionStatus))}"
        )
    known = cast(PositionStatus, status)
    if known != "defined":
        return Markup(label, None, known, str(control.get("description", "")))
    return Markup(
        label, _position(path, label, control.get("position"), signs), known, str(control.get("description", ""))
    )


def _position(path: Path, label: str, value: Any, signs: Colour) -> tuple[float, float, float]:
    try:
        x, y, z = (float(number) * sign for number, sign in zip(value, signs, strict=True))
    except (TypeError, ValueError):
        x = y = z = math.nan
    if not all(map(math.isfinite, (x, y, z))):
        raise LandmarkError(f"{path}: {label!r} has the position {value!r}; expected three finite numbers in mm")
    return x, y, z


def _signs(path: Path, system: str) -> Colour:
    if system.upper() not in _TURNED:
        raise LandmarkError(f"{path} has the coordinate system {system!r}; expected LPS or RAS")
    return _TURNED[system.upper()]


def _from_fcsv(path: Path, text: str) -> list[Markup]:
    signs, columns = (
        _TURNED["RAS"],
        ["id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc"],
    )
    rows = []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip().lower() == "coordinatesystem":
                signs = _signs(path, value.strip())
            elif key.strip().lower() == "columns":
                columns = [name.strip() for name in value.split(",")]
        elif line.strip():
            rows.append(line)
    missing = {"x", "y", "z"} - set(columns)
    if missing:
        raise LandmarkError(f"{path} has no column {', '.join(sorted(missing))}; save it with 3D Slicer again")
    points = []
    for index, cells in enumerate(csv.reader(rows, strict=True)):
        row = dict(zip(columns, cells, strict=False))
        label = row.get("label") or f"point {index + 1}"
        position = _position(path, label, [row.get(axis) for axis in "xyz"], signs)
        points.append(Markup(label, position, description=row.get("desc", "")))
    return points
