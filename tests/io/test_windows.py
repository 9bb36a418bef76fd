"""Windows: presets, ranges, and what the encoder then sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_ld._types import Image
from napari_ld.errors import ImageError
from napari_ld.io.windows import CT_WINDOWS, parse_window, windows_for, with_window

if TYPE_CHECKING:
    from napari_ld.model.checkpoint import LoadedModel

PIXELS = np.random.default_rng(0).integers(-1000, 2000, (3, 40, 50)).astype(np.int16)


def test_presets_and_ranges() -> None:
    assert parse_window("lung") == (-1350, 150)
    assert parse_window("-160,240") == (-160, 240)
    assert all(parse_window(name)[0] < parse_window(name)[1] for name in CT_WINDOWS)
    for text in ("moon", "3", "5,1", "nan,1", "1,inf"):
        with pytest.raises(ImageError, match=r"is unknown; choose abdomen, .* or LOW,HIGH"):
            parse_window(text)


def test_presets_are_for_ct() -> None:
    images = [Image(PIXELS, "zyx", modality="CT"), Image(PIXELS, "zyx", modality="MR", source="a.dcm")]
    assert with_window(images, None) == images
    assert with_window(images[:1], "bone")[0].window == (-500, 1300)
    assert with_window(images, "0,100")[1].window == (0, 100)
    with pytest.raises(ImageError, match=r"a\.dcm is MR, and the window 'bone' is in Hounsfield units"):
        with_window(images, "bone")


def test_presets_are_offered_where_values_may_be_hounsfield_units() -> None:
    assert windows_for(Image(PIXELS, "zyx", modality="CT")) == windows_for(Image(PIXELS, "zyx")) == list(CT_WINDOWS)
    assert windows_for(Image(PIXELS, "zyx", modality="MR")) == []
    assert windows_for(Image(PIXELS.astype(np.uint8), "zyx")) == []


@pytest.mark.parametrize("shared", [False, True])
def test_the_encoder_sees_the_window(centred_model: LoadedModel, shared: bool) -> None:
    from napari_ld.embedding import FeatureSource

    (image,) = with_window([Image(PIXELS, "zyx")], "-160,240")
    seen = FeatureSource(image, centred_model, shared_limits=shared).seen(1)
    np.testing.assert_allclose(seen, np.clip((PIXELS[1] + 160) / 400, 0, 1), atol=1e-6)
    mirrored = FeatureSource(image, centred_model).mirrored(1)
    np.testing.assert_allclose(mirrored.seen(0), seen[:, ::-1], atol=1e-6)


def test_without_a_window_the_encoder_sees_percentiles(centred_model: LoadedModel) -> None:
    from napari_ld.embedding import FeatureSource

    source = FeatureSource(Image(PIXELS, "zyx"), centred_model)
    low, high = np.percentile(PIXELS[1], [0.5, 99.5])
    np.testing.assert_allclose(source.seen(1), np.clip((PIXELS[1] - low) / (high - low), 0, 1), atol=1e-5)
    colour = np.repeat(PIXELS[0, :, :, None], 3, axis=2)
    assert FeatureSource(Image(colour, "yxc"), centred_model).seen(0).shape == (40, 50, 3)
