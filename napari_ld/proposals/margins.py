"""The black margin around a round field of view: it is no part of the picture, yet its edge is the steepest of all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.proposals.evidence import PlaneEvidence

__all__ = ["margin_of", "without_margin"]

_BLACK = 0.06  # of the range of the plane
_SMALLEST = 0.01  # part of the plane; less is taken for content
_WIDER = 128  # the margin is widened by the longest side divided by this: lens edges are soft


def margin_of(channels: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Black pixels that are connected with the border of the plane.

    Parameters
    ----------
    channels : (C, rows, columns) float32 array
        In [0, 1].

    Returns
    -------
    (rows, columns) bool array
        Empty where there is no margin, or where it would leave nothing.
    """
    labels, count = ndimage.label((channels < _BLACK).all(axis=0))
    touching = np.zeros(count + 1, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[side] = True
    touching[0] = False
    margin = touching[labels]
    if margin.mean() < _SMALLEST:
        return np.zeros(margin.shape, bool)
    width = max(1, max(margin.shape) // _WIDER)
    margin = ndimage.binary_dilation(margin, iterations=width)
    return margin if margin.mean() < 1 - _SMALLEST else np.zeros(margin.shape, bool)


def without_margin(evidence: PlaneEvidence, margin: npt.NDArray[np.bool_]) -> PlaneEvidence:
    """The plane with the margin painted over in the nearest colours, so that its edge shows nowhere."""
    if not margin.any():
        return evidence
    nearest = ndimage.distance_transform_edt(margin, return_distances=False, return_indices=True)
    return replace(evidence, channels=np.ascontiguousarray(evidence.channels[:, nearest[0], nearest[1]]))
