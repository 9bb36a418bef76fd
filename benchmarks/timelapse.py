"""How well a click is tracked through a film with known truth: drift, turning, change of appearance, and hiding.

``python -m benchmarks.timelapse --output FILE`` prints a table and writes the JSON. The films are synthetic
(:func:`napari_ld._sample_time.phantom_timelapse`): a check of the tracking, not of the encoder. The search's settings
were chosen on the seeds 0 to 2; other seeds are evaluated. Each film is tracked from its first and from its last frame.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal

from benchmarks.machine import write_results
from benchmarks.outcomes import benchmark_store
from benchmarks.report import align
from benchmarks.volumes import untrained
from napari_ld._sample_data import Sample
from napari_ld._sample_time import phantom_timelapse
from napari_ld.embedding import FeatureSource
from napari_ld.localization import Template, locate
from napari_ld.model.checkpoint import LoadedModel, load_model
from napari_ld.model.zoo import DEFAULT_ENCODER, resolve

SEEDS = (10, 11, 12, 13)
LOST = 8.0  # pixels: a place farther off counts as lost
WINDOW = 41  # pixels: side of the correlated window, that of a cell
REACH = 20  # pixels: how far a frame's window is looked for from the last place
PRESENT = 0.5  # correlation below which a landmark counts as absent

Place = npt.NDArray[np.float64]
Tracks = dict[int, Place | None]  # frame -> place, None for absent
Tracker = Callable[[Sample, int, Place], Tracks]


def encoder_tracker(model: LoadedModel, kind: str, stage: str) -> Tracker:
    """Track with the search of a stack kind."""

    def track(sample: Sample, start: int, place: Place) -> Tracks:
        source = FeatureSource(sample.image, model, store=benchmark_store(), shared_limits=True)
        template = Template("cell", source, start, (float(place[0]), float(place[1])))
        found = locate(source, [template], stack_kind=kind, refine=stage == "fine")
        return {m.plane: None if m.position is None else np.array(m.position) for m in found if m.stage == stage}

    return track


def correlation(sample: Sample, start: int, place: Place) -> Tracks:
    """Track by normalised cross-correlation with the clicked window, around the last place."""
    half = WINDOW // 2
    film = np.pad(np.asarray(sample.image.array, np.float32), ((0, 0), (half, half), (half, half)), mode="edge")
    row, column = (round(float(value)) for value in place)
    window = film[start, row : row + WINDOW, column : column + WINDOW]
    window = (window - window.mean()) / (window.std() * window.size)
    found: Tracks = {start: place}
    for frames in _both_ways(start, len(film)):
        at = place
        for frame in frames:
            top, left = (max(0, round(float(value)) - REACH) for value in at)
            part = film[frame, top : top + 2 * REACH + WINDOW, left : left + 2 * REACH + WINDOW]
            ones = np.full(window.shape, 1 / window.size, np.float32)
            mean = signal.fftconvolve(part, ones, "valid")
            spread = np.sqrt(np.maximum(signal.fftconvolve(part**2, ones, "valid") - mean**2, 1.0))
            scores = signal.fftconvolve(part, window[::-1, ::-1], "valid") / spread
            best = np.unravel_index(int(scores.argmax()), scores.shape)
            seen = float(scores[best]) >= PRESENT
            found[frame] = np.array([top + best[0], left + best[1]], np.float64) if seen else None
            at = at if found[frame] is None else np.array([top + best[0], left + best[1]], np.float64)
    return found


def flow(sample: Sample, start: int, place: Place) -> Tracks:
    """Track by chained DIS optical flow (OpenCV); it has no notion of absence."""
    import cv2

    film = np.asarray(sample.image.array)
    dis: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined, unused-ignore]
    found: Tracks = {start: place}
    for frames in _both_ways(start, len(film)):
        at, last = place.astype(np.float64), start
        for frame in frames:
            moved = dis.calc(film[last], film[frame], None)
            row, column = np.clip(np.rint(at), 0, np.array(film.shape[1:]) - 1).astype(int)
            at, last = at + moved[row, column, ::-1], frame
            found[frame] = at
    return found


def _both_ways(start: int, frames: int) -> Iterator[range]:
    yield range(start + 1, frames)
    yield range(start - 1, -1, -1)


def score(tracker: Tracker, seeds: Sequence[int]) -> dict[str, Any]:
    """Errors over all films, landmarks and both directions."""
    errors: list[float] = []
    lost = visible = hidden = ghosts = 0
    for seed in seeds:
        sample = phantom_timelapse(seed=seed)
        frames = sample.image.n_planes
        for name in ("cell", "other cell"):
            truth = {row.plane: np.array(row.position) for row in sample.landmarks if row.name == name}
            for start in (0, frames - 1):
                found = tracker(sample, start, truth[start])
                for frame in set(range(frames)) - {start}:
                    place = found.get(frame)
                    if frame not in truth:
                        hidden, ghosts = hidden + 1, ghosts + (place is not None)
                        continue
                    visible += 1
                    error = np.inf if place is None else float(np.hypot(*(place - truth[frame])))
                    lost += error > LOST
                    if error <= LOST:
                        errors.append(error)
    return {
        "mean error of tracked, px": float(np.mean(errors)) if errors else float("nan"),
        "lost, %": 100 * lost / visible,
        "seen while hidden, %": 100 * ghosts / max(hidden, 1),
        "frames": visible,
    }


def trackers(model: LoadedModel) -> dict[str, Tracker]:
    """All methods by the name of their row."""
    return {
        "timelapse, coarse": encoder_tracker(model, "timelapse", "coarse"),
        "timelapse": encoder_tracker(model, "timelapse", "fine"),
        "each frame by itself (images)": encoder_tracker(model, "images", "coarse"),
        "timelapse, untrained encoder, coarse": encoder_tracker(untrained(model, 0), "timelapse", "coarse"),
        "normalised correlation, tracked": correlation,
        "DIS optical flow, chained": flow,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timelapse", description=__doc__)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="bundled name or file")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)
    rows, started = [], time.perf_counter()
    for name, tracker in trackers(load_model(resolve(options.encoder))).items():
        rows.append({"method": name, **score(tracker, options.seeds)})
        print(f"{time.perf_counter() - started:6.0f} s  {rows[-1]}", file=sys.stderr, flush=True)
    head = [key for key in rows[0] if key != "method"]
    print(align([["", *head], *([row["method"], *(f"{row[key]:.4g}" for key in head)] for row in rows)]))
    if options.output:
        content = {"seeds": options.seeds, "seconds": round(time.perf_counter() - started), "results": rows}
        write_results(options.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
