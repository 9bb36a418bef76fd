"""What the times of proposing regions are made of; no time is judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.proposal_speed import seconds, times_of
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.model.checkpoint import LoadedModel


def test_times_of_a_plane(centred_model: LoadedModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)
    found = times_of(FeatureSource(Image(pixels, "yx"), centred_model), 10, [5, 20])
    assert found["propose / slic"] == pytest.approx(found["propose"] / found["slic"])
    assert min(found.values()) > 0
    assert seconds(lambda: "done")[1] == "done"
