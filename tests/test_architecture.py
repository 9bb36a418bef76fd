"""What a test can hold of the architecture: rooms, names, sizes, annotations and who may import the heavy libraries.

Who may import whom among our own rooms is held by import-linter (``pyproject.toml``).
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("napari_ld", "src_train")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80

ROOMS = [
    "napari_ld/__init__.py",
    "napari_ld/_gui",
    "napari_ld/_npe2.py",
    "napari_ld/_sample_data.py",
    "napari_ld/_types.py",
    "napari_ld/adaptation.py",
    "napari_ld/cli",
    "napari_ld/embedding",
    "napari_ld/errors.py",
    "napari_ld/evaluation",
    "napari_ld/io",
    "napari_ld/localization",
    "napari_ld/model",
    "napari_ld/napari.yaml",
    "napari_ld/proposals",
    "napari_ld/refinement",
    "napari_ld/session",
    "napari_ld/similarity.py",
    "napari_ld/storage.py",
    "napari_ld/weights",
    "src_train/__main__.py",
    "src_train/config.py",
    "src_train/data",
    "src_train/losses",
    "src_train/methods",
    "src_train/momentum.py",
    "src_train/networks",
    "src_train/objectives",
    "src_train/protocol.py",
    "benchmarks",
    "docs",
]
WINDOW_LIBRARIES = {"napari", "qtpy", "magicgui", "superqt", "PyQt6", "PySide6", "vispy", "pyqtgraph"}
# Import name -> name of the distribution, where they differ.
DISTRIBUTIONS = {"PIL": "pillow", "nrrd": "pynrrd", "skimage": "scikit-image", "sklearn": "scikit-learn"}
OPTIONAL = {"highdicom", "pyqtgraph"}  # extras, asked for where they are used
DECODERS = {"pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "python-gdcm"}  # pydicom imports them


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(tree: ast.AST) -> Iterator[str]:
    """Every module that the file imports, late imports included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def _only_for_types(tree: ast.AST) -> set[str]:
    """Modules that are imported for annotations only."""
    blocks = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    return {module for block in blocks for statement in block.body for module in _imports(statement)}


def _libraries(path: Path) -> set[str]:
    """Top names of what a file imports when it runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {module.split(".")[0] for module in set(_imports(tree)) - _only_for_types(tree)}


@pytest.mark.parametrize("room", ROOMS)
def test_room_exists(room: str) -> None:
    assert (ROOT / room).exists()


def test_no_rooms_without_a_subject() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "core", "misc", "tools"}
    assert [_name(path) for path in SOURCES if vague & {*path.parts, path.stem}] == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_file_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_everything_is_annotated_and_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says in its docstring what it is"
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if node.returns is None] == []
    bare = [
        f"{node.name}({argument.arg})"
        for node in functions
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if argument.annotation is None and argument.arg not in {"self", "cls"}
    ]
    assert bare == []


def test_windows_are_in_one_room() -> None:
    elsewhere = {
        _name(path): found
        for path in SOURCES
        if "_gui" not in path.parts and (found := _libraries(path) & WINDOW_LIBRARIES)
    }
    assert elsewhere == {}


def test_torch_stays_out_of_window_session_and_io() -> None:
    rooms = {"_gui", "session", "io"}
    assert [
        _name(path) for path in SOURCES if rooms & set(path.relative_to(ROOT).parts) and "torch" in _libraries(path)
    ] == []


def test_declared_dependencies_are_the_imported_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {line.split(">")[0].split("[")[0].strip() for line in project["dependencies"]}
    own = set(sys.stdlib_module_names) | set(PACKAGES)
    imported = {DISTRIBUTIONS.get(name, name) for path in SOURCES for name in _libraries(path) - own}
    assert declared - DECODERS == imported - OPTIONAL
    assert declared >= DECODERS


@pytest.mark.parametrize(
    "statement",
    ["import napari_ld", "import napari_ld.cli as cli; cli.main(['--help'])", "import napari_ld._npe2"],
)
def test_light_to_import(statement: str) -> None:
    """In a fresh process neither torch, Qt nor napari is loaded."""
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"torch", *WINDOW_LIBRARIES} & set(done.stderr.split()) == set()


def test_public_names_are_found() -> None:
    import napari_ld

    assert sorted(napari_ld.__all__) == dir(napari_ld)
    assert [name for name in napari_ld.__all__ if not hasattr(napari_ld, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'lokate'"):
        napari_ld.lokate  # noqa: B018 - fetching the name is what is tested
