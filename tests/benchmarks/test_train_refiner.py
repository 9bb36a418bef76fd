"""The learnt refiner's folds leave out what they claim to, and its training teaches."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import refinement, train_refiner
from benchmarks.refiner_cases import RefinerCase
from napari_ld.errors import ModelFileError
from napari_ld.model.checkpoint import ModelHeader, load_refiner, save_model
from napari_ld.model.encoder import EncoderConfig
from napari_ld.model.refiner_head import RefinerHead
from napari_ld.refinement.evidence import MAPS

SETTINGS = tomllib.loads(train_refiner.SETTINGS_FILE.read_text())
REPORT = tomllib.loads(refinement.SETTINGS_FILE.read_text())


def case(name: str, kind: str, seed: int) -> RefinerCase:
    """A label three cells too far to the right, and an edge map that tells where it should be."""
    rows, columns = np.mgrid[:40, :40]
    row, column = 20 + np.random.default_rng(seed).normal(0, 2, 2)
    truth = np.hypot(rows - row, columns - column) < 10
    stacked = np.zeros((len(MAPS) + 2, 40, 40), np.float16)
    stacked[0] = (10 - np.hypot(rows - row, columns - column - 3)) / 6
    stacked[4] = np.where(truth, 1, -1)
    stacked[-2], stacked[-1] = 2 * stacked[0], truth
    return RefinerCase.of(name, kind, stacked)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    for name in SETTINGS["sets"]:
        kinds = [*SETTINGS["kinds"], "intact"]
        np.savez(
            tmp_path / f"{name}.npz", **{f"{n:05} {kind}": case(name, kind, n).stacked for n, kind in enumerate(kinds)}
        )
    return tmp_path


@pytest.mark.parametrize("name", list(REPORT["sets"]))
def test_folds_never_saw_the_set_or_the_kind(name: str, written: Path) -> None:
    seen = train_refiner.read_cases(SETTINGS, written, train_refiner.fold_of(SETTINGS, name))
    folders = {SETTINGS["sets"][one.set].get("folder", one.set) for one in seen}
    assert seen
    assert name not in folders
    assert name != "drishti_gs" or "idrid_segmentation" not in folders  # discs of another camera
    for kind in REPORT["kinds"]:
        fold = train_refiner.fold_of(SETTINGS, name, kind)
        assert fold in train_refiner.folds(SETTINGS)
        assert kind not in {one.kind for one in train_refiner.read_cases(SETTINGS, written, fold)}


def test_images_of_the_report_are_skipped() -> None:
    for name, given in SETTINGS["sets"].items():
        if given.get("folder", name) in REPORT["sets"]:
            assert given["skip"] >= REPORT["images"] + REPORT["tuning"]


def test_training_teaches_to_follow_what_the_maps_tell() -> None:
    cases = [case("a", "shift", seed) for seed in range(8)]
    given = {**SETTINGS["training"], "steps": 60, "batch": 4, "warmup": 5}
    network = train_refiner.train(cases, given, seed=0)
    again = train_refiner.train(cases, given, seed=0)
    held = case("a", "shift", 99)
    maps = torch.from_numpy(held.maps.astype(np.float32))[None]
    with torch.inference_mode():
        found = held.lead / 2 + network(maps)[0, 0].numpy()
        assert torch.equal(network(maps), again(maps))
    truth = held.truth > 0.5
    assert ((found > 0) != truth).mean() < 0.5 * ((held.lead > 0) != truth).mean()


def test_an_untrained_network_changes_nothing_and_files_are_checked(tmp_path: Path, encoder_file: Path) -> None:
    network = RefinerHead(len(MAPS)).eval()
    with torch.inference_mode():
        assert not network(torch.randn(1, len(MAPS), 30, 21)).any()
    path = tmp_path / "refiner.safetensors"
    save_model(path, network, ModelHeader("refiner", "x", EncoderConfig()))
    assert path.stat().st_size < 1_000_000
    assert not load_refiner(path, len(MAPS)).training
    with pytest.raises(ModelFileError, match="has shape"):
        load_refiner(path, len(MAPS) + 1)
    with pytest.raises(ModelFileError, match="a model of kind 'encoder'; a refiner was expected here"):
        load_refiner(encoder_file, len(MAPS))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="truncated"):
        load_refiner(path, len(MAPS))
