"""What a result was measured with: versions, machine, commit. No host names and no paths."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_ld.storage import atomic_write

_PACKAGES = ("napari-ld", "numpy", "scipy", "scikit-image", "torch", "napari", "SimpleITK")
_ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    """Describe processor, cores, memory and operating system."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """Model name of the processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def memory_gb() -> float | None:
    """Memory of the machine in GB, where the system tells it."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str:
    """Commit of the working tree, with ``+`` when files of it have been changed; ``unknown`` outside git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "napari_ld", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=_ROOT, check=True, capture_output=True, text=True).stdout.strip()


def write_results(path: str | Path, content: dict[str, Any]) -> None:
    """Write results with the description of their origin as JSON."""
    origin = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as stream:
        json.dump(origin | content, stream, indent=1)
        stream.write("\n")


def write_part(
    path: str | Path, settings: dict[str, Any], part: str, rows: Sequence[dict[str, Any]], keys: Sequence[str]
) -> None:
    """Put rows of one part into a file, each with its commit; those of the same ``keys`` are replaced, others kept."""
    content = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
    fresh = {tuple(row[key] for key in keys) for row in rows}
    kept = [row for row in content.get(part, []) if tuple(row[key] for key in keys) not in fresh]
    parts = {name: value for name, value in content.items() if isinstance(value, list)}
    now = [row | {"commit": commit()} for row in rows]
    write_results(path, {"settings": settings} | parts | {part: kept + now})
