"""The table of models that ship with napari-ld."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ld.errors import ModelFileError
from napari_ld.model.own import own_encoders

if TYPE_CHECKING:
    from napari_ld.model.checkpoint import LoadedModel

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
DEFAULT_ENCODER = "ld-general"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One bundled model.

    Attributes
    ----------
    file, card : str
        Names below ``napari_ld/weights``.
    kind : str
        ``"encoder"`` or ``"refiner"``.
    sha256 : str
        Of the file; checked by a test.
    modality : str
        What it was trained on, in words.
    licence, citation : str
    """

    file: str
    kind: str
    sha256: str
    modality: str
    licence: str
    citation: str
    card: str


MODELS: dict[str, ModelEntry] = {
    "ld-general": ModelEntry(
        file="ld-general.safetensors",
        kind="encoder",
        sha256="5550f021d88e41736fb2e3d43b7285689fbe62c39e5785eb3166e0908439c533",
        modality="X-ray, fundus photographs, CT, MRI, and some ultrasound, skin, histology and electron microscopy",
        licence="research use only; see the card",
        citation="Chen et al., Unsupervised Local Discrimination for Medical Images, arXiv 2108.09440 (method)",
        card="ld-general.md",
    ),
}


REFINER = ModelEntry(
    file="learnt-refiner.safetensors",
    kind="refiner",
    sha256="9aa23ec55ebdae9cd36d7bd2b92127939ae68ab4eb7772408c28a60e96c8af1d",
    modality="fundus photographs, CT, MRI; on features of ld-general",
    licence="research use only; see the card",
    citation="own design",
    card="learnt-refiner.md",
)
"""The network of the refiner ``learnt``."""


def list_models() -> dict[str, ModelEntry]:
    """Return the bundled models by name."""
    return dict(MODELS)


def resolve(name_or_path: str | Path) -> Path:
    """Turn a bundled model's name, the name of one of the person's own, or the path of a file into a path.

    Raises
    ------
    ModelFileError
        When it is none of these; the message lists the known names.
    """
    entry = MODELS.get(str(name_or_path))
    if entry is not None:
        return WEIGHTS / entry.file
    own = own_encoders()
    if str(name_or_path) in own:
        return own[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_file():
        return path
    mine = f", nor of your own: {', '.join(own)}" if own else ""
    raise ModelFileError(
        f"unknown encoder {str(name_or_path)!r}: no such file, and not one of the bundled ones: "
        f"{', '.join(MODELS)}{mine}"
    )


def load_encoder(name_or_path: str | Path = DEFAULT_ENCODER) -> LoadedModel:
    """Load a bundled encoder or one of the person's own by name, or a file by path.

    Raises
    ------
    ModelFileError
        When the name is unknown or the file cannot be used.
    """
    from napari_ld.model.checkpoint import load_model

    model = load_model(resolve(name_or_path))
    entry = MODELS.get(str(name_or_path))
    if entry is not None and model.sha256 != entry.sha256:
        raise ModelFileError(f"{model.path}: not the file that belongs to this version of napari-ld; install it again")
    return model


def checksum(path: Path) -> str:
    """Sha256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
