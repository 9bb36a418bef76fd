"""How long the window stands still: napari alone, with the panel, and while it embeds, proposes, refines and trains.

``python -m benchmarks.responsiveness``; a timer in the window itself, which should fire every few milliseconds, notes
the longest time between two of its calls. Each round is a fresh process that goes through all states by turns, so that
napari's own gaps are measured beside ours; on a shared machine the least of the maxima over the rounds says most. What
napari does by itself in such a state, of which its first layer of points is measured in another process, is the measure
of ours: see :data:`_BESIDE`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.machine import write_results
from benchmarks.report import align

_ROOT = Path(__file__).resolve().parent.parent
_SIDE, _PLANES = 384, 24
_TICK = 2  # ms
_LIMIT = 50.0  # ms above napari alone
_ALONE, _SCROLLED, _POINTS = "napari alone, idle", "napari alone, scrolling", "napari alone, first layer of points"
_BESIDE = {
    "panel, scrolling": _SCROLLED,
    "training, scrolling": _SCROLLED,
    "first click, encoder loads": _POINTS,
}
"""What napari does by itself when it is doing the same; all else is compared with an idle one."""
Gaps = dict[str, list[float]]


class Meter:
    """Notes the time between two calls of a timer of the event loop, by the clock and of the window's own thread.

    The second is what the window's thread computed itself, whatever else the machine does meanwhile.
    """

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.gaps: Gaps = {}
        self.own: Gaps = {}
        self._last = self._spent = 0.0
        self._longest: list[tuple[float, float]] | None = None
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(_TICK)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        now, spent = time.perf_counter(), time.thread_time()
        if self._longest is not None:
            self._longest.append((1e3 * (now - self._last), 1e3 * (spent - self._spent)))
        self._last, self._spent = now, spent

    def during(self, state: str, work: Callable[[], object]) -> None:
        """Note the longest gap and the most processor time in one go, in ms, while ``work`` lets the loop run."""
        self._longest, self._last, self._spent = [], time.perf_counter(), time.thread_time()
        self._timer.start()
        work()
        self._timer.stop()
        for kind, values in ((self.gaps, 0), (self.own, 1)):
            kind.setdefault(state, []).append(max((one[values] for one in self._longest), default=0.0))
        self._longest = None


class Round:
    """One napari with its window, gone through all states.

    Parameters
    ----------
    seconds : float
        Each state lasts so long, those that end by themselves until they do.
    """

    def __init__(self, seconds: float) -> None:
        import napari

        self.seconds = seconds
        self.meter = Meter()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1366, 768)
        self.viewer.add_image(stack(), name="stack")
        self.answers: dict[str, float] = {}
        self.wait(2.0)

    def wait(self, seconds: float = 0.0) -> None:
        """Let the event loop run."""
        hand().qWait(int(1000 * (seconds or self.seconds)))

    def until(self, done: Callable[[], object], seconds: float = 1200.0) -> None:
        """Let the event loop run until something is so."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise RuntimeError("the window did not come so far")
            hand().qWait(20)

    def scroll(self) -> None:
        """Step through the planes, ten a second."""
        end, plane = time.monotonic() + self.seconds, 0
        while time.monotonic() < end:
            plane = (plane + 1) % _PLANES
            self.viewer.dims.set_point(0, plane)
            self.wait(0.1)

    def run(self) -> dict[str, Any]:
        """Go through all states; returns the gaps in ms, and how soon Stop was acknowledged."""
        meter = self.meter
        meter.during(_ALONE, self.wait)
        meter.during(_SCROLLED, self.scroll)
        self._open_panel()
        meter.during("panel, idle", self.wait)
        meter.during("panel, scrolling", self.scroll)
        meter.during("first click, encoder loads", lambda: self._embed(load_only=True))
        meter.during("embedding", lambda: self._embed(load_only=False))
        meter.during("clicking landmarks", self._click)
        self._settle()
        meter.during("panel, idle", self.wait)
        meter.during("proposing regions", self._propose)
        meter.during("reviewing regions", self._review)
        meter.during("refine preview, scrolling", self._refine)
        meter.during("training begins", self._train)
        meter.during("training", self.wait)
        meter.during("training, scrolling", self.scroll)
        meter.during("training, clicking landmarks", self._click)
        self._settle()
        meter.during("training is stopped", self._stop)
        meter.during("panel, idle", self.wait)
        self.viewer.close()
        return {"gaps": meter.gaps, "own": meter.own, **self.answers}

    def run_alone(self) -> dict[str, Any]:
        """Only what napari does for its first layer of points, which can be measured once."""
        self.meter.during(_POINTS, self._add_points)
        self.viewer.close()
        return {"gaps": self.meter.gaps, "own": self.meter.own}

    def _add_points(self) -> None:
        importlib.import_module("pandas")  # as the panel does beforehand on another thread

        self.viewer.add_points(np.array([[0.0, 200.0, 180.0]]), name="points")
        self.wait()

    def _open_panel(self) -> None:
        from napari_ld._gui.panel import LDPanel

        self.panel: Any = LDPanel(self.viewer)
        self.viewer.window.add_dock_widget(self.panel, name="napari-ld", area="right")
        self.wait(2.0)

    def _press(self, name: str) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QWidget

        hand().mouseClick(self.panel.findChild(QWidget, name), Qt.MouseButton.LeftButton)

    def _settle(self) -> None:
        session = self.panel.session
        self.until(lambda: not session.work.running and not session.open_tracks())

    def _embed(self, *, load_only: bool) -> None:
        session = self.panel.session
        if load_only:
            landmark = session.add_landmark("first")
            session.place(landmark, 0, (200.0, 180.0))
            self.until(lambda: session.work.embedded > 0)
        else:
            self._settle()

    def _click(self) -> None:
        """A click of the mouse on another place of the canvas every half second, each for a landmark of its own."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtWidgets import QWidget

        rng, window = np.random.default_rng(len(self.meter.gaps)), self.panel.window()
        canvas: Any = next(w for w in window.findChildren(QWidget) if "CanvasBackend" in type(w).__name__)
        placed, end = 0, time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.panel.session.add_landmark()
            self.panel._desk.take_click()
            self.wait(0.1)
            shift = rng.uniform(-0.2, 0.2, 2) * canvas.height()
            place = QPoint(int(canvas.width() / 2 + shift[0]), int(canvas.height() / 2 + shift[1]))
            hand().mouseMove(canvas, place)
            hand().mouseClick(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
            self.wait(0.4)
            placed += not self.panel.session.awaiting_click
        if not placed:
            raise RuntimeError("no click on the canvas was taken")

    def _propose(self) -> None:
        self._press("ld_regions_header")
        self.wait(0.3)
        self._press("ld_propose")
        session = self.panel.session
        self.until(lambda: session.regions.book.items and not session.proposing.running)

    def _review(self) -> None:
        """Accept and reject by turns, five a second."""
        end, accepted = time.monotonic() + self.seconds, 0
        while time.monotonic() < end:
            self._press("ld_reject" if accepted % 2 else "ld_accept")
            accepted += 1
            self.wait(0.2)
        if not self.panel.session.regions.book.canvas.planes:
            raise RuntimeError("no region was accepted")

    def _refine(self) -> None:
        """Look at what refining the accepted regions would change, plane by plane."""
        self._press("ld_refine_header")
        self.wait(0.3)
        self._press("ld_refine_preview")
        desk = self.panel._desk.refine
        self.until(lambda: desk.previewing and not desk.busy)
        self.scroll()
        self._press("ld_refine_preview")

    def _train(self) -> None:
        self._press("ld_train_header")
        self.wait(0.3)
        self._press("ld_train_start")
        training = self.panel._training
        self.until(lambda: training.run is not None and len(training.run.curve) > 3)
        self.until(lambda: self.panel._train.previews.preview is not None or training.run.exported == 0, 60)

    def _stop(self) -> None:
        pressed = time.perf_counter()
        self._press("ld_train_stop")
        training = self.panel._training
        self.until(lambda: training.run.phase not in ("starting", "running"))
        self.answers["stop_acknowledged_s"] = time.perf_counter() - pressed
        self.until(lambda: not training.run.held)


def hand() -> Any:
    """Qt's own mouse and clock; the stubs of the binding know them as methods."""
    from qtpy.QtTest import QTest

    return QTest


