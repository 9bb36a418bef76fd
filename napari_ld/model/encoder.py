"""Dense encoders: an image in, a unit-length embedding per cell and a soft clustering out.

Two configurations exist: ``ld-paper`` (the published network) and ``fast`` (our small pyramid for laptops).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from napari_ld.errors import ImageError, ModelFileError
from napari_ld.model.backbones.fast import NORMS, STRIDES, FastPyramid
from napari_ld.model.backbones.vgg_tiny import TINY, UTrunk, Vgg16Bn

_LD_EPSILON = 1e-10
_CLUSTER_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """All that is needed to rebuild a network.

    Attributes
    ----------
    backbone : str
        A name of :data:`BACKBONES`.
    in_channels : int
        1 or 3; a grey image is repeated for a network with 3 channels.
    embedding_dim : int
        Length D of the embedding.
    output_stride : int
        Input pixels per cell of the embedding.
    clusters : int
        Number K of cluster channels; 0 for none.
    level_dims : tuple of int
        Lengths of the per-scale parts that make up the embedding, octave by octave, finest first; they sum to
        ``embedding_dim``.
    octaves : int
        How often the network looks at the image, each time at half the size; all looks share one embedding.
    working_size : int
        Longest side, in pixels, to which whole images are brought.
    fine_zoom : float
        Scale, as a multiple of the working scale, at which refinement crops were trained.
    norm : str
        Normalisation of the ``fast`` backbone, a name of ``NORMS``; ``vgg16_bn_tiny`` has ``batch`` only.
    """

    backbone: str = "fast"
    in_channels: int = 3
    embedding_dim: int = 256
    output_stride: int = 4
    clusters: int = 16
    level_dims: tuple[int, ...] = (32, 32, 32, 32) * 2
    octaves: int = 2
    working_size: int = 384
    fine_zoom: float = 2.0
    norm: str = "batch"


class Dense(NamedTuple):
    """Output of a dense encoder.

    ``embedding``: (B, D, ceil(H/s), ceil(W/s)), unit length along D.
    ``clusters``: (B, K, ceil(H/s), ceil(W/s)), non-negative, sums to 1 along K; or None.
    """

    embedding: Tensor
    clusters: Tensor | None


class DenseEncoder(nn.Module):
    """Any image size in, embedding and clusters out.

    Cell ``(i, j)`` has its centre at input pixel ``(s * i + (s - 1) / 2, s * j + (s - 1) / 2)``.

    Attributes
    ----------
    alignment : int
        The input is padded (edge pixels repeated) to a multiple of this; crops must start at a multiple of it.
    receptive_margin : int
        Pixels inside a crop's border from which on its cells equal those of the whole image.
    """

    def __init__(self, config: EncoderConfig, network: nn.Module, alignment: int, receptive_margin: int) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.alignment = alignment
        self.receptive_margin = receptive_margin

    def forward(self, x: Tensor) -> Dense:
        """``(B, C, H, W)`` float, C = 1 or ``in_channels``, any H and W >= 1."""
        x, cells = self._prepare(x)
        levels, clusters = self.network(x)
        looks = [join_levels(levels)]
        for _ in range(1, self.config.octaves):
            x = nn.functional.avg_pool2d(x, 2)
            looks.append(join_levels(self.network(x)[0]))
        embedding = join_levels(looks)
        return Dense(_crop(embedding, cells), None if clusters is None else _crop(clusters, cells))

    def levels(self, x: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Per-scale maps of one octave before normalisation and up-sampling, for training.

        ``(B, C, H, W)``, sizes divisible by the coarsest stride of the network.
        """
        return cast("tuple[list[Tensor], Tensor | None]", self.network(self._repeat_grey(x)))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Maps of one octave that a decoder starts from, finest first; channels and strides: :attr:`map_shapes`.

        ``(B, C, H, W)``, sizes divisible by the coarsest stride of the network.
        """
        return cast("list[Tensor]", self.network.maps(self._repeat_grey(x)))  # type: ignore[operator]  # a method

    @property
    def map_shapes(self) -> tuple[tuple[int, int], ...]:
        """``(channels, stride)`` of each of :meth:`maps`."""
        return cast("tuple[tuple[int, int], ...]", self.network.map_shapes)

    def _prepare(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        height, width = x.shape[-2:]
        if height < 1 or width < 1:
            raise ImageError(f"image of {height} x {width} pixels: expected at least one pixel")
        x = self._repeat_grey(x)
        down, right = (-height) % self.alignment, (-width) % self.alignment
        if down or right:
            x = nn.functional.pad(x, (0, right, 0, down), mode="replicate")
        stride = self.config.output_stride
        return x, (-(-height // stride), -(-width // stride))

    def _repeat_grey(self, x: Tensor) -> Tensor:
        wanted = self.config.in_channels
        if x.shape[1] == wanted:
            return x
        if x.shape[1] == 1:
            return x.expand(-1, wanted, -1, -1)
        raise ImageError(f"image with {x.shape[1]} channels: this encoder takes 1 or {wanted}; convert the image")


class FastNetwork(nn.Module):
    """The fast pyramid with its clustering head; returns the raw level maps and the clusters."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dims = config.level_dims[: len(config.level_dims) // config.octaves]
        self.pyramid = FastPyramid(config.in_channels, dims, norm=config.norm)
        trunk = self.pyramid.trunk_channels
        self.clustering = ClusterHead(trunk, config.clusters, config.norm) if config.clusters else None
        self.map_shapes = ((self.pyramid.stem_channels, 2), *((trunk, stride) for stride in STRIDES))

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map of the stem and those of the top-down path."""
        stem, trunks = self.pyramid.maps(x)
        return [stem, *trunks]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """``(B, C, H, W)`` to four maps at strides 4, 8, 16, 32 and clusters at stride 4."""
        levels, trunk = self.pyramid(x)
        return levels, None if self.clustering is None else self.clustering(trunk)


class PaperNetwork(nn.Module):
    """The network of the LD paper: full-resolution 32-d embedding and clustering head."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = Vgg16Bn(config.in_channels)
        self.trunk = UTrunk()
        self.embedding = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, config.embedding_dim, 3, padding=1),
        )
        self.clustering = ClusterHead(32, config.clusters) if config.clusters else None
        self.map_shapes = tuple((block[-1], 2**index) for index, block in enumerate(TINY))

    def maps(self, x: Tensor) -> list[Tensor]:
        """The pyramid of the encoder; its trunk and heads belong to pre-training."""
        pyramid: list[Tensor] = self.encoder(x)
        return pyramid

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """``(B, C, H, W)``, H and W divisible by 16, to one map and clusters at stride 1."""
        trunk = self.trunk(self.encoder(x))
        return [self.embedding(trunk)], None if self.clustering is None else self.clustering(trunk)


