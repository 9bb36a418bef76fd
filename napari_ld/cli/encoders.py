"""``napari-ld encoders``: what is bundled, and the person's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def encoders(
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole table as JSON.")] = False,
) -> None:
    """List the bundled encoders and your own."""
    from napari_ld.errors import ModelFileError
    from napari_ld.model.own import card_of, own_encoders
    from napari_ld.model.zoo import list_models, resolve

    entries = list_models()
    own = {}
    for name, path in own_encoders().items():
        try:
            own[name] = asdict(card_of(path)), card_of(path).text.replace("\n", " · ")
        except ModelFileError as error:
            own[name] = {"name": name, "error": str(error)}, str(error)
    if as_json:
        table = [{"name": name, **asdict(entry), "path": str(resolve(name))} for name, entry in entries.items()]
        table += [{**card, "kind": "own", "path": str(resolve(name))} for name, (card, _) in own.items()]
        print(json.dumps(table, indent=2))
        return
    width = max((len(name) for name in (*entries, *own)), default=0)
    for name, entry in entries.items():
        print(f"{name:<{width}}  {entry.modality}  ({entry.licence})")
    for name, (_, text) in own.items():
        print(f"{name:<{width}}  {text}")
