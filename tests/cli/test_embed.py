"""``napari-ld embed``: what stands in the files, and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def embed(run: Run, encoder_file: Path, tmp_path: Path) -> Run:
    """Run the command into the folder ``out``."""

    def _embed(*images: object) -> tuple[int, str, str]:
        return run("embed", *images, "-o", tmp_path / "out", "--encoder", encoder_file, "--device", "cpu")

    return _embed


def test_vectors_of_each_image(embed: Run, films: Path, tmp_path: Path) -> None:
    from napari_ld.model.zoo import checksum

    code, out, err = embed(films)
    assert (code, out) == (0, "")
    assert "random on " in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png.npz", "b.png.npz", "c.png.npz"]
    with np.load(tmp_path / "out" / "c.png.npz") as arrays:
        vectors, clusters = arrays["vectors"].astype(np.float32), arrays["clusters"]
        last = arrays["origin"] + (np.array(vectors.shape[1:]) - 1) * arrays["step"]
        assert arrays["shape"].tolist() == [80, 112]
        assert str(arrays["encoder_sha256"]) == checksum(next(tmp_path.parent.glob("model*/random.safetensors")))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1, atol=2e-3)
    assert clusters.shape[1:] == vectors.shape[1:]
    assert (np.abs(last - (79, 111)) < 4).all()


def test_stacks_have_one_file_per_plane(embed: Run, films: Path, tmp_path: Path) -> None:
    page = np.asarray(PIL.Image.open(films / "a.png"))
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([page, page.T.reshape(page.shape)]), photometric="minisblack")
    assert embed(tmp_path / "pages.tif")[0] == 0
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(names) == ["pages.tif.0000.npz", "pages.tif.0001.npz"]


def test_equal_names_go_to_folders(embed: Run, tmp_path: Path, write_scene: Callable[..., Path]) -> None:
    films = [write_scene(tmp_path / name / "film.png") for name in ("ann", "bob")]
    assert embed(*films)[0] == 0
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.npz"))
    assert found == ["ann/film.png.npz", "bob/film.png.npz"]


def test_folder_that_cannot_be_made(embed: Run, films: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way", encoding="utf-8")
    code, _, err = embed(films)
    assert code == 1
    assert "cannot make the folder" in err.splitlines()[-1]


def test_what_is_left_out_of_a_folder_is_said(embed: Run, films: Path) -> None:
    (films / "notes.txt").write_text("none of our business", encoding="utf-8")
    code, _, err = embed(films)
    assert code == 0
    assert any(line.startswith("napari-ld: left out of") and "notes.txt" in line for line in err.splitlines())
