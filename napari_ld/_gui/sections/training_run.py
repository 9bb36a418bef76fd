"""One run: how far it is, its curves, what its encoder sees by now, and the buttons that steer it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_ld._gui.curve import DrawnCurve, PlotCurve, Points
from napari_ld._gui.forms import button, caption, combo, row_of, text_line
from napari_ld._gui.preview_desk import PreviewDesk
from napari_ld._gui.sections.training_preview import TrainingPreview
from napari_ld._gui.training_desk import TrainingDesk
from napari_ld.session.training_runs import RunState

_LOSS_TIP = "Loss over the steps: it falls while the encoder learns, and never smoothly"
_QUALITY_TIP = (
    "How good the encoder is, measured on the way: points of warped images found again, or the error on what you\n"
    "verified (in % of the longest side) or accepted. Nothing is learned from what it is measured on."
)


class TrainingRun(QWidget):
    """The chosen run, and the choice of it."""

    def __init__(self, desk: TrainingDesk, previews: PreviewDesk) -> None:
        super().__init__()
        self._desk = desk
        self._plots = False
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 2, 0, 0)
        self._rows.setSpacing(4)
        self.runs = combo("ld_runs", "Runs of today and earlier; those that are training go on without napari")
        self.runs.activated.connect(lambda row: desk.choose(Path(str(self.runs.itemData(row)))))
        self._rows.addLayout(row_of(caption("run", self.runs), self.runs, stretch=1))
        self.progress = QProgressBar()
        self.progress.setObjectName("ld_train_progress")
        self.progress.setFixedHeight(14)
        self.progress.setToolTip("Steps of the training")
        self._rows.addWidget(self.progress)
        self._numbers = text_line("ld_train_numbers")
        self._rows.addWidget(self._numbers)
        self._warning = text_line("ld_train_warning")
        self._rows.addWidget(self._warning)
        self._curves = QHBoxLayout()
        self._curves.setSpacing(6)
        self._rows.addLayout(self._curves)
        self._make_curves(DrawnCurve)
        self.preview = TrainingPreview(previews)
        self._rows.addWidget(self.preview)
        self._failure = text_line("ld_train_failure")
        self._failure.setProperty("ldError", True)
        self._rows.addWidget(self._failure)
        self._build_steering()

    def _make_curves(self, kind: type[DrawnCurve] | type[PlotCurve]) -> None:
        while (item := self._curves.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.setObjectName("")
                old.hide()
                old.deleteLater()
        self.loss, self.quality = kind("ld_train_curve", _LOSS_TIP), kind("ld_train_quality", _QUALITY_TIP)
        for curve in (self.loss, self.quality):
            curve.hide()
            self._curves.addWidget(curve)

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
        self._rows.addLayout(row_of(self.pause, self.resume, self.stop))

    def use_plots(self) -> None:
        """Draw the curves with pyqtgraph, which is loaded."""
        self._plots = True
        self._make_curves(PlotCurve)

    def list(self, runs: list[RunState], chosen: Path | None) -> bool:
        """List the runs; returns whether another one than before is shown."""
        shown = self.runs.currentData()
        self.runs.clear()
        for run in runs:
            self.runs.addItem(run.title, str(run.path))
        self.runs.setCurrentIndex(self.runs.findData(str(chosen)))
        return bool(shown != self.runs.currentData())

    def show_run(self, run: RunState) -> None:
        """Show a run as it was last seen."""
        self.progress.setRange(0, run.steps if run.steps or not run.alive else 0)  # unknown yet: a busy bar
        self.progress.setMaximum(max(run.steps, 1) if not run.alive else run.steps)
        self.progress.setValue(run.step)
        self.progress.setFormat(f"step {run.step:,} of {run.steps:,}" if run.steps else "")
        self._numbers.setText(numbers(run))
        for line, text in ((self._warning, run.notice), (self._failure, run.error)):
            line.setVisible(bool(text))
            line.setText(text)
        title, quality = quality_of(run)
        for curve, points, words in ((self.loss, run.curve, "loss"), (self.quality, quality, title)):
            curve.setVisible(len(points) > 1)
            curve.show_curve(points, run.steps, words)
        if len(run.curve) > 1 and not self._plots:
            self._desk.ask_plots()
        self.preview.setVisible(run.exported > 0 and (run.alive or self.preview.filled))
        self.pause.setVisible(run.phase == "running")
        self.resume.setVisible(run.phase == "paused" or run.resumable)
        self.stop.setVisible(run.phase in ("starting", "running", "paused", "pausing"))


def quality_of(run: RunState) -> tuple[str, Points]:
    """What says most about the encoder among what was measured: its name, and its curve."""
    if run.landmarks:
        return "error on your points, %", run.landmarks
    if run.masks:
        return "your masks, 1 − Dice", run.masks
    return "points found again, %", tuple((step, 100 * share) for step, share in run.correspondence)


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
