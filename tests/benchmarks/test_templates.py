"""Ablation of the search and choice of templates, with answers made up so that the arithmetic can be checked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import ingredients, templates
from benchmarks.data import load_settings
from benchmarks.ingredients import INGREDIENTS, UNTRAINED, ingredient_rows, ingredient_table
from benchmarks.outcomes import Outcome, evaluated_names
from napari_ld.localization import LocateParams
from tests.benchmarks.test_landmarks import small_set


def test_several_templates_are_none_of_the_evaluated() -> None:
    data = small_set()
    assert evaluated_names(data, "b.png", None) == ["a.png", "c.png", "d.png"]
    assert evaluated_names(data, ["b.png", "a.png"], ["a.png", "c.png"]) == ["c.png"]


def test_every_ingredient_changes_something_and_is_measured_on_proper_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[LocateParams] = []

    def answer(_: Any, data: Any, template: str, params: LocateParams, *, names: list[str]) -> Outcome:
        assert "d.png" not in names
        seen.append(params)
        worth = 1.0 + params.gradient_weight + len(params.fine) + (template == "b.png")
        return Outcome("out of fold", data.name, template, {name: np.full(2, worth) for name in names})

    def untrained(_: Any, seed: int, data: Any, template: str, params: LocateParams, *, names: list[str]) -> Outcome:
        return Outcome("untrained", data.name, template, {name: np.full(2, 50.0 + seed) for name in names})

    monkeypatch.setattr(ingredients, "evaluate_out_of_fold", answer)
    monkeypatch.setattr(ingredients, "evaluate_untrained", untrained)
    rows = ingredient_rows([small_set()], {"a": SimpleNamespace()}, load_settings())  # type: ignore[dict-item]
    assert len(set(seen)) == len(INGREDIENTS)
    by_name = {row["variant"]: row for row in rows}
    assert by_name["everything"]["means"] == [6.0, 7.0]
    assert by_name["without both: the embedding alone"]["means"] == [1.0, 2.0]
    assert by_name[UNTRAINED]["medians"] == [50.0, 50.0]
    assert "6.50 / 6.50" in ingredient_table(rows)


def test_five_at_once_are_compared_with_the_same_five_on_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked = small_set(), []

    def answer(_: Any, data: Any, template: str | list[str], *, names: list[str]) -> Outcome:
        asked.append((template, list(names)))
        wanted = evaluated_names(data, template, names)
        value = 1.0 if not isinstance(template, str) else {"a.png": 2.0, "b.png": 4.0, "c.png": 9.0}[template]
        return Outcome("out of fold", data.name, str(template), {name: np.full(2, value) for name in wanted})

    monkeypatch.setattr(templates, "evaluate_out_of_fold", answer)
    monkeypatch.setattr(templates, "suggested", lambda *_: "b.png")
    monkeypatch.setattr(templates, "AT_ONCE", 2)
    rows = templates.rows_of_set(data, {"a": None}, 0, 3, ["a.png", "b.png", "c.png"])  # type: ignore[dict-item]
    drawn = templates.drawn_templates(data, 3, 0)
    assert sorted(drawn) == ["a.png", "b.png", "c.png"]
    assert sorted(row["mean"] for row in rows if row["which"] == "random") == [2.0, 4.0, 9.0]
    assert rows[3]["which"] == "suggested"
    assert rows[3]["mean"] == 4.0
    values = {"a.png": 2.0, "b.png": 4.0, "c.png": 9.0}
    assert rows[4]["one_at_a_time"] == np.mean([values[name] for name in drawn[:2]])
    assert asked[3] == (drawn[:2], [name for name in ("a.png", "b.png", "c.png") if name not in drawn[:2]])
    assert "1.00 / " in templates.table(rows)


def test_an_ablation_without_fold_encoders_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.landmarks import main

    assert main(["--ablation", "--sets", "phantom"]) == 2
    assert "give the encoders of the two folds" in capsys.readouterr().err
