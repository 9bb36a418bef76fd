"""Label maps as DICOM segmentations through highdicom (extra ``dicom-seg``), referencing the series they were drawn on.

The standard demands that a segmentation carries the patient and study of its source; they are copied from the source
files at the moment of writing, and are kept nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import generate_uid

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.dicom import ordered_places
from napari_ld.io.dicom_seg import VALUE_MARK
from napari_ld.io.parts import split_part

__all__ = ["Segment", "write_segmentation"]

Code = tuple[str, str, str]
_TISSUE: Code = ("85756007", "SCT", "Tissue")
_MAX_FRAMES = 4096  # beyond that, planes without a segment are left out of the file


@dataclass(frozen=True, slots=True)
class Segment:
    """What a label means.

    Attributes
    ----------
    name : str
    category, kind : (value, scheme, meaning)
        Coded category and type of what is segmented (PS3.16, CID 7150 and 7151), for instance ``("10200004", "SCT",
        "Liver")``; tissue in general by default.
    """

    name: str
    category: Code = _TISSUE
    kind: Code = _TISSUE


def write_segmentation(
    file: IO[bytes], labels: npt.NDArray[Any], like: Image, segments: Mapping[int, Segment] | None = None
) -> None:
    """Write labels as a binary DICOM segmentation, one segment for each label.

    Parameters
    ----------
    file : binary file
    labels : array of unsigned integers
        Planes, rows and columns of ``like``.
    like : Image
        Opened from DICOM; its files are looked up again.
    segments : mapping of int to Segment, optional
        Names and codes of labels.

    Raises
    ------
    ImageError
        highdicom is not installed, the image is not a DICOM image or its files have changed, there is no label at all,
        or the source lacks what the standard demands.
    """
    try:
        import highdicom.seg
    except ImportError as error:
        raise ImageError(
            "DICOM segmentations need highdicom: pip install 'napari-ld[dicom-seg]', or save as .nii.gz"
        ) from error
    values = [int(value) for value in np.unique(labels) if value]
    if not values:
        raise ImageError("a DICOM segmentation needs at least one label; the mask is empty")
    if not like.source:
        raise ImageError(
            "the image came from no DICOM file, which a segmentation must name; save it as .nii.gz or .tif"
        )
    path, part = split_part(like.source)
    places = ordered_places(path, part)
    stack = labels if labels.ndim == 3 else labels[np.newaxis]
    if len(places) != len(stack) or (places[0].header.rows, places[0].header.columns) != stack.shape[1:]:
        raise ImageError(f"labels of shape {labels.shape} do not fit {like.source}, which has changed; open it again")
    files = list(dict.fromkeys(place.header.path for place in places))
    if len(files) == 1:
        stack = stack[np.argsort([place.frame.index for place in places])]
    numbers = np.zeros(max(values) + 1, np.uint16)
    numbers[values] = np.arange(1, len(values) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom quotes values of the source
        try:
            highdicom.seg.Segmentation(
                source_images=[pydicom.dcmread(one, stop_before_pixels=True) for one in files],
                pixel_array=numbers[stack],
                segmentation_type="BINARY",
                segment_descriptions=[_description(n, v, segments or {}) for n, v in enumerate(values, start=1)],
                series_instance_uid=generate_uid(),
                series_number=100,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="napari-ld",
                manufacturer_model_name="napari-ld",
                software_versions=_version(),
                device_serial_number="0",
                omit_empty_frames=len(values) * len(stack) > _MAX_FRAMES,
            ).save_as(file)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise ImageError(
                f"{like.source} cannot be the source of a DICOM segmentation ({error}); save as .nii.gz or .tif"
            ) from error


def _description(number: int, value: int, segments: Mapping[int, Segment]) -> Any:
    """One segment; the label's value stands in its tracking identifier, because segments are numbered without gaps."""
    import highdicom
    from pydicom.sr.codedict import codes

    segment = segments.get(value) or Segment(f"label {value}")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="napari-ld", family=codes.DCM.ArtificialIntelligence, version=_version()
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:64] or f"label {value}",
        segmented_property_category=highdicom.sr.CodedConcept(*segment.category),
        segmented_property_type=highdicom.sr.CodedConcept(*segment.kind),
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(),
        tracking_id=f"{VALUE_MARK}{value}",
    )


def _version() -> str:
    from importlib.metadata import version

    return version("napari-ld")


def is_dicom_source(like: Image) -> bool:
    """Whether an image was opened from DICOM files that are still there."""
    from napari_ld.io.dicom_headers import is_dicom
    from napari_ld.io.folders import dicom_files

    path: Path = split_part(like.source)[0]
    return bool(like.source) and (is_dicom(path) if path.is_file() else path.is_dir() and bool(dicom_files(path)))
