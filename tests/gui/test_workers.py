"""Workers: newest request wins, cancel, errors in words, clean shutdown."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from napari_ld._gui.workers import Worker
from napari_ld.errors import Cancelled, ImageError


def count(request: int, cancelled: Callable[[], bool]) -> Iterator[int]:
    yield from range(request)


def endless(request: threading.Event, cancelled: Callable[[], bool]) -> Iterator[str]:
    yield "begun"
    while not cancelled():
        request.wait(0.01)
    raise Cancelled("stopped")


@pytest.fixture
def work(qtbot: QtBot) -> Iterator[Callable[[Any], tuple[Worker, list[Any], list[str]]]]:
    made: list[Worker] = []

    def make(function: Any) -> tuple[Worker, list[Any], list[str]]:
        worker, results, ends = Worker(function), [], []
        worker.result.connect(results.append)
        worker.ended.connect(ends.append)
        made.append(worker)
        return worker, results, ends

    yield make
    for worker in made:
        worker.shutdown()
    assert [t.name for t in threading.enumerate() if t.name.startswith("napari-ld")] == []


def test_results_come_in_order_on_the_main_thread(work: Any, qtbot: QtBot) -> None:
    worker, results, ends = work(count)
    threads: list[threading.Thread] = []
    worker.result.connect(lambda _: threads.append(threading.current_thread()))
    worker.submit(5)
    assert worker.running
    qtbot.waitUntil(lambda: bool(ends))
    assert (results, ends) == ([0, 1, 2, 3, 4], [""])
    assert set(threads) == {threading.main_thread()}
    assert not worker.running


def test_a_newer_request_cancels_the_older_and_only_it_reports(work: Any, qtbot: QtBot) -> None:
    worker, results, ends = work(lambda request, cancelled: request[0](request[1], cancelled))
    worker.submit((endless, threading.Event()))
    qtbot.waitUntil(lambda: results == ["begun"])
    worker.submit((count, 2))
    qtbot.waitUntil(lambda: bool(ends))
    qtbot.wait(50)
    assert results == ["begun", 0, 1]
    assert ends == [""]


def test_cancel_ends_without_an_error(work: Any, qtbot: QtBot) -> None:
    worker, _, ends = work(endless)
    worker.submit(threading.Event())
    worker.cancel()
    qtbot.waitUntil(lambda: ends == [""])


def test_an_error_of_ours_is_told_in_words(work: Any, qtbot: QtBot) -> None:
    def fail(request: str, cancelled: Callable[[], bool]) -> Iterator[int]:
        yield 1
        raise ImageError(request)

    worker, results, ends = work(fail)
    worker.submit("The image is empty; open another.")
    qtbot.waitUntil(lambda: bool(ends))
    assert (results, ends) == ([1], ["The image is empty; open another."])


def test_a_defect_is_told_and_reaches_the_error_dialog_of_napari(work: Any, qtbot: QtBot) -> None:
    def fail(request: str, cancelled: Callable[[], bool]) -> Iterator[int]:
        yield 1
        raise ZeroDivisionError(request)

    worker, _, ends = work(fail)
    with qtbot.capture_exceptions() as raised:
        worker.submit("by zero")
        qtbot.waitUntil(lambda: bool(raised))
    assert ends == ["Unexpected ZeroDivisionError: by zero"]
    assert raised[0][0] is ZeroDivisionError


def test_shutdown_waits_for_the_thread_and_delivers_nothing_more(work: Any, qtbot: QtBot) -> None:
    worker, results, ends = work(endless)
    worker.submit(threading.Event())
    qtbot.waitUntil(lambda: results == ["begun"])
    worker.shutdown()
    worker.shutdown()
    worker.submit(threading.Event())
    qtbot.wait(50)
    assert (results, ends) == (["begun"], [])


def test_threads_take_short_turns_while_something_is_at_work(qtbot: QtBot, work: Any) -> None:
    """So that a window which redraws need not wait for a worker that computes."""
    before = sys.getswitchinterval()
    worker, _, ends = work(endless)
    other, _, other_ends = work(endless)
    for one in (worker, other):
        one.submit(threading.Event())
    qtbot.waitUntil(lambda: sys.getswitchinterval() < before)
    other.cancel()
    qtbot.waitUntil(lambda: other_ends == [""])
    assert sys.getswitchinterval() < before
    worker.cancel()
    qtbot.waitUntil(lambda: ends == [""])
    assert sys.getswitchinterval() == before
