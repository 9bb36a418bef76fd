"""Private memory for a stack that lies on disk; run in a fresh process, prints JSON.

``python -m benchmarks.memory --encoder fast --planes 200``. Private is what Linux calls anonymous resident memory
(``RssAnon``): what the system cannot drop, other than the memory-mapped features and pixels. Idle is measured after
torch and the library are loaded, before the encoder is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import tifffile

from benchmarks.subjects import model_of, texture

_POLL_SECONDS = 0.01


def private_bytes() -> int:
    """Anonymous resident memory of this process.

    Raises
    ------
    OSError
        Where there is no ``/proc/self/status`` (only Linux has it).
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon: this benchmark needs Linux 4.5 or later")


class Peak:
    """Highest private memory while the context lasts, by polling."""

    def __enter__(self) -> Peak:
        self.bytes = private_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            self.bytes = max(self.bytes, private_bytes())


def measure(encoder: str, planes: int, size: int = 512) -> dict[str, float]:
    """Embed a stack of ``planes`` uint8 planes on disk, click once, refine; megabytes above idle and seconds."""
    from napari_ld.embedding.source import FeatureSource
    from napari_ld.io.images import read_image
    from napari_ld.localization import Template, locate
    from napari_ld.storage import Store

    with tempfile.TemporaryDirectory(prefix="napari-ld-") as folder:
        path = Path(folder) / "stack.tif"
        write_stack(path, planes, size)
        idle = private_bytes()
        started = time.perf_counter()
        with Peak() as peak:
            model = model_of(encoder)
            source = FeatureSource(read_image(path), model, store=Store(Path(folder) / "store", max_bytes=2**40))
            source.embed_all()
            click = Template("point", source, 0, (size * 0.4, size * 0.6))
            answers = sum(1 for _ in locate(source, [click]))
        seconds = time.perf_counter() - started
    return {
        "planes": planes,
        "answers": answers,
        "idle_mb": idle / 1e6,
        "above_idle_mb": (peak.bytes - idle) / 1e6,
        "seconds": seconds,
    }


def write_stack(path: Path, planes: int, size: int) -> None:
    """Write a textured multi-page TIFF plane by plane."""
    with tifffile.TiffWriter(path) as writer:
        for plane in range(planes):
            writer.write(texture(plane, size), contiguous=True)


def main() -> None:
    """Measure once and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--encoder", default="fast", help="fast, ld-paper, bundled name or file")
    parser.add_argument("--planes", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a plane")
    options = parser.parse_args()
    json.dump(measure(options.encoder, options.planes, options.size), sys.stdout)


if __name__ == "__main__":
    main()
