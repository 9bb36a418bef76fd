"""Labelled images: how they find each other, what is refused, and that labels go where pixels go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.io import imsave

from napari_ld.errors import ConfigError
from napari_ld.model.heads import HeadConfig
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.data.crops import CropMaker, CropParams
from src_train.data.labelled import (
    LabelledPlane,
    LabelledSet,
    load_classified,
    load_segmented,
    split,
    stem_of,
)

HEAD = HeadConfig((), working_size=64)
NORMALIZATION = IntensityNormalization()


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, pixels.astype(np.uint8), check_contrast=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index, ending in enumerate((".png", "-labels.tif", "_mask.png")):
        _write(tmp_path / "images" / f"{index}.png", rng.integers(0, 255, (40, 80)))
        mask = np.zeros((40, 80), np.uint8)
        mask[10:20, 30:50] = 2 + index
        _write(tmp_path / "masks" / f"{index}{ending}", mask)
    _write(tmp_path / "images" / "without.png", rng.integers(0, 255, (40, 80)))
    return tmp_path


def _load(folder: Path, *values: int, images: str = "images", masks: str = "masks") -> LabelledSet:
    return load_segmented([str(folder / images)], [str(folder / masks)], HEAD, NORMALIZATION, values)[0]


def test_masks_find_their_images_by_name(folder: Path) -> None:
    data, classes = load_segmented([str(folder / "images")], [str(folder / "masks")], HEAD, NORMALIZATION)
    assert data.names == ["0.png", "1.png", "2.png"]
    assert classes == ((2, "label 2"), (3, "label 3"), (4, "label 4"))
    for number, plane in enumerate(data.planes, start=1):
        assert plane.pixels.shape == (1, 32, 64)  # the longest side is the working size
        expected = np.zeros((32, 64))
        expected[8:16, 24:40] = number
        np.testing.assert_array_equal(np.asarray(plane.target), expected)
    assert _load(folder, 3).planes[1].filled
    assert not _load(folder, 3).planes[0].filled
    assert [stem_of(name) for name in ("a.nii.gz", "a-labels.nii.gz", "b_Mask.tif", "c.d.png")] == [
        "a",
        "a",
        "b",
        "c.d",
    ]


def test_what_cannot_be_learned_from_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no masks: give files or folders"):
        load_segmented([str(folder / "images")], [], HEAD, NORMALIZATION)
    with pytest.raises(ConfigError, match=r"no pixel labelled 9; labels there: 2, 3, 4"):
        _load(folder, 9)
    _write(folder / "other" / "else.png", np.ones((40, 80)))
    with pytest.raises(ConfigError, match=r"none of the masks .* is called as an image"):
        _load(folder, masks="other")
    _write(folder / "empty" / "0.png", np.zeros((40, 80)))
    with pytest.raises(ConfigError, match="no pixel labelled at all; labels there: none"):
        _load(folder, masks="empty")
    _write(folder / "small" / "0.png", np.ones((40, 81)))
    with pytest.raises(ConfigError, match=r"0.png: 40 x 81, its image .*0.png 40 x 80: expected equal sizes"):
        _load(folder, masks="small")
    _write(folder / "twice" / "0.png", np.ones((40, 80)))
    _write(folder / "twice" / "0-mask.png", np.ones((40, 80)))
    with pytest.raises(ConfigError, match="another mask has the same name"):
        _load(folder, masks="twice")
    speck = np.zeros((400, 800))
    speck[1, 1] = 1
    _write(folder / "large" / "x.png", speck * 3)
    _write(folder / "specks" / "x.png", speck)
    with pytest.raises(ConfigError, match="no labelled pixel is left at 64 pixels"):
        _load(folder, images="large", masks="specks")
    import tifffile

    (folder / "parts").mkdir()
    tifffile.imwrite(folder / "parts" / "0.tif", np.full((40, 80), 0.5, np.float32))
    with pytest.raises(ConfigError, match="expected whole labels from 0 on"):
        _load(folder, masks="parts")
    (folder / "many").mkdir()
    tifffile.imwrite(folder / "many" / "0.tif", np.arange(3200, dtype=np.uint16).reshape(40, 80))
    with pytest.raises(ConfigError, match="3199 labels in the masks; expected 255 at most"):
        _load(folder, masks="many")


def test_volumes_count_slice_by_slice_and_share_their_intensities(tmp_path: Path) -> None:
    volume = np.zeros((20, 30, 4), np.int16)
    volume[..., 1:] = 100
    volume[..., 3] = 50
    labels = np.zeros(volume.shape, np.uint8)
    labels[5:15, 10:20, 2] = 1
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "scan-labels.nii.gz")
    data, _ = load_segmented(
        [str(tmp_path / "scan.nii.gz")], [str(tmp_path / "scan-labels.nii.gz")], HEAD, NORMALIZATION
    )
    assert [plane.filled for plane in data.planes] == [False, False, True, False]
    assert [int(plane.pixels.float().median()) for plane in data.planes] == [0, 255, 255, 128]
    assert {plane.group for plane in data.planes} == {0}
    drawn = replace(data, filled_share=0.9).draw_couples(200, np.random.default_rng(0))
    assert 0.88 < np.mean([plane.filled for plane in drawn]) < 0.97
    with pytest.raises(ConfigError, match=r"one labelled image only.*validation.share=0"):
        split(data, 0.2, 0)


def test_whole_images_are_held_back(folder: Path) -> None:
    data = _load(folder)
    training, held = split(data, 0.2, 1)
    assert (len(training), len(held)) == (2, 1)
    assert set(training.names) | set(held.names) == set(data.names)
    assert split(data, 0.2, 1)[1].names == held.names
    assert split(data, 0.2, 1, first=True)[1].names == ["0.png"]
    assert split(data, 0.0, 1)[0] is data
    with pytest.raises(ConfigError, match="on too few images"):
        split(_load(folder, 3), 0.2, 1)


def test_planes_are_drawn_equally_often(folder: Path) -> None:
    data = _load(folder)
    drawn = data.draw_couples(3, np.random.default_rng(0))
    assert sorted(plane.image for plane in drawn) == ["0.png", "0.png", "1.png", "1.png", "2.png", "2.png"]


def test_classes_come_from_a_table(folder: Path) -> None:
    table = folder / "classes.csv"

    def load(text: str) -> tuple[LabelledSet, tuple[tuple[int, str], ...]]:
        table.write_text(text)
        return load_classified([str(folder / "images")], str(table), HEAD, NORMALIZATION)

    data, classes = load("image,label\n0.png,sick\n1.png,healthy\n2.png,sick\nwithout.png,\n")
    assert classes == ((1, "healthy"), (2, "sick"))
    assert [plane.target for plane in data.planes] == [1, 0, 1]
    drawn = data.draw_couples(50, np.random.default_rng(0))
    assert np.mean([plane.target for plane in drawn]) == 0.5  # classes are drawn equally often
    for text, match in (
        ("image,label\n0.png,a\n1.png,a\n", "1 class; expected two or more"),
        ("image,label\n9.png,a\n1.png,b\n", "no image '9.png'"),
        ("picture,label\n", "expected the columns image and label"),
        ("image,label\n", "expected the columns image and label"),
    ):
        with pytest.raises(ConfigError, match=match):
            load(text)
    with pytest.raises(ConfigError, match="cannot be read as a table"):
        load_classified([str(folder / "images")], str(folder / "none.csv"), HEAD, NORMALIZATION)
    rows = "".join(f"{name},{name}\n" for name in ("0.png", "1.png"))
    import src_train.data.labelled as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_CLASSES", 1)
        with pytest.raises(ConfigError, match="2 classes; expected 1 at most"):
            load("image,label\n" + rows)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**30), whole=st.booleans(), turn=st.floats(0, 180), scale=st.floats(0, 0.4))
def test_labels_go_where_pixels_go(seed: int, whole: bool, turn: float, scale: float) -> None:
    """Each pixel of the plane holds its label as its value; away from borders the crop must show the same."""
    target = torch.zeros(64, 64, dtype=torch.uint8)
    target[10:40, 20:50], target[45:60, 5:30] = 1, 2
    pixels = (target.float() * 100).to(torch.uint8)[None]
    plane = LabelledPlane(pixels, target, "x", 0)
    params = CropParams(32 if not whole else 64, whole, 0.7, turn, scale, 0.5, 0.5, 0.0)
    batch = CropMaker(params, 0.0, 1.0)([plane] * 4, np.random.default_rng(seed))
    shown = (batch.first[:, 0] * 2.55).round()
    exact = (batch.first[:, 0] * 2.55 - shown).abs() < 1e-3  # not between two labels
    counted = (batch.target >= 0) & exact
    if scale < 0.2 and not whole:
        assert bool((batch.target >= 0).any())
    # A place exactly between two pixels may read either.
    assert float((shown[counted] == batch.target[counted]).float().mean()) > 0.97


def test_a_share_of_the_batch_equals_its_part_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    planes = []
    for group in range(4):
        pixels = torch.from_numpy(rng.integers(0, 255, (3, 64, 80), np.uint8))
        planes.append(LabelledPlane(pixels, (pixels[0] > 200).to(torch.uint8), str(group), group))
    maker = CropMaker(CropParams(size=32), 0.5, 0.25)
    whole = maker(planes, np.random.default_rng(3))
    parts = [maker(planes, np.random.default_rng(3), slice(i, i + 1)) for i in (0, 1)]
    torch.testing.assert_close(torch.cat([part.first for part in parts]), whole.first)
    assert torch.equal(torch.cat([part.target for part in parts]), whole.target)
    assert whole.images == 4
