"""Folds: disjoint, complete, deterministic; copies of a picture are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from scipy import ndimage

from benchmarks.data import load_settings
from benchmarks.folds import (
    LOOK_ALIKE,
    SAME_PICTURE,
    copies_of,
    data_root,
    folds_of,
    groups_of,
    image_names,
    likeness,
    load_folds,
    split_in_two,
    thumbnail,
)

SIZES = {"ceph": (65, 65), "hand": (12, 12), "idrid_points": (17, 16)}


@pytest.mark.parametrize("name", SIZES)
def test_folds_are_disjoint_and_of_the_intended_sizes(name: str) -> None:
    folds = load_folds()[name]
    assert not set(folds["a"]) & set(folds["b"])
    assert (len(set(folds["a"])), len(set(folds["b"]))) == SIZES[name]


def test_every_template_and_hard_image_is_in_a_fold() -> None:
    folds = load_folds()
    for entry in load_settings()["sets"].values():
        if "folder" in entry:
            members = set(folds[entry["folder"]]["a"]) | set(folds[entry["folder"]]["b"])
            assert {*entry["templates"], *entry.get("hard", ())} <= members


def test_photographs_that_lie_in_two_sets_are_excluded_from_training() -> None:
    assert load_folds()["exclude"] == {"idrid_segmentation": ["IDRiD_09.jpg", "IDRiD_22.jpg", "IDRiD_31.jpg"]}


def test_the_committed_folds_cover_the_labelled_images(development_data: Path) -> None:
    for name in SIZES:
        folds = load_folds()[name]
        assert sorted(folds["a"] + folds["b"]) == image_names(development_data, name, labelled=True)


def test_the_committed_folds_come_from_the_script(development_data: Path) -> None:
    assert folds_of(development_data, "hand") == load_folds()["hand"]
    found = copies_of(development_data, "idrid_points", "idrid_segmentation")
    assert found == load_folds()["exclude"]["idrid_segmentation"]


def test_dealing_keeps_groups_together_and_does_not_depend_on_order() -> None:
    groups = [["1", "7"], ["2"], ["3"], ["4"], ["5"], ["6"]]
    folds = split_in_two(groups, "set")
    assert sorted(folds["a"] + folds["b"]) == list("1234567")
    assert abs(len(folds["a"]) - len(folds["b"])) == 1
    assert any({"1", "7"} <= set(names) for names in folds.values())
    assert split_in_two(groups[::-1], "set") == folds


def test_groups_join_over_others() -> None:
    alike = np.zeros((4, 4), bool)
    alike[0, 2] = alike[2, 3] = True
    assert groups_of("abcd", alike) == [["a", "c", "d"], ["b"]]


def test_copies_are_found_whatever_their_size_mirroring_and_compression(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [_picture(rng) for _ in range(3)]
    pictures[0].save(tmp_path / "0.png")
    pictures[1].save(tmp_path / "1.png")
    pictures[0].resize((200, 150)).save(tmp_path / "small.jpg", quality=80)
    pictures[0].transpose(PILImage.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    pictures[2].save(tmp_path / "other.png")
    known = np.stack([thumbnail(tmp_path / name) for name in ("0.png", "1.png")])
    others = np.stack([thumbnail(tmp_path / name) for name in ("small.jpg", "mirrored.png", "other.png")])
    found = likeness(known, others)
    assert (found >= SAME_PICTURE).tolist() == [[True, True, False], [False, False, False]]
    assert found[:, 2].max() < LOOK_ALIKE


def _picture(rng: np.random.Generator) -> PILImage.Image:
    noise = ndimage.gaussian_filter(rng.normal(size=(300, 400)), 5)
    return PILImage.fromarray(np.clip(noise / noise.std() * 40 + 128, 0, 255).astype(np.uint8))


def test_missing_development_data_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_LD_DATA", "/no/such/folder")
    with pytest.raises(FileNotFoundError, match=r"NAPARI_LD_DATA is '/no/such/folder'.*set it"):
        data_root()
