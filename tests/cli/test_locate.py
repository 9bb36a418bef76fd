"""``napari-ld locate`` on small images: tables, planes, names and bad input.

Where the position does not matter, the encoder was never trained.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import tifffile

from napari_ld.localization import STACK_KINDS
from napari_ld.model.zoo import DEFAULT_ENCODER, list_models

Run = Callable[..., tuple[int, str, str]]
COLUMNS = ["image", "landmark", "plane", "row", "column", "score", "margin", "status"]
COLUMNS += ["expected_error", "expected_error_unit"]
BY_PLANE = sorted(set(STACK_KINDS) - {"volumes"})


@pytest.fixture
def locate(run: Run, encoder_file: Path, films: Path, clicks: Path, tmp_path: Path) -> Run:
    """Run the command with all that it needs, unless the words say otherwise."""

    def _locate(*words: object, images: Sequence[Path] = (films,)) -> tuple[int, str, str]:
        given = [str(word) for word in words]
        defaults = {
            "--template": films / "a.png",
            "--landmarks": clicks,
            "--out": tmp_path / "out.csv",
            "--encoder": encoder_file,
            "--device": "cpu",
        }
        missing = [word for option, value in defaults.items() if option not in given for word in (option, value)]
        return run("locate", *images, *given, *missing)

    return _locate


@pytest.fixture
def table(tmp_path: Path) -> Callable[[], list[dict[str, str]]]:
    """Read OUT.csv, whose columns are checked."""

    def _table() -> list[dict[str, str]]:
        with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        assert reader.fieldnames == COLUMNS
        return rows

    return _table


def _refused(answer: tuple[int, str, str], *words: str, code: int = 1) -> None:
    """The command failed with one line that holds all the words."""
    assert answer[0] == code, answer
    line = answer[2].splitlines()[-1]
    assert line.startswith("napari-ld: ")
    assert [word for word in words if word not in line] == [], line
    assert "Traceback" not in answer[2]


# --- what it finds ----------------------------------------------------------------------------------------------------


def test_adapted_answers_are_a_table_like_any_other(locate: Run, table: Callable[[], list[dict[str, str]]]) -> None:
    assert locate()[0] == 0
    plain = table()
    assert locate("--adapt", "--overwrite")[0] == 0
    adapted = table()
    for column in ("image", "landmark", "status", "margin"):
        assert [row[column] for row in adapted] == [row[column] for row in plain]
    assert [row["row"] for row in adapted if row["image"] == "a.png"] == ["40.0", "52.0"]


@pytest.mark.parametrize(("count", "same_as"), [(11, "--no-adapt"), (12, "--adapt")])
def test_larger_stacks_teach_unasked(
    count: int, same_as: str, locate: Run, films: Path, tmp_path: Path, table: Callable[[], list[dict[str, str]]]
) -> None:
    film = np.asarray(PIL.Image.open(films / "a.png"), np.float64)
    for number in range(count):
        turned = scipy.ndimage.rotate(film, number - 5, axes=(0, 1), reshape=False, mode="nearest")
        PIL.Image.fromarray(turned.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number:02}.png")
    stack = sorted(tmp_path.glob("[0-9][0-9].png"))
    tables = {}
    for words in ([], ["--no-adapt"], ["--adapt"]):
        assert locate("--encoder", DEFAULT_ENCODER, "--overwrite", *words, images=stack)[0] == 0
        tables[" ".join(words)] = table()
    assert tables["--adapt"] != tables["--no-adapt"]
    assert tables[""] == tables[same_as]


@pytest.mark.parametrize("kind", sorted(set(STACK_KINDS) - {"images"}))
def test_adaptation_to_other_kinds_is_refused_before_anything_is_read(locate: Run, tmp_path: Path, kind: str) -> None:
    answer = locate("--adapt", "--stack-kind", kind)
    _refused(answer, "--adapt", "images", kind, code=2)
    assert not (tmp_path / "out.csv").exists()


def test_one_row_per_image_and_landmark(locate: Run, table: Callable[[], list[dict[str, str]]]) -> None:
    code, out, err = locate()
    assert (code, out) == (0, "")
    assert "3 images" in err
    rows = table()
    assert [(row["image"], row["landmark"], row["plane"]) for row in rows] == [
        (image, landmark, "") for image in ("a.png", "b.png", "c.png") for landmark in ("sella", "nasion")
    ]
    for row in rows:
        assert -1 <= float(row["score"]) <= 1
        assert row["status"] in {"confident", "uncertain", "absent"}
        assert (row["row"] == "") == (row["status"] == "absent")


def test_the_template_finds_its_shifted_copy(locate: Run, table: Callable[[], list[dict[str, str]]]) -> None:
    locate("--encoder", DEFAULT_ENCODER)
    found = {(row["image"], row["landmark"]): (float(row["row"]), float(row["column"])) for row in table()}
    assert found["a.png", "sella"] == (40, 60)
    np.testing.assert_allclose(found["b.png", "sella"], (44, 68), atol=2)


def test_the_template_is_not_listed_unless_it_is_asked_for(
    locate: Run, table: Callable[[], list[dict[str, str]]], films: Path
) -> None:
    assert locate(images=[films / "b.png"])[0] == 0
    assert {row["image"] for row in table()} == {"b.png"}


def test_twice_the_same_input_gives_the_same_table(locate: Run, tmp_path: Path) -> None:
    locate("--out", tmp_path / "first.csv")
    locate("--out", tmp_path / "second.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()


def test_equal_names_are_told_apart_by_their_path(
    locate: Run, table: Callable[[], list[dict[str, str]]], tmp_path: Path, write_scene: Callable[..., Path]
) -> None:
    ann, bob = (write_scene(tmp_path / name / "film.png", (4, 4)) for name in ("ann", "bob"))
    assert locate(images=[ann, bob])[0] == 0
    names = list(dict.fromkeys(row["image"] for row in table()))
    assert len(names) == 2
    assert [name.endswith(f"{who}/film.png") for who, name in zip(("ann", "bob"), names, strict=True)] == [True, True]


def test_several_templates_share_a_landmark(
    locate: Run, table: Callable[[], list[dict[str, str]]], films: Path, clicks: Path
) -> None:
    with open(clicks, "a", encoding="utf-8") as file:
        file.write("b.png,sella,,44,68\n")
    code, _, _ = locate("--template", films / "a.png", "--template", films / "b.png", images=[films / "c.png"])
    assert code == 0
    assert [row["landmark"] for row in table()] == ["sella", "nasion"]


@pytest.fixture
def pages(tmp_path: Path, films: Path) -> Path:
    """Multi-page TIFF: ``a.png`` on page 1, ``b.png`` on the pages 0 and 2."""
    a, b = (np.asarray(PIL.Image.open(films / name)) for name in ("a.png", "b.png"))
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, np.stack([b, a, b]), photometric="minisblack")
    return path


@pytest.mark.parametrize("kind", BY_PLANE)
def test_stacks_have_one_row_per_plane(
    locate: Run, table: Callable[[], list[dict[str, str]]], pages: Path, kind: str
) -> None:
    assert locate("--stack-kind", kind, images=[pages])[0] == 0
    assert [(row["image"], row["landmark"], row["plane"]) for row in table()] == [
        ("pages.tif", landmark, str(plane)) for plane in range(3) for landmark in ("sella", "nasion")
    ]


def test_stacks_and_single_images_together(
    locate: Run, table: Callable[[], list[dict[str, str]]], pages: Path, films: Path
) -> None:
    assert locate(images=[pages, films / "b.png"])[0] == 0
    assert [row["plane"] for row in table() if row["landmark"] == "sella"] == ["0", "1", "2", ""]


def test_slices_in_single_files_are_one_volume(
    locate: Run, table: Callable[[], list[dict[str, str]]], films: Path
) -> None:
    (films / "c.png").unlink()
    assert locate("--stack-kind", "volume", "--spacing", "2,0.5,0.5")[0] == 0
    assert [row["image"] for row in table()] == ["a.png", "a.png", "b.png", "b.png"]


@pytest.mark.parametrize("kind", BY_PLANE)
def test_a_template_among_the_images_keeps_its_landmarks(
    locate: Run, table: Callable[[], list[dict[str, str]]], pages: Path, clicks: Path, kind: str
) -> None:
    clicks.write_text("image,landmark,plane,row,column\npages.tif,sella,1,40.25,60\n", encoding="utf-8")
    assert locate("--template", pages, "--stack-kind", kind, images=[pages])[0] == 0
    clicked = table()[1]
    assert [clicked[name] for name in ("plane", "row", "column", "status")] == ["1", "40.25", "60.0", "confident"]


@pytest.mark.parametrize("row", ["pages.tif,sella,1,40,60", "pages.tif,sella,,40,60"])
def test_plane_of_a_template_with_several(
    locate: Run, table: Callable[[], list[dict[str, str]]], pages: Path, films: Path, clicks: Path, row: str
) -> None:
    clicks.write_text(f"image,landmark,plane,row,column\n{row}\n", encoding="utf-8")
    words = ["--template", pages, "--plane", 1, "--encoder", DEFAULT_ENCODER]
    assert locate(*words, images=[films / "b.png"])[0] == 0
    (found,) = table()
    np.testing.assert_allclose((float(found["row"]), float(found["column"])), (44, 68), atol=2)


def test_progress_goes_to_standard_error(locate: Run) -> None:
    _, out, err = locate()
    assert out == ""
    assert "random on " in err
    assert "cpu" in err.lower()


def test_help_names_every_stack_kind(run: Run) -> None:
    _, out, _ = run("locate", "--help")
    assert [kind for kind in STACK_KINDS if kind not in out] == []


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a volume of smooth noise, moved by whole voxels; they are searched at a low resolution, to save time."""
    monkeypatch.setattr("napari_ld.localization.volumes.VOLUME_SIZE", 96)

    def _blobs(name: str, shift: tuple[int, int, int] = (0, 0, 0), turned: bool = False) -> Path:
        noise = np.random.default_rng(5).normal(size=(24, 40, 40))
        body = np.clip(scipy.ndimage.gaussian_filter(noise, 2) * 900 + 120, 0, 255).astype(np.uint8)
        pixels = np.roll(body, shift, (0, 1, 2)).T  # NIfTI keeps (column, row, plane)
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        if turned:
            pixels, affine[0, 0], affine[0, 3] = pixels[::-1], -1.0, 39.0
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(pixels), affine), tmp_path / name)
        return tmp_path / name

    return _blobs


