"""Encode an image of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from napari_ld.embedding.device import Device, move_input, precision_context
from napari_ld.errors import Cancelled
from napari_ld.model.encoder import Dense, DenseEncoder, EncoderConfig

__all__ = ["check_cancelled", "encode"]


def check_cancelled(cancelled: Callable[[], bool] | None) -> None:
    """Raise :class:`Cancelled` once the user has asked to stop."""
    if cancelled is not None and cancelled():
        raise Cancelled("embedding was cancelled")


def encode(
    encoder: DenseEncoder,
    x: Tensor,
    device: Device,
    *,
    tile: int = 1024,
    dtype: torch.dtype = torch.float16,
    cancelled: Callable[[], bool] | None = None,
) -> Dense:
    """Encode a batch, in overlapping tiles when a side is longer than ``tile``.

    Tiles overlap by the encoder's receptive margin and start at multiples of its alignment, so the result equals that
    of the whole image up to rounding.

    Parameters
    ----------
    x : (B, C, H, W) float32 tensor
    tile : int
        Longest side, in input pixels, that is encoded in one go; also the side of the part kept of each tile.

    dtype : torch.dtype
        Of the result.

    Returns
    -------
    Dense
        On the CPU, at the encoder's stride.
    """
    height, width = x.shape[-2:]
    if max(height, width) <= tile:
        check_cancelled(cancelled)
        return _run(encoder, x, device, dtype)
    config, align = encoder.config, encoder.alignment
    core = max(align, tile // align * align)
    margin = -(-encoder.receptive_margin // align) * align
    canvas = _canvas(config, x, dtype)
    for top, left in _corners(height, width, core):
        check_cancelled(cancelled)
        start_r, start_c = max(0, top - margin), max(0, left - margin)
        end_r, end_c = min(height, top + core), min(width, left + core)
        part = x[..., start_r : min(height, end_r + margin), start_c : min(width, end_c + margin)]
        source = _cells(top - start_r, end_r - start_r, config), _cells(left - start_c, end_c - start_c, config)
        target = _cells(top, end_r, config), _cells(left, end_c, config)
        for whole, piece in zip(canvas, _run(encoder, part, device, dtype), strict=True):
            if whole is not None and piece is not None:
                whole[:, :, *target] = piece[:, :, *source]
    return canvas


def _run(encoder: DenseEncoder, x: Tensor, device: Device, dtype: torch.dtype) -> Dense:
    with torch.inference_mode(), precision_context(device):
        dense = encoder(move_input(x, device))
    clusters = None if dense.clusters is None else dense.clusters.to("cpu", dtype)
    return Dense(dense.embedding.to("cpu", dtype), clusters)


def _corners(height: int, width: int, core: int) -> Iterator[tuple[int, int]]:
    for top in range(0, height, core):
        for left in range(0, width, core):
            yield top, left


def _cells(start: int, end: int, config: EncoderConfig) -> slice:
    """Cells of the pixels ``start`` to ``end``; ``start`` is a multiple of the stride."""
    return slice(start // config.output_stride, -(-end // config.output_stride))


def _canvas(config: EncoderConfig, x: Tensor, dtype: torch.dtype) -> Dense:
    batch, _, height, width = x.shape
    rows, columns = (-(-side // config.output_stride) for side in (height, width))
    clusters = torch.empty(batch, config.clusters, rows, columns, dtype=dtype) if config.clusters else None
    return Dense(torch.empty(batch, config.embedding_dim, rows, columns, dtype=dtype), clusters)
