"""What stands on an encoder and answers in a person's own terms: segmenters and classifiers.

A segmenter gives a probability per label and pixel, a classifier one per class and image, with the map that it is the
pooled value of. Both start from :meth:`DenseEncoder.maps`; which decoder fits which encoder is :data:`DECODERS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ld.model.backbones.vgg_tiny import UTrunk
from napari_ld.model.encoder import DenseEncoder, EncoderConfig, build_encoder

KINDS = ("segmenter", "classifier")
MAX_CLASSES = 255


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """What a head answers, and at which size it wants to see an image.

    Attributes
    ----------
    classes : tuple of (int, str)
        Value in label maps and name of each; of a classifier the values count from 1.
    working_size : int
        Longest side of a plane in pixels of the model input.
    square : bool
        Planes are squeezed to ``working_size`` x ``working_size`` pixels, as in the protocol of LD.
    tile : int
        Side of the windows in which larger inputs are looked at.
    sharpness : float
        Of a classifier's pooling: 0 takes the mean of its map, larger values come closer to the maximum.
    background : str
        Class of a classifier that shows nothing to be found; ``""`` for none.
    """

    classes: tuple[tuple[int, str], ...]
    working_size: int = 512
    square: bool = False
    tile: int = 512
    sharpness: float = 0.0
    background: str = ""


class PyramidDecoder(nn.Module):
    """Maps of the fast encoder to logits at full resolution (our own design).

    The maps of the top-down path are brought to its finest grid and added; the stem and the image itself join them at
    half and full resolution, so that thin structures keep their place.

    Parameters
    ----------
    shapes : sequence of (channels, stride)
        Of the maps, finest first.
    outputs : int
        Logits per pixel.
    width : int
        Channels at the finest stride of the top-down path and at half resolution; half of it at full resolution.
    """

    def __init__(self, shapes: tuple[tuple[int, int], ...], outputs: int, width: int = 32) -> None:
        super().__init__()
        (stem, _), *trunks = shapes
        self.merge = nn.ModuleList(_conv(channels, width) for channels, _ in trunks)
        self.at_half = _conv(width + stem, width)
        self.at_full = _conv(width + 3, width // 2)
        self.out = nn.Conv2d(width // 2, outputs, 1)

    def forward(self, image: Tensor, maps: list[Tensor]) -> Tensor:
        """``(B, 3, H, W)`` and its maps to ``(B, outputs, H, W)``."""
        stem, *trunks = maps
        x = self.merge[0](trunks[0])
        for merge, trunk in zip(list(self.merge)[1:], trunks[1:], strict=True):
            x = x + _raised(merge(trunk), x)
        x = self.at_half(torch.cat([_raised(x, stem), stem], 1))
        x = self.at_full(torch.cat([_raised(x, image), image], 1))
        logits: Tensor = self.out(x)
        return logits


class PaperDecoder(nn.Module):
    """The decoder of LD's transfer protocol: U-shape, full-resolution block 32-16-16, 3x3 convolution (authors' code).

    492,001 parameters with one output. Kaiming-normal weights, zero biases.
    """

    def __init__(self, shapes: tuple[tuple[int, int], ...], outputs: int) -> None:
        super().__init__()
        self.trunk = UTrunk()
        layers: list[nn.Module] = []
        for inputs in (32, 16):
            layers += [nn.Conv2d(inputs, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
        self.block = nn.Sequential(*layers)
        self.out = nn.Conv2d(16, outputs, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, maps: list[Tensor]) -> Tensor:
        """``(B, 3, H, W)``, which is not looked at again, and its maps to ``(B, outputs, H, W)``."""
        logits: Tensor = self.out(self.block(self.trunk(maps)))
        return logits


DECODERS: dict[str, type[PyramidDecoder] | type[PaperDecoder]] = {
    "fast": PyramidDecoder,
    "vgg16_bn_tiny": PaperDecoder,
}
"""Backbone to decoder."""


class Segmenter(nn.Module):
    """Encoder and decoder.

    One label has one logit (sigmoid); several have one each and one for the background before them (softmax).
    """

    def __init__(self, encoder: DenseEncoder, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = decoder
        self.alignment = max(stride for _, stride in encoder.map_shapes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)``, any H and W, to probabilities ``(B, labels, H, W)``."""
        height, width = x.shape[-2:]
        down, right = (-height) % self.alignment, (-width) % self.alignment
        x = F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x
        return foreground(self.logits(x, self.encoder.maps(x)))[..., :height, :width]

    def logits(self, x: Tensor, maps: list[Tensor]) -> Tensor:
        """Logits from an image ``(B, C, H, W)`` and its maps, sizes divisible by the alignment."""
        out: Tensor = self.head(x.expand(-1, 3, -1, -1), maps)
        return out


