"""One safetensors file holds a model; a JSON document in its header says what it is. Nothing in it can run.

The weights are stored as float16 where that is lossless enough for inference (convolutions) and as float32 for the
statistics of batch normalisation; they are float32 again once loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from napari_ld.errors import ModelFileError
from napari_ld.model.encoder import BACKBONES, DenseEncoder, EncoderConfig, build_encoder
from napari_ld.model.heads import KINDS, MAX_CLASSES, Classifier, HeadConfig, Segmenter, build_with_head
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.model.refiner_head import RefinerHead
from napari_ld.storage import atomic_write

T = TypeVar("T")
N = TypeVar("N", bound=nn.Module)

FORMAT_VERSION = 1
_HEADER_KEY = "napari_ld"
_CHECKSUM_KEY = "sha256"  # of header and weights; files without it are read unverified
# A header above this is no model of ours; reading it could exhaust memory.
_MAX_HEADER_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """What a model file says of itself.

    Attributes
    ----------
    kind : str
        ``"encoder"``, ``"refiner"``, or one of :data:`napari_ld.model.heads.KINDS`.
    name : str
        Short name shown to the user.
    config : EncoderConfig
    normalization : IntensityNormalization
    prototypes : list of K lists of D float, or None
        Unit vectors of the clusters, from one pass over the training set.
    areas : list of K float, or None
        Mean share of the image that each cluster covers.
    training : dict
        Summary: method, data sets, steps, machine, losses.
    licence, citation : str
    format_version : int
    head : HeadConfig or None
        Of a model with a head.
    """

    kind: str
    name: str
    config: EncoderConfig
    normalization: IntensityNormalization = field(default_factory=IntensityNormalization)
    prototypes: list[list[float]] | None = None
    areas: list[float] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = "not stated"
    citation: str = ""
    format_version: int = FORMAT_VERSION
    head: HeadConfig | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """An encoder ready for use: evaluation mode, float32, on the CPU."""

    encoder: DenseEncoder
    header: ModelHeader
    sha256: str
    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class LoadedHead:
    """A model with a head, ready for use: evaluation mode, float32, on the CPU."""

    network: Segmenter | Classifier
    header: ModelHeader
    head: HeadConfig
    sha256: str
    path: Path


def save_model(path: str | Path, network: nn.Module, header: ModelHeader) -> None:
    """Write one model file, atomically.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    tensors = {name: _compact(tensor) for name, tensor in network.state_dict().items()}
    text = json.dumps(asdict(header))
    content = save(tensors, metadata={_HEADER_KEY: text, _CHECKSUM_KEY: _checksum(text, tensors)})
    with atomic_write(Path(path), "wb") as file:
        file.write(content)


def load_model(path: str | Path) -> LoadedModel:
    """Read and verify one model file.

    Raises
    ------
    ModelFileError
        When the file is missing, corrupt, truncated, not ours, of a newer format, or its weights do not fit its header.
    """
    path = Path(path)
    header = read_header(path)
    encoder = _built(lambda: build_encoder(header.config), path)
    return LoadedModel(encoder, header, _filled(encoder, path), path)


def load_head(path: str | Path, kinds: Sequence[str] = KINDS) -> LoadedHead:
    """Read and verify one file of a model with a head.

    Parameters
    ----------
    path : str or Path
    kinds : sequence of str
        Which of :data:`napari_ld.model.heads.KINDS` can be used.

    Raises
    ------
    ModelFileError
        As :func:`load_model`; also for a model of another kind.
    """
    path = Path(path)
    header = read_header(path, kinds)
    head = header.head
    if head is None:
        raise ModelFileError(f"{path}: the model header is incomplete: it does not describe its head")
    network = _built(lambda: build_with_head(header.kind, header.config, head), path)
    return LoadedHead(network, header, head, _filled(network, path), path)


def load_refiner(path: str | Path, maps: int) -> RefinerHead:
    """Read and verify the network of the learnt refiner, which sees a number of maps; in evaluation mode, on the CPU.

    Raises
    ------
    ModelFileError
        As :func:`load_model`.
    """
    path = Path(path)
    read_header(path, ("refiner",))
    network = RefinerHead(maps)
    _filled(network, path)
    return network


def _built(build: Callable[[], N], path: Path) -> N:
    try:
        return build()
    except ValueError as error:
        raise ModelFileError(f"{path}: the model header describes no possible network: {error}") from error


def _filled(network: nn.Module, path: Path) -> str:
    """Put the weights of a file into its network, in evaluation mode; returns the file's sha256."""
    content = path.read_bytes()
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: the weights cannot be read ({error}); fetch the file again") from error
    if metadata.get(_CHECKSUM_KEY, "") not in ("", _checksum(metadata[_HEADER_KEY], tensors)):
        raise ModelFileError(f"{path}: the content does not fit its checksum; the file is damaged: fetch it again")
    _load_weights(network, tensors, path)
    network.eval()
    return hashlib.sha256(content).hexdigest()