def test_points_in_space_are_found_in_other_volumes(
    locate: Run, table: Callable[[], list[dict[str, str]]], blobs: Callable[..., Path], clicks: Path
) -> None:
    """One row an image and landmark; the target is stored the other way round along its columns."""
    template, target = blobs("here.nii.gz"), blobs("there.nii.gz", (1, 3, -2), turned=True)
    clicks.write_text("image,landmark,plane,row,column\nhere.nii.gz,spot,12.0,20,18\n", encoding="utf-8")
    words = ["--template", template, "--stack-kind", "volumes", "--encoder", DEFAULT_ENCODER]
    code, _, err = locate(*words, images=[template, target])
    assert code == 0, err
    rows = table()
    assert [(row["image"], row["landmark"]) for row in rows] == [("here.nii.gz", "spot"), ("there.nii.gz", "spot")]
    own, found = ([float(row[axis]) for axis in ("plane", "row", "column")] for row in rows)
    assert own == [12, 20, 18]
    np.testing.assert_allclose(found, [13, 23, 39 - 16], atol=1.2)


def test_many_templates_for_one_plane(locate: Run, table: Callable[[], list[dict[str, str]]], films: Path) -> None:
    """There may be more templates than planes to search: each adds an example."""
    (films / "clicks.csv").write_text(
        "image,landmark,plane,row,column\na.png,sella,,40,60\nb.png,sella,,44,68\n", encoding="utf-8"
    )
    words = ["--template", films / "a.png", "--template", films / "b.png", "--landmarks", films / "clicks.csv"]
    assert locate(*words, images=[films / "c.png"])[0] == 0
    assert len(table()) == 1


