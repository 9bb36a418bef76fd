"""Start and resume training in a process of its own, which outlives the window; worker functions without Qt."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ConfigError, StorageError
from napari_ld.process_lock import process_record
from napari_ld.session.training_labels import Labels, write_labels
from napari_ld.session.training_runs import LAUNCH_FILE, LOG_FILE
from napari_ld.session.training_settings import Value, as_words, ask_trainer
from napari_ld.session.training_tasks import TASKS, Lesson, hand_over_lesson
from napari_ld.storage import atomic_write
from napari_ld.torch_loading import load_torch

__all__ = [
    "METHODS",
    "PRESETS",
    "DeviceChoice",
    "Estimate",
    "Launched",
    "Preparing",
    "TrainRequest",
    "devices",
    "estimate",
    "launch",
    "resume",
]

CONFIG_VARIABLE = "NAPARI_LD_TRAIN_CONFIG"
# Someone looks on and may close the lid at any time: the encoder so far for the preview, and little lost.
_WATCHED: dict[str, Value] = {"schedule.save_seconds": 30.0, "schedule.export_seconds": 10.0}
_TIMED_PLANES = 12  # that an estimate needs
IsCancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset of training in words, its steps, and how many of them lie between two measurements in the panel."""

    title: str
    tip: str
    steps: int
    measured_every: int


# Kept here, since training is met by process and file only; a test compares them with its own tables.
PRESETS: dict[str, Preset] = {
    "quick": Preset("Quick 2 min", "About 2 minutes on two idle CPU cores: a first taste", 100, 50),
    "standard": Preset("Standard 20 min", "About 20 minutes on two idle CPU cores: the usual choice", 1100, 100),
    "thorough": Preset("Thorough 2 h", "About 2 hours on two idle CPU cores: for many or difficult images", 6600, 300),
}
METHODS: dict[str, str] = {
    "ld": "Local Discrimination",
    "moco": "MoCo-v2",
    "densecl": "DenseCL",
    "simsiam": "SimSiam",
    "barlow": "Barlow Twins",
    "dira": "DiRA",
}


@dataclass(frozen=True, slots=True, eq=False)
class TrainRequest:
    """What to train, and how.

    Attributes
    ----------
    runs : Path
        Folder in which the run folder is made.
    images : tuple of Image
        Pixels to learn from; empty: ``folder``. The first axis of a stack says whether its planes belong to one body.
    folder : str
        Folder of images.
    preset, method : str
        Keys of :data:`PRESETS` and :data:`METHODS`.
    init : str
        Name or path of the encoder to start from; ``""``: random weights.
    device : str
        As :func:`napari_ld.embedding.choose_device` knows it.
    settings : mapping of str to Value
        Settings by ``table.key`` that differ from the preset.
    labels : Labels or None
        What is measured on the way.
    lesson : Lesson or None
        Masks, for a model in the place of an encoder; method, settings and labels are not looked at then.
    """

    runs: Path
    images: tuple[Image, ...] = ()
    folder: str = ""
    preset: str = "quick"
    method: str = "ld"
    init: str = ""
    device: str = "auto"
    settings: Mapping[str, Value] = field(default_factory=dict)
    labels: Labels | None = None
    lesson: Lesson | None = None


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """Go on with the run in this folder."""

    run: Path


@dataclass(frozen=True, slots=True)
class Preparing:
    """``done`` of ``total`` planes are handed over to the run."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Launched:
    """A process trains in this folder now."""

    run: Path


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Time of a run by a few timed steps.

    Attributes
    ----------
    request : TrainRequest
        What was timed.
    seconds_per_step : float
        The phases by their share.
    steps : int
    device : str
        Where it was timed.
    """

    request: TrainRequest
    seconds_per_step: float
    steps: int
    device: str

    def minutes(self, steps: int = 0) -> float:
        """Minutes of so many steps, or of those of the request; measurements and checkpoints come on top."""
        return self.seconds_per_step * (steps or self.steps) / 60


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """A device that training can use here, and why."""

    name: str
    reason: str


def devices() -> list[DeviceChoice]:
    """Devices that this machine has, ``auto`` first; loads torch."""
    load_torch()
    from napari_ld.embedding.device import DEVICES, choose_device

    found = []
    for name in DEVICES:
        with contextlib.suppress(ConfigError):
            chosen = choose_device(name)
            # Training takes Apple's Metal on request only.
            chosen = choose_device("cpu") if name == "auto" and chosen.name == "mps" else chosen
            found.append(DeviceChoice(name, chosen.reason))
    return found


def begin(request: TrainRequest | ResumeRequest, cancelled: IsCancelled) -> Iterator[Preparing | Launched]:
    """Start or resume, as the request says."""
    return launch(request, cancelled) if isinstance(request, TrainRequest) else resume(request)


def launch(request: TrainRequest, cancelled: IsCancelled) -> Iterator[Preparing | Launched]:
    """Make a run folder, hand the pixels over and start the process; what was begun is removed when that fails.

    Raises
    ------
    ConfigError
        For a folder that does not exist.
    StorageError
        When the run folder or the pixels cannot be written, or the process cannot be started.
    Cancelled
        Within one plane after ``cancelled`` turned true.
    """
    _check_source(request)
    run = _new_folder(request.runs, request.preset)
    started = False
    try:
        data, images, lesson, masks = request.folder, request.images, request.lesson, ""
        if lesson is not None:
            images, masks = hand_over_lesson(lesson, images, run / "masks", cancelled)
        if images:
            data = str(run / "data")
            yield from _hand_over(images, Path(data), cancelled)
        if lesson is not None:
            words = ["finetune", *_task_words(request, lesson, run.name, data, masks)]
        else:
            measured = write_labels(request.labels, run / "labels") if request.labels else {}
            words = ["train", *_words(request, run.name, data, measured)]
        _start(run, [*words, "--out", str(run)], _described(request))
        started = True
    finally:
        if not started:
            shutil.rmtree(run, ignore_errors=True)
    yield Launched(run)


