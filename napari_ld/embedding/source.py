"""Features of all planes of a stack, computed when they are needed and kept on disk."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from napari_ld._types import ArrayLike, Embedding, Image, Position
from napari_ld.embedding.device import choose_device, move_encoder
from napari_ld.embedding.index import DEFAULT_POOLING_SIGMA, CoarseIndex
from napari_ld.embedding.locks import acquired
from napari_ld.embedding.planes import Planes, intensity_limits
from napari_ld.embedding.resampling import Window, crop_window, input_scale, model_input, plane_window, thumbnail
from napari_ld.embedding.temporary import temporary_store
from napari_ld.embedding.tiling import check_cancelled, encode
from napari_ld.errors import StorageError
from napari_ld.model.checkpoint import LoadedModel
from napari_ld.model.encoder import Dense, DenseEncoder
from napari_ld.storage import Store, content_key

__all__ = ["FeatureSource"]

_FORMAT = "1"  # part of every key: raise it when the meaning of stored features changes
_OPEN_MAPS = 48  # stored planes kept open at once; each holds a file descriptor
_MEMORY_BYTES = 256 * 2**20  # features kept in memory when they cannot be stored
_RECENT_PIXELS = 3  # decoded planes kept: two may be refined at a time, each cropped many times in a row
_CROP_BATCH = 8


class FeatureSource:
    """Dense features of one or many images, plane by plane.

    All planes are resized so that their longest side equals the encoder's working size, also when that enlarges them:
    structures then have about the size that the encoder was trained on. Features are kept on disk under the SHA-256 of
    pixels, model and parameters, and handed out as memory maps, so that memory does not grow with the stack. A constant
    image, or one without a finite pixel, counts as uniform grey: its features are finite, but mean nothing.

    May be used from several threads.

    Parameters
    ----------
    images : Image, array, or list of them
        Sizes may differ. For the axes of bare arrays see :func:`napari_ld.embedding.planes.as_image`.
    model : LoadedModel
    device : {"auto", "cpu", "cuda", "mps"}
    store : Store, optional
        Where features are kept. By default in a temporary folder that goes with the source.
    shared_limits : bool
        One intensity window for all planes of an image, as a volume needs; otherwise one per plane.
    precision : {"auto", "float32", "bfloat16"}
    working_size : int, optional
        Longest side in pixels of the model input; the encoder's own by default.
    pooling_sigma : float
        Bell of the coarse index that is built while embedding, in pixels of the model input.
    index_stride : int
        The coarse index keeps every n-th cell.
    tile : int
        Longest side, in pixels of the model input, that is encoded in one go.

    Attributes
    ----------
    store : Store or None
        None once nothing can be stored any more.
    kept : dict
        What a search wants to find again as long as the source lives.

    Raises
    ------
    ImageError
        For images without pixels, with wrong channels or values that are no numbers.
    ConfigError
        For an unknown or missing device.
    """

    def __init__(
        self,
        images: Image | ArrayLike | Sequence[Image | ArrayLike],
        model: LoadedModel,
        *,
        device: str = "auto",
        store: Store | None = None,
        shared_limits: bool = False,
        precision: str = "auto",
        working_size: int | None = None,
        pooling_sigma: float = DEFAULT_POOLING_SIGMA,
        index_stride: int = 2,
        tile: int = 1024,
    ) -> None:
        self._planes = Planes(images)
        self.model = model
        self.device = choose_device(device, precision)
        self.working_size = working_size or model.header.config.working_size
        self.shared_limits = shared_limits
        self.pooling_sigma = pooling_sigma
        self.index_stride = index_stride
        self._tile = tile
        self._encoder = cast(DenseEncoder, move_encoder(copy.deepcopy(model.encoder), self.device))
        self.store = store if store is not None else temporary_store(self)
        self.kept: dict[Any, Any] = {}
        self._notes: list[str] = []
        self._keys: dict[int, str] = {}
        self._limits: dict[int, tuple[float, float]] = {}
        self._thumbnails: dict[int, npt.NDArray[np.float32]] = {}
        self._recent: OrderedDict[int, tuple[Embedding, int]] = OrderedDict()
        self._pixels: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._indices: dict[float, CoarseIndex] = {}
        self._mirrored: dict[int, FeatureSource] = {}
        self._state = threading.RLock()
        self._plane_lock = threading.RLock()
        self._model_lock = threading.RLock()

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def n_planes(self) -> int:
        """Planes of all images together."""
        return len(self._planes)

    @property
    def images(self) -> list[Image]:
        """The images, in the order in which their planes are numbered."""
        return self._planes.images

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, for instance that features cannot be stored."""
        return tuple(self._notes)

    def address(self, i: int) -> tuple[int, int]:
        """``(image, plane within it)`` of plane ``i``."""
        return self._planes.address(i)

    def first_plane(self, image: int) -> int:
        """Number of the first plane of one of the images."""
        return sum(other.n_planes for other in self.images[:image])

    def shape(self, i: int) -> tuple[int, int]:
        """``(rows, columns)`` of the stored plane."""
        return self._planes.image(i).plane_shape

    def spacing(self, i: int) -> tuple[float, float] | None:
        """``(row, column)`` millimetres per stored pixel, or None when unknown."""
        return self._planes.image(i).pixel_spacing

    def plane_spacing(self) -> float | None:
        """Millimetres from plane to plane of the first image, or None when unknown."""
        image = self.images[0]
        return float(image.spacing[0]) if image.is_stack and image.spacing and len(image.spacing) == 3 else None

    def scale(self, i: int) -> tuple[float, float]:
        """Model-input pixels per stored pixel along (rows, columns), at the working scale."""
        return input_scale(self.shape(i), self.spacing(i), self.working_size)

    def is_ready(self, i: int) -> bool:
        """Whether plane ``i`` has been embedded by this source."""
        self._planes.address(i)
        return i in self._keys and i in self.index()

    def mirrored(self, i: int) -> FeatureSource:
        """Return a source of plane ``i`` alone, mirrored left-right; made once and kept."""
        with self._state:
            if i not in self._mirrored:
                image = self._planes.image(i)
                pixels = np.ascontiguousarray(self._load(i)[:, ::-1])
                axes = "yxc" if pixels.ndim == 3 else "yx"
                self._mirrored[i] = FeatureSource(
                    Image(pixels, axes, spacing=image.pixel_spacing, window=image.window),
                    self.model,
                    device=self.device.name,
                    store=self.store,
                    precision=self.device.dtype,
                    working_size=self.working_size,
                    pooling_sigma=self.pooling_sigma,
                    index_stride=self.index_stride,
                    tile=self._tile,
                )
            return self._mirrored[i]

    def seen(self, i: int) -> npt.NDArray[np.float32]:
        """Plane ``i`` as the encoder sees it before resizing: (rows, columns[, 3]), 0 darkest and 1 brightest."""
        pixels, scaling = self._load(i), self.model.header.normalization
        x = scaling.apply(pixels, self._limits_of(i, pixels)) * scaling.std + scaling.mean
        return np.moveaxis(x, 0, -1) if len(x) > 1 else x[0]

    def thumbnail(self, i: int) -> npt.NDArray[np.float32]:
        """Brightness of a few cells of plane ``i``; made while it is embedded, with its pixels at hand, and kept."""
        with self._state:
            if i not in self._thumbnails:
                pixels = self._load(i)
                self._thumbnails[i] = thumbnail(pixels, self.model.header.normalization, self._limits_of(i, pixels))
            return self._thumbnails[i]

    # --- features -----------------------------------------------------------------------------------------------------

    def plane(self, i: int, cancelled: Callable[[], bool] | None = None) -> Embedding:
        """Features of plane ``i`` at the working scale; float16, usually memory-mapped.

        Raises
        ------
        Cancelled
            When ``cancelled()`` is true before a tile.
        ImageError
            When there is no such plane.
        """
        self._planes.address(i)
        with acquired(self._plane_lock, cancelled):
            known = self._recent.get(i)
            if known is None:
                known = self._fetch(i, cancelled)
                self._remember(i, known)
            else:
                self._recent.move_to_end(i)
            index = self.index()
            if i not in index:
                index.put(i, known[0].vectors)
            return known[0]

    def crop(self, i: int, centre: Position, size: int, zoom: float) -> Embedding:
        """Features of a window of plane ``i`` around ``centre`` (stored pixels), for refinement; see :meth:`crops`."""
        return self.crops(i, [centre], size, zoom)[0]

    def crops(
        self,
        i: int,
        centres: Sequence[Position],
        size: int,
        zoom: float,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> list[Embedding]:
        """Features of windows of plane ``i``, encoded at ``zoom`` times the working scale; never stored.

        Parameters
        ----------
        centres : sequence of (row, column)
            Stored pixels.
        size : int
            Side of the window in pixels of the model input. At the border the window is shifted inwards; where the
            plane is smaller it is cut to the plane. ``origin`` and ``step`` of the answer take account of both.
        zoom : float

        Returns
        -------
        list of Embedding
            float32, one per centre.
        """
        shape, scale = self.shape(i), self.scale(i)
        zoomed = scale[0] * zoom, scale[1] * zoom
        stride, found = self._encoder.config.output_stride, []
        for first in range(0, len(centres), _CROP_BATCH):
            windows, inputs = [], []
            for centre in centres[first : first + _CROP_BATCH]:
                window = crop_window(shape, zoomed, centre, size)
                windows.append(window)
                inputs.append(self.model_input(i, window))
            dense = self._encode(torch.cat(inputs), torch.float32, cancelled)
            for k, window in enumerate(windows):
                origin, step = window.grid(stride)
                clusters = None if dense.clusters is None else dense.clusters[k].numpy()
                found.append(Embedding(dense.embedding[k].numpy(), clusters, origin, step, shape))
        return found

    def model_input(self, i: int, window: Window) -> torch.Tensor:
        """Pixels of a window of plane ``i`` as the encoder would see them: (1, C, rows, columns) float32."""
        pixels = self._load(i)
        return model_input(pixels, window, self.model.header.normalization, self._limits_of(i, pixels))

    def index(self, sigma: float | None = None) -> CoarseIndex:
        """The coarse index for a bell of ``sigma`` model-input pixels; planes enter it as they are embedded."""
        sigma = self.pooling_sigma if sigma is None else sigma
        with self._state:
            if sigma not in self._indices:
                stride = self._encoder.config.output_stride
                windows = (self._window(i) for i in range(self.n_planes))
                grids = [(-(-w.size[0] // stride), -(-w.size[1] // stride)) for w in windows]
                level_dims = self._encoder.config.level_dims
                self._indices[sigma] = CoarseIndex(grids, level_dims, sigma / stride, self.index_stride)
            return self._indices[sigma]

    def indexed(self, i: int, sigma: float, cancelled: Callable[[], bool] | None = None) -> CoarseIndex:
        """The coarse index, after plane ``i`` has entered it."""
        index = self.index(sigma)
        if i not in index:
            vectors = self.plane(i, cancelled).vectors
            if i not in index:
                index.put(i, vectors)
        return index

    def index_geometry(self, i: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """``origin`` and ``step`` of the coarse index of plane ``i``, in stored pixels."""
        origin, step = self._window(i).grid(self._encoder.config.output_stride)
        return origin, (step[0] * self.index_stride, step[1] * self.index_stride)

    def embed_all(
        self,
        *,
        order: Iterable[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Embed all planes, or those of ``order``, in that order.

        Parameters
        ----------
        progress : callable, optional
            Called with (done, total) after each plane.
        cancelled : callable, optional
            Asked between planes and tiles.

        Raises
        ------
        Cancelled
            What is done by then is kept.
        """
        planes = list(range(self.n_planes) if order is None else order)
        for done, i in enumerate(planes, start=1):
            check_cancelled(cancelled)
            if not self.is_ready(i):
                self.plane(i, cancelled)
            if progress is not None:
                progress(done, len(planes))

    # --- one plane ----------------------------------------------------------------------------------------------------

    def _fetch(self, i: int, cancelled: Callable[[], bool] | None) -> tuple[Embedding, int]:
        """Features of one plane from the store, else computed; and the bytes that they hold in memory."""
        check_cancelled(cancelled)
        key = self._key(i)
        self.thumbnail(i)
        arrays = self.store.get(key) if self.store is not None else None
        held = 0
        if arrays is None:
            dense = self._encode(self.model_input(i, self._window(i)), torch.float16, cancelled)
            arrays = {"vectors": dense.embedding[0].numpy()}
            if dense.clusters is not None:
                arrays["clusters"] = dense.clusters[0].numpy()
            held = sum(array.nbytes for array in arrays.values())
            stored = self._keep(key, arrays)
            if stored is not None:
                arrays, held = stored, 0
        geometry = self._window(i).grid(self._encoder.config.output_stride)
        return Embedding(arrays["vectors"], arrays.get("clusters"), *geometry, self.shape(i), self.notes), held

    def _key(self, i: int) -> str:
        if i not in self._keys:
            pixels = self._load(i)
            window, limits = self._window(i), self._limits_of(i, pixels)
            parameters = f"{_FORMAT} {window} {limits} {self.device.dtype} {self._planes.image(i).axes}"
            self._keys[i] = content_key(pixels, self.model.sha256, parameters)
        return self._keys[i]

    def _keep(self, key: str, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]] | None:
        """Store features and open them again as memory maps; None when they can only be kept in memory."""
        if self.store is None:
            return None
        try:
            self.store.put(key, arrays)
            return self.store.get(key)
        except StorageError as error:
            self.store = None
            self._notes.append(f"Features are kept in memory and may be computed again: {error}")
            return None

    def _remember(self, i: int, known: tuple[Embedding, int]) -> None:
        self._recent[i] = known
        while len(self._recent) > 1 and (
            len(self._recent) > _OPEN_MAPS or sum(held for _, held in self._recent.values()) > _MEMORY_BYTES
        ):
            self._recent.popitem(last=False)

    def _encode(self, x: torch.Tensor, dtype: torch.dtype, cancelled: Callable[[], bool] | None) -> Dense:
        with acquired(self._model_lock, cancelled):
            return encode(self._encoder, x, self.device, tile=self._tile, dtype=dtype, cancelled=cancelled)

    def _window(self, i: int) -> Window:
        return plane_window(self.shape(i), self.scale(i))

    def _load(self, i: int) -> npt.NDArray[Any]:
        with self._state:
            if i not in self._pixels:
                self._pixels[i] = self._planes.load(i)
                if len(self._pixels) > _RECENT_PIXELS:
                    self._pixels.popitem(last=False)
            return self._pixels[i]

    def _limits_of(self, i: int, pixels: npt.NDArray[Any]) -> tuple[float, float]:
        """Intensity limits of the plane, or of its whole image when they are shared; found once."""
        which = self._planes.address(i)[0] if self.shared_limits else i
        with self._state:
            if which not in self._limits:
                basis, image = None if self.shared_limits else pixels, self.address(i)[0]
                self._limits[which] = intensity_limits(self._planes, image, basis, self.model.header.normalization)
            return self._limits[which]
