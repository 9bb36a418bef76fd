"""Clusters and embeddings of every pixel, from the maps of an encoder: what plays the game for a shape."""

from __future__ import annotations

from torch import Tensor, nn

from napari_ld.model.encoder import Dense, DenseEncoder, normalize_clusters, unit
from napari_ld.model.heads import DECODERS


class ShapeGenerator(nn.Module):
    """An encoder with the decoder of a segmenter that gives K clusters and a unit vector for every pixel.

    LD (arXiv 2108.09440) has both heads at full resolution on its own decoder; ours is that of the encoder's
    segmenters [reconstruction], so that any encoder can play.

    Parameters
    ----------
    encoder : DenseEncoder
    clusters : int
        K; 8 in the authors' code. The first one is to look like the shapes.
    dim : int
        Of the embedding; 32 in the authors' code.
    """

    def __init__(self, encoder: DenseEncoder, clusters: int, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = DECODERS[encoder.config.backbone](encoder.map_shapes, clusters + dim)
        self.clusters = clusters
        self.alignment = max(stride for _, stride in encoder.map_shapes)

    def forward(self, x: Tensor) -> Dense:
        """``(B, C, H, W)``, sizes divisible by the alignment, to :class:`Dense` at full resolution, float32."""
        out: Tensor = self.head(x.expand(-1, 3, -1, -1), self.encoder.maps(x))
        return Dense(unit(out[:, self.clusters :].float(), 1), normalize_clusters(out[:, : self.clusters].float()))
