"""What a proposer is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_ld.embedding import FeatureSource
from napari_ld.proposals.examples import Example

__all__ = ["Job"]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One request.

    Attributes
    ----------
    source : FeatureSource
        What is searched.
    planes : tuple of int
        Its planes to be searched, in this order.
    params : object
        The proposer's own parameters.
    examples : tuple of Example
    stack_kind : {"images", "volume"}
    seed : int
        For whatever is drawn by chance.
    cancelled : callable or None
        Asked often; true stops the work.
    """

    source: FeatureSource
    planes: tuple[int, ...]
    params: Any
    examples: tuple[Example, ...] = ()
    stack_kind: str = "images"
    seed: int = 0
    cancelled: Callable[[], bool] | None = None
