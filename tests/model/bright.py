"""A segmenter made by hand: its decoder hands the image on, and what is brighter than about the mean is the label."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_ld.model.checkpoint import ModelHeader, save_model
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.heads import HeadConfig, build_segmenter

CONFIG = EncoderConfig(embedding_dim=32, level_dims=(4,) * 8)


def save_bright(path: Path, value: int = 2, size: int = 96) -> Path:
    """Write the model file; its label has this value, and it sees images at this size."""
    head = HeadConfig(((value, "bright"),), working_size=size, tile=96)
    network = build_segmenter(build_encoder(CONFIG, 0), head).eval()
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.zero_()
        full = network.head.get_submodule("at_full")
        full.get_parameter("0.weight")[0, -1, 1, 1] = 1.0  # the last channel of the image
        full.get_parameter("1.weight")[0] = 1.0
        network.head.get_parameter("out.weight")[0, 0] = 50.0
        network.head.get_parameter("out.bias")[0] = -10.0
    save_model(path, network, ModelHeader("segmenter", "bright", CONFIG, head=head))
    return path
