"""Differences between two states, small and ready for JSON: the lines of the autosave log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from napari_ld._types import Match
from napari_ld.session.tracks import Point, State, Track


def difference(before: State, after: State) -> dict[str, Any]:
    """What changed between two states, small and ready for JSON; :func:`applied` is its inverse."""
    tracks = []
    for key, track in after.items():
        old = before.get(key)
        if old is track:
            continue
        known: Mapping[int, Point] = old.points if old else {}
        tracks.append(
            {
                "id": key,
                "name": track.name,
                "color": track.color,
                "generation": track.generation,
                "finished": track.finished,
                "lessons": track.lessons,
                "points": [_to_json(p) for plane, p in track.points.items() if known.get(plane) != p],
                "gone": [plane for plane in known if plane not in track.points],
            }
        )
    return {"tracks": tracks, "removed": [key for key in before if key not in after]}


def applied(state: State, change: dict[str, Any]) -> State:
    """State after a change made by :func:`difference`."""
    tracks = {key: track for key, track in state.items() if key not in change["removed"]}
    for entry in change["tracks"]:
        old = tracks.get(entry["id"])
        points = {plane: p for plane, p in (old.points if old else {}).items() if plane not in entry["gone"]}
        points.update({p.match.plane: p for p in map(_from_json, entry["points"])})
        tracks[entry["id"]] = Track(
            entry["id"],
            entry["name"],
            entry["color"],
            MappingProxyType(points),
            entry["generation"],
            tuple(entry["finished"]) if entry["finished"] else None,
            # logs of earlier versions have none
            tuple((int(plane), (float(row), float(column))) for plane, (row, column) in entry.get("lessons", ())),
        )
    return MappingProxyType(tracks)


def _to_json(point: Point) -> dict[str, Any]:
    return {"match": asdict(point.match), "template": point.template, "stamp": point.stamp}


def _from_json(entry: dict[str, Any]) -> Point:
    match = dict(entry["match"])
    if match["position"] is not None:
        match["position"] = (float(match["position"][0]), float(match["position"][1]))
    if match["point"] is not None:
        match["point"] = tuple(map(float, match["point"]))
    return Point(Match(**match), entry["template"], tuple(entry["stamp"]) if entry["stamp"] else None)
