"""``napari-ld refine`` as a stranger would use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_ld.evaluation.overlap import dice

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def picture(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """A bright disc, a shifted mask of it, and the truth."""
    rows, columns = np.ogrid[:80, :90]
    truth = np.hypot(rows - 40, columns - 45) < 18
    pixels = 80 + 90 * truth + np.random.default_rng(0).normal(0, 8, truth.shape)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "image.png")
    PIL.Image.fromarray(np.roll(truth, 5, 0).astype(np.uint8) * 3).save(tmp_path / "mask.png")
    return tmp_path / "image.png", tmp_path / "mask.png", truth


def test_default_method(run: Run, picture: tuple[Path, Path, np.ndarray], tmp_path: Path, encoder_file: Path) -> None:
    image, mask, truth = picture
    seeds = np.zeros(truth.shape, np.int16)
    seeds[5, 5], seeds[40, 45], seeds[41, 45] = 3, 3, -1
    tifffile.imwrite(tmp_path / "seeds.tif", seeds)
    words = ["--encoder", encoder_file, "--seeds", tmp_path / "seeds.tif"]
    code, output, error = run("refine", image, mask, "-o", tmp_path / "out.tif", *words)
    assert (code, output) == (0, ""), error
    found = tifffile.imread(tmp_path / "out.tif")
    assert found.shape == truth.shape
    assert set(np.unique(found)) == {0, 3}
    assert dice(found, truth) > 0.95
    assert (found[5, 5], found[40, 45], found[41, 45]) == (3, 3, 0)
    assert "label 3: " in error


def test_volume_keeps_geometry_and_values(run: Run, tmp_path: Path) -> None:
    columns, rows, planes = np.ogrid[:40, :44, :5]
    truth = (np.hypot(rows - 22, columns - 20) < 11) & (planes > 0) & (planes < 4)
    pixels = (100 + 80 * truth + np.random.default_rng(0).normal(0, 6, truth.shape)).astype(np.int16)
    affine = np.array([[0.7, 0, 0, 4], [0, 0.7, 0, 5], [0, 0, 4, 6], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(pixels, affine), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(np.roll(truth, 3, 0).astype(np.float32) * 9, affine), tmp_path / "rough.nii.gz")
    words = ["-o", tmp_path / "out.nii.gz", "--method", "watershed"]
    code, _, error = run("refine", tmp_path / "scan.nii.gz", tmp_path / "rough.nii.gz", *words)
    assert code == 0, error
    found = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(found.affine, affine)
    values = np.asarray(found.dataobj)
    assert values.shape == truth.shape
    assert set(np.unique(values)) == {0, 9}
    assert dice(values, truth) > dice(np.roll(truth, 3, 0), truth) + 0.05


def test_what_cannot_be_done_is_said_in_one_line(
    run: Run, picture: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    image, mask, truth = picture
    out = tmp_path / "out.tif"
    PIL.Image.fromarray(np.zeros(truth.shape, np.uint8)).save(tmp_path / "empty.png")
    PIL.Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "small.png")
    tifffile.imwrite(tmp_path / "shares.tif", np.full(truth.shape, 0.5, np.float32))
    tifffile.imwrite(tmp_path / "nothing.tif", np.full(truth.shape, np.nan, np.float32))
    tifffile.imwrite(tmp_path / "minus.tif", np.full(truth.shape, -2, np.int16))
    tifffile.imwrite(tmp_path / "others.tif", np.full(truth.shape, 9, np.uint8))
    nib.save(nib.Nifti1Image(np.arange(1440, dtype=np.int16).reshape(20, 18, 4), np.eye(4)), tmp_path / "volume.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((20, 18, 5), np.uint8), np.eye(4)), tmp_path / "longer.nii.gz")
    (tmp_path / "there.tif").write_bytes(b"something of mine")
    (tmp_path / "words.tif").write_text("no picture")
    quick = ["--method", "watershed"]
    volume, longer = tmp_path / "volume.nii.gz", tmp_path / "longer.nii.gz"
    cases = [
        ([image, tmp_path / "shares.tif", "-o", out, *quick], 1, "mask of type float32; expected whole numbers"),
        ([tmp_path / "nothing.tif", mask, "-o", out, *quick], 1, "holds NaN or infinite values; replace them"),
        ([image, tmp_path / "minus.tif", "-o", out, *quick], 1, "mask holds -2; expected 0 for background"),
        (
            [image, mask, "-o", out, "--seeds", tmp_path / "others.tif", *quick],
            1,
            "seeds hold label 9, which is not in",
        ),
        ([volume, mask, "-o", out, *quick], 1, "mask of shape (80, 90) on an image of (4, 18, 20)"),
        ([volume, longer, "-o", out, *quick], 1, "mask of shape (5, 18, 20) on an image of (4, 18, 20)"),
        ([image, mask, "-o", tmp_path / "there.tif", *quick], 1, "there.tif"),
        ([image, tmp_path / "words.tif", "-o", out, *quick], 1, "words.tif"),
        ([image, tmp_path / "missing.tif", "-o", out, *quick], 1, "missing.tif"),
        ([image, mask, "-o", out, "--method", "snap"], 2, "unknown 'snap'; there are boundary_snap"),
        ([image, tmp_path / "empty.png", "-o", out, "--method", "watershed"], 1, "the mask is empty"),
        ([image, tmp_path / "small.png", "-o", out, "--method", "watershed"], 1, "mask of shape (9, 9) on an image"),
        ([image, mask, "-o", mask], 1, "it is one of the files to be read"),
        ([image, mask, "-o", tmp_path / "out.bmp", "--method", "watershed"], 1, "its ending is none of"),
        ([image, mask, "-o", out, "--seeds", tmp_path / "small.png", "--method", "watershed"], 1, "seeds of shape"),
    ]
    for words, expected, message in cases:
        code, output, error = run("refine", *words)
        assert (code, output) == (expected, "")
        assert message in error
        assert "Traceback" not in error
    assert not list(tmp_path.glob("out*"))
    assert (tmp_path / "there.tif").read_bytes() == b"something of mine"
