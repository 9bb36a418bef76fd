"""From request to results with a real, untrained encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ModelFileError
from napari_ld.session import Session
from napari_ld.session.compute import Sources, locate_tracks
from napari_ld.session.requests import EmbeddingProgress, Located, LocateRequest, SourceReady


@pytest.fixture
def session(tmp_path: Path, encoder: str) -> Session:
    session = Session(tmp_path)
    session.choose_encoder(encoder)
    pixels = np.random.default_rng(0).integers(0, 255, (5, 48, 64), np.uint8)
    session.open_image(Image(pixels, "pyx"), "noise")
    return session


def request(session: Session, visible: int) -> LocateRequest:
    asked = session.request_location(visible)
    assert asked is not None
    return asked


@pytest.mark.parametrize("kind", ["images", "volume"])
def test_first_answers_come_before_the_last_plane_is_embedded_nearest_first(session: Session, kind: str) -> None:
    session.choose_stack_kind(kind)
    nasion = session.add_landmark("nasion")
    session.place(nasion, 3, (20.0, 30.0))
    results = list(locate_tracks(request(session, 3), Sources(), lambda: False))
    assert isinstance(results[0], SourceReady)
    assert results[0].encoder == "own"
    progress = [r.done for r in results if isinstance(r, EmbeddingProgress)]
    assert progress == sorted(progress)
    assert progress[-1] == 5
    located = [r for r in results if isinstance(r, Located)]
    first = next(r for r in located if r.matches)
    assert [match.plane for match in first.matches] == [2]
    last_embedded = max(i for i, r in enumerate(results) if isinstance(r, EmbeddingProgress))
    assert results.index(first) < last_embedded
    assert [r.finished for r in located].count(True) == 1
    assert results[-1] == located[-1]
    for result in results:
        session.accept(result)
    track = session.state[nasion]
    assert sorted(track.points) == list(range(5))
    assert session.open_tracks() == []
    assert track.points[3].verified
    assert all(
        track.points[plane].match.stage == "fine" for plane in (0, 1, 2, 4) if track.points[plane].match.position
    )


def test_a_second_request_uses_the_features_of_the_first(session: Session) -> None:
    sources = Sources()
    session.place(session.add_landmark("nasion"), 3, (20.0, 30.0))
    first = request(session, 3)
    list(locate_tracks(first, sources, lambda: False))
    source = sources.get(first)[0]
    session.place(session.add_landmark("sella"), 1, (10.0, 30.0))
    second = request(session, 1)
    progress = [r for r in locate_tracks(second, sources, lambda: False) if isinstance(r, EmbeddingProgress)]
    assert [p.done for p in progress] == [5]
    assert sources.get(second)[0] is source
    sources.clear()
    assert sources.get(second)[0] is not source


def test_without_landmarks_the_planes_are_embedded(session: Session) -> None:
    results = list(locate_tracks(request(session, 0), Sources(), lambda: False))
    assert not any(isinstance(r, Located) for r in results)
    assert [r.done for r in results if isinstance(r, EmbeddingProgress)] == [0, 1, 2, 3, 4, 5]


def test_cancelling_stops_between_planes(session: Session) -> None:
    session.place(session.add_landmark("nasion"), 3, (20.0, 30.0))
    cancelled: list[bool] = []
    running = locate_tracks(request(session, 3), Sources(), lambda: bool(cancelled))
    while not (isinstance(result := next(running), EmbeddingProgress) and result.done == 2):
        pass
    cancelled.append(True)
    with pytest.raises(Cancelled, match="cancelled"):
        list(running)


def test_an_unknown_encoder_is_told(session: Session) -> None:
    session.choose_encoder("nonesuch")
    with pytest.raises(ModelFileError, match="unknown encoder 'nonesuch'"):
        list(locate_tracks(request(session, 0), Sources(), lambda: False))