def stack() -> np.ndarray[Any, Any]:
    """Planes of smooth noise."""
    rng = np.random.default_rng(0)
    planes = [gaussian_filter(rng.normal(size=(_SIDE, _SIDE)), 6) for _ in range(_PLANES)]
    return np.stack([(40 * plane / plane.std() + 128).clip(0, 255).astype(np.uint8) for plane in planes])


def summary(rounds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Longest gap of each state in ms: median, least and most over all turns, and how far above napari alone."""
    gaps, own = _joined(rounds, "gaps"), _joined(rounds, "own")
    rows = []
    for state, values in gaps.items():
        beside = _BESIDE.get(state, state if state in (_SCROLLED, _POINTS) else _ALONE)
        least, median = (of(values) - of(gaps[beside]) for of in (min, statistics.median))
        computed = statistics.median(own[state])
        row: dict[str, Any] = {"state": state, "beside": beside, "turns": len(values)}
        row |= {"median_ms": statistics.median(values), "least_ms": min(values), "most_ms": max(values)}
        row |= {"least_above_alone_ms": least, "median_above_alone_ms": median}
        row |= {"own_thread_least_ms": min(own[state]), "own_thread_median_ms": computed}
        row["own_thread_above_alone_ms"] = computed - statistics.median(own[beside])
        rounded = {name: round(value, 1) if isinstance(value, float) else value for name, value in row.items()}
        rows.append(rounded | {"kept": least <= _LIMIT})
    return rows


def _joined(rounds: Sequence[dict[str, Any]], kind: str) -> Gaps:
    joined: Gaps = {}
    for one in rounds:
        for state, values in one[kind].items():
            joined.setdefault(state, []).extend(values)
    return joined


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out the summary as text."""
    lines = [
        ["longest gap, ms", "least", "median", "most", "least above napari", "own thread", "above napari", "turns"]
    ]
    lines[0].append(f"limit {_LIMIT:g}")
    for row in rows:
        keys = ["least_ms", "median_ms", "most_ms", "least_above_alone_ms", "own_thread_median_ms"]
        keys += ["own_thread_above_alone_ms"]
        numbers = [f"{row[key]:.0f}" for key in keys]
        lines.append([row["state"], *numbers, str(row["turns"]), "kept" if row["kept"] else "MISSED"])
    return align(lines)


def one_round(seconds: float, variables: dict[str, str]) -> dict[str, Any]:
    """Run a round: napari alone and all states, each in a fresh process."""
    alone, whole = (_child(words, seconds, variables) for words in (["--alone"], []))
    return whole | {kind: alone[kind] | whole[kind] for kind in ("gaps", "own")}


def _child(words: Sequence[str], seconds: float, variables: dict[str, str]) -> dict[str, Any]:
    """A process with folders of its own."""
    with tempfile.TemporaryDirectory(prefix="napari-ld-", ignore_cleanup_errors=True) as name:
        folders = {key: f"{name}/{key}" for key in ("CACHE", "SESSIONS", "RUNS", "ENCODERS")}
        environment = {**os.environ, **variables, **{f"NAPARI_LD_{key}": path for key, path in folders.items()}}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.responsiveness", "--child", *words, "--seconds", str(seconds)],
            cwd=_ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _load() -> list[float]:
    """Processes that wanted to run during the last minute, where the system counts them."""
    return [round(os.getloadavg()[0], 1)] if hasattr(os, "getloadavg") else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.responsiveness", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="each state lasts so long")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        measured = Round(options.seconds)
        print(json.dumps(measured.run_alone() if options.alone else measured.run()))
        return 0
    from napari_ld.cli.display import a_display

    with a_display() as variables:
        if variables is None:
            print("no display, and no Xvfb: nothing was measured", file=sys.stderr)
            return 1
        rounds, load = [], [*_load()]
        for _ in range(options.rounds):
            rounds.append(one_round(options.seconds, dict(variables)))
            load += _load()
    rows = summary(rounds)
    stops = [one["stop_acknowledged_s"] for one in rounds]
    print(table(rows))
    print(f"Stop acknowledged after {min(stops):.2f} to {max(stops):.2f} s")
    if options.output:
        settings: dict[str, Any] = {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "planes": _PLANES,
            "side": _SIDE,
            "seed": 0,
        }
        settings["load_averages"] = load  # of the machine, before and after each round
        write_results(options.output, {"settings": settings, "results": rows, "stop_acknowledged_s": stops})
    return 0


if __name__ == "__main__":
    sys.exit(main())