def test_mirrored_copies_are_looked_for_unless_not_wanted(locate: Run, tmp_path: Path, films: Path) -> None:
    picture = PIL.Image.open(films / "a.png")
    picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "turned.png")
    columns = []
    for word in ("--mirror", "--no-mirror"):
        out = tmp_path / f"{word}.csv"
        words = ["--encoder", DEFAULT_ENCODER, "--only", "sella", "--out", out, word]
        assert locate(*words, images=[tmp_path / "turned.png"])[0] == 0
        with open(out, encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        columns.append(float(row["column"] or -1))
    assert abs(columns[0] - (picture.width - 1 - 60)) < 3
    assert abs(columns[1] - (picture.width - 1 - 60)) > 3


def test_a_landmark_at_the_very_border(
    locate: Run, table: Callable[[], list[dict[str, str]]], blobs: Callable[..., Path], clicks: Path
) -> None:
    template = blobs("here.nii.gz")
    clicks.write_text("image,landmark,plane,row,column\nhere.nii.gz,corner,0,-0.5,39.4\n", encoding="utf-8")
    target = blobs("there.nii.gz")
    assert locate("--template", template, "--stack-kind", "volumes", images=[target])[0] == 0
    (row,) = table()
    assert row["status"] == "absent" or 0 <= float(row["plane"]) <= 23


# --- bad input --------------------------------------------------------------------------------------------------------


def test_unknown_encoder_lists_the_known_ones(locate: Run) -> None:
    _refused(locate("--encoder", "vgg99"), "vgg99", *list_models())


def test_file_that_is_no_encoder(locate: Run, clicks: Path) -> None:
    _refused(locate("--encoder", clicks), "clicks.csv", "safetensors")


def test_only_the_landmarks_that_are_asked_for(locate: Run, table: Callable[[], list[dict[str, str]]]) -> None:
    assert locate("--only", "nasion")[0] == 0
    assert {row["landmark"] for row in table()} == {"nasion"}


def test_unknown_landmark_lists_the_known_ones(locate: Run) -> None:
    _refused(locate("--only", "nasio"), "clicks.csv", "'nasio'", "sella, nasion")


def test_no_row_for_the_template(locate: Run, films: Path) -> None:
    _refused(locate("--template", films / "b.png"), "no row for the template b.png", "a.png", "clicks.csv")


def test_row_that_fits_two_templates(
    locate: Run, films: Path, tmp_path: Path, write_scene: Callable[..., Path]
) -> None:
    other = write_scene(tmp_path / "other" / "a.png")
    _refused(locate("--template", films / "a.png", "--template", other), "may be", "enough of the path")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.png,sella,,96,60", ["a.png", "'sella'", "outside the image of 96 rows and 128 columns"]),
        ("a.png,sella,,40,-1", ["a.png", "outside the image"]),
        ("a.png,sella,,nan,60", ["clicks.csv, line 2", "finite"]),
        ("a.png,sella,3,40,60", ["a.png", "plane 3", "only plane is 0"]),
        ("a.png,,,40,60", ["clicks.csv, line 2", "no name"]),
        ("a.png,sella,40,60", ["clicks.csv, line 2", "cells"]),
    ],
)
def test_rows_that_cannot_be_used(locate: Run, clicks: Path, row: str, words: list[str]) -> None:
    clicks.write_text(f"image,landmark,plane,row,column\n{row}\n", encoding="utf-8")
    _refused(locate(), *words)


