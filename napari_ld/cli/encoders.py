"""``napari-ld encoders``: what is bundled."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def encoders(
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole table as JSON.")] = False,
) -> None:
    """List the bundled encoders."""
    from napari_ld.model.zoo import list_models, resolve

    entries = list_models()
    if as_json:
        table = [{"name": name, **asdict(entry), "path": str(resolve(name))} for name, entry in entries.items()]
        print(json.dumps(table, indent=2))
        return
    width = max((len(name) for name in entries), default=0)
    for name, entry in entries.items():
        print(f"{name:<{width}}  {entry.modality}  ({entry.licence})")
