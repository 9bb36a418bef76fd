"""A few hundred damaged files, and that the fuzzer would notice what it looks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.fuzz_seeds import BOMBS, write_seeds


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_seeds(tmp_path_factory.mktemp("fuzz") / "seeds")


def test_sound_files_are_read(seeds: list[Path]) -> None:
    for seed in seeds:
        assert fuzz.read_anything(seed) is not None


@pytest.mark.parametrize("block", range(4))
def test_damaged_files_end_in_pixels_or_a_clear_error(seeds: list[Path], tmp_path: Path, block: int) -> None:
    indices = [index for index in range(10_000 + 100 * block, 10_100 + 100 * block) if index % 50]
    results = [fuzz.run_case(seeds, index, tmp_path) for index in indices]
    assert [one for one in results if one["outcome"] not in ("read", "refused")] == []
    assert sum(one["outcome"] == "refused" for one in results) > 30


@pytest.mark.parametrize("name", sorted(set(BOMBS) - {"nifti"}))
def test_bombs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fuzz_seeds._BOMB_BYTES", 2**28)
    path = BOMBS[name](tmp_path)
    monkeypatch.setattr(fuzz, "make_case", lambda seeds, index, folder: ("bomb", path, None))
    result = fuzz.run_case([], 0, tmp_path)
    assert result["outcome"] in ("read", "refused")
    assert result["megabytes"] < 700


def test_what_goes_wrong_is_noticed(seeds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(fuzz, "read_anything", broken)
    assert fuzz.run_case(seeds, 1, tmp_path)["outcome"] == "escaped"
    answers = iter([[(1, 1), np.zeros(1)], [(1, 1), np.ones(1)]])
    monkeypatch.setattr(fuzz, "make_case", lambda seeds, index, folder: ("cut", seeds[0], seeds[0]))
    monkeypatch.setattr(fuzz, "read_anything", lambda path: next(answers))
    assert fuzz.run_case(seeds, 1, tmp_path)["outcome"] == "wrong"
