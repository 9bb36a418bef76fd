"""The public names of the package, and that fetching the light ones loads no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_ld import proposals


def test_every_name_is_found() -> None:
    assert [name for name in proposals.__all__ if not hasattr(proposals, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'propoze'; it has PROPOSERS"):
        proposals.propoze  # noqa: B018 - fetching the name is what is tested


def test_tables_and_ranking_load_no_torch() -> None:
    code = "import sys\nfrom napari_ld.proposals import Mask, Ranking, Regions\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
