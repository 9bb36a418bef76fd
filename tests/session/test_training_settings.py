"""What the trainer tells of its settings, and what becomes of answers that are none."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from napari_ld.errors import Cancelled, TrainingError
from napari_ld.session import training_settings
from napari_ld.session.training import METHODS, PRESETS
from napari_ld.session.training_settings import TABLES, WORDS, as_words, ask_settings, ask_trainer
from src_train.config import load_config
from src_train.settings import described_settings


def test_the_settings_are_those_of_the_trainer() -> None:
    (settings,) = ask_settings(None, lambda: False)
    assert set(METHODS) <= set(settings.methods)
    assert set(TABLES) == set(settings.tables)
    known = {setting.key for table in settings.tables.values() for setting in table}
    assert set(WORDS) <= known
    for preset, words in PRESETS.items():
        assert settings.presets[preset]["schedule.steps"] == words.steps
    for method in METHODS:
        offered = settings.offered(f"{method}+lrc", "quick")
        values = {setting.key: value for rows in offered.values() for setting, value in rows}
        assert values["schedule.warmup"] == 20  # as the preset says
        config = load_config("quick", settings=list(as_words(values)), data=("x",), method=f"{method}+lrc")
        assert config == load_config("quick", data=("x",), method=f"{method}+lrc")
    values = {setting.key: value for rows in settings.offered("ld", "quick", "x").values() for setting, value in rows}
    config = load_config("quick", settings=list(as_words(values)), data=("x",), init="x")
    assert config == load_config("quick", data=("x",), init="x")
    assert config.schedule != load_config("quick", data=("x",)).schedule
    assert "weights" in settings.offered("ld", "quick")
    assert "weights" not in settings.offered("moco", "quick")
    assert "lrc" not in settings.offered("ld", "quick")
    rate = next(setting for setting in settings.tables["schedule"] if setting.key == "schedule.rate")
    assert (rate.words, rate.table) == ("course of the learning rate", "schedule")
    assert "cosine" in rate.choices


def test_foreign_descriptions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = described_settings()
    del told["presets"]
    for answer in (told, [], {"tables": {"": [{}]}}):
        monkeypatch.setattr(training_settings, "ask_trainer", lambda *words, answer=answer: answer)
        with pytest.raises(TrainingError, match="describes its settings in an unknown way"):
            list(ask_settings(None, lambda: False))


def test_answers_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="unknown preset 'slow'"):
        ask_trainer(["train", "--preset", "slow", "--data", "x", "--dry-run"], lambda: False)
    said: list[str] = []
    popen = subprocess.Popen

    def speaking(words: list[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", said[0]], **options)

    monkeypatch.setattr(subprocess, "Popen", speaking)
    said[:] = ["print('one'); print('two')"]
    with pytest.raises(TrainingError, match="answered 'two', not JSON"):
        ask_trainer([], lambda: False)
    said[:] = ["pass"]
    with pytest.raises(TrainingError, match="ended without a word"):
        ask_trainer([], lambda: False)
    said[:] = ["import time; time.sleep(600)"]
    with pytest.raises(Cancelled, match="question to the trainer was cancelled"):
        ask_trainer([], lambda: True)

    def refuse(*words: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(TrainingError, match="trainer cannot be started: Permission denied"):
        ask_trainer([], lambda: False)