def test_template_of_several_planes_without_plane(locate: Run, pages: Path, clicks: Path) -> None:
    clicks.write_text("image,landmark,plane,row,column\npages.tif,sella,,40,60\n", encoding="utf-8")
    _refused(locate("--template", pages), "pages.tif", "names no plane", "--plane N")


@pytest.mark.parametrize("text", ["1", "1,2,3,4", "a,b", "0,1", "1,-1", "inf,1"])
def test_spacing_that_is_none(locate: Run, text: str) -> None:
    _refused(locate(f"--spacing={text}"), text, "positive numbers in mm", code=2)


def test_volumes_that_cannot_be_compared(
    locate: Run, films: Path, blobs: Callable[..., Path], clicks: Path, pages: Path, tmp_path: Path
) -> None:
    template = blobs("here.nii.gz")
    clicks.write_text("image,landmark,plane,row,column\nhere.nii.gz,spot,12,20,18\n", encoding="utf-8")
    words = ["--template", template, "--stack-kind", "volumes"]
    _refused(locate(*words, images=[films / "b.png"]), "b.png", "single plane", "expected a volume")
    _refused(locate(*words, images=[pages]), "pages.tif", "spacing is None", "--spacing PLANE,ROW,COLUMN")
    _refused(locate(*words, "--spacing", "2,1,1", images=[pages]), "pages.tif", "left and right")
    clicks.write_text(
        "image,landmark,plane,row,column\nhere.nii.gz,spot,12,20,18\nhere.nii.gz,spot,3,20,18\n", encoding="utf-8"
    )
    _refused(locate(*words, images=[template]), "'spot'", "planes 12, 3", "keep one of the rows")
    clicks.write_text("image,landmark,plane,row,column\nhere.nii.gz,spot,30,20,18\n", encoding="utf-8")
    _refused(locate(*words, images=[template]), "plane 30", "planes are 0 to 23")
    assert not (tmp_path / "out.csv").exists()