class Classifier(nn.Module):
    """Encoder and a linear map on its joined maps, whose pooled value is the logit of a class.

    So the map of a class shows exactly what its logit is made of: a class-activation map (Zhou et al. 2016) without
    detour. Pooling is the mean or, with ``sharpness`` r > 0, ``log mean exp(r m) / r`` (Pinheiro and Collobert 2015).
    """

    def __init__(self, encoder: DenseEncoder, head: nn.Module, sharpness: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.sharpness = sharpness
        self.alignment = max(stride for _, stride in encoder.map_shapes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, H, W)``, any H and W, to logits (B, classes) and their maps ``(B, classes, H/s, W/s)``."""
        height, width = x.shape[-2:]
        down, right = (-height) % self.alignment, (-width) % self.alignment
        x = F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x
        maps: Tensor = self.head(self.encoder.maps(x))
        stride = x.shape[-1] // maps.shape[-1]
        maps = maps[..., : -(-height // stride), : -(-width // stride)]
        return pooled(maps, self.sharpness), maps


class ActivationHead(nn.Module):
    """Joined maps to one map per class at the second finest stride: dropout, then one linear layer per cell.

    Parameters
    ----------
    shapes : sequence of (channels, stride)
        Of the encoder's maps; the finest one is left out.
    outputs : int
        Classes.
    dropout : float
    """

    def __init__(self, shapes: tuple[tuple[int, int], ...], outputs: int, dropout: float = 0.2) -> None:
        super().__init__()
        channels = sum(channels for channels, _ in shapes[1:])
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(channels, outputs, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps of the encoder to ``(B, outputs, h, w)`` logits."""
        joined = torch.cat([maps[1], *(_raised(level, maps[1]) for level in maps[2:])], 1)
        logits: Tensor = self.out(self.dropout(self.norm(joined)))
        return logits.float()


def pooled(maps: Tensor, sharpness: float) -> Tensor:
    """Pool ``(B, K, h, w)`` to (B, K): the mean, or a soft maximum that grows towards the maximum with sharpness."""
    flat = maps.flatten(2)
    if sharpness <= 0:
        return flat.mean(2)
    return (torch.logsumexp(sharpness * flat, 2) - torch.log(torch.tensor(float(flat.shape[2])))) / sharpness


def foreground(logits: Tensor) -> Tensor:
    """Probabilities of the labels, ``(B, labels, H, W)``, from ``(B, 1 or 1 + labels, H, W)`` logits."""
    if logits.shape[1] == 1:
        return torch.sigmoid(logits.float())
    return torch.softmax(logits.float(), 1)[:, 1:]


def outputs_of(labels: int) -> int:
    """Logits per pixel for a number of labels."""
    return 1 if labels == 1 else labels + 1


def build_segmenter(encoder: DenseEncoder, head: HeadConfig) -> Segmenter:
    """A segmenter with a new decoder on an encoder."""
    decoder = DECODERS[encoder.config.backbone]
    return Segmenter(encoder, decoder(encoder.map_shapes, outputs_of(len(head.classes))))


def build_classifier(encoder: DenseEncoder, head: HeadConfig, dropout: float = 0.2) -> Classifier:
    """A classifier with a new head on an encoder."""
    return Classifier(encoder, ActivationHead(encoder.map_shapes, len(head.classes), dropout), head.sharpness)


def build_with_head(kind: str, config: EncoderConfig, head: HeadConfig) -> Segmenter | Classifier:
    """The network of a model file of one of :data:`KINDS`, with random weights.

    Raises
    ------
    ModelFileError
        As :func:`napari_ld.model.encoder.build_encoder`.
    """
    encoder = build_encoder(config)
    return build_segmenter(encoder, head) if kind == "segmenter" else build_classifier(encoder, head)


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _raised(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
