"""Propose regions of images: masks with scores that a person accepts or rejects."""

from napari_ld.proposals._propose import PROPOSERS, Proposer, propose_regions, stream_regions
from napari_ld.proposals.examples import Example
from napari_ld.proposals.hierarchy import HierarchyParams, region_tree
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.ranking import Ranking
from napari_ld.proposals.regions import Decision, Region, Regions
from napari_ld.proposals.tree import RegionTree

__all__ = [
    "PROPOSERS",
    "Decision",
    "Example",
    "HierarchyParams",
    "Mask",
    "Proposer",
    "Ranking",
    "Region",
    "RegionTree",
    "Regions",
    "propose_regions",
    "region_tree",
    "stream_regions",
]
