"""Start and resume training in a process of its own, which outlives the window; worker functions without Qt."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ConfigError, StorageError
from napari_ld.process_lock import process_record
from napari_ld.session.training_runs import LAUNCH_FILE, LOG_FILE
from napari_ld.storage import atomic_write

__all__ = ["METHODS", "PRESETS", "DeviceChoice", "Launched", "Preparing", "TrainRequest", "devices", "launch", "resume"]

CONFIG_VARIABLE = "NAPARI_LD_TRAIN_CONFIG"
IsCancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset of training in words."""

    title: str
    tip: str


# Kept here, since training is met by process and file only; a test compares them with its own tables.
PRESETS: dict[str, Preset] = {
    "quick": Preset("Quick 2 min", "About 2 minutes on two idle CPU cores: a first taste"),
    "standard": Preset("Standard 20 min", "About 20 minutes on two idle CPU cores: the usual choice"),
    "thorough": Preset("Thorough 2 h", "About 2 hours on two idle CPU cores: for many or difficult images"),
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
    image : Image or None
        Pixels to learn from; None: ``folder``.
    folder : str
        Folder of images.
    preset, method : str
        Keys of :data:`PRESETS` and :data:`METHODS`.
    init : str
        Name or path of the encoder to start from; ``""``: random weights.
    device : str
        As :func:`napari_ld.embedding.choose_device` knows it.
    stack_kind : str
        Says whether the planes of ``image`` belong to one body.
    """

    runs: Path
    image: Image | None = None
    folder: str = ""
    preset: str = "quick"
    method: str = "ld"
    init: str = ""
    device: str = "auto"
    stack_kind: str = "images"


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


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """A device that training can use here, and why."""

    name: str
    reason: str


def devices() -> list[DeviceChoice]:
    """Devices that this machine has, ``auto`` first; loads torch."""
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
    if request.image is None and not Path(request.folder).is_dir():
        raise ConfigError(f"{request.folder or 'no folder'}: not a folder; choose a folder of images")
    run = _new_folder(request.runs, request.preset)
    started = False
    try:
        data = request.folder
        if request.image is not None:
            data = str(run / "data")
            yield from _hand_over(request.image, request.stack_kind, Path(data), cancelled)
        _start(run, _words(request, run, data), _described(request))
        started = True
    finally:
        if not started:
            shutil.rmtree(run, ignore_errors=True)
    yield Launched(run)


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


def _hand_over(image: Image, stack_kind: str, data: Path, cancelled: IsCancelled) -> Iterator[Preparing]:
    """Write the pixels without any name; progress comes first, since writing is one call."""
    from napari_ld.io.ome_zarr import write_zarr

    yield Preparing(0, image.n_planes)
    axis = {"volume": "z", "timelapse": "t"}.get(stack_kind, "p")
    axes = axis + image.axes[1:] if image.is_stack else image.axes
    plain = Image(image.array, axes, None, image.spacing, window=image.window)

    def tell(done: int, total: int) -> None:
        if cancelled():
            raise Cancelled("The start of the training was cancelled.")

    try:
        data.mkdir()
    except OSError as error:
        raise StorageError(f"{data}: cannot be made ({error.strerror}); free some space") from error
    write_zarr(data / "images.zarr", plain, progress=tell)
    yield Preparing(image.n_planes, image.n_planes)


def _words(request: TrainRequest, run: Path, data: str) -> list[str]:
    words = ["train", "--data", data, "--out", str(run), "--preset", request.preset, "--method", request.method]
    words += ["--device", request.device, "--set", f'name="{run.name}"']
    if request.init:
        words += ["--init", request.init]
    configured = os.environ.get(CONFIG_VARIABLE)
    return [*words, "--config", configured] if configured else words


def _described(request: TrainRequest) -> dict[str, Any]:
    """What the list of runs says of it; no name of a layer or file is kept."""
    planes = request.image.n_planes if request.image is not None else 0
    images = f"{planes} planes" if planes > 1 else "one image" if planes else "a folder of images"
    return {"created": round(time.time(), 1), "preset": request.preset, "images": images}


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
