"""Times and memory that a person feels, the fast encoder interleaved with the ``ld-paper`` configuration.

``python -m benchmarks.speed`` prints a table and, with ``--output``, writes JSON. Measurements of the two encoders
alternate, so that another load on the machine meets both alike; medians are reported, with the range.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.answers import ANSWERS, ENCODER, answer_times
from benchmarks.machine import write_results
from benchmarks.report import align
from benchmarks.subjects import model_of, texture
from napari_ld._types import Image

PAPER = "ld-paper"
_SIZE = 512
_ROOT = Path(__file__).resolve().parent.parent

# What is measured, its unit, and the most that the project allows itself (of the fast encoder).
LIMITS: dict[str, tuple[str, float | None]] = {
    "first embedding of a 512² image, fresh process": ("ms", None),
    "embedding of a further 512² image": ("ms", 150),
    "click to coarse points, 512² stack": ("ms", 300),
    "napari-ld --help": ("s", 0.5),
    "CT series, 12 of 16 bits, first plane, pydicom's all = 1": ("x", None),
    "CT series, 12 of 16 bits, all planes, pydicom = 1": ("x", 1.3),
    "CT series, 12 of 16 bits, all planes, processor time, pydicom = 1": ("x", 1.3),
    "CT series, 12 of 16 bits, one array, processor time, pydicom into one = 1": ("x", 1.3),
    "CT series, 16 bits, first plane, pydicom's all = 1": ("x", None),
    "CT series, 16 bits, all planes, pydicom = 1": ("x", 1.3),
    "CT series, 16 bits, all planes, processor time, pydicom = 1": ("x", 1.3),
    "CT series, 16 bits, one array, processor time, pydicom into one = 1": ("x", 1.3),
    "opening the panel, above an empty dock": ("s", 0.5),
    "private memory above idle, 512² stack": ("MB", 1000),
    **{what: ("ms", limit) for what, limit in ANSWERS.items()},
}

# Stored values of synthetic CT, and what its files say of them; with the usual intercept, those of 16 bits need 32.
SERIES: dict[str, tuple[type[np.integer[Any]], int, dict[str, int]]] = {
    "12 of 16 bits": (np.uint16, 0, {"BitsStored": 12, "HighBit": 11}),
    "16 bits": (np.int16, -2000, {}),
}

Samples = dict[str, dict[str, list[float]]]  # what -> whose -> values


def time_of(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def times_of(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call by the clock, and seconds of the processor, which other load on the machine changes less."""
    started, worked = time.perf_counter(), time.process_time()
    kept = work()
    seconds = time.perf_counter() - started, time.process_time() - worked
    del kept  # giving memory back is no part of opening
    return seconds


def time_embeddings(encoders: Sequence[str], rounds: int, samples: Samples) -> None:
    """Embed new images, the encoders by turns; the first call of each in this process is not counted."""
    from napari_ld.embedding.source import FeatureSource

    models = {name: model_of(name) for name in encoders}
    for turn in range(rounds + 1):
        for name, model in models.items():
            source = FeatureSource(texture(turn), model)
            seconds = time_of(lambda source=source: source.plane(0))  # type: ignore[misc]
            if turn:
                record(samples, "embedding of a further 512² image", name, seconds * 1e3)


def time_first_embedding(encoders: Sequence[str], rounds: int, samples: Samples) -> None:
    """Embed one image in a fresh process, model loaded: with all that torch prepares on first use."""
    code = "import sys; from benchmarks.speed import first_embedding; print(first_embedding(sys.argv[1]))"
    for _ in range(rounds):
        for name in encoders:
            seconds = float(run_python("-c", code, name))
            record(samples, "first embedding of a 512² image, fresh process", name, seconds * 1e3)


def first_embedding(name: str) -> float:
    """Seconds of the first embedding in this process."""
    from napari_ld.embedding.source import FeatureSource

    source = FeatureSource(texture(os.getpid()), model_of(name))
    return time_of(lambda: source.plane(0))


