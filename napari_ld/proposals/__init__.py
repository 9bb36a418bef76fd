"""Propose regions of images: masks with scores that a person accepts or rejects.

Importing this package loads no torch, so that tables of regions can be read without; names are fetched when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ld.proposals._propose import PROPOSERS as PROPOSERS
    from napari_ld.proposals._propose import Proposer as Proposer
    from napari_ld.proposals._propose import propose_regions as propose_regions
    from napari_ld.proposals._propose import stream_regions as stream_regions
    from napari_ld.proposals.clusters import ClusterModel as ClusterModel
    from napari_ld.proposals.clusters import ClusterParams as ClusterParams
    from napari_ld.proposals.clusters import cluster_map as cluster_map
    from napari_ld.proposals.clusters import cluster_model as cluster_model
    from napari_ld.proposals.examples import Example as Example
    from napari_ld.proposals.explain import EmbeddingView as EmbeddingView
    from napari_ld.proposals.explain import embedding_view as embedding_view
    from napari_ld.proposals.explain import point_similarity as point_similarity
    from napari_ld.proposals.hierarchy import HierarchyParams as HierarchyParams
    from napari_ld.proposals.hierarchy import region_tree as region_tree
    from napari_ld.proposals.like_examples import ExampleModel as ExampleModel
    from napari_ld.proposals.like_examples import LikeParams as LikeParams
    from napari_ld.proposals.like_examples import fit_examples as fit_examples
    from napari_ld.proposals.masks import Mask as Mask
    from napari_ld.proposals.model import ModelParams as ModelParams
    from napari_ld.proposals.ranking import Ranking as Ranking
    from napari_ld.proposals.regions import Decision as Decision
    from napari_ld.proposals.regions import Region as Region
    from napari_ld.proposals.regions import Regions as Regions
    from napari_ld.proposals.tree import RegionTree as RegionTree
    from napari_ld.proposals.unusual import UnusualParams as UnusualParams

_HOMES = {
    "PROPOSERS": "_propose",
    "ClusterModel": "clusters",
    "ClusterParams": "clusters",
    "Decision": "regions",
    "EmbeddingView": "explain",
    "Example": "examples",
    "ExampleModel": "like_examples",
    "HierarchyParams": "hierarchy",
    "LikeParams": "like_examples",
    "Mask": "masks",
    "ModelParams": "model",
    "Proposer": "_propose",
    "Ranking": "ranking",
    "Region": "regions",
    "RegionTree": "tree",
    "Regions": "regions",
    "UnusualParams": "unusual",
    "cluster_map": "clusters",
    "cluster_model": "clusters",
    "embedding_view": "explain",
    "fit_examples": "like_examples",
    "point_similarity": "explain",
    "propose_regions": "_propose",
    "region_tree": "hierarchy",
    "stream_regions": "_propose",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Fetch a name from its file."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
