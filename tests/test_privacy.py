"""Who the patient is stays in the DICOM files: sessions, caches, logs, run folders, layers and results do not tell."""

from __future__ import annotations

import gzip
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.synthetic import SECRET_ID, SECRET_NAME, write_series
from napari_ld._npe2 import image_from_layer_data, read_layers
from napari_ld.errors import NapariLDError

NAMED = {
    "PatientAddress": "Gasse 271828, Nirgendwo",
    "OtherPatientIDs": "OTHER-161803",
    "AccessionNumber": "ACC-577215",
    "InstitutionName": "Hospital Exempli Gratia",
    "ReferringPhysicianName": "Medica^Vera",
    "StudyDescription": "follow-up of Doe",
    "SeriesDescription": "thorax of Doe",
    "StudyID": "STUDY-141421",
    "StudyDate": "19690721",
    "DeviceSerialNumber": "SERIAL-301029",
}
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series whose headers name the patient in every way."""
    noise = np.random.default_rng(3).normal(size=(4, 64, 72))
    smooth = gaussian_filter(noise, (1, 4, 4)) * 8000 + 1000
    write_series(tmp_path / "ct", smooth.astype(np.int16), elements=NAMED)
    return tmp_path / "ct"


def secrets_of(series: Path) -> list[str]:
    """All that identifies the patient, the study or a single file of it."""
    found = {SECRET_NAME, SECRET_NAME.partition("^")[2], SECRET_ID, "19010203", *NAMED.values()}
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        found |= {str(dataset[name].value) for name in UIDS}
    return sorted(found)


def contents(path: Path) -> bytes:
    """Bytes of a file, those of packed ones unpacked."""
    raw = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return raw + b"".join(archive.read(name) for name in archive.namelist())
    return raw + (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else b"")


def assert_silent(secrets: list[str], *places: Path, said: str = "", files: int) -> None:
    written = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(written) >= files
    for path in written:
        everything = str(path).encode() + contents(path)
        assert [secret for secret in secrets if secret.encode() in everything] == [], path
    assert [secret for secret in secrets if secret in said] == []


def test_the_search_finds_what_it_looks_for(series: Path, tmp_path: Path) -> None:
    secrets = secrets_of(series)
    assert len(secrets) == 4 + len(NAMED) + 3 + 4
    assert all(any(secret.encode() in contents(path) for path in series.iterdir()) for secret in secrets)
    with pytest.raises(AssertionError, match="0"):
        assert_silent(secrets, series, files=1)
    (tmp_path / "a.gz").write_bytes(gzip.compress(SECRET_ID.encode()))
    assert SECRET_ID.encode() in contents(tmp_path / "a.gz")


def test_sessions_caches_layers_and_results(
    series: Path,
    encoder_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A whole piece of work in the panel's session: recognised, searched, painted, saved, and left again."""
    from napari_ld._gui.files import MasksToSave, save_landmarks, save_masks
    from napari_ld.session import Session
    from napari_ld.session.compute import Sources, identify, image_stem, locate_tracks

    caplog.set_level("DEBUG")
    monkeypatch.setenv("NAPARI_LD_CACHE", str(tmp_path / "cache"))
    [(array, attributes, _)] = read_layers(str(series))
    image = image_from_layer_data(array, attributes)
    session = Session(tmp_path / "sessions")
    session.choose_encoder(str(encoder_file))
    session.open_image(image, image_stem(image.source))
    session.choose_stack_kind("volume")
    session.choose_window("-500,500")
    asked = session.request_identity()
    assert asked is not None
    for result in identify(asked, lambda: False):
        session.accept(result)
    apex = session.add_landmark("apex")
    session.place(apex, 2, (30.0, 40.0))
    request = session.request_location(2)
    assert request is not None
    for answer in locate_tracks(request, Sources(), lambda: False):
        session.accept(answer)
    mask = np.zeros(image.plane_shape, np.uint8)
    mask[10:20, 10:30] = 1
    session.regions.paint({1: mask})
    session.regions.flush()

    out = tmp_path / "out"
    out.mkdir()
    for name in ("points.csv", "points.mrk.json"):
        save_landmarks(str(out / name), session)
    for ending in ("nii.gz", "nrrd", "tif"):
        save_masks(MasksToSave(str(out / f"{ending[:2]}.{ending}"), session.regions.book.masks(image), image, []))
    said = repr(attributes) + repr(image) + caplog.text + "".join(capfd.readouterr())
    assert_silent(secrets_of(series), tmp_path / "sessions", tmp_path / "cache", out, said=said, files=10)


def test_run_folders_of_training(
    series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from src_train.__main__ import main

    caplog.set_level("DEBUG")
    small = ("views.size=64", "views.working_size=72", "schedule.steps=2", "schedule.couples=1", "losses.points=8")
    words = ["train", "--data", str(series), "--out", str(tmp_path / "run"), "--preset", "quick", "--set", *small]
    assert main(words) == 0
    said = caplog.text + "".join(capfd.readouterr())
    assert "loss" in said
    assert_silent(secrets_of(series), tmp_path / "run", said=said, files=4)


def test_warnings_errors_and_logs(
    series: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Gaps, copies, other series, values that are none, files cut short: all is said, and nobody is named."""
    from napari_ld.io.images import read_image, read_images

    caplog.set_level("DEBUG")
    secrets, said = secrets_of(series), ""
    paths = sorted(series.iterdir())
    odd = pydicom.dcmread(paths[0])
    odd.SeriesNumber = None
    odd.InstanceNumber = None
    odd["PatientBirthDate"]._value = "no date at all"
    odd.save_as(paths[0])
    (series / "copy.dcm").write_bytes(paths[1].read_bytes())
    paths[2].unlink()

    def told(action: Any) -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                action()
                error = ""
            except NapariLDError as one:
                error = str(one)
        return " ".join([error, *(str(warning.message) for warning in caught)])

    said += told(lambda: read_image(series))
    assert "left out, another file has the same place" in said
    for path in write_series(series.parent / "b", np.ones((2, 9, 9), np.int16), elements=NAMED):
        path.rename(series / f"b{path.name}")
    secrets += secrets_of(series)
    said += told(lambda: read_image(series))
    assert "holds 2 series" in said
    said += told(lambda: read_layers(str(series)))
    assert "hidden layers" in said
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    said += told(lambda: read_images([series], several="all"))
    assert "is truncated" in said
    damaged = bytearray(paths[3].read_bytes())
    damaged[damaged.find(b"DS") :][:2] = b"ZZ"
    paths[3].write_bytes(bytes(damaged).replace(b"1\\0\\0", b"x\\0\\0"))
    said += told(lambda: read_image(paths[3]))
    said += caplog.text + "".join(capfd.readouterr())
    assert [secret for secret in secrets if secret in said] == []
