"""Section Train: start a run, watch it, decide what becomes of its encoder. Nothing starts or switches by itself."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_ld._gui.confirm import ConfirmButton
from napari_ld._gui.curve import LossCurve
from napari_ld._gui.forms import Section, button, caption, combo, text_line
from napari_ld._gui.sections.own_encoders import OwnEncoders
from napari_ld._gui.sections.training_form import TrainingForm
from napari_ld._gui.training_desk import TrainingDesk
from napari_ld.session import Session
from napari_ld.session.encoder_comparison import Compared, Comparing, verified_points
from napari_ld.session.training import Preparing
from napari_ld.session.training_runs import RunState

TITLE = "Train"


class TrainSection(Section):
    """Form, the run that is shown, and the person's encoders.

    Attributes
    ----------
    encoder_wanted : Signal(str)
        Name of an encoder that the person wants to be used.
    encoders_changed : Signal()
        The person's encoders are others now.
    """

    encoder_wanted = Signal(str)
    encoders_changed = Signal()

    def __init__(self, session: Session, desk: TrainingDesk) -> None:
        super().__init__(TITLE, "train")
        self._session, self._desk = session, desk
        self._result = ""
        self.form = TrainingForm(session)
        self.rows.addWidget(self.form)
        self._notice = text_line("ld_train_notice")
        self.rows.addWidget(self._notice)
        self._build_run()
        self.own = OwnEncoders(session)
        self.rows.addWidget(self.own)
        self._connect()
        self.show_runs()

    def _build_run(self) -> None:
        self.run_box = QWidget()
        box, self.rows = self.rows, QVBoxLayout(self.run_box)
        self.rows.setContentsMargins(0, 2, 0, 0)
        self.rows.setSpacing(4)
        self.runs = combo("ld_runs", "Runs of today and earlier; those that are training go on without napari")
        self.runs.activated.connect(lambda row: self._desk.choose(Path(str(self.runs.itemData(row)))))
        self.add_row(caption("run", self.runs), self.runs, stretch=1)
        self.progress = QProgressBar()
        self.progress.setObjectName("ld_train_progress")
        self.progress.setFixedHeight(14)
        self.progress.setToolTip("Steps of the training")
        self.rows.addWidget(self.progress)
        self._numbers = text_line("ld_train_numbers")
        self.rows.addWidget(self._numbers)
        self.curve = LossCurve("ld_train_curve")
        self.rows.addWidget(self.curve)
        self._failure = text_line("ld_train_failure")
        self._failure.setProperty("ldError", True)
        self.rows.addWidget(self._failure)
        self._build_steering()
        self._build_decision()
        box.addWidget(self.run_box)
        self.rows = box

    def _build_steering(self) -> None:
        desk = self._desk
        self.pause = button(
            "Pause", "ld_train_pause", "Wait, using no processor; it can go on later", lambda: desk.wish("pause")
        )
        self.resume = button("Resume", "ld_train_resume", "Go on where it was", desk.resume)
        self.stop = button(
            "Stop",
            "ld_train_stop",
            "End it; what was learned is kept, and it can be resumed",
            lambda: desk.wish("stop"),
        )
        self.discard = ConfirmButton(
            "Discard", "Really?", "ld_train_discard", "Delete this run; encoders you kept stay", desk.discard
        )
        self.add_row(self.pause, self.resume, self.stop)

    def _build_decision(self) -> None:
        desk = self._desk
        self.compare = button("Compare", "ld_train_compare", "", desk.compare)
        self.use = button(
            "Use this encoder", "ld_train_use", "Keep it among your encoders and use it from now on",
            lambda: desk.keep(use=True),
        )  # fmt: skip
        self.keep = button(
            "Keep", "ld_train_keep", "Keep it among your encoders, and go on with the present one",
            lambda: desk.keep(use=False),
        )  # fmt: skip
        self._verdict = text_line("ld_train_verdict")
        self.add_row(self.compare, self.use, self.keep, self.discard)
        self.rows.addWidget(self._verdict)

    def _connect(self) -> None:
        desk, form, own = self._desk, self.form, self.own
        form.start_wanted.connect(desk.start)
        form.cancel_wanted.connect(desk.cancel_start)
        form.details_wanted.connect(desk.ask_devices)
        desk.runs_changed.connect(self.show_runs)
        desk.progressed.connect(self.refresh)
        desk.answered.connect(self._take)
        desk.kept.connect(self._kept)
        desk.refused.connect(self.show_error)
        own.use_wanted.connect(self.encoder_wanted.emit)
        own.import_wanted.connect(lambda path: desk.bring(Path(path), Path(path).stem))
        own.changed.connect(self._encoders_changed)
        own.refused.connect(self.show_error)
        self.opened.connect(desk.look_for_runs)

    def _encoders_changed(self) -> None:
        self.form.list_encoders()
        self.encoders_changed.emit()

    def _kept(self, name: str, use: bool) -> None:
        self._encoders_changed()
        if use:
            self.encoder_wanted.emit(name)
        self.own.list(name)
        self._notice.setText(f"{name} is used from now on." if use else f"{name} is among your encoders now.")
        self.refresh()

    def _take(self, answer: object) -> None:
        match answer:
            case list():
                self.form.show_devices(answer)
            case Preparing():
                self._notice.setText(f"Handing over {answer.total} plane{'' if answer.total == 1 else 's'} …")
            case Comparing():
                self._result = f"Looking at the image with the {'old' if answer.number == 1 else 'new'} encoder …"
            case Compared():
                self._result = answer.text
        self.refresh()

    def show_runs(self) -> None:
        """List the runs as they stand now."""
        desk = self._desk
        shown = self.runs.currentData()
        self.runs.clear()
        for run in desk.runs:
            self.runs.addItem(run.title, str(run.path))
        self.runs.setCurrentIndex(self.runs.findData(str(desk.chosen)))
        if shown != self.runs.currentData():
            self._result = ""
            self.discard.calm()
        if desk.run is not None and desk.run.alive and not desk.starting:
            self._notice.setText("")
        self.refresh()

    def refresh(self) -> None:
        """Show the chosen run as it was last seen."""
        desk, run = self._desk, self._desk.run
        self.form.refresh(starting=desk.starting)
        self.own.refresh()
        self._notice.setVisible(bool(self._notice.text()))
        self.run_box.setVisible(run is not None)
        training = next((one for one in desk.runs if one.phase == "running" and one.steps), None)
        self.header.setText(f"{TITLE} · {100 * training.step // training.steps} %" if training else TITLE)
        if run is not None:
            self._show_run(run)

    def _show_run(self, run: RunState) -> None:
        self.progress.setRange(0, run.steps if run.steps or not run.alive else 0)  # unknown yet: a busy bar
        self.progress.setMaximum(max(run.steps, 1) if not run.alive else run.steps)
        self.progress.setValue(run.step)
        self.progress.setFormat(f"step {run.step:,} of {run.steps:,}" if run.steps else "")
        self._numbers.setText(numbers(run))
        self.curve.setVisible(len(run.curve) > 1)
        self.curve.show_curve(run.curve, run.steps)
        self._failure.setVisible(bool(run.error))
        self._failure.setText(run.error)
        self.pause.setVisible(run.phase == "running")
        self.resume.setVisible(run.phase == "paused" or run.resumable)
        self.stop.setVisible(run.phase in ("starting", "running", "paused", "pausing"))
        self.discard.setVisible(not run.held)
        self._show_decision(run)

    def _show_decision(self, run: RunState) -> None:
        ready = not run.held and run.encoder is not None
        for widget in (self.compare, self.use, self.keep):
            widget.setVisible(ready)
        self.compare.setEnabled(self._session.image is not None and not self._desk.comparing)
        on_points = bool(verified_points(self._session.state))
        self.compare.setToolTip(
            f"Old against new encoder on this image, {'on your verified landmarks' if on_points else 'on known warps'}"
        )
        self._verdict.setVisible(ready and bool(self._result))
        self._verdict.setText(self._result)

    @property
    def guidance(self) -> str:
        """What is going on, and what to do next."""
        run = self._desk.run
        if self._desk.starting:
            return "Handing the images over to the training …"
        if run is None:
            return "Press Start to train an encoder on these images. You can go on working meanwhile."
        if run.alive:
            return "Training runs beside your work, and goes on when napari is closed."
        if run.phase == "finished":
            return "Compare the new encoder with the present one, then use, keep or discard it."
        if run.phase in ("failed", "lost"):
            return "The run broke off; what it said stands above." + (" Press Resume." if run.resumable else "")
        return "The run is stopped. Resume it, or use what it has learned so far."


def numbers(run: RunState) -> str:
    """Images, device, loss, speed and time left in one line, as far as they are known."""
    parts = [run.images] if run.images else []
    if run.device:
        parts.append(run.device)
    if run.curve:
        parts.append(f"loss {run.curve[-1][1]:.3g}")
    if run.correspondence:
        parts.append(f"points found again {100 * run.correspondence[-1][1]:.0f}\N{NO-BREAK SPACE}%")
    if run.phase == "running" and run.speed:
        parts.append(f"{run.speed:.3g} images/s")
    if run.phase == "running":
        parts.append(
            f"about {_clock(run.seconds_left)} left" if run.seconds_left is not None else "measuring the time …"
        )
    return " · ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes}:{rest:02}"
