"""The commands on medical images: DICOM series as volumes, points of 3D Slicer, nothing replaced, nobody named."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from benchmarks.synthetic import SECRET_ID, SECRET_NAME, write_series
from napari_ld._types import Landmark
from napari_ld.io.images import read_image
from napari_ld.io.labels import write_labels
from napari_ld.io.markups import markups_of, read_markups, write_markups

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of smooth structures."""
    noise = np.random.default_rng(3).normal(size=(4, 64, 72))
    smooth = gaussian_filter(noise, (1, 4, 4)) * 8000
    write_series(tmp_path / "ct", (smooth + 1000).astype(np.int16), orientation=(0.8, 0.6, 0, -0.6, 0.8, 0))
    return tmp_path / "ct"


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_slices_is_one_volume(run: Run, series: Path, encoder_file: Path, tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("image,landmark,plane,row,column\nct,apex,2,30,40\n")
    words = ["locate", series, "--template", series, "--landmarks", tmp_path / "clicks.csv", "-o", tmp_path / "out.csv"]
    code, _, said = run(*words, "--encoder", encoder_file, "--stack-kind", "volume", "--window", "-500,500")
    assert (code, said.count("Traceback")) == (0, 0), said
    rows = _rows(tmp_path / "out.csv")
    assert [(row["image"], row["plane"]) for row in rows] == [("ct", str(plane)) for plane in range(4)]
    assert (float(rows[2]["row"]), float(rows[2]["column"])) == (30, 40)

    code, _, said = run(*words, "--encoder", encoder_file)
    assert code == 1
    assert "out.csv: it exists already; choose another name or add --overwrite" in said
    assert run(*words, "--encoder", encoder_file, "--overwrite")[0] == 0


def test_points_of_3d_slicer_are_templates(run: Run, series: Path, encoder_file: Path, tmp_path: Path) -> None:
    image = read_image(series)
    write_markups(tmp_path / "clicks.mrk.json", markups_of([Landmark("apex", 1, (20.0, 30.0))], image))
    words = ["locate", series, "--landmarks", tmp_path / "clicks.mrk.json", "--encoder", encoder_file]
    code, _, said = run(*words, "--template", series, "-o", tmp_path / "out.csv", "--stack-kind", "volume")
    assert code == 0, said
    row = next(row for row in _rows(tmp_path / "out.csv") if row["plane"] == "1")
    assert (float(row["row"]), float(row["column"])) == (20, 30)
    code, _, said = run(*words, "--template", series, "--template", tmp_path, "-o", tmp_path / "b.csv")
    assert (code, "points in space, which belong to one template; 2 were given" in said) == (1, True)


def test_what_is_found_goes_back_to_3d_slicer(run: Run, series: Path, encoder_file: Path, tmp_path: Path) -> None:
    image = read_image(series)
    assert image.affine is not None
    (tmp_path / "clicks.csv").write_text("image,landmark,plane,row,column\nct,apex,1,20.25,30.5\n")
    words = ["locate", series, "--template", series, "--landmarks", tmp_path / "clicks.csv", "--encoder", encoder_file]
    code, _, said = run(*words, "--stack-kind", "volume", "-o", tmp_path / "out.mrk.json")
    assert code == 0, said
    (point,) = read_markups(tmp_path / "out.mrk.json")
    assert (point.label, point.description) == ("apex", "verified")
    np.testing.assert_allclose(point.position, (image.affine @ [1, 20.25, 30.5, 1])[:3], atol=1e-6)
    code, _, said = run(*words, "-o", tmp_path / "out.mrk.json")
    assert (code, "it exists already" in said) == (1, True)
    (tmp_path / "two").mkdir()
    for name in "ab":
        tifffile.imwrite(tmp_path / "two" / f"{name}.tif", image.plane(0))
    code, _, said = run(*words[:1], tmp_path / "two", *words[2:], "-o", tmp_path / "b.mrk.json")
    assert (code, "points in space, of one image; 2 were given" in said) == (1, True)
    code, _, said = run(*words[:1], tmp_path / "two" / "a.tif", *words[2:], "-o", tmp_path / "b.mrk.json")
    assert (code, "a.tif does not say where it lies in the patient; write .csv" in said) == (1, True)
    assert not (tmp_path / "b.mrk.json").exists()


def test_propose_keeps_the_format_and_replaces_nothing_unasked(
    run: Run, series: Path, encoder_file: Path, tmp_path: Path
) -> None:
    image = read_image(series)
    write_labels(tmp_path / "a.nrrd", (np.asarray(image.array) > 0).astype(np.uint8), image)
    words = ["propose", tmp_path / "a.nrrd", "-o", tmp_path / "out", "--n-regions", "5", "--encoder", encoder_file]
    code, _, said = run(*words)
    assert code == 0, said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_labels.nrrd", "regions.csv"]
    np.testing.assert_allclose(read_image(tmp_path / "out" / "a_labels.nrrd").affine, image.affine, atol=1e-9)
    code, _, said = run(*words)
    assert (code, "regions.csv: it exists already; choose another name or add --overwrite" in said) == (1, True)
    assert run(*words, "--overwrite", "--window", "0,1")[0] == 0


def test_embed_replaces_nothing_unasked(run: Run, series: Path, encoder_file: Path, tmp_path: Path) -> None:
    words = ["embed", *sorted(series.iterdir()), "-o", tmp_path / "out", "--encoder", encoder_file]
    assert run(*words)[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"ct.{plane:04d}.npz" for plane in range(4)]
    code, _, said = run(*words)
    assert (code, "it exists already" in said) == (1, True)
    assert run(*words, "--overwrite")[0] == 0


def test_several_series_are_named_with_their_selector(
    run: Run, series: Path, encoder_file: Path, tmp_path: Path
) -> None:
    for path in write_series(series / "b", np.ones((2, 9, 9), np.int16)):
        path.rename(series / f"b{path.name}")
    code, _, said = run("embed", series, "-o", tmp_path / "out", "--encoder", encoder_file)
    assert code == 1
    assert f"{series}#0 (CT, " in said
    code, _, said = run("embed", f"{series}#7", "-o", tmp_path / "out", "--encoder", encoder_file)
    assert (code, "has no part '7'" in said) == (1, True)


def test_nobody_is_named_anywhere(
    run: Run, series: Path, encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patient identifiers appear in no table, cache, mask or message; only a DICOM segmentation must name them."""
    from napari_ld._npe2 import read_layers
    from napari_ld.io.labels import WRITERS, write_labels
    from napari_ld.io.ome_zarr import write_zarr

    monkeypatch.setenv("NAPARI_LD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clicks.csv").write_text("image,landmark,plane,row,column\nct,apex,2,30,40\n")
    words = ["--landmarks", tmp_path / "clicks.csv", "-o", tmp_path / "out.csv", "--encoder", encoder_file]
    code, out, said = run("locate", series, "--template", series, *words, "--stack-kind", "volume")
    assert code == 0
    assert run("embed", series, "-o", tmp_path / "vectors", "--encoder", encoder_file)[0] == 0
    image = read_image(series)
    labels = (np.asarray(image.array) > 0).astype(np.uint8)
    for ending in set(WRITERS) - {".dcm"}:
        write_labels(tmp_path / f"mask{ending}", labels, image)
    write_zarr(tmp_path / "copy.zarr", image)
    (tmp_path / "layer.txt").write_text(repr(read_layers(str(series))) + repr(image))
    next(series.iterdir()).write_bytes(b"\0" * 128 + b"DICMdamaged")
    broken = run("embed", series, "-o", tmp_path / "v", "--encoder", encoder_file)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and series not in path.parents]
    assert len(written) > 15
    everything = b"".join(path.read_bytes() for path in written) + "".join([out, said, *broken[1:]]).encode()
    for secret in (SECRET_NAME, SECRET_NAME.partition("^")[2], SECRET_ID, "19010203"):
        assert secret.encode() not in everything