def time_clicks(encoders: Mapping[str, int], rounds: int, samples: Samples) -> None:
    """Time one click, answered on all planes of an embedded stack; the encoders by turns.

    Parameters
    ----------
    encoders : dict of str to int
        Encoder to number of planes.
    """
    from napari_ld.embedding.source import FeatureSource
    from napari_ld.localization import Template, locate

    sources = {}
    for name, planes in encoders.items():
        sources[name] = FeatureSource(np.stack([texture(seed) for seed in range(planes)]), model_of(name))
        sources[name].embed_all()
    rng = np.random.default_rng(0)
    for turn in range(rounds):
        row, column = rng.uniform(0.1 * _SIZE, 0.9 * _SIZE, 2)
        for name, source in sources.items():
            click = Template("point", source, turn % source.n_planes, (float(row), float(column)))
            seconds = time_of(lambda source=source, click=click: list(locate(source, [click], refine=False)))  # type: ignore[misc]
            record(samples, "click to coarse points, 512² stack", name, seconds * 1e3)


def time_help(rounds: int, samples: Samples) -> None:
    """Time the command line's help beside a bare Python."""
    script = shutil.which("napari-ld", path=os.path.dirname(sys.executable))
    command = [script, "--help"] if script else [sys.executable, "-m", "napari_ld", "--help"]
    for _ in range(rounds):
        for whose, words in (("napari-ld", command), ("bare python", [sys.executable, "-c", "pass"])):
            seconds = time_of(lambda words=words: subprocess.run(words, check=True, capture_output=True, cwd=_ROOT))  # type: ignore[misc]
            record(samples, "napari-ld --help", whose, seconds)


def time_panel(rounds: int, samples: Samples) -> bool | None:
    """Time the opening of the panel; returns whether torch was loaded by it, None without a display."""
    from napari_ld.cli.display import a_display

    loaded = False
    with a_display() as variables:
        if variables is None:
            return None
        for _ in range(rounds):
            found = json.loads(run_python("-m", "benchmarks.panel", variables=variables).splitlines()[-1])
            what = "opening the panel, above an empty dock"
            record(samples, what, "napari-ld", found["panel_s"] - found["empty_dock_s"])
            record(samples, what, "empty dock", found["empty_dock_s"])
            loaded = loaded or found["torch_loaded"]
    return loaded


def planes_of(image: Image) -> list[Any]:
    """Read all planes."""
    return [image.plane(index) for index in range(image.n_planes)]


