"""What happens between two steps: reports, measurements, checkpoints, and the end on request."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Protocol

from src_train.checkpoint import RunState, save_checkpoint
from src_train.console import Console
from src_train.control import Control
from src_train.distributed import agree
from src_train.engine import Progress, Trainer
from src_train.events import EventLog
from src_train.exporting import EncoderWriter, HeadWriter
from src_train.folder import RunFolder
from src_train.momentum import RunningAreas
from src_train.task_config import RunConfig

_REPORT_SECONDS = 1.0


class Judge(Protocol):
    """Measures what is exported, always in the same way."""

    def __call__(self, network: Any, /) -> dict[str, float]:
        """Measures by name."""
        ...

    def score(self, measured: dict[str, float], /) -> float | None:
        """What is compared: higher is better; None when nothing is selected by."""
        ...


class Supervisor:
    """Called after every step; says whether to end.

    Only the first process writes, measures and listens; the others are told by it. With several processes a pause
    ends the run like a stop, since the others cannot wait without occupying their devices.

    Parameters
    ----------
    trainer : Trainer
    config : RunConfig
    state : RunState
    folder : RunFolder
    writer : EncoderWriter or HeadWriter
    log : EventLog
    control : Control or None
        None in all processes but the first.
    console : Console
    assessor : Judge or None
    began : float
        ``time.perf_counter()`` at the start of the session.
    """

    def __init__(
        self,
        trainer: Trainer,
        config: RunConfig,
        state: RunState,
        folder: RunFolder,
        writer: EncoderWriter | HeadWriter,
        log: EventLog,
        control: Control | None,
        console: Console,
        assessor: Judge | None,
        *,
        began: float,
    ) -> None:
        self.trainer, self.config, self.state = trainer, config, state
        self.writer = writer
        self.early = 0 < config.evaluation.patience <= state.since_best
        self._folder, self._log, self._control = folder, log, control
        self._console, self._assessor = console, assessor
        self._before, self._began, self._reported = state.seconds, began, float("-inf")
        self._saved = self._exported = time.perf_counter()

    def minutes(self) -> float:
        """Spent on the run so far, all sessions together."""
        return (self._before + time.perf_counter() - self._began) / 60

    def __call__(self, progress: Progress) -> bool:
        """Do what is due after a step; True ends the session."""
        ending = self._control is not None and self._lead(progress, self._control)
        return agree(ending, self.trainer.world, self.trainer.device)

    def _lead(self, progress: Progress, control: Control) -> bool:
        self._report(progress)
        every = self.config.evaluation.every
        if self._assessor is not None and (progress.step % every == 0 or progress.step == self.trainer.steps):
            self._assess(self._assessor)
        last = progress.step == self.trainer.steps
        if control.wish == "pause" and self.trainer.world.size == 1 and not last:
            self._pause(control)
        reason = self._reason_to_end(control)
        schedule = self.config.schedule
        late = time.perf_counter() - self._saved >= schedule.save_seconds
        if reason or last or self.early or late or progress.step % schedule.save_every == 0:
            self.save()
        elif 0 < schedule.export_seconds <= time.perf_counter() - self._exported:
            self._export()
        if reason and not last:
            self._log.write("stopped", step=progress.step, reason=reason)
            self._console.say(f"stopped ({reason}) at step {progress.step}; go on with: resume {self._folder.path}")
        return bool(reason) or self.early

    def on_full_memory(self, before: int, now: int) -> None:
        """Say that steps take fewer couples from now on, and see to it that a resumed run does as well."""
        self.config = replace(self.config, schedule=replace(self.config.schedule, couples=now))
        self.writer.config = self.config
        if self._control is not None:
            self._folder.write_config(self.config)
        self._log.write("smaller_batch", step=self.trainer.step, before=before, couples=now)
        self._console.say(f"memory is full: {now} instead of {before} couples of images a step from here on")

    def save(self) -> None:
        """Write a checkpoint, and the encoder so far unless the best one stands there."""
        self.state.seconds = 60 * self.minutes()
        save_checkpoint(self._folder.checkpoint, self.trainer, self.state)
        self._write_encoder()
        self._saved = time.perf_counter()
        self._log.write("saved", step=self.trainer.step, minutes=round(self.minutes(), 2))

    def _export(self) -> None:
        if self._write_encoder():
            self._log.write("exported", step=self.trainer.step)

    def _write_encoder(self) -> bool:
        """Write the encoder so far unless the best one stands there; returns whether it was written."""
        self._exported = time.perf_counter()
        due = self.config.evaluation.select == "last" or not self.writer.path.is_file()
        due = due and self.trainer.step >= self.writer.first
        if due:
            self.writer.write(self.trainer.result, self.trainer.step, self.minutes())
        return due

    def _reason_to_end(self, control: Control) -> str:
        # A pause that was asked for just now is met after the next step.
        if control.wish == "stop" or (control.wish == "pause" and self.trainer.world.size > 1):
            return control.reason()
        limit = self.config.schedule.minutes
        session = (time.perf_counter() - self._began) / 60
        return f"{limit:g} minutes are over" if 0 < limit <= session else ""

    def _report(self, progress: Progress) -> None:
        left = self._console.show(progress)
        now = time.perf_counter()
        if now - self._reported < _REPORT_SECONDS and progress.step < self.trainer.steps:
            return
        self._reported = now
        self._log.write(
            "step",
            step=progress.step,
            steps=self.trainer.steps,
            phase=progress.phase,
            loss=round(progress.loss, 5),
            terms={name: round(value, 5) for name, value in progress.terms.items()},
            images_per_second=round(progress.images * self.trainer.world.size / progress.seconds, 2),
            data_share=round(progress.waited / progress.seconds, 4),
            seconds_left=round(left),
            **self._areas(),
        )

    def _areas(self) -> dict[str, list[float]]:
        """Recent mean area of every cluster: one that dies is seen while it does."""
        running = dict(self.trainer.method.networks.items()).get("areas")
        return {"areas": [round(a, 5) for a in running.areas.tolist()]} if isinstance(running, RunningAreas) else {}

    def _assess(self, assessor: Judge) -> None:
        measured = assessor(self.trainer.result)
        score, state, evaluation = assessor.score(measured), self.state, self.config.evaluation
        better = score is not None and (state.best is None or score > state.best)
        if better:
            state.best, state.since_best = score, 0
            if evaluation.select != "last":
                self.writer.write(self.trainer.result, self.trainer.step, self.minutes())
        else:
            state.since_best += 1
        self.early = 0 < evaluation.patience <= state.since_best
        rounded = {name: round(value, 5) for name, value in measured.items()}
        self._log.write("score", step=self.trainer.step, measured=rounded, best=better)
        self._export()

    def _pause(self, control: Control) -> None:
        self.save()
        self._log.write("paused", step=self.trainer.step)
        self._console.say('paused; write {"command": "run"} to control.json to go on')
        waited = time.perf_counter()
        control.wait_while_paused()
        self._began += time.perf_counter() - waited  # a pause is no time of training
        if control.wish == "run":
            self._log.write("continued", step=self.trainer.step)