class ClusterHead(nn.Module):
    """conv-BN-ReLU-conv, sigmoid, then L1-normalised over channels: not a softmax (LD, authors' code)."""

    def __init__(self, channels: int, clusters: int, norm: str = "batch") -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, clusters, 3, padding=1),
            NORMS[norm](clusters),
            nn.ReLU(inplace=True),
            nn.Conv2d(clusters, clusters, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, K, h, w)``, non-negative, sums to 1 along K."""
        return normalize_clusters(self.layers(x).float())


def normalize_clusters(logits: Tensor) -> Tensor:
    """Sigmoid, then division by the sum over channels: ``a = (s + 1e-9) / sum(s + 1e-9)``."""
    shares = torch.sigmoid(logits) + _CLUSTER_EPSILON
    whole: Tensor = shares.sum(1, keepdim=True)
    return shares / whole


def unit(x: Tensor, dim: int = 1) -> Tensor:
    """Divide by (norm + 1e-10) along ``dim``, in float32."""
    x = x.float()
    norm: Tensor = x.norm(dim=dim, keepdim=True)
    return x / (norm + _LD_EPSILON)


def join_levels(levels: list[Tensor]) -> Tensor:
    """Bring all levels to the finest grid, each at unit length, and join them to one unit vector per cell.

    The product of two joined vectors is thus the mean of the cosines of the levels.
    """
    size = levels[0].shape[-2:]
    parts = [unit(levels[0])]
    for level in levels[1:]:
        raised = nn.functional.interpolate(level.float(), size=size, mode="bilinear", align_corners=False)
        parts.append(unit(raised))
    return torch.cat(parts, 1) / math.sqrt(len(parts))


def _crop(x: Tensor, cells: tuple[int, int]) -> Tensor:
    return x[..., : cells[0], : cells[1]]


BACKBONES: dict[str, tuple[type[nn.Module], int, int]] = {
    # name: network, alignment, receptive margin (both in input pixels)
    "fast": (FastNetwork, 32, 384),  # of one octave; each further octave doubles both
    "vgg16_bn_tiny": (PaperNetwork, 16, 144),
}

CONFIGURATIONS: dict[str, EncoderConfig] = {
    "fast": EncoderConfig(),
    "ld-paper": EncoderConfig(
        backbone="vgg16_bn_tiny",
        embedding_dim=32,
        output_stride=1,
        level_dims=(32,),
        octaves=1,
        working_size=448,
        fine_zoom=1.0,
    ),
}


def build_encoder(config: EncoderConfig, seed: int | None = None) -> DenseEncoder:
    """Make a network with random weights.

    Parameters
    ----------
    config : EncoderConfig
    seed : int, optional
        Makes the weights reproducible; the global random state is left as it was.

    Raises
    ------
    ModelFileError
        When the backbone is not in :data:`BACKBONES`, or the normalisation not one it has.
    """
    if config.backbone not in BACKBONES:
        raise ModelFileError(f"unknown backbone {config.backbone!r}: this version knows {', '.join(BACKBONES)}")
    if config.norm not in NORMS or (config.backbone != "fast" and config.norm != "batch"):
        raise ModelFileError(f"normalisation {config.norm!r} of backbone {config.backbone!r}: expected batch, or group")
    network, alignment, margin = BACKBONES[config.backbone]
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        doubled = 2 ** (config.octaves - 1)
        return DenseEncoder(config, network(config), alignment * doubled, margin * doubled)
