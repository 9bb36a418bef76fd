"""DICOM series made of arrays, for benchmarks and tests: no real patient, and any geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SECRET_NAME, SECRET_ID = "Doe^Quisquam", "ID-31415926"

_STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def write_series(
    folder: Path,
    volume: npt.NDArray[Any],
    *,
    orientation: Sequence[float] = _STRAIGHT,
    origin: Sequence[float] = (-100.0, -120.0, 30.0),
    spacing: Sequence[float] = (2.5, 0.75, 0.5),
    step: Sequence[float] | None = None,
    slope: float = 1.0,
    intercept: float = -1024.0,
    series: str | None = None,
    elements: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write one file a plane.

    Parameters
    ----------
    folder : Path
        Made if missing.
    volume : (planes, rows, columns) integer array
        Stored values.
    orientation : six floats
        Unit vectors along a row and along a column.
    origin : (x, y, z)
        Centre of the first pixel of the first plane, LPS millimetres.
    spacing : (plane, row, column)
        Millimetres.
    step : (x, y, z), optional
        From plane to plane; by default along the normal.
    slope, intercept : float
    series : str, optional
        UID of the series; a new one by default.
    elements : mapping, optional
        Further elements of every file, by keyword.

    Returns
    -------
    list of Path
        In the order of the planes; the names are in another order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    between = np.cross(across, down) * spacing[0] if step is None else np.asarray(step)
    series_uid, frame_uid, study_uid = series or generate_uid(), generate_uid(), generate_uid()
    paths = []
    for index, plane in enumerate(volume):
        dataset = _plane(plane, series_uid, slope, intercept)
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = study_uid, frame_uid
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [_text(value) for value in np.asarray(origin) + index * between]
        dataset.ImageOrientationPatient = [_text(value) for value in orientation]
        dataset.PixelSpacing = [_text(spacing[1]), _text(spacing[2])]
        dataset.SliceThickness = _text(spacing[0])
        for keyword, value in (elements or {}).items():
            setattr(dataset, keyword, value)
        paths.append(folder / f"{(index * 7919) % 10007:05d}-{index}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _plane(plane: npt.NDArray[Any], series: str, slope: float, intercept: float) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.Modality = series, 1, "CT"
    dataset.PatientName, dataset.PatientID = SECRET_NAME, SECRET_ID
    dataset.PatientBirthDate, dataset.PatientSex, dataset.StudyID, dataset.AccessionNumber = "19010203", "O", "1", ""
    dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20200102", "010203", ""
    dataset.Manufacturer, dataset.PositionReferenceIndicator, dataset.AcquisitionNumber = "none", "", 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *plane.shape, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    bits = plane.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(plane.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = _text(slope), _text(intercept)
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    dataset.PixelData = plane.tobytes()
    return dataset


def _text(value: float) -> str:
    """A decimal string of at most 16 characters, as DICOM wants it."""
    return f"{float(value):.10g}"[:16]
