"""Rows of the benchmark of self-training from answers that are known, and one small run of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import self_training
from benchmarks.data import EvaluationSet, load_settings, phantom_set
from benchmarks.outcomes import Outcome
from benchmarks.self_training import row_of, table, templates_of
from napari_ld.localization import LocateParams


def _phantoms() -> EvaluationSet:
    return phantom_set("phantom", load_settings()["sets"]["phantom"], 0)


def test_both_ways_are_asked_for_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: object, data: EvaluationSet, template: str, params: LocateParams, *, names: list[str]) -> Outcome:
        error = 3.0 if params.adapt is None else 1.5
        return Outcome("", data.name, template, {n: np.full(2, error * (1 + int(n))) for n in names if n != template})

    monkeypatch.setattr(self_training, "evaluate_out_of_fold", answer)
    row = row_of(_phantoms(), "fixed", "0", {}, ["0", "1", "2"])
    assert (row["images"], row["plain, mean"], row["self-trained, mean"], row["ratio"]) == (2, 7.5, 3.75, 0.5)
    assert row["interval"] == [0.5, 0.5]
    line = table([row, row | {"which": "random"}, row | {"which": "random", "ratio": 0.7}]).splitlines()
    assert line[2] == "| phantom, % of height | 1 fixed | 7.50 / 7.50 | 3.75 / 3.75 | 0.50 (0.50 to 0.50) | 0 → 0 % |"
    assert line[3].startswith("| phantom, % of height | 2 random | 7.50 / 7.50 | 3.75 / 3.75 | 0.50 0.70 |")


def test_templates_are_the_fixed_the_suggested_and_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_training, "suggested", lambda data, model: "7")
    found = templates_of(_phantoms(), None, 0, 3)  # type: ignore[arg-type]
    assert found[:6] == [("fixed", str(n)) for n in range(5)] + [("suggested", "7")]
    assert [which for which, _ in found[6:]] == ["random"] * 3
    assert len({name for which, name in found if which == "random"}) == 3


def test_a_set_of_some_images_keeps_what_belongs_to_them() -> None:
    data = _phantoms()
    part = data.only({"2", "5", "none"})
    assert part.names == ("2", "5")
    assert part.images == (data.images[2], data.images[5])
    np.testing.assert_array_equal(part.truth, data.truth[[2, 5]])
