"""Damaged files for every reader: a clear error or pixels, in bounded time and memory, never a crash.

``python -m benchmarks.fuzz --count 10000`` makes that many inputs from small sound files of every format, model files
among them: cut short, bits turned over, bytes overwritten, sizes declared huge, endings exchanged, archives that unpack
to far more than they are. Each is read in a child process, which is watched and started again where it dies. A case
fails when something else than an error of napari-ld comes out, when it takes more than 5 s of processor time or 1 GB of
memory, when the child dies or hangs, or when a file that was cut short is read as if it were whole with other pixels.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from benchmarks.fuzz_seeds import BOMBS, write_seeds
from benchmarks.machine import write_results
from benchmarks.report import align

MAX_SECONDS, MAX_BYTES = 5.0, 10**9
_HANG_SECONDS = 60.0  # by the clock; then it is looked at whether the child works, for it may wait for its turn
_WORK_SECONDS = 30.0  # of the processor without a result, seeds and archives included: it hangs
_HUGE = (b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"9999", b"\0\0\xff\xff")
_STATUS = Path("/proc/self/status")


def read_anything(path: Path) -> Any:
    """Read a file by its name as the program does; the first, middle and last plane of an image.

    Raises
    ------
    NapariLDError
        As the readers.
    """
    name = path.name.lower()
    if name.endswith(".safetensors"):
        from napari_ld.model.checkpoint import load_head, load_model, read_header
        from napari_ld.model.heads import KINDS

        kind = read_header(path, ("encoder", *KINDS)).kind
        return (load_model(path) if kind == "encoder" else load_head(path)).sha256
    if name.endswith((".mrk.json", ".fcsv")):
        from napari_ld.io.markups import read_markups

        return read_markups(path)
    if name.endswith(".csv"):
        from napari_ld.io.landmarks import read_landmarks

        return read_landmarks(path)
    from napari_ld.io.images import read_image

    image = read_image(path)
    planes = sorted({0, image.n_planes // 2, image.n_planes - 1})
    return [image.array.shape, *(image.plane(plane) for plane in planes)]


def damage(raw: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a file in one of the ways that happen.

    Returns
    -------
    (kind, bytes)
        Kinds are ``cut``, ``flipped``, ``overwritten``, ``huge``, ``repeated``.
    """
    kind = str(rng.choice(["cut", "flipped", "overwritten", "huge", "repeated"]))
    data = bytearray(raw)
    # most of what a reader can stumble over stands at the beginning
    end = len(data) if rng.random() < 0.3 else min(len(data), 512)
    where = int(rng.integers(0, max(1, end)))
    if kind == "cut":
        del data[where:]
    elif kind == "flipped":
        for place in rng.integers(0, max(1, end), int(rng.integers(1, 9))):
            data[int(place)] ^= 1 << int(rng.integers(0, 8))
    elif kind == "overwritten":
        data[where : where + int(rng.integers(1, 16))] = rng.bytes(int(rng.integers(1, 16)))
    elif kind == "huge":
        data[where : where + 4] = [b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"9999", b"\0\0\xff\xff"][
            int(rng.integers(4))
        ]
    else:
        data[where:where] = data[where : where + int(rng.integers(1, 400))]
    return kind, bytes(data)