def read_header(path: str | Path, kinds: Sequence[str] = ("encoder",)) -> ModelHeader:
    """Read what a model file of one of some kinds says of itself, without its weights.

    Raises
    ------
    ModelFileError
        As :func:`load_model`.
    """
    path = Path(path)
    text = _header_text(path)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ModelFileError(f"{path}: the model header is not valid JSON; fetch the file again") from error
    return _parse_header(document, path, kinds)


def _header_text(path: Path) -> str:
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file; give the path of a .safetensors file")
    try:
        with path.open("rb") as raw:
            size = int.from_bytes(raw.read(8), "little")
        if size > min(_MAX_HEADER_BYTES, os.path.getsize(path)):
            raise ModelFileError(f"{path}: not a safetensors file, or truncated; choose a model written by napari-ld")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path}: not a readable safetensors file ({error}); it may be truncated: fetch it again"
        ) from error
    if _HEADER_KEY not in metadata:
        raise ModelFileError(
            f"{path}: a safetensors file, but not a model of napari-ld (its header lacks 'napari_ld'); choose "
            "one written by 'napari-ld train'"
        )
    return str(metadata[_HEADER_KEY])


def _parse_header(document: Any, path: Path, kinds: Sequence[str]) -> ModelHeader:
    if not isinstance(document, dict) or not isinstance(document.get("format_version"), int):
        raise ModelFileError(f"{path}: the model header has no format version; fetch the file again")
    if document["format_version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: written in format {document['format_version']}, this version reads up to {FORMAT_VERSION}; "
            "update napari-ld"
        )
    try:
        config = _build(EncoderConfig, document.pop("config"))
        normalization = _build(IntensityNormalization, document.pop("normalization"))
        head = None if document.get("head") is None else _head(document.pop("head"))
        known = {"config": config, "normalization": normalization, "head": head}
        header: ModelHeader = _build(ModelHeader, {**document, **known})
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path}: the model header is incomplete or has unknown entries: {error}") from error
    if header.kind not in kinds:
        wanted = " or ".join(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in kinds)
        raise ModelFileError(f"{path}: a model of kind {header.kind!r}; {wanted} was expected here")
    _check_config(header.config, path)
    _check_head(header.head, path)
    return header


def _head(document: Any) -> HeadConfig:
    classes = tuple((value, name) for value, name in document.pop("classes"))
    return _build(HeadConfig, {**document, "classes": classes})


def _check_head(head: HeadConfig | None, path: Path) -> None:
    """Refuse what no head of ours says, as :func:`_check_config` does."""
    if head is None:
        return
    sizes = head.working_size, head.tile
    values = [value for value, _ in head.classes]
    whole = all(type(n) is int for n in (*sizes, *values)) and all(type(name) is str for _, name in head.classes)
    if (
        not whole
        or not 1 <= len(values) <= MAX_CLASSES
        or len(set(values)) < len(values)
        or min(values) < 1
        or not all(32 <= n <= 65536 for n in sizes)
        or not isinstance(head.sharpness, int | float)
    ):
        raise ModelFileError(f"{path}: the model header describes no possible head: {head}")


def _check_config(config: EncoderConfig, path: Path) -> None:
    """Refuse sizes that no encoder of ours has: a forged header must not make us allocate without bound."""
    if config.backbone not in BACKBONES:
        raise ModelFileError(f"{path}: unknown backbone {config.backbone!r}; known: {', '.join(BACKBONES)}")
    numbers = (config.in_channels, config.embedding_dim, config.output_stride, config.working_size, config.clusters)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (*numbers, *config.level_dims))
    in_range = whole and config.in_channels in (1, 3) and all(1 <= n <= 4096 for n in (*numbers[1:4],))
    octaves = config.octaves
    whole_octaves = type(octaves) is int and 1 <= octaves <= 4 and len(config.level_dims) % octaves == 0
    fits = whole_octaves and sum(config.level_dims) == config.embedding_dim
    if not in_range or not fits or not 0 <= config.clusters <= 256:
        raise ModelFileError(f"{path}: the model header describes no possible network: {config}")


def _build(kind: type[T], values: Any) -> T:
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]  # only dataclasses come here
    unknown = set(values) - known
    if unknown:
        raise TypeError(f"unknown entries {sorted(unknown)}")
    return kind(**{name: tuple(value) if name == "level_dims" else value for name, value in values.items()})


def _checksum(header: str, tensors: dict[str, Tensor]) -> str:
    """Sha256 over the header's text and all weights by name."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _compact(tensor: Tensor) -> Tensor:
    """Convolution weights as float16; everything else as it is."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.ndim == 4 else tensor


def _load_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise ModelFileError(
            f"{path}: weights do not fit the network; missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ModelFileError(
                f"{path}: weight {name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelFileError(f"{path}: weight {name} is not finite; train or fetch the model again")
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})
