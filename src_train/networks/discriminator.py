"""The patch discriminator of DiRA (authors' code described in words; written anew), in two and three dimensions."""

from __future__ import annotations

from torch import Tensor, nn

_WIDTHS = (64, 128, 256, 512, 1)
_STRIDES = (2, 2, 2, 1, 1)
_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMALISATION = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class PatchDiscriminator(nn.Module):
    """Scores every patch of a grey image: ``(B, 1, 224, 224)`` to ``(B, 1, 28, 28)``, without final activation.

    3-wide convolutions, strides 2, 2, 2, 1, 1; instance normalisation without scale after the second to fourth;
    LeakyReLU 0.2 after the first to fourth; weights normal with standard deviation 0.02. 1,554,433 parameters in two
    dimensions, 4,661,377 in three.

    Parameters
    ----------
    nd : {2, 3}
        Spatial dimensions.
    """

    def __init__(self, nd: int = 2) -> None:
        super().__init__()
        if nd not in _CONVOLUTION:
            raise ValueError(f"{nd} dimensions: choose 2 or 3")
        layers: list[nn.Module] = []
        inputs = 1
        for index, (width, stride) in enumerate(zip(_WIDTHS, _STRIDES, strict=True)):
            layers.append(_CONVOLUTION[nd](inputs, width, 3, stride=stride, padding=1))
            if 0 < index < len(_WIDTHS) - 1:
                layers.append(_NORMALISATION[nd](width))
            if index < len(_WIDTHS) - 1:
                layers.append(nn.LeakyReLU(0.2, inplace=True))
            inputs = width
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 1, …)`` in [0, 1] to one score a patch."""
        scores: Tensor = self.layers(images)
        return scores
