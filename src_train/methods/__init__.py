"""Self-supervised methods: ``METHODS`` and the objectives that can be added to them, ``ADD_ONS``.

A method's name is one of ``METHODS``, with any add-ons after ``+``: ``ld``, ``ld+lrc``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import DenseEncoder
from src_train.methods.contrast import build_barlow, build_densecl, build_moco, build_simsiam
from src_train.methods.dira import build_dira
from src_train.methods.ld import build_ld, build_published_ld
from src_train.methods.lrc import add_lrc
from src_train.methods.shapes import add_shapes
from src_train.protocol import Method
from src_train.schedules import Schedule


@dataclass(frozen=True)
class Entry:
    """A row of the tables.

    Attributes
    ----------
    summary : str
        One line.
    citation : str
        Written into the header of the encoder.
    build : callable
        Of a method: ``(encoder, schedule, **tables) -> Method``; of an add-on: ``(method, schedule, **tables) ->
        Method``, usually by :meth:`Method.extended`.
    tables : tuple of str
        Tables of the configuration that it is given, by name; a new one is a field of ``TrainConfig``.
    view_tables : tuple of str
        Tables by which its views are made, besides ``views``.
    """

    summary: str
    citation: str
    build: Callable[..., Method]
    tables: tuple[str, ...] = ()
    view_tables: tuple[str, ...] = ()


_LD = "method: Chen et al., Unsupervised Local Discrimination for Medical Images, arXiv 2108.09440"
_MOCO = "method: Chen et al., Improved Baselines with Momentum Contrastive Learning, arXiv 2003.04297"

METHODS: dict[str, Entry] = {
    "ld": Entry(
        "Local Discrimination, with pixel contrast and agreement across images", _LD, build_ld, ("weights", "losses")
    ),
    "ld-paper": Entry(
        "Local Discrimination as published, for the preset 'paper'", _LD, build_published_ld, ("weights", "losses")
    ),
    "moco": Entry("MoCo-v2: instance contrast with momentum twin and queue", _MOCO, build_moco, ("contrast",)),
    "densecl": Entry(
        "DenseCL: MoCo-v2 with a dense branch",
        "method: Wang et al., Dense Contrastive Learning for Self-Supervised Visual Pre-Training, arXiv 2011.09157",
        build_densecl,
        ("contrast",),
    ),
    "simsiam": Entry(
        "SimSiam: two views agree, no negatives",
        "method: Chen and He, Exploring Simple Siamese Representation Learning, arXiv 2011.10566",
        build_simsiam,
        ("contrast",),
    ),
    "barlow": Entry(
        "Barlow Twins: two views agree, dimensions are not redundant",
        "method: Zbontar et al., Barlow Twins, arXiv 2103.03230",
        build_barlow,
        ("contrast",),
    ),
    "dira": Entry(
        "DiRA: discriminative, restorative and adversarial, stepwise",
        "method: Haghighi et al., DiRA, arXiv 2204.10437",
        build_dira,
        ("contrast", "dira"),
        ("corruption",),
    ),
}
ADD_ONS: dict[str, Entry] = {
    "lrc": Entry(
        "LRC: contrast between super-pixels that both views show",
        "add-on, a reconstruction: Yan et al., Localized Region Contrast, arXiv 2304.03406",
        add_lrc,
        ("lrc",),
        ("superpixels",),
    ),
    "shapes": Entry(
        "shape prior: the first cluster shall look like masks of another modality (with ld)",
        "add-on: shape-guided segmentation of Local Discrimination, arXiv 2108.09440 v1",
        add_shapes,
        ("shapes",),
    ),
}


def parts_of(name: str) -> tuple[Entry, ...]:
    """Rows of a method's name: the base and its add-ons.

    Raises
    ------
    ConfigError
        When a part is not known.
    """
    base, *others = name.split("+")
    for part, table in ((base, METHODS), *((other, ADD_ONS) for other in others)):
        if part not in table:
            kind = "method" if table is METHODS else "add-on"
            raise ConfigError(f"unknown {kind} {part!r}: choose one of {', '.join(table) or 'none'}")
    return (METHODS[base], *(ADD_ONS[other] for other in others))


def build_method(name: str, encoder: DenseEncoder, schedule: Schedule, tables: Mapping[str, Any]) -> Method:
    """Build a method with its add-ons; ``tables`` holds the configuration's tables by name."""
    base, *others = parts_of(name)
    method = base.build(encoder, schedule, **{table: tables[table] for table in base.tables})
    for entry in others:
        method = entry.build(method, schedule, **{table: tables[table] for table in entry.tables})
    return method
