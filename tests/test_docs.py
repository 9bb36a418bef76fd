"""The examples of the documents run, and the pages name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_ld.cli import build_app
from napari_ld.io.landmarks import MATCH_COLUMNS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_example_of_the_python_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)  # each goes on where the one before ended
    exec(compile("\n".join(examples), "docs/python.md", "exec"), {})  # noqa: S102 - our own page
    assert "verified" in capsys.readouterr().out


def test_every_command_is_explained() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    names = [command.callback.__name__ for command in build_app().registered_commands if command.callback]
    assert [name for name in names if f"\n## {name}\n" not in text] == []
    assert [column for column in MATCH_COLUMNS if column not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
