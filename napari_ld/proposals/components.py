"""Regions from a mask: its connected parts, with their mean score and embedding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.embedding import FeatureSource
from napari_ld.proposals.evidence import PlaneEvidence, vectors_at
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region

__all__ = ["mean_vector", "regions_of_mask"]

_ROUND = np.ones((3, 3), int)  # pixels that touch at a corner belong together
_SAMPLE = 400  # pixels that the mean embedding of a region is read from


def regions_of_mask(
    source: FeatureSource,
    evidence: PlaneEvidence,
    mask: npt.NDArray[np.bool_],
    score: npt.NDArray[np.float32],
    *,
    kind: str,
    smallest: int = 1,
    cluster: int | None = None,
    first: int = 1,
) -> list[Region]:
    """Connected parts of a mask (rows, columns) of at least ``smallest`` pixels, numbered from ``first``."""
    labels, count = ndimage.label(mask, _ROUND)
    size = np.bincount(labels.reshape(-1), minlength=count + 1)
    total = np.bincount(labels.reshape(-1), score.reshape(-1), count + 1)
    image = source.address(evidence.plane)[0]
    found: list[Region] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if size[number] < smallest or box is None:
            continue
        own = np.zeros(labels.shape, bool)
        own[box] = labels[box] == number
        part = Mask.from_array(own, evidence.plane)
        value = float(np.clip(total[number] / size[number], 0, 1))
        vector = mean_vector(evidence, part.pixels(evidence.plane))
        found.append(Region(first + len(found), image, part, value, vector, kind=kind, cluster=cluster))
    return found


def mean_vector(evidence: PlaneEvidence, pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Mean embedding (D,) of pixels given by their flat indices, of unit length."""
    chosen = pixels[:: max(1, len(pixels) // _SAMPLE)]
    rows, columns = np.divmod(chosen, evidence.shape[1])
    vector = vectors_at(evidence.embedding, rows.astype(np.float64), columns.astype(np.float64)).mean(axis=0)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-10), np.float32)
