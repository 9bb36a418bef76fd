"""Where the encoder runs, in which precision, and why."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_ld.errors import ConfigError

__all__ = ["DEVICES", "PRECISIONS", "Device", "choose_device", "move_encoder", "precision_context"]

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Device:
    """The choice made for this session.

    Attributes
    ----------
    name : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``, as torch takes it.
    dtype : str
        ``"float32"`` or ``"bfloat16"`` (automatic mixed precision).
    channels_last : bool
        Memory layout of the convolutions.
    reason : str
        One sentence for the user.
    """

    name: str
    dtype: str
    channels_last: bool
    reason: str


def choose_device(requested: str = "auto", precision: str = "auto") -> Device:
    """Pick device, precision and memory layout; the same answer each time on the same machine.

    The rules are fixed, not timed at run time, whose answer would change with the load of the machine and with it the
    last digits of every result. On a CPU bfloat16 is taken with matrix units (AMX) only: with AVX-512 BF16 it was
    faster too (33 against 55 ms for a 384² image), but all published figures were measured in float32.

    Parameters
    ----------
    requested : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "float32", "bfloat16"}

    Raises
    ------
    ConfigError
        For an unknown name, or a device that this machine does not have.
    """
    if requested not in DEVICES:
        raise ConfigError(f"unknown device {requested!r}: expected one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    available = _available()
    if requested == "auto":
        name, reason = next(iter(available.items()))
    elif requested in available:
        name, reason = requested, f"{requested} was asked for"
    else:
        raise ConfigError(f"device {requested!r} is not available here: choose one of auto, {', '.join(available)}")
    fast_half = _prefers_bfloat16(name)
    half = precision == "bfloat16" or (precision == "auto" and fast_half)
    detail = "bfloat16" if half else "float32"
    return Device(name, detail, name != "mps", f"{reason}; {detail}{', channels last' if name != 'mps' else ''}")


def move_encoder(encoder: nn.Module, device: Device) -> nn.Module:
    """Put the encoder on the device in its memory layout; in place."""
    encoder = encoder.to(device.name)
    if device.channels_last:
        # torch's annotations know this argument only together with others
        encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return encoder.eval()


def move_input(x: Tensor, device: Device) -> Tensor:
    """Put a batch of images (B, C, H, W) on the device in its memory layout."""
    x = x.to(device.name)
    return x.contiguous(memory_format=torch.channels_last) if device.channels_last else x


def precision_context(device: Device) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision as chosen."""
    if device.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.name, torch.bfloat16)


def _available() -> dict[str, str]:
    found = {}
    if torch.cuda.is_available():
        found["cuda"] = f"graphics card {torch.cuda.get_device_name()}"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple graphics (Metal)"
    threads = torch.get_num_threads()
    cores = f"{threads} thread{'' if threads == 1 else 's'}"
    found["cpu"] = f"CPU, {cores}" + ("" if found else " (no graphics card usable by torch)")
    return found


def _prefers_bfloat16(name: str) -> bool:
    if name == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    if name == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return False
