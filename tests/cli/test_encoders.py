"""``napari-ld encoders``: the table of what is bundled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from napari_ld.model.zoo import list_models

Run = Callable[..., tuple[int, str, str]]


def test_every_bundled_encoder_is_listed(run: Run) -> None:
    code, out, err = run("encoders")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(list_models())


def test_json_holds_the_whole_table(run: Run) -> None:
    code, out, _ = run("encoders", "--json")
    table = json.loads(out)
    assert code == 0
    assert [entry["name"] for entry in table] == list(list_models())
    assert [entry for entry in table if not (entry["licence"] and Path(entry["path"]).is_file())] == []
