"""The settings as a form sees them: all of them, with words, and every value that is offered is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from src_train.__main__ import main
from src_train.config import PRESETS, load_config
from src_train.settings import described_settings, documented

DESCRIBED = described_settings()
ROWS = [(f"{table}.{row['key']}".lstrip("."), row) for table, rows in DESCRIBED["tables"].items() for row in rows]


@pytest.mark.parametrize(("key", "row"), ROWS, ids=[key for key, _ in ROWS])
def test_every_setting_is_explained_and_can_be_given_back(key: str, row: dict[str, Any]) -> None:
    assert row["help"], "say in the section Attributes of its class what it means"
    assert row["kind"] in ("int", "float", "bool", "str", "floats")
    labels = ["evaluation.masks=m", "evaluation.landmarks=l"]
    plain = load_config("standard", settings=labels, data=("x",))
    again = load_config("standard", settings=[*labels, f"{key}={json.dumps(row['default'])}"], data=("x",))
    assert again == plain or key in DESCRIBED["presets"]["standard"]
    for choice in row["choices"]:
        load_config("standard", settings=[*labels, f"{key}={choice}"], data=("x",))


def test_methods_and_presets_are_those_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(DESCRIBED))
    for entry in (*told["methods"].values(), *told["add_ons"].values()):
        assert entry["summary"]
        assert set(entry["tables"]) <= set(told["tables"])
    assert "weights" in told["methods"]["ld"]["tables"]
    assert "corruption" in told["methods"]["dira"]["tables"]
    assert "superpixels" in told["add_ons"]["lrc"]["tables"]
    assert told["presets"]["quick"]["schedule.steps"] == PRESETS["quick"]["schedule"]["steps"]
    assert main(["settings"]) == 0
    assert "schedule.steps = 3000\n    How often" in capsys.readouterr().out


def test_words_come_from_the_docstring() -> None:
    class Kind:
        """Something.

        Attributes
        ----------
        one, two : int
            Both of ``these``
            [reconstruction].
        three : float
        """

    assert documented(Kind) == {"one": "Both of these.", "two": "Both of these."}
    assert documented(int) == {}
