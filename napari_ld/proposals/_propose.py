"""Propose regions: the table of proposers, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from napari_ld.embedding import FeatureSource
from napari_ld.errors import Cancelled, ConfigError
from napari_ld.proposals.clusters import ClusterParams, propose_clusters
from napari_ld.proposals.examples import Example
from napari_ld.proposals.hierarchy import HierarchyParams, propose_hierarchy
from napari_ld.proposals.job import Job
from napari_ld.proposals.like_examples import LikeParams, propose_like_examples
from napari_ld.proposals.linking import linked, placed
from napari_ld.proposals.model import ModelParams, propose_model
from napari_ld.proposals.regions import Region, Regions
from napari_ld.proposals.unusual import UnusualParams, propose_unusual

__all__ = ["PROPOSERS", "Proposer", "propose_regions", "stream_regions"]

STACK_KINDS = ("images", "volume")


@dataclass(frozen=True, slots=True)
class Proposer:
    """A row of the table.

    Attributes
    ----------
    title : str
        For people.
    propose : callable
        Takes a :class:`Job` and yields the regions of one plane after the other, numbered from 1 on each.
    params : type
        Frozen dataclass of its parameters.
    needs_examples : bool
    links : bool
        Whether it makes regions of volumes itself.
    """

    title: str
    propose: Callable[[Job], Iterator[list[Region]]]
    params: type[Any]
    needs_examples: bool = False
    links: bool = False


PROPOSERS: dict[str, Proposer] = {
    "clusters": Proposer("The encoder's clusters", propose_clusters, ClusterParams),
    "hierarchy": Proposer("Regions by their boundaries", propose_hierarchy, HierarchyParams, links=True),
    "like_examples": Proposer("More like the examples", propose_like_examples, LikeParams, needs_examples=True),
    "model": Proposer("What a model of yours finds", propose_model, ModelParams),
    "unusual": Proposer("Unusual regions", propose_unusual, UnusualParams),
}
"""Name to proposer."""


def propose_regions(source: FeatureSource, method: str = "hierarchy", **options: Any) -> Regions:
    """Propose regions and return them all; parameters as :func:`stream_regions`."""
    return Regions(tuple(region for batch in stream_regions(source, method, **options) for region in batch))


def stream_regions(
    source: FeatureSource,
    method: str = "hierarchy",
    *,
    params: Any = None,
    examples: Sequence[Example] = (),
    stack_kind: str = "images",
    planes: Sequence[int] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Regions]:
    """Propose regions, plane by plane, so that review can begin before the stack is done.

    Parameters
    ----------
    source : FeatureSource
        Images or slices to be searched.
    method : str
        A name of :data:`PROPOSERS`.
    params : object, optional
        The proposer's parameters, such as :class:`HierarchyParams`.
    examples : sequence of Example
        For the proposers that look for more like them.
    stack_kind : {"images", "volume"}
        In a volume, regions that continue on the next slice become one region.
    planes : sequence of int, optional
        Only these planes, in this order; all by default.
    seed : int
        Equal seeds give equal regions.
    progress : callable, optional
        Called with (done, total) planes.
    cancelled : callable, optional
        Asked often.

    Yields
    ------
    Regions
        Those found since the last time; ids are unique over the whole run and never change. Never empty tables only:
        a plane without a region yields none.

    Raises
    ------
    ConfigError
        Unknown method or kind of stack, parameters of another proposer, or no examples where they are needed.
    Cancelled
        What was yielded before stays valid.
    """
    proposer = _proposer(method)
    if stack_kind not in STACK_KINDS:
        raise ConfigError(f"stack kind {stack_kind!r}: expected one of {', '.join(STACK_KINDS)}")
    params = proposer.params() if params is None else params
    if not isinstance(params, proposer.params):
        raise ConfigError(f"{type(params).__name__} do not fit {method!r}; expected {proposer.params.__name__}")
    if proposer.needs_examples and not any(example.positive for example in examples):
        raise ConfigError(f"{method!r} needs at least one positive example; click or outline one")
    wanted = tuple(range(source.n_planes) if planes is None else planes)
    for plane in wanted:
        source.address(plane)
    job = Job(source, wanted, params, tuple(examples), stack_kind, seed, cancelled)
    return _numbered(proposer, job, progress)


def _numbered(proposer: Proposer, job: Job, progress: Callable[[int, int], None] | None) -> Iterator[Regions]:
    first = 1
    batches = proposer.propose(job)
    if job.stack_kind == "volume" and not proposer.links:
        batches = linked(batches)
    for done, batch in enumerate(batches, start=1):
        if job.cancelled is not None and job.cancelled():
            raise Cancelled("proposing regions was cancelled")
        if batch:
            yield Regions(tuple(placed(job.source, region, first - 1) for region in batch))
            first += len(batch)
        if progress is not None:
            progress(min(done, len(job.planes)), len(job.planes))


def _proposer(method: str) -> Proposer:
    if method not in PROPOSERS:
        raise ConfigError(f"unknown proposer {method!r}; there are {', '.join(PROPOSERS)}")
    return PROPOSERS[method]
