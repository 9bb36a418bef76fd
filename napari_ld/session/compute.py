"""The plain functions between a request and its results; they run on a worker thread and load torch when called."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ld._types import Image, Match
from napari_ld.adaptation import ADAPTABLE_KINDS, AdaptParams
from napari_ld.errors import Cancelled
from napari_ld.session.log import image_key
from napari_ld.session.replay import newest_work
from napari_ld.session.requests import (
    EmbeddingProgress,
    Identified,
    IdentifyRequest,
    Located,
    LocateRequest,
    Result,
    SourceReady,
    SourceRequest,
    TrackQuestion,
)
from napari_ld.torch_loading import load_torch

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource
    from napari_ld.localization import Template

IsCancelled = Callable[[], bool]
COARSE_SECONDS = 0.3  # while planes are being embedded, first answers come at least this far apart: each asks anew
BATCH_SECONDS = 0.1  # answers are handed over in batches, so that a long stack does not redraw at each plane


class Sources:
    """Keeps the features of the last image between requests, so that the second click need not load anything."""

    def __init__(self) -> None:
        self._key: tuple[int, str] | None = None
        self._source: FeatureSource | None = None
        self._name = ""
        self._lock = threading.Lock()

    def get(self, request: SourceRequest) -> tuple[FeatureSource, str]:
        """Features and encoder name for a request; may be called from several threads."""
        with self._lock:
            return self._get(request)

    def _get(self, request: SourceRequest) -> tuple[FeatureSource, str]:
        key = (request.serial, request.context)
        if self._source is None or self._key != key:
            self._source = None  # frees the memory of the last one before the next is made
            load_torch()
            from napari_ld.embedding import FeatureSource
            from napari_ld.model.zoo import load_encoder
            from napari_ld.storage import Store

            model = load_encoder(request.encoder)
            image = with_axes(request.image, request.stack_kind)
            shared = request.stack_kind != "images"  # what belongs together shares its intensities
            self._source = FeatureSource(image, model, device=request.device, store=Store(), shared_limits=shared)
            self._key, self._name = key, model.header.name
        return self._source, self._name

    def clear(self) -> None:
        """Let go of pixels and features."""
        self._key = self._source = None


def identify(request: IdentifyRequest, cancelled: IsCancelled) -> Iterator[Result]:
    """Recognise the image and look for earlier work on it."""
    key = image_key(request.image, request.stem)
    if not cancelled():
        yield Identified(request.serial, key, newest_work(request.sessions, key))


def locate_tracks(request: LocateRequest, sources: Sources, cancelled: IsCancelled) -> Iterator[Result]:
    """Answer all questions of a request: on embedded planes at once, on the others as they are embedded, then finely.

    Raises
    ------
    Cancelled
        Within half a second after ``cancelled`` turned true.
    NapariLDError
        When the encoder or the image cannot be used.
    """
    source, name = sources.get(request)
    yield SourceReady(
        request.serial, request.context, name, f"{source.device.name} · {source.device.dtype}", source.device.reason
    )
    run = _Run(request, source, cancelled)
    yield from run.embed(plane for track in request.tracks for plane, _ in track.templates)
    yield from run.coarse()
    yield from run.fine()


class _Run:
    """One request at work."""

    def __init__(self, request: LocateRequest, source: FeatureSource, cancelled: IsCancelled) -> None:
        self.request, self.source, self.cancelled = request, source, cancelled
        # A search may embed neighbouring planes by itself; counted is what has been told of.
        self.counted = {plane for plane in request.planes if source.is_ready(plane)}

    def progress(self) -> EmbeddingProgress:
        return EmbeddingProgress(self.request.serial, self.request.context, len(self.counted), len(self.request.planes))

    def embed(self, planes: Iterator[int]) -> Iterator[Result]:
        for plane in planes:
            self.check()
            if plane not in self.counted:
                self.source.plane(plane, self.cancelled)
                self.counted.add(plane)
                yield self.progress()

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled("The propagation was cancelled.")

    def coarse(self) -> Iterator[Result]:
        """First answers, before the last plane is embedded."""
        yield self.progress()
        ready = set(self.counted)
        yield from self.coarse_on(ready)
        waiting: list[int] = []
        answered = -math.inf
        for plane in self.request.planes:
            if plane not in ready:
                yield from self.embed(iter([plane]))
                waiting.append(plane)
            if waiting and time.monotonic() - answered > COARSE_SECONDS:
                yield from self.coarse_on(waiting)
                waiting, answered = [], time.monotonic()
        yield from self.coarse_on(waiting)

    def coarse_on(self, planes: Collection[int]) -> Iterator[Result]:
        """First answers of every landmark on these planes."""
        for track in self.request.tracks:
            yield from self.located(track, tuple(p for p in track.planes if p in planes), refine=False)

    def fine(self) -> Iterator[Result]:
        """Final answers, with what the stack kind knows of neighbouring planes."""
        for track in self.request.tracks:
            yield from self.located(track, track.planes, refine=True)
            yield self.answer(track, [], finished=True)

    def located(self, track: TrackQuestion, planes: tuple[int, ...], *, refine: bool) -> Iterator[Result]:
        if not planes:
            return
        from napari_ld.localization import LocateParams, locate

        adapted = track.lessons and self.request.stack_kind in ADAPTABLE_KINDS
        matches = locate(
            self.source,
            self.templates(track),
            stack_kind=self.request.stack_kind,
            params=LocateParams(mirror=self.request.mirror, adapt=AdaptParams() if adapted else None),
            planes=planes,
            refine=refine,
            cancelled=self.cancelled,
        )
        batch: list[Match] = []
        handed_over = time.monotonic()
        for match in matches:
            self.check()
            batch.append(match)
            if time.monotonic() - handed_over > BATCH_SECONDS:
                yield self.answer(track, batch)
                batch, handed_over = [], time.monotonic()
        yield self.answer(track, batch)

    def templates(self, track: TrackQuestion) -> list[Template]:
        from napari_ld.localization import Template

        return [
            Template(track.landmark, self.source, plane, position, lesson=(plane, position) in track.lessons)
            for plane, position in track.templates
        ]

    def answer(self, track: TrackQuestion, matches: list[Match], *, finished: bool = False) -> Located:
        return Located(
            self.request.serial, self.request.context, track.landmark, track.generation, tuple(matches), finished
        )


def with_axes(image: Image, kind: str) -> Image:
    """Image whose plane axis says what the person chose: slices, moments, or one image a plane."""
    axis = {"volume": "z", "timelapse": "t"}.get(kind, "p")
    return replace(image, axes=axis + image.axes[1:]) if image.is_stack else image


def image_stem(name: str) -> str:
    """Name without folder and suffixes."""
    return Path(name).name.split(".")[0] if name else ""
