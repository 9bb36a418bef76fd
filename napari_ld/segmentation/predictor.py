"""Ask a model with a head about the planes of images, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import ArrayLike, Image
from napari_ld.embedding.device import choose_device, move_encoder, move_input, precision_context
from napari_ld.embedding.planes import Planes, intensity_limits
from napari_ld.embedding.resampling import Window, model_input
from napari_ld.embedding.tiling import check_cancelled
from napari_ld.model.checkpoint import LoadedHead, load_head
from napari_ld.model.heads import Classifier, Segmenter
from napari_ld.segmentation.windows import head_window, rows_of

__all__ = ["Predictor", "decided", "probabilities_of", "segment"]

_OVERLAP = 0.25  # of a tile, on each side
_STRIP_PIXELS = 4_000_000  # of the plane, times labels, that stand in memory as floating-point numbers

IsCancelled = Callable[[], bool]
Labels = npt.NDArray[np.unsignedinteger]


class Predictor:
    """A segmenter or classifier, and the planes of the images that it is asked about, numbered through.

    Parameters
    ----------
    images : Image, array, or list of them
    model : path or LoadedHead
    device : {"auto", "cpu", "cuda", "mps"}
    kinds : sequence of str
        Which kinds of models are wanted.

    Raises
    ------
    ImageError, ConfigError
        As :class:`napari_ld.embedding.FeatureSource`.
    ModelFileError
        As :func:`napari_ld.model.checkpoint.load_head`.
    """

    def __init__(
        self,
        images: Image | ArrayLike | Sequence[Image | ArrayLike],
        model: str | Path | LoadedHead,
        *,
        device: str = "auto",
        kinds: Sequence[str] = ("segmenter",),
    ) -> None:
        self._planes = Planes(images)
        self.model = model if isinstance(model, LoadedHead) else load_head(model, kinds)
        self.device = choose_device(device)
        self._network = self.model.network
        move_encoder(self._network, self.device)
        self._shared: dict[int, tuple[float, float]] = {}

    @property
    def images(self) -> list[Image]:
        """The images, in the order in which their planes are numbered."""
        return self._planes.images

    @property
    def n_planes(self) -> int:
        """Planes of all images together."""
        return len(self._planes)

    @property
    def values(self) -> list[int]:
        """Value of each label or class."""
        return [value for value, _ in self.model.head.classes]

    def window(self, i: int) -> Window:
        """Plane ``i`` at the size that the model sees."""
        image = self._planes.image(i)
        return head_window(image.plane_shape, image.pixel_spacing, self.model.head)

    def labels(self, i: int, cancelled: IsCancelled | None = None) -> Labels:
        """Label map (rows, columns) of plane ``i``; 0 is background; unsigned integers.

        Raises
        ------
        Cancelled
            When ``cancelled()`` is true before a tile.
        """
        maps, window = self.probabilities(i, cancelled), self.window(i)
        values = np.array([0, *self.values], np.min_scalar_type(max(self.values)))
        result = np.zeros(window.box.shape, values.dtype)
        for first, last in _strips(window.box.shape, len(maps)):
            result[first:last] = values[decided(rows_of(maps, window, first, last))]
        return result

    def probabilities(self, i: int, cancelled: IsCancelled | None = None) -> npt.NDArray[np.float32]:
        """Probability of every label on plane ``i`` at the size of the model's input, ``(labels, h, w)``."""
        network = self._network
        if not isinstance(network, Segmenter):
            raise TypeError("only a segmenter gives a probability for every pixel; ask a classifier for activations")

        def ask(x: Tensor) -> Tensor:
            with torch.inference_mode(), precision_context(self.device):
                found: Tensor = network(move_input(x, self.device))
            return found.float().cpu()

        return probabilities_of(ask, self._input(i), self.model.head.tile, network.alignment, cancelled)

    def activations(
        self, i: int, cancelled: IsCancelled | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Probability (K,) of every class of plane ``i``, and its activation maps ``(K, h, w)``, in logits."""
        network = self._network
        if not isinstance(network, Classifier):
            raise TypeError("only a classifier has activation maps; ask a segmenter for probabilities")
        check_cancelled(cancelled)
        with torch.inference_mode(), precision_context(self.device):
            logits, maps = network(move_input(self._input(i), self.device))
        return torch.softmax(logits[0].float(), 0).cpu().numpy(), maps[0].float().cpu().numpy()

    def evidence(self, i: int, cancelled: IsCancelled | None = None) -> tuple[int, float, npt.NDArray[np.float32]]:
        """Where a plane shows what a classifier looks for.

        Returns
        -------
        number : int
            Place in ``head.classes`` of the likeliest class, the background left out.
        probability : float
            Of that class.
        map : (h, w) float32 array
            Log-odds, place by place, of all classes but the background against the background; without a background,
            of the likeliest class against the others. Softmax sees differences of maps only, so a single one means
            nothing.
        """
        scores, maps = self.activations(i, cancelled)
        head = self.model.head
        able = [k for k, (_, name) in enumerate(head.classes) if name != head.background]
        best = max(able, key=lambda k: float(scores[k]))
        wanted = able if len(able) < len(maps) else [best]
        others = [k for k in range(len(maps)) if k not in wanted]
        odds = np.logaddexp.reduce(maps[wanted]) - (np.logaddexp.reduce(maps[others]) if others else 0)
        return best, float(scores[best]), np.asarray(odds, np.float32)

    def _input(self, i: int) -> Tensor:
        index = self._planes.address(i)[0]
        image, pixels = self.images[index], self._planes.load(i)
        scaling = self.model.header.normalization
        if image.axes.startswith("z"):  # slices of one body share their intensities
            if index not in self._shared:
                self._shared[index] = intensity_limits(self._planes, index, None, scaling)
            limits = self._shared[index]
        else:
            limits = intensity_limits(self._planes, index, pixels, scaling)
        return model_input(pixels, self.window(i), scaling, limits)


def probabilities_of(
    ask: Callable[[Tensor], Tensor], x: Tensor, tile: int, alignment: int, cancelled: IsCancelled | None = None
) -> npt.NDArray[np.float32]:
    """Probabilities of an image of any size, seen through overlapping windows whose answers fade into each other.

    Parameters
    ----------
    ask : callable
        ``(1, C, h, w) -> (1, labels, h, w)``.
    x : (1, C, H, W) tensor
    tile : int
        Side of the windows, made a multiple of ``alignment``; an image that fits into one is asked about once.
    alignment : int
    cancelled : callable, optional

    Returns
    -------
    (labels, H, W) float32 array
    """
    height, width = x.shape[-2:]
    tile = max(alignment, tile // alignment * alignment)
    if max(height, width) <= tile:
        check_cancelled(cancelled)
        return np.asarray(ask(x)[0].numpy(), np.float32)
    total: Tensor | None = None
    weights = torch.zeros(height, width)
    for top in _starts(height, tile):
        for left in _starts(width, tile):
            check_cancelled(cancelled)
            part = x[..., top : top + tile, left : left + tile]
            found = ask(part)[0]
            fade = _fade(found.shape[-2])[:, None] * _fade(found.shape[-1])
            if total is None:
                total = torch.zeros(len(found), height, width)
            total[:, top : top + tile, left : left + tile] += found * fade
            weights[top : top + tile, left : left + tile] += fade
    assert total is not None  # every image has a window
    return np.asarray((total / weights).numpy(), np.float32)


def segment(
    images: Image | ArrayLike | Sequence[Image | ArrayLike],
    model: str | Path | LoadedHead,
    *,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    cancelled: IsCancelled | None = None,
) -> list[Labels]:
    """Label maps of images by a segmenter.

    Parameters
    ----------
    images : Image, array, or list of them
        Volumes are looked at slice by slice.
    model : path or LoadedHead
        Of kind ``segmenter``, as ``python -m src_train finetune`` writes it.
    device : {"auto", "cpu", "cuda", "mps"}
    progress : callable, optional
        Called with (done, total) planes.
    cancelled : callable, optional
        Asked often.

    Returns
    -------
    list of unsigned integer arrays
        One for each image, of its shape without channels; 0 is background.

    Raises
    ------
    Cancelled, ConfigError, ImageError, ModelFileError
    """
    predictor = Predictor(images, model, device=device)
    found, plane = [], 0
    for image in predictor.images:
        planes = []
        for _ in range(image.n_planes):
            planes.append(predictor.labels(plane, cancelled))
            plane += 1
            if progress is not None:
                progress(plane, predictor.n_planes)
        found.append(np.stack(planes).reshape(image.array.shape[: len(image.axes.rstrip("c"))]))
    return found


def decided(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """0 where the background is likelier than every label, else 1 + the likeliest label."""
    best = maps.argmax(axis=0)
    top = np.take_along_axis(maps, best[None], 0)[0]
    background = 1 - maps.sum(axis=0)
    return np.asarray(np.where(top > background, best + 1, 0))


def _strips(shape: tuple[int, int], count: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP_PIXELS // max(1, shape[1] * count))
    for first in range(0, shape[0], rows):
        yield first, min(shape[0], first + rows)


def _starts(length: int, tile: int) -> list[int]:
    """Where windows begin: evenly spread, overlapping by at least a quarter on each side."""
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (tile * (1 - 2 * _OVERLAP)))) + 1
    return [int(start) for start in np.linspace(0, length - tile, count).round()]


def _fade(length: int) -> Tensor:
    """Weights that rise from the border of a window to its middle."""
    place = (torch.arange(length) + 0.5) / length
    return torch.minimum(place, 1 - place)
