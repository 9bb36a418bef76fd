"""``napari-ld train``: the trainer, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import typer


def train(context: typer.Context) -> None:
    """Train an encoder of your own, without labels."""
    words = list(context.args)
    if not words or words[0].startswith("-"):  # options, --help too, are those of training itself
        words.insert(0, "train")
        if context.parent is not None and context.parent.params.get("debug"):
            words.append("--debug")
    # Training is met by process and file only, so that it outlives whoever started it.
    process = subprocess.Popen([sys.executable, "-m", "src_train", *words])
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            continue  # the trainer got Ctrl-C as well and saves its state before it stops
        raise typer.Exit(code if code >= 0 else 128 - code)
