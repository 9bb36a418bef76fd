"""The choice of device is explained, repeatable and refused where it cannot be kept."""

from __future__ import annotations

import pytest
import torch

from napari_ld.embedding import choose_device
from napari_ld.embedding.device import move_encoder, move_input, precision_context
from napari_ld.errors import ConfigError


def test_automatic_choice_has_a_reason_and_repeats() -> None:
    device = choose_device()
    assert device == choose_device("auto")
    assert device.name in ("cpu", "cuda", "mps")
    assert device.dtype in device.reason


def test_cpu_can_always_be_had() -> None:
    device = choose_device("cpu", "float32")
    assert (device.name, device.dtype) == ("cpu", "float32")
    assert device.reason.startswith("cpu was asked for")


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [("tpu", "auto", "unknown device 'tpu': expected one of auto, cpu"), ("cpu", "int8", "unknown precision 'int8'")],
)
def test_unknown_names(device: str, precision: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_device(device, precision)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has Metal")
def test_missing_device() -> None:
    with pytest.raises(ConfigError, match="device 'mps' is not available here: choose one of auto"):
        choose_device("mps")


def test_bfloat16_computes_in_bfloat16() -> None:
    device = choose_device("cpu", "bfloat16")
    layer = move_encoder(torch.nn.Conv2d(1, 2, 1), device)
    with precision_context(device):
        assert layer(move_input(torch.zeros(1, 1, 2, 2), device)).dtype == torch.bfloat16
