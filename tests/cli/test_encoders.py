"""``napari-ld encoders``: the table of what is bundled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_ones_own_are_listed_and_used_by_name(
    run: Run, encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_LD_ENCODERS", str(tmp_path))
    (tmp_path / "knees.safetensors").write_bytes(encoder_file.read_bytes())
    (tmp_path / "torn.safetensors").write_bytes(b"")
    code, out, _ = run("encoders")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert "method not stated" in lines["knees"]
    assert "not a model of napari-ld, or damaged" in lines["torn"]
    table = {entry["name"]: entry for entry in json.loads(run("encoders", "--json")[1])}
    assert table["knees"]["path"] == str(tmp_path / "knees.safetensors")
