"""Threads: a request goes in, its results come back on the main thread through Qt signals."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_ld.errors import Cancelled, NapariLDError

_SWITCH_SECONDS = 0.0005
_turns = threading.Lock()
_at_work: list[float] = []  # one for each request at work: the switch interval before the first

Function = Callable[[Any, Callable[[], bool]], Iterator[Any]]


class Worker(QObject):
    """Runs one request at a time; a newer request cancels the one before it.

    Parameters
    ----------
    function : callable
        ``function(request, cancelled)`` yields results; it runs on another thread and touches nothing of Qt or napari.

    Attributes
    ----------
    result : Signal(object)
        Each result, on the main thread, as long as its request is the newest.
    ended : Signal(str)
        The newest request is done (``""``), was cancelled (``""``) or failed (what happened, in words).
    """

    result = Signal(object)
    ended = Signal(str)
    _came = Signal(int, object)
    _stopped = Signal(int)

    def __init__(self, function: Function) -> None:
        super().__init__()
        self._function = function
        self._executor: ThreadPoolExecutor | None = None
        self._cancel = threading.Event()
        self._job = 0
        self._futures: dict[int, Future[None]] = {}
        self._running = False
        self._closed = False
        self._came.connect(self._deliver)
        self._stopped.connect(self._finish)

    @property
    def running(self) -> bool:
        """Whether the newest request is still at work."""
        return self._running

    def submit(self, request: object) -> None:
        """Start a request; the one before it is cancelled and its further results are dropped."""
        if self._closed:
            return
        self._cancel.set()
        self._cancel = threading.Event()
        self._job += 1
        self._running = True
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="napari-ld")
        self._futures[self._job] = self._executor.submit(self._run, request, self._cancel, self._job)

    def _run(self, request: object, cancel: threading.Event, job: int) -> None:
        try:
            with _short_turns():
                # A request that waited behind another may be out of date before it begins.
                for result in () if cancel.is_set() else self._function(request, cancel.is_set):
                    if cancel.is_set():
                        return
                    self._came.emit(job, result)
        finally:
            self._stopped.emit(job)  # from this thread, so that it comes behind the results

    def cancel(self) -> None:
        """Stop the newest request as soon as it looks up; results that came stay."""
        self._cancel.set()

    def shutdown(self) -> None:
        """Cancel, wait for the thread and deliver nothing more; may be called twice."""
        self._closed = True
        self._running = False
        self._cancel.set()
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def _deliver(self, job: int, result: object) -> None:
        if job == self._job and not self._closed:
            self.result.emit(result)

    def _finish(self, job: int) -> None:
        future = self._futures.pop(job)
        if self._closed:
            return
        error = future.exception()
        if job == self._job:
            self._running = False
            self.ended.emit(_in_words(error))
        if error is not None and not isinstance(error, NapariLDError):
            raise error  # a defect: napari shows it with its traceback


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """Have threads of Python take shorter turns while something is at work.

    The window's thread lets go of Python's global lock at every call of Qt, and a worker that computes gives it back
    only after a turn: with turns of 5 ms, as they are by default, a redraw of many calls takes a second.
    """
    with _turns:
        _at_work.append(_at_work[0] if _at_work else sys.getswitchinterval())
        sys.setswitchinterval(min(_SWITCH_SECONDS, _at_work[0]))
    try:
        yield
    finally:
        with _turns:
            before = _at_work.pop()
            if not _at_work:
                sys.setswitchinterval(before)


def _in_words(error: BaseException | None) -> str:
    if error is None or isinstance(error, Cancelled):
        return ""
    return str(error) if isinstance(error, NapariLDError) else f"Unexpected {type(error).__name__}: {error}"
