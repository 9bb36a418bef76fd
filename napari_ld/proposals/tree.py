"""A tree of merged regions: cutting it gives any number of regions at once, nested from cut to cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld.errors import RegionError

__all__ = ["RegionTree"]

Labels = npt.NDArray[np.int32]
_ATTEMPTS = 4  # at guessing how many nodes of a cut lie in the margin


@dataclass(frozen=True, slots=True, eq=False)
class RegionTree:
    """Regions of one plane, merged one pair at a time.

    Nodes 0 to L-1 are the finest regions, node L+k is what the k-th merge made.

    Attributes
    ----------
    labels : (rows, columns) int32 array
        Finest region of every pixel, of a volume (planes, rows, columns), 0 to L-1.
    merges : (M, 2) int32 array
        Nodes that each merge joins, in the order of growing height; M is L-1.
    heights : (M,) float64 array
        Dissimilarity at which each merge happens; never falls.
    outside : (L,) int array or None
        Pixels of each finest region in the black margin around a round field of view; None where there is no margin.
    """

    labels: Labels
    merges: npt.NDArray[np.int32]
    heights: npt.NDArray[np.float64]
    outside: npt.NDArray[np.integer] | None = None

    @property
    def n_leaves(self) -> int:
        """Number L of the finest regions."""
        return len(self.merges) + 1

    @property
    def parents(self) -> npt.NDArray[np.int32]:
        """``(L + M,)`` node that each node is merged into; the root into itself."""
        parents = np.arange(self.n_leaves + len(self.merges), dtype=np.int32)
        parents[self.merges.reshape(-1)] = np.repeat(np.arange(len(self.merges)), 2) + self.n_leaves
        return parents

    @property
    def merge_heights(self) -> npt.NDArray[np.float64]:
        """``(L + M,)`` height at which each node is merged away; infinite for the root."""
        found = np.full(self.n_leaves + len(self.merges), np.inf)
        found[self.merges.reshape(-1)] = np.repeat(self.heights, 2)
        return found

    def nodes(self, n_regions: int) -> npt.NDArray[np.int32]:
        """``(L,)`` node that holds each finest region when ``n_regions`` are left.

        Raises
        ------
        RegionError
            For fewer than one region. More than there are gives the finest.
        """
        if n_regions < 1:
            raise RegionError(f"{n_regions} regions were asked for; expected at least 1")
        made = max(0, self.n_leaves - n_regions)
        holder = self.parents
        limit = self.n_leaves + made
        holder = np.where(holder < limit, holder, np.arange(len(holder), dtype=np.int32))
        while True:
            higher = holder[holder]
            if np.array_equal(higher, holder):
                return holder[: self.n_leaves]
            holder = higher

    def nodes_inside(self, n_regions: int) -> npt.NDArray[np.int32]:
        """As :meth:`nodes`, but ``n_regions`` are left beside the margin; -1 for leaves mostly in it.

        Raises
        ------
        RegionError
            For fewer than one region.
        """
        nodes = self.nodes(n_regions)
        if self.outside is None:
            return nodes
        margin = 2 * self.outside > np.bincount(self.labels.reshape(-1), minlength=self.n_leaves)
        if margin.all():
            return nodes
        more = 0
        for _ in range(_ATTEMPTS):
            lost = len(np.unique(nodes)) - len(np.unique(nodes[~margin]))
            if lost == more:
                break
            more = lost
            nodes = self.nodes(n_regions + more)
        return np.where(margin, np.int32(-1), nodes)

    def cut(self, n_regions: int) -> Labels:
        """Label map (rows, columns) of ``n_regions`` regions, numbered from 1 in the order of their first pixels."""
        nodes = self.nodes(n_regions)
        _, first, number = np.unique(nodes, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int32)
        rank[np.argsort(first, kind="stable")] = np.arange(1, len(first) + 1)
        return rank[number].astype(np.int32)[self.labels]

    def count_at(self, height: float) -> int:
        """How many regions are left when all merges up to a height have been done."""
        return self.n_leaves - int(np.searchsorted(self.heights, height, side="right"))

    def path(self, leaf: int) -> list[int]:
        """Nodes from a finest region up to the root."""
        if not 0 <= leaf < self.n_leaves:
            raise RegionError(f"finest region {leaf} was asked for; there are 0 to {self.n_leaves - 1}")
        parents, nodes = self.parents, [leaf]
        while parents[nodes[-1]] != nodes[-1]:
            nodes.append(int(parents[nodes[-1]]))
        return nodes

    def leaves(self, node: int) -> npt.NDArray[np.int64]:
        """Finest regions inside a node, ascending."""
        inside, queue = [], [node]
        while queue:
            one = queue.pop()
            if one < self.n_leaves:
                inside.append(one)
            else:
                queue.extend(int(part) for part in self.merges[one - self.n_leaves])
        return np.array(sorted(inside), np.int64)

    def mask(self, node: int) -> npt.NDArray[np.bool_]:
        """``(rows, columns)`` mask of a node."""
        chosen = np.zeros(self.n_leaves, bool)
        chosen[self.leaves(node)] = True
        return chosen[self.labels]

    def children(self, node: int) -> tuple[int, int] | None:
        """The two nodes that were merged into a node; None for a finest region."""
        if node < self.n_leaves:
            return None
        one, other = self.merges[node - self.n_leaves]
        return int(one), int(other)