def test_unknown_stack_kind(locate: Run) -> None:
    _refused(locate("--stack-kind", "film"), "'film'", *STACK_KINDS, code=2)


def _bad_images(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """Files that cannot be searched, with words of the error that each must give."""
    folder.mkdir()
    empty, text, cut = folder / "empty.png", folder / "text.png", folder / "cut.png"
    empty.touch()
    text.write_text("no picture", encoding="utf-8")
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    nan, infinite = folder / "nan.tif", folder / "inf.tif"
    tifffile.imwrite(nan, np.full((32, 32), np.nan, np.float32))
    tifffile.imwrite(infinite, np.full((32, 32), np.inf, np.float32))
    channels, pixel, constant = folder / "five.tif", folder / "pixel.png", folder / "constant.png"
    tifffile.imwrite(channels, np.zeros((32, 32, 5), np.uint8), photometric="rgb", planarconfig="contig")
    PIL.Image.fromarray(np.array([[7]], np.uint8)).save(pixel)
    PIL.Image.fromarray(np.full((32, 32), 7, np.uint8)).save(constant)
    no_plane = folder / "none.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 0), np.uint8), np.eye(4)), no_plane)
    return {
        "missing": (folder / "missing.png", ["missing.png"]),
        "empty": (empty, ["empty.png", "empty"]),
        "text": (text, ["text.png"]),
        "cut": (cut, ["cut.png"]),
        "NaN": (nan, ["nan.tif"]),
        "inf": (infinite, ["inf.tif"]),
        "channels": (channels, ["five.tif", "5 samples"]),
        "one pixel": (pixel, ["pixel.png"]),
        "constant": (constant, ["constant.png"]),
        "no plane": (no_plane, ["none.nii"]),
    }


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "cut", "NaN", "inf", "channels", "one pixel", "constant", "no plane"]
)
def test_images_that_cannot_be_searched(locate: Run, films: Path, tmp_path: Path, kind: str) -> None:
    path, words = _bad_images(tmp_path / "bad")[kind]
    _refused(locate(images=[films / "b.png", path]), *words)
    assert not (tmp_path / "out.csv").exists()


def test_folder_without_images(locate: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    _refused(locate(images=[tmp_path / "nothing"]), "nothing")


def test_folder_of_the_output_is_missing(locate: Run, tmp_path: Path) -> None:
    _refused(locate("--out", tmp_path / "no" / "out.csv"), "out.csv", "create it first")


def test_output_is_a_folder(locate: Run, tmp_path: Path) -> None:
    _refused(locate("--out", tmp_path), "is a folder")


FULL = """
import resource, signal, sys

folder = sys.argv.pop(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def fill_the_disk(event, arguments):
    if event == "open" and str(arguments[0]).startswith(folder):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

sys.addaudithook(fill_the_disk)
from napari_ld.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files stands in for a full disk")
def test_full_disk_leaves_no_file(films: Path, clicks: Path, encoder_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    words = ["locate", films / "b.png", "--template", films / "a.png", "--landmarks", clicks, "-o", folder / "out.csv"]
    command = [sys.executable, "-c", FULL, folder, *words, "--encoder", encoder_file, "--device", "cpu"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "out.csv" in done.stderr.splitlines()[-1]
    assert "free some space" in done.stderr.splitlines()[-1]
    assert list(folder.iterdir()) == []
