"""``napari-ld train``: the trainer, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import typer


def train(context: typer.Context) -> None:
    """Train an encoder: everything after 'train' goes to 'python -m src_train'."""
    # Training is met by process and file only, so that it outlives whoever started it.
    process = subprocess.Popen([sys.executable, "-m", "src_train", *context.args])
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            continue  # the trainer got Ctrl-C as well and saves its state before it stops
        raise typer.Exit(code if code >= 0 else 128 - code)
