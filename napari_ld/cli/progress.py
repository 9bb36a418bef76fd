"""Progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the context lasts.

    Yields
    ------
    callable
        To be called with how much is done and how much there is.
    """
    from tqdm import tqdm

    # A log file wants few lines, a person at a terminal a smooth bar.
    interval = 0.1 if sys.stderr.isatty() else 10.0
    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(desc=title, file=sys.stderr, mininterval=interval, dynamic_ncols=True, bar_format=layout, total=1) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def tell(message: str) -> None:
    """Say what goes on, where it does not mix with results."""
    print(f"napari-ld: {message}", file=sys.stderr)
