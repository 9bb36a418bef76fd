"""What to train on, for how long, and, folded away, how."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QCheckBox, QGridLayout, QHBoxLayout, QRadioButton, QVBoxLayout, QWidget

from napari_ld._gui.forms import button, caption, combo, fold_button, text_line
from napari_ld._gui.sections.settings_form import SettingsForm
from napari_ld._gui.sections.training_source import TrainingSource
from napari_ld._gui.sections.training_task import TaskForm
from napari_ld.errors import NapariLDError
from napari_ld.model.own import own_encoders
from napari_ld.model.zoo import list_models
from napari_ld.session import Session
from napari_ld.session.encoder_comparison import verified_points
from napari_ld.session.training import METHODS, PRESETS, DeviceChoice, Estimate, TrainRequest
from napari_ld.session.training_labels import Labels, accepted_masks, words_of
from napari_ld.session.training_runs import runs_folder
from napari_ld.session.training_tasks import TASKS

SCRATCH = "scratch (random weights)"


class TrainingForm(QWidget):
    """Upper part of the Train section.

    Attributes
    ----------
    start_wanted : Signal(object)
        A :class:`TrainRequest`.
    estimate_wanted : Signal(object)
        The same: how long would it take?
    cancel_wanted, details_wanted : Signal()
        Do not start after all; the details were unfolded for the first time.
    refused : Signal(str)
        Why a layer cannot be learned from; ``""`` when it can.
    """

    start_wanted = Signal(object)
    estimate_wanted = Signal(object)
    cancel_wanted = Signal()
    details_wanted = Signal()
    refused = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._asked = self._starting = self._estimating = False
        self._estimate: Estimate | None = None
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(4)
        self.task = TaskForm(session)
        self._rows.addWidget(self.task)
        self.source = TrainingSource(session)
        self.source.changed.connect(self._show)
        self._rows.addWidget(self.source)
        self._build_presets()
        self._build_promises()
        self._build_details()
        self.task.changed.connect(self._task_chosen)
        self._task_chosen()

    def _build_presets(self) -> None:
        self._presets = QButtonGroup(self)
        row = QHBoxLayout()
        row.setSpacing(10)
        for number, name in enumerate(PRESETS):
            choice = QRadioButton()
            choice.setObjectName(f"ld_preset_{name}")
            self._presets.addButton(choice, number)
            row.addWidget(choice)
        self._presets.buttons()[0].setChecked(True)
        self._presets.idToggled.connect(self._chosen)
        row.addStretch(1)
        self.start = button(
            "Start", "ld_train_start", "Train in the background; the run goes on when napari is closed",
            lambda: self._submit(self.start_wanted.emit), primary=True,
        )  # fmt: skip
        self.cancel = button("Cancel", "ld_train_cancel", "Do not start after all", self.cancel_wanted.emit)
        row.addWidget(self.start, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.cancel, 0, Qt.AlignmentFlag.AlignVCenter)
        self._rows.addLayout(row)

    def _build_promises(self) -> None:
        self.ask_time = button(
            "How long here?", "ld_train_estimate", "Time a few steps on this machine before you start",
            lambda: self._submit(self.estimate_wanted.emit),
        )  # fmt: skip
        self._time = text_line("ld_train_time")
        row = QHBoxLayout()
        row.addWidget(self.ask_time)
        row.addWidget(self._time, 1)
        self._rows.addLayout(row)
        self.measure = QCheckBox()
        self.measure.setObjectName("ld_train_measure")
        self.measure.setToolTip(
            "Measure the encoder on your verified landmarks and accepted masks while it learns. Nothing is learned\n"
            "from them, and neither verifying nor accepting ever starts a training."
        )
        self.measure.setChecked(True)
        self._rows.addWidget(self.measure)

    def _build_details(self) -> None:
        content = QWidget()
        grid = QGridLayout(content)
        grid.setContentsMargins(12, 0, 0, 0)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        self.init = combo("ld_train_init", "Encoder whose knowledge is the start; from scratch takes much longer")
        self.method = combo("ld_train_method", "How the encoder learns without labels; docs/methods.md compares them")
        self.device = combo("ld_train_device", "Where training runs")
        for name, title in METHODS.items():
            self.method.addItem(title, name)
        self.device.addItem("auto", "auto")
        self.device.activated.connect(lambda row: self._show_reason())
        for choice in (self.init, self.method, self.device):
            choice.activated.connect(self._chosen)
        rows = (("start from", self.init), ("method", self.method), ("device", self.device))
        for row, (words, control) in enumerate(rows):
            label = caption(words, control)
            grid.addWidget(label, row, 0)
            grid.addWidget(control, row, 1)
            if control is self.method:
                self._method_line = label
        self._reason = text_line("ld_train_device_reason")
        grid.addWidget(self._reason, 3, 0, 1, 2)
        self._reasons: dict[str, str] = {}
        self.regions = QCheckBox("also compare regions (LRC)")
        self.regions.setObjectName("ld_train_lrc")
        self.regions.setToolTip("Adds a contrast between super-pixels that two views of an image both show")
        self.regions.toggled.connect(self._chosen)
        grid.addWidget(self.regions, 4, 0, 1, 2)
        self.settings = SettingsForm()
        self.settings.changed.connect(self._show)
        grid.addWidget(self.settings, 5, 0, 1, 2)
        self.details = fold_button("Details", "ld_train_details", "Start, method, device and all settings", content)
        self.details.toggled.connect(self._ask)
        self._rows.addWidget(self.details)
        self._rows.addWidget(content)
        self.list_encoders()

    def _ask(self, open_: bool) -> None:
        if open_ and not self._asked:
            self._asked = True
            self._reason.setText("looking what this machine has …")
            self.details_wanted.emit()

    def show_devices(self, choices: list[DeviceChoice]) -> None:
        """Offer the devices there are, each with its reason."""
        self.device.clear()
        for choice in choices:
            self.device.addItem(choice.name, choice.name)
        self._reasons = {choice.name: choice.reason for choice in choices}
        self._show_reason()

    def _show_reason(self) -> None:
        self._reason.setText(self._reasons.get(self.device.currentText(), ""))

    def list_encoders(self) -> None:
        """Offer the bundled encoders, the person's own, and none as the start; the choice stays."""
        chosen = self.init.currentData()
        self.init.clear()
        for name in (*list_models(), *own_encoders()):
            self.init.addItem(name, name)
        self.init.addItem(SCRATCH, "")
        self.init.setCurrentIndex(max(self.init.findData(chosen), 0))
        self._chosen()

    # --- what is chosen -----------------------------------------------------------------------------------------------

    @property
    def preset(self) -> str:
        """The chosen preset."""
        return list(PRESETS)[self._presets.checkedId()]

    @property
    def words(self) -> str:
        """What would be trained."""
        return "a model" if self.task.name else "an encoder"

    @property
    def _method(self) -> str:
        return f"{self.method.currentData()}{'+lrc' if self.regions.isChecked() else ''}"

    @property
    def _init(self) -> str:
        return str(self.init.currentData() or "")

    def _task_chosen(self) -> None:
        """Name the presets, and offer what belongs to what is trained."""
        task = TASKS.get(self.task.name)
        for choice, (name, preset) in zip(self._presets.buttons(), PRESETS.items(), strict=True):
            title = preset.title if task is None else f"{name.capitalize()} {task.steps[name]:,} steps"
            choice.setText(title.replace(" ", "\n", 1))
            choice.setToolTip(preset.tip if task is None else f"{task.steps[name]:,} steps")
        for widget in (self.ask_time, self._time, self.method, self._method_line, self.regions, self.settings):
            widget.setVisible(task is None)
        self.source.setVisible(self.task.name != "segmentation")  # the masks lie on the image of the panel
        self._chosen()

    def _chosen(self, *_: object) -> None:
        self.settings.choose(self._method, self.preset, self._init)
        self._show()

    def _submit(self, wanted: Callable[[TrainRequest], None]) -> None:
        try:
            request = self._request()
        except NapariLDError as error:
            self.refused.emit(str(error))
            return
        self.refused.emit("")
        wanted(request)

    def _request(self) -> TrainRequest:
        lesson = self.task.lesson()
        own = lesson is not None and lesson.task == "segmentation"
        return TrainRequest(
            runs_folder(),
            self.source.this_layer() if own else self.source.images(),
            "" if own else self.source.folder,
            self.preset,
            self._method,
            self._init,
            str(self.device.currentText()),
            {} if lesson else self.settings.values,
            None if lesson else self._labels(),
            lesson,
        )

    def _labels(self) -> Labels | None:
        """What the person verified and accepted, if it shall be measured by."""
        session = self._session
        if session.image is None or not self.measure.isChecked():
            return None
        return Labels(session.image, verified_points(session.state), accepted_masks(session.regions.book))

    # --- what is shown ------------------------------------------------------------------------------------------------

    def show_estimate(self, estimate: Estimate) -> None:
        """Show what a few timed steps promise."""
        self._estimate = estimate
        self._show()

    def refresh(self, *, starting: bool, estimating: bool) -> None:
        """Show whether a start is possible, or under way."""
        self._starting, self._estimating = starting, estimating
        self.task.refresh()
        self._show()

    def _show(self) -> None:
        own = self.task.name == "segmentation"
        ready = not self.task.missing and (self._session.image is not None if own else self.source.ready)
        self.start.setVisible(not self._starting)
        self.cancel.setVisible(self._starting)
        self.start.setEnabled(ready)
        self.ask_time.setEnabled(ready and not self._estimating)
        self._time.setText("timing a few steps …" if self._estimating else self._promise())
        words = words_of(verified_points(self._session.state), self._session.regions.book)
        self.measure.setVisible(bool(words) and self._session.image is not None and not self.task.name)
        self.measure.setText(f"measure on your {words}")

    def _promise(self) -> str:
        """The time that was estimated, as long as it is that of such a run."""
        found, values = self._estimate, dict(self.settings.values)
        steps = values.pop("schedule.steps", 0)
        if found is None or not isinstance(steps, int):
            return ""
        timed = {key: value for key, value in found.request.settings.items() if key != "schedule.steps"}
        if (self._method, self._init, values) != (found.request.method, found.request.init, timed):
            return ""  # an estimate of another run says nothing of this one
        same = found.request.preset == self.preset and "schedule.steps" not in found.request.settings
        steps = steps or (found.steps if same else PRESETS[self.preset].steps)
        return f"{in_words(found.minutes(steps))} on {found.device}, as busy as it is now"


def in_words(minutes: float) -> str:
    """A time that is not known exactly."""
    if minutes < 1:
        return f"about {max(5 * round(12 * minutes), 5)} seconds"
    return f"about {minutes:.0f} minutes" if minutes < 100 else f"about {minutes / 60:.1f} hours"
