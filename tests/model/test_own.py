"""My encoders: added, found by name, renamed, given away, deleted; foreign files refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_ld.errors import ModelFileError, StorageError
from napari_ld.model.checkpoint import ModelHeader, read_header, save_model
from napari_ld.model.own import add_own, card_of, delete_own, export_own, free_name, own_encoders, rename_own
from napari_ld.model.zoo import load_encoder, resolve

if TYPE_CHECKING:
    from napari_ld.model.checkpoint import LoadedModel


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_LD_ENCODERS", str(tmp_path / "mine"))
    return tmp_path / "mine"


@pytest.fixture
def file(tmp_path: Path, centred_model: LoadedModel) -> Path:
    """A model as training leaves it."""
    training = {"method": "ld", "steps": 100, "minutes": 2.1, "started_from": "ld-general"}
    header = ModelHeader("encoder", "my-encoder", centred_model.header.config, training=training)
    save_model(tmp_path / "encoder.safetensors", centred_model.encoder, header)
    return tmp_path / "encoder.safetensors"


def test_an_encoder_of_ones_own_is_used_by_its_name(file: Path, tmp_path: Path) -> None:
    assert own_encoders() == {}
    copy = add_own(file, "knees 2")
    assert copy.read_bytes() == file.read_bytes()
    assert own_encoders() == {"knees 2": copy}
    assert load_encoder("knees 2").header == read_header(file)
    assert rename_own("knees 2", "knees") == resolve("knees")
    export_own("knees", tmp_path / "given.safetensors")
    assert (tmp_path / "given.safetensors").read_bytes() == file.read_bytes()
    delete_own("knees")
    with pytest.raises(ModelFileError, match="unknown encoder 'knees'"):
        resolve("knees")


def test_the_card_says_where_it_comes_from(file: Path) -> None:
    card = card_of(add_own(file, "knees"))
    assert (card.name, card.method, card.origin, card.steps, card.minutes) == ("knees", "ld", "ld-general", 100, 2.1)
    assert card.text.startswith("ld · 100 steps · 2.1 min\nstarted from ld-general · ")


def test_unknown_names_list_ones_own(file: Path) -> None:
    add_own(file, "knees")
    with pytest.raises(ModelFileError, match=r"bundled ones: ld-general, nor of your own: knees"):
        resolve("knee")
    for action in (delete_own, lambda name: rename_own(name, "b"), lambda name: export_own(name, file)):
        with pytest.raises(ModelFileError, match="no encoder of yours is called 'knee'; there are: knees"):
            action("knee")


@pytest.mark.parametrize("name", ["", "../out", "a/b", ".hidden", "x" * 61, "a.safetensors", "dot.", "é"])
def test_names_that_cannot_be_files_are_refused(file: Path, folder: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="cannot be a name"):
        add_own(file, name)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["ld-general", "Knees"])
def test_taken_names_are_refused(file: Path, name: str) -> None:
    add_own(file, "knees")
    with pytest.raises(ModelFileError, match=r"is called .* already"):
        add_own(file, name)


def test_files_that_are_no_models_are_refused_and_leave_nothing(tmp_path: Path, file: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 0xFF
    damaged.write_bytes(content)
    with pytest.raises(ModelFileError, match="checksum"):
        add_own(damaged, "a")
    foreign = tmp_path / "foreign.safetensors"
    for bytes_ in (b"", b"\xff" * 100, (2).to_bytes(8, "little") + b"{}", (4).to_bytes(8, "little") + b"[1]x"):
        foreign.write_bytes(bytes_)
        with pytest.raises(ModelFileError):
            add_own(foreign, "a")
        with pytest.raises(ModelFileError, match="not a model of napari-ld, or damaged"):
            card_of(foreign)
    assert own_encoders() == {}


def test_a_folder_that_cannot_be_written_is_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("NAPARI_LD_ENCODERS", str(tmp_path / "taken"))
    with pytest.raises(StorageError, match="cannot make the folder"):
        add_own(file, "knees")


def test_files_in_use_are_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_own(file, "knees")

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError, match=r"cannot delete .*Permission denied"):
        delete_own("knees")
    with pytest.raises(StorageError, match=r"cannot rename .*Permission denied"):
        rename_own("knees", "elbows")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*Permission denied"):
        export_own("knees", tmp_path / "given.safetensors")


@pytest.mark.parametrize("wanted", ["knees", "Knees", "ld-general", "", "../a/é", "x" * 80, "a.safetensors.", " . "])
def test_free_names_can_be_taken_again_and_again(file: Path, wanted: str) -> None:
    names = [add_own(file, free_name(wanted)).stem for _ in range(3)]
    assert len(set(names)) == 3
    assert free_name("elbows") == "elbows"
