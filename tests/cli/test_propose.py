"""``napari-ld propose`` as a stranger would use it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import tifffile

Run = Callable[..., tuple[int, str, str]]


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "regions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_as_many_regions_as_asked(run: Run, films: Path, tmp_path: Path, encoder_file: Path) -> None:
    code, _, error = run("propose", films, "-o", tmp_path / "out", "--n-regions", 20, "--encoder", encoder_file)
    assert code == 0, error
    for name, shape in (("a", (96, 128)), ("c", (80, 112))):
        labels = tifffile.imread(tmp_path / "out" / f"{name}_labels.tif")
        assert labels.shape == shape
        assert sorted(set(np.unique(labels)) - {0}) == list(range(1, 21))
        grey = np.asarray(PIL.Image.open(films / f"{name}.png"), np.float64)
        assert np.median(grey[labels == 0]) == 0  # nothing but the black margin is left out
        assert (labels[grey > np.median(grey)] > 0).mean() > 0.99
        rows = [row for row in table(tmp_path / "out") if row["image"] == f"{name}.png"]
        assert [int(row["area"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()
        assert {row["decision"] for row in rows} == {"undecided"}
    assert not list((tmp_path / "out").glob("*_score*"))


def test_outlined_and_clicked_examples(run: Run, films: Path, tmp_path: Path, encoder_file: Path) -> None:
    pixels = np.asarray(PIL.Image.open(films / "a.png"))
    mask = pixels > np.percentile(pixels, 85)
    PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    given = ["--example", films / "a.png", "--encoder", encoder_file]
    code, _, error = run("propose", films, "-o", tmp_path / "one", *given, "--example-mask", tmp_path / "mask.png")
    assert code == 0, error
    score = tifffile.imread(tmp_path / "one" / "a_score.tif")
    assert (score.dtype, score.shape) == (np.float32, mask.shape)
    assert 0 <= score.min() <= score.max() <= 1
    assert score[mask].mean() > score[~mask].mean() + 0.3
    row, column = (int(place) for place in np.argwhere(mask)[0])
    code, _, error = run("propose", films, "-o", tmp_path / "two", *given, "--example-point", f"{row},{column}")
    assert code == 0, error
    (tmp_path / "examples.csv").write_text(
        "image,mask,plane,row,column,positive\n"
        f"films/a.png,mask.png,,,,1\nfilms/a.png,,,{np.argwhere(~mask)[0][0]},{np.argwhere(~mask)[0][1]},0\n"
    )
    words = ["--examples", tmp_path / "examples.csv", "--threshold", 0.7, "--encoder", encoder_file]
    code, _, error = run("propose", films, "-o", tmp_path / "three", *words)
    assert code == 0, error
    labels = tifffile.imread(tmp_path / "three" / "a_labels.tif")
    score = tifffile.imread(tmp_path / "three" / "a_score.tif")
    assert (labels[score > 0.7] > 0).mean() > 0.5  # specks beside a large example are left out
    assert score[labels > 0].mean() > 0.7


def test_volumes_keep_shape_and_geometry(run: Run, tmp_path: Path, encoder_file: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 40, (24, 30, 4)).astype(np.int16)
    volume[8:16, 10:20, 1:3] += 200
    affine = np.diag([0.5, 0.7, 3.0, 1.0])
    affine[:3, 3] = 4, 5, 6
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "scan.nii.gz")
    words = ["-o", tmp_path / "out", "--encoder", encoder_file]
    code, _, error = run("propose", tmp_path / "scan.nii.gz", *words, "--n-regions", 10)
    assert code == 0, error
    labels = nib.load(tmp_path / "out" / "scan_labels.nii.gz")
    assert labels.shape == volume.shape
    np.testing.assert_allclose(labels.affine, affine)
    assert len(np.unique(labels.dataobj)) == 10
    row = table(tmp_path / "out")[0]
    assert float(row["area_mm2"]) == pytest.approx(0.35 * int(row["area"]), rel=1e-4)
    point = ["--example", tmp_path / "scan.nii.gz", "--example-point", "1,15,12"]
    code, _, error = run("propose", tmp_path / "scan.nii.gz", *words, *point, "--overwrite")
    assert code == 0, error
    assert nib.load(tmp_path / "out" / "scan_score.nii.gz").get_data_dtype() == np.float32


def test_equal_names_do_not_collide(
    run: Run, tmp_path: Path, encoder_file: Path, write_scene: Callable[..., Path]
) -> None:
    for name in ("one/x.png", "two/x.png", "two/X.tif"):
        scene = write_scene(tmp_path / "scene.png")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.open(scene).save(tmp_path / name)
    words = ["-o", tmp_path / "out", "--encoder", encoder_file, "--n-regions", 5]
    code, _, error = run("propose", tmp_path / "one", tmp_path / "two", *words)
    assert code == 0, error
    written = {path.relative_to(tmp_path / "out").as_posix().lower() for path in (tmp_path / "out").rglob("*.tif")}
    assert len(written) == 3
    assert "one/x_labels.tif" in written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--example-point", "3,3"], "name the image that the example lies on"),
        (["--example", "{a}"], "needs either --example-mask or --example-point"),
        (["--example", "{a}", "--example-point", "3"], "expected ROW,COLUMN"),
        (["--example", "{a}", "--example-point", "3,3", "--n-regions", "5"], "does not go with examples"),
        (["--threshold", "0.5"], "needs an example"),
        (["--example", "{a}", "--example-point", "3,3", "--threshold", "2"], "between 0 and 1"),
        (["--n-regions", "0"], "--n-regions"),
    ],
)
def test_options_that_do_not_go_together(run: Run, films: Path, tmp_path: Path, words: list[str], message: str) -> None:
    given = [word.format(a=films / "a.png") for word in words]
    code, _, error = run("propose", films, "-o", tmp_path / "out", *given)
    assert (code, len(error.splitlines())) == (2, 1)
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,mask\na.png,b.png\n", "no column plane, row, column"),
        ("image,mask,plane,row,column,positive\n", "holds no example"),
        ("image,mask,plane,row,column,positive\n,b.png,,,,1\n", "no image"),
        ("image,mask,plane,row,column,positive\na.png,,,3,,1\n", "either a mask, or a row and a column"),
        ("image,mask,plane,row,column,positive\na.png,,,3,4,maybe\n", "expected 1 or 0"),
        ("image,mask,plane,row,column,positive\na.png,,x,3,4,1\n", "expected numbers"),
        ("image,mask,plane,row,column,positive\na.png,,-1,3,4,1\n", "planes count from 0"),
        ("image,mask,plane,row,column,positive\na.png,,,3,4,0\n", "counter-examples only"),
    ],
)
def test_bad_tables_are_named(run: Run, films: Path, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "examples.csv").write_text(content)
    code, _, error = run("propose", films, "-o", tmp_path / "out", "--examples", tmp_path / "examples.csv")
    assert code in (1, 2)
    assert message in error
    assert "Traceback" not in error


def test_bad_examples_are_named(run: Run, films: Path, tmp_path: Path, encoder_file: Path) -> None:
    PIL.Image.fromarray(np.zeros((96, 128), np.uint8)).save(tmp_path / "empty.png")
    given = ["propose", films, "-o", tmp_path / "out", "--encoder", encoder_file, "--example", films / "a.png"]
    for words, message in (
        (["--example-mask", tmp_path / "empty.png"], "the mask is empty"),
        (["--example-mask", films / "c.png"], "a mask of the image's own size"),
        (["--example-point", "500,3"], "lies outside the image"),
        (["--example-point", "4,5,3"], "plane 4 is not there"),
        (["--example-mask", tmp_path / "none.png"], "none.png"),
    ):
        code, _, error = run(*given, *words)
        assert code == 1
        assert message in error