def make_case(seeds: Sequence[Path], index: int, folder: Path) -> tuple[str, Path, Path | None]:
    """Write the ``index``-th input.

    Returns
    -------
    (kind, path, seed)
        ``seed`` is the sound file for one that was cut short, whose pixels must not differ when it is read.
    """
    rng = np.random.default_rng([20, index])
    if index % 50 == 0:
        name = list(BOMBS)[(index // 50) % len(BOMBS)]
        return "bomb", BOMBS[name](folder), None
    seed = seeds[int(rng.integers(len(seeds)))]
    if seed.is_dir():
        return *_damaged_folder(seed, folder, rng), None
    kind, raw = damage(seed.read_bytes(), rng)
    ending = "".join(seed.suffixes)
    if rng.random() < 0.05:
        kind, ending = "renamed", "".join(seeds[int(rng.integers(len(seeds)))].suffixes)
    path = folder / f"case{ending}"
    if path.is_dir():
        path = folder / f"case-file{ending}"
    path.write_bytes(raw)
    return kind, path, seed if kind == "cut" else None


def _damaged_folder(seed: Path, folder: Path, rng: np.random.Generator) -> tuple[str, Path]:
    import shutil

    target = folder / seed.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(seed, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    victim = files[int(rng.integers(len(files)))]
    kind, raw = damage(victim.read_bytes(), rng)
    victim.write_bytes(raw)
    return kind, target


def run_case(seeds: Sequence[Path], index: int, folder: Path) -> dict[str, Any]:
    """Make one input, read it and say what came of it."""
    from napari_ld.errors import NapariLDError

    kind, path, seed = make_case(seeds, index, folder)
    _reset_peak()
    before, started = _memory("VmRSS"), time.process_time()
    outcome, message = "read", ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_anything(path)
            if seed is not None and not _same(found, read_anything(seed)):
                outcome, message = "wrong", "cut short, yet read with other pixels"
        except NapariLDError as error:
            outcome, message = "refused", str(error)
        except Exception as error:  # noqa: BLE001 - whatever escapes a reader is what is looked for
            outcome, message = "escaped", f"{type(error).__name__}: {error}"
    seconds, grown = time.process_time() - started, _memory("VmHWM") - before
    if seconds > MAX_SECONDS:
        outcome = "slow"
    if grown > MAX_BYTES:
        outcome = "large"
    return {
        "index": index,
        "file": path.name,
        "kind": kind,
        "outcome": outcome,
        "message": message[:300],
        "seconds": round(seconds, 3),
        "megabytes": grown // 10**6,
    }


def _same(found: Any, expected: Any) -> bool:
    if isinstance(found, list) and found and isinstance(found[0], tuple):
        return len(found) == len(expected) and all(
            np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
            for one, other in zip(found, expected, strict=True)
        )
    if isinstance(found, list):  # a table that ends at the end of a line is a table
        return bool(found == expected[: len(found)]) or len(found) <= len(expected)
    return bool(found == expected)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    """Bytes by the system's own count; 0 where it has none."""
    if not _STATUS.exists():
        return 0
    lines = _STATUS.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def child(first: int, last: int) -> None:
    """Run cases ``first`` to ``last``, telling each before and after it."""
    with tempfile.TemporaryDirectory(prefix="napari-ld-fuzz-") as name:
        seeds, folder = write_seeds(Path(name) / "seeds"), Path(name)
        for index in range(first, last):
            print(f"start {index}", flush=True)
            print(json.dumps(run_case(seeds, index, folder)), flush=True)


def watch(count: int, first: int = 0, show: Callable[[int, int], None] | None = None) -> list[dict[str, Any]]:
    """Run ``count`` cases in children; a case at which one dies or hangs is noted and skipped."""
    results: list[dict[str, Any]] = []
    next_index, last = first, first + count
    while next_index < last:
        code = f"from benchmarks.fuzz import child; child({next_index}, {last})"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            reached, reason = _follow(process, results, next_index, show, last)
            process.kill()
        if reached < last:
            results.append({"index": reached, "file": "", "kind": "", "outcome": reason, "message": ""})
        next_index = reached + 1
    return results


def _follow(
    process: subprocess.Popen[bytes],
    results: list[dict[str, Any]],
    index: int,
    show: Callable[[int, int], None] | None,
    last: int,
) -> tuple[int, str]:
    """Collect results until the child ends or says nothing for too long; the case that it was at, and why it ended."""
    lines = cast(IO[bytes], process.stdout)
    told = seen = 0.0
    while index < last:
        ready, _, _ = select.select([lines], [], [], _HANG_SECONDS)
        worked = _worked(process.pid)
        if not ready:
            if worked - told > _WORK_SECONDS or worked - seen < 0.01:
                return index, "hung"
            seen = worked
            continue
        told = seen = worked
        line = lines.readline()
        if not line:
            return index, "died"
        if line.startswith(b"{"):
            results.append(json.loads(line))
            index += 1
            if show is not None:
                show(index, last)
    return index, ""


def _worked(process: int) -> float:
    """Seconds of the processor that a process has used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _tell(done: int, last: int) -> None:
    if done % 500 == 0:
        print(f"{done} of {last}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print a table of outcomes by format, and the cases that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)
    results = watch(options.count, options.first, _tell)
    outcomes = ("read", "refused", "wrong", "escaped", "slow", "large", "died", "hung")
    counts = Counter(
        ("bomb" if one["kind"] == "bomb" else "".join(Path(one["file"]).suffixes), one["outcome"]) for one in results
    )
    formats = sorted({name for name, _ in counts})
    rows = [["format", *outcomes], *([name, *(str(counts[name, one]) for one in outcomes)] for name in formats)]
    print(align(rows))
    failed = [one for one in results if one["outcome"] not in ("read", "refused")]
    for one in failed[:40]:
        print(json.dumps(one))
    seconds, memory = (max((one.get(name, 0) for one in results), default=0) for name in ("seconds", "megabytes"))
    print(
        f"{len(results)} inputs, {len(failed)} failed; longest {seconds} s of processor time, most memory {memory} MB"
    )
    if options.output:
        summary = {name: {one: counts[name, one] for one in outcomes if counts[name, one]} for name in formats}
        settings = {"count": options.count, "first": options.first, "seed": 20}
        figures = {"outcomes": summary, "failed": failed, "longest_s": seconds, "most_mb": memory}
        write_results(options.output, {"settings": settings, "results": figures})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
