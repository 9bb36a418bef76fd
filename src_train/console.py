"""What a person sees of a run: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from src_train.engine import Progress


class Console:
    """Progress of one session.

    Parameters
    ----------
    first, steps : int
        Steps done before, and of the whole run.
    quiet : bool
        Show nothing.
    """

    def __init__(self, first: int, steps: int, quiet: bool) -> None:
        self.steps = steps
        self._lines = not quiet and not sys.stderr.isatty()
        self._next = 0.0
        self._phase = ""
        self._phase_seconds = self._phase_steps = 0.0
        self._bar = tqdm(
            total=steps, initial=first, disable=quiet or self._lines, unit="step", bar_format="{l_bar}{bar}| {postfix}"
        )

    def show(self, progress: Progress) -> float:
        """Show a step; returns the seconds left: steps to do at the pace of this phase, first step left out."""
        if progress.phase != self._phase:
            self._phase, self._phase_seconds, self._phase_steps = progress.phase, 0.0, 0.0
            pace = progress.seconds
        else:
            self._phase_seconds += progress.seconds
            self._phase_steps += 1
            pace = self._phase_seconds / self._phase_steps
        left = pace * (self.steps - progress.step)
        text = (
            f"step {progress.step}/{self.steps}  {progress.phase}  loss {progress.loss:.3f}  "
            f"{progress.images / progress.seconds:.1f} images/s  {left / 60:.1f} min left"
        )
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()
        now = time.monotonic()
        if self._lines and (now >= self._next or progress.step == self.steps):
            print(text, file=sys.stderr)
            self._next = now + 10
        return left

    def say(self, text: str) -> None:
        """Show a line above the bar."""
        if self._lines:
            print(text, file=sys.stderr)
        elif not self._bar.disable:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
