"""Section Train: start a run, watch it, decide what becomes of its encoder. Nothing starts or switches by itself."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal

from napari_ld._gui.forms import Section, text_line
from napari_ld._gui.preview_desk import PreviewDesk
from napari_ld._gui.sections.own_encoders import OwnEncoders
from napari_ld._gui.sections.training_form import TrainingForm
from napari_ld._gui.sections.training_run import TrainingRun
from napari_ld._gui.sections.training_verdict import TrainingVerdict
from napari_ld._gui.training_desk import TrainingDesk
from napari_ld.session import Session
from napari_ld.session.encoder_comparison import Compared, Comparing
from napari_ld.session.training import Estimate, Preparing
from napari_ld.session.training_settings import Settings

TITLE = "Train"


class TrainSection(Section):
    """Form, the run that is shown, and the person's encoders.

    Attributes
    ----------
    encoder_wanted : Signal(str)
        Name of an encoder that the person wants to be used.
    encoders_changed : Signal()
        The person's encoders are others now.
    plane_wanted : Signal(int)
        The person wants to see a plane.
    propose_wanted : Signal(str)
        The person wants the model in this file to propose regions.
    """

    encoder_wanted = Signal(str)
    encoders_changed = Signal()
    plane_wanted = Signal(int)
    propose_wanted = Signal(str)

    def __init__(self, session: Session, desk: TrainingDesk) -> None:
        super().__init__(TITLE, "train")
        self._desk = desk
        self.previews = PreviewDesk(session)
        self.form = TrainingForm(session)
        self.rows.addWidget(self.form)
        self._notice = text_line("ld_train_notice")
        self.rows.addWidget(self._notice)
        self.run_view = TrainingRun(desk, self.previews)
        self.rows.addWidget(self.run_view)
        self.verdict = TrainingVerdict(session, desk)
        self.rows.addWidget(self.verdict)
        self.own = OwnEncoders(session)
        self.rows.addWidget(self.own)
        self._connect()
        self.show_runs()

    def _connect(self) -> None:
        desk, form, own = self._desk, self.form, self.own
        form.start_wanted.connect(desk.start)
        form.estimate_wanted.connect(desk.estimate)
        form.cancel_wanted.connect(desk.cancel_start)
        form.details_wanted.connect(desk.ask_details)
        form.refused.connect(self.show_error)
        self.verdict.plane_wanted.connect(self.plane_wanted.emit)
        self.verdict.propose_wanted.connect(self.propose_wanted.emit)
        self.verdict.refused.connect(self.show_error)
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
        self.header.toggled.connect(lambda open_: self._look())

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
            case Settings():
                self.form.settings.describe(answer)
            case Estimate():
                self.form.show_estimate(answer)
            case True:
                self.run_view.use_plots()
            case Preparing():
                self._notice.setText(f"Handing over {answer.total} plane{'' if answer.total == 1 else 's'} …")
            case Comparing() | Compared():
                self.verdict.take(answer)
        self.refresh()

    def show_runs(self) -> None:
        """List the runs as they stand now."""
        desk = self._desk
        if self.run_view.list(desk.runs, desk.chosen):
            self.verdict.forget()
        if desk.run is not None and desk.run.alive and not desk.starting:
            self._notice.setText("")
        self.refresh()

    def refresh(self) -> None:
        """Show the chosen run as it was last seen."""
        desk, run = self._desk, self._desk.run
        self.form.refresh(starting=desk.starting, estimating=desk.estimating)
        self.own.refresh()
        self._notice.setVisible(bool(self._notice.text()))
        for part in (self.run_view, self.verdict):
            part.setVisible(run is not None)
        training = next((one for one in desk.runs if one.phase == "running" and one.steps), None)
        self.header.setText(f"{TITLE} · {100 * training.step // training.steps} %" if training else TITLE)
        self._look()
        if run is not None:
            self.run_view.show_run(run)
            self.verdict.show_run(run)

    def _look(self) -> None:
        self.previews.look(self._desk.run, shown=self.is_open)

    @property
    def guidance(self) -> str:
        """What is going on, and what to do next."""
        run = self._desk.run
        if self._desk.starting:
            return "Handing the images over to the training …"
        if missing := self.form.task.missing:
            return missing
        if run is None:
            return f"Press Start to train {self.form.words} on these images. You can go on working meanwhile."
        if run.alive:
            return "Training runs beside your work, and goes on when napari is closed."
        if run.phase == "finished" and run.task:
            return "Propose with it: what it finds is a first draft for you to review."
        if run.phase == "finished":
            return "Compare the new encoder with the present one, then use, keep or discard it."
        if run.phase in ("failed", "lost"):
            return "The run broke off; what it said stands above." + (" Press Resume." if run.resumable else "")
        return "The run is stopped. Resume it, or use what it has learned so far."