def one_array(planes: Iterable[Any], shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Put planes into one array."""
    array = np.empty(shape, dtype)
    for index, plane in enumerate(planes):
        array[index] = plane
    return array


def time_series(kind: str, planes: int, rounds: int, samples: Samples) -> None:
    """Open a series of 512 x 512 planes and read them all, by turns with pydicom decoding the same files.

    pydicom gives stored values; ours are sorted, checked, placed in the patient and rescaled. For one array of all
    planes, pydicom's fill an array of the same type, whose fresh memory may cost more than anything else.
    """
    import pydicom

    from benchmarks.synthetic import write_series
    from napari_ld.io.images import read_image

    dtype, least, elements = SERIES[kind]
    with tempfile.TemporaryDirectory(prefix="napari-ld-") as name:
        values = np.random.default_rng(0).integers(least, 4000, (planes, _SIZE, _SIZE)).astype(dtype)
        paths = write_series(Path(name), values, elements=elements)
        shape, kept = values.shape, read_image(name).array.dtype
        for _ in range(rounds):
            alone = times_of(lambda: [pydicom.dcmread(path).pixel_array for path in paths])
            first = times_of(lambda: read_image(name).plane(0))
            everything = times_of(lambda: planes_of(read_image(name)))
            filled = times_of(lambda: one_array((pydicom.dcmread(path).pixel_array for path in paths), shape, kept))
            array = times_of(lambda: np.asarray(read_image(name).array))
            for what, value in (
                ("first plane, pydicom's all = 1", first[0] / alone[0]),
                ("all planes, pydicom = 1", everything[0] / alone[0]),
                ("all planes, processor time, pydicom = 1", everything[1] / alone[1]),
                ("one array, processor time, pydicom into one = 1", array[1] / filled[1]),
            ):
                record(samples, f"CT series, {kind}, {what}", "napari-ld", value)


def weigh(encoders: Mapping[str, int], samples: Samples) -> None:
    """Measure private memory, each encoder in a fresh process."""
    for name, planes in encoders.items():
        found = json.loads(run_python("-m", "benchmarks.memory", "--encoder", name, "--planes", str(planes)))
        record(samples, "private memory above idle, 512² stack", name, found["above_idle_mb"])


def run_python(*words: str, variables: Mapping[str, str] | None = None) -> str:
    """Run a fresh Python in the project's folder and return what it printed."""
    with tempfile.TemporaryDirectory(prefix="napari-ld-") as cache:
        environment = {**os.environ, "NAPARI_LD_CACHE": cache, **(variables or {})}
        done = subprocess.run(
            [sys.executable, *words], cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return done.stdout


def record(samples: Samples, what: str, whose: str, value: float) -> None:
    """Add one value."""
    samples.setdefault(what, {}).setdefault(whose, []).append(value)


def summary(samples: Samples, encoder: str) -> list[dict[str, Any]]:
    """Median and range of each measurement; ``ratio`` is the ld-paper configuration's median over the fast one's."""
    rows = []
    for what, values in samples.items():
        unit, limit = LIMITS[what]
        medians = {whose: statistics.median(series) for whose, series in values.items()}
        for whose, series in values.items():
            row = {"what": what, "whose": whose, "unit": unit, "median": medians[whose], "n": len(series)}
            row |= {"least": min(series), "most": max(series)}
            if whose in (encoder, ENCODER, "napari-ld") and limit is not None:
                row |= {"limit": limit, "kept": medians[whose] <= limit}
            if whose == PAPER and encoder in medians:
                row["ratio"] = medians[PAPER] / medians[encoder]
            rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the summary as text."""
    lines = [["what", "whose", "median", "range", "unit", "n", "limit", "x fast"]]
    for row in rows:
        digits = 2 if row["unit"] in ("s", "x") else 0
        limit = f"{row['limit']:g} {'kept' if row['kept'] else 'MISSED'}" if "limit" in row else ""
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else ""
        spread = f"{row['least']:.{digits}f} to {row['most']:.{digits}f}"
        median = f"{row['median']:.{digits}f}"
        lines.append([row["what"], row["whose"], median, spread, row["unit"], str(row["n"]), limit, ratio])
    return align(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for and print the table."""
    parts = ("embedding", "click", "answers", "help", "panel", "memory", "series")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--encoder", default="fast", help="fast (random weights), bundled name or file")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--planes", type=int, default=100, help="planes of the clicked stack; twice as many for memory")
    parser.add_argument("--paper-planes", type=int, default=100, help=f"the same for {PAPER}, which is slow to embed")
    parser.add_argument("--side", type=int, default=256, help="voxels along each side of the volumes that are searched")
    parser.add_argument("--series-planes", type=int, default=400, help="planes of the DICOM series that is opened")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)
    both = [options.encoder, PAPER]
    planes = {options.encoder: options.planes, PAPER: options.paper_planes}
    samples: Samples = {}
    torch_loaded = None
    if "embedding" in options.only:
        time_first_embedding(both, max(1, options.rounds // 2), samples)
        time_embeddings(both, options.rounds, samples)
    if "click" in options.only:
        time_clicks(planes, options.rounds, samples)
    if "answers" in options.only:
        for what, values in answer_times(options.planes, options.side, max(1, options.rounds // 2)).items():
            samples[what] = {ENCODER: values}
    if "help" in options.only:
        time_help(options.rounds, samples)
    if "panel" in options.only:
        torch_loaded = time_panel(max(1, options.rounds // 2), samples)
    if "series" in options.only:
        for kind in SERIES:
            time_series(kind, options.series_planes, options.rounds, samples)
    if "memory" in options.only:
        weigh({name: 2 * count for name, count in planes.items()}, samples)
    rows = summary(samples, options.encoder)
    print(table(rows))
    if "panel" in options.only:
        print(f"torch loaded by opening the panel: {'no display' if torch_loaded is None else torch_loaded}")
    if options.output:
        import torch

        settings = {"rounds": options.rounds, "planes": planes, "threads": torch.get_num_threads(), "seed": 0}
        write_results(options.output, {"settings": settings, "torch_loaded_by_panel": torch_loaded, "results": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
