"""What all tests share: where the development data are, and folders that are not those of the person who runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def development_data() -> Path:
    """Folder of the public development data; the test is skipped where there is none."""
    folder = os.environ.get("NAPARI_LD_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NAPARI_LD_DATA names no folder with development data")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests away from the caches and sessions of the person who runs them; processes they start inherit this."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_LD_CACHE", str(home / "cache"))
        for folder in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.setenv(folder, str(home / folder.lower()))
        yield