def estimate(request: TrainRequest, cancelled: IsCancelled) -> Iterator[Estimate]:
    """Time a few steps of a run as it would be, in a process of its own; nothing is left behind.

    Raises
    ------
    ConfigError, StorageError, Cancelled
        See :func:`launch`.
    TrainingError
        What the trainer says against it.
    """
    _check_source(request)
    with tempfile.TemporaryDirectory(prefix="napari-ld-", ignore_cleanup_errors=True) as name:
        data = request.folder
        if request.images:
            data = str(Path(name) / "data")
            for _ in _hand_over([_first_planes(image) for image in request.images], Path(data), cancelled):
                pass
        told = ask_trainer(["train", *_words(request, "estimate", data, {}), "--dry-run", "--json"], cancelled)
    steps = sum(phase["steps"] for phase in told["phases"])
    seconds = sum(phase["steps"] * phase["seconds"] for phase in told["phases"])
    yield Estimate(request, seconds / max(steps, 1), steps, str(told["device"]))


def _check_source(request: TrainRequest) -> None:
    if not request.images and not Path(request.folder).is_dir():
        raise ConfigError(f"{request.folder or 'no folder'}: not a folder; choose a folder of images")


def _first_planes(image: Image) -> Image:
    return replace(image, array=image.array[:_TIMED_PLANES], levels=()) if image.is_stack else image


def resume(request: ResumeRequest) -> Iterator[Launched]:
    """Go on with a run that was stopped or killed.

    Raises
    ------
    StorageError
        When the process cannot be started.
    """
    launch_file = request.run / LAUNCH_FILE
    try:
        described = dict(json.loads(launch_file.read_bytes()))
    except (OSError, ValueError):
        described = {}
    _start(request.run, ["resume", str(request.run)], described)
    yield Launched(request.run)


def _new_folder(runs: Path, preset: str) -> Path:
    """An empty folder whose name tells date and preset, and nothing of the images."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{preset}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            path = runs / (f"{name}-{number}" if number else name)
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    except OSError as error:
        raise StorageError(f"the run folder cannot be made in {runs}: {error.strerror}; free some space") from error
    raise StorageError(f"{runs}: holds too many runs of this second; try again")


def _hand_over(images: Sequence[Image], data: Path, cancelled: IsCancelled) -> Iterator[Preparing]:
    """Write the pixels without any name, one file an image; progress comes first, since writing is one call."""
    from napari_ld.io.ome_zarr import write_zarr

    done, total = 0, sum(image.n_planes for image in images)
    yield Preparing(0, total)

    def look_up(done: int, total: int) -> None:
        if cancelled():
            raise Cancelled("The start of the training was cancelled.")

    try:
        data.mkdir()
    except OSError as error:
        raise StorageError(f"{data}: cannot be made ({error.strerror}); free some space") from error
    for number, image in enumerate(images):
        plain = Image(image.array, image.axes, None, image.spacing, window=image.window)
        write_zarr(data / f"images-{number:03}.zarr", plain, progress=look_up)
        done += image.n_planes
        yield Preparing(done, total)


def _words(request: TrainRequest, name: str, data: str, measured: Mapping[str, Value]) -> list[str]:
    words = ["--data", data, "--preset", request.preset, "--method", request.method, "--device", request.device]
    if request.init:
        words += ["--init", request.init]
    if configured := os.environ.get(CONFIG_VARIABLE):
        words += ["--config", configured]
    every = PRESETS[request.preset].measured_every
    given = {"name": name, **_WATCHED, "evaluation.every": every, **measured, **request.settings}
    return [*words, "--set", *as_words(given)]


def _task_words(request: TrainRequest, lesson: Lesson, name: str, data: str, masks: str) -> list[str]:
    words = ["--task", lesson.task, "--images", data, "--masks", masks, "--preset", request.preset]
    words += ["--device", request.device, *(["--init", request.init] if request.init else [])]
    if configured := os.environ.get(CONFIG_VARIABLE):
        words += ["--config", configured]
    return [*words, "--set", *as_words({"name": name, "schedule.save_seconds": 30.0, **lesson.settings})]


def _described(request: TrainRequest) -> dict[str, Any]:
    """What the list of runs says of it; no name of a layer or file is kept."""
    planes = sum(image.n_planes for image in request.images)
    images = f"{planes} planes" if planes > 1 else "one image" if planes else "a folder of images"
    described = {"created": round(time.time(), 1), "preset": request.preset, "images": images}
    if request.lesson is None:
        return described
    task = request.lesson.task
    return {**described, "preset": f"{TASKS[task].short}, {request.preset}", "task": task}


def _start(run: Path, words: list[str], described: dict[str, Any]) -> None:
    """Start the trainer so that it outlives this process, and note who it is."""
    command = [sys.executable, "-m", "src_train", *words]
    # The window comes first: with nice the trainer takes the time that others leave.
    if nice := shutil.which("nice"):
        command = [nice, "-n", "5", *command]
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    try:
        with (run / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **detached)
    except OSError as error:
        raise StorageError(f"training cannot be started: {error.strerror or error}") from error
    # Waited for, so that a dead trainer is not taken for a living one as long as this process runs.
    threading.Thread(target=process.wait, name="trainer", daemon=True).start()
    with atomic_write(run / LAUNCH_FILE, "w", durable=False) as file:
        json.dump({**described, **process_record(process.pid)}, file)
