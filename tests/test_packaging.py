"""The manifest is found after an editable install, from a wheel and from an sdist, each in a new environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What a checkout holds, and nothing that was built in it.
CHECKOUT = ("LICENSE", "README.md", "napari.yaml", "napari_ld", "pyproject.toml", "src_train")

pytestmark = pytest.mark.slow

REPORT = """
import importlib.metadata, pathlib, napari_ld, npe2
from napari_ld.model.zoo import list_models, resolve
manifest = npe2.PluginManifest.from_distribution("napari-ld")
assert manifest.name == importlib.metadata.distribution("napari-ld").metadata["Name"] == "napari-ld"
assert manifest.contributions.widgets and manifest.contributions.readers and manifest.contributions.sample_data
for command in manifest.contributions.commands:
    module, _, name = command.python_name.partition(":")
    assert (pathlib.Path(napari_ld.__file__).parents[1] / (module.replace(".", "/") + ".py")).is_file(), command
assert [name for name in list_models() if not resolve(name).is_file()] == []
print(napari_ld.__file__)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the sources, links kept, so that building leaves nothing in the working tree."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in CHECKOUT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel built from the sources, an sdist, and nothing else."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", str(out), str(checkout))
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.mark.parametrize("kind", ["editable", "wheel", "sdist"])
def test_manifest_is_found_after_install(kind: str, checkout: Path, built: dict[str, Path], tmp_path: Path) -> None:
    python = _environment(tmp_path / "environment")
    source = ["--editable", str(checkout)] if kind == "editable" else [str(built[kind])]
    quick = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", *quick, *source)

    found = _run(str(python), "-c", REPORT, cwd=tmp_path).strip()

    home = checkout if kind == "editable" else tmp_path / "environment"
    assert Path(found).is_relative_to(home)
    assert "Manifest for 'napari-ld' valid" in _run(str(python), "-m", "npe2", "validate", "napari-ld", cwd=tmp_path)
    assert "napari-ld 0" in _run(str(python), "-m", "napari_ld", "--version", cwd=tmp_path)


def test_wheel_holds_the_package_and_nothing_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"napari_ld", "src_train", next(top for top in tops if top.endswith(".dist-info"))}
    assert names.count("napari_ld/napari.yaml") == 1
    assert "napari_ld/py.typed" in names


def test_sdist_holds_the_manifest_once_as_a_file(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        manifests = {member.name.split("/", 1)[1]: member for member in sdist if member.name.endswith("napari.yaml")}
    assert manifests["napari.yaml"].isfile()


def _environment(folder: Path) -> Path:
    """A new environment that borrows the libraries, but not the installed napari-ld, of the one the tests run in."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    packages = Path(_run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def _run(*command: str, cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
