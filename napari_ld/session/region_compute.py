"""The plain functions between a question about regions and its answers; they run on worker threads."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld._types import Embedding
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region
from napari_ld.session.compute import Sources
from napari_ld.session.requests import (
    EmbeddingProgress,
    Mark,
    Offered,
    OfferRequest,
    Proposed,
    ProposeRequest,
    RegionSimilarity,
    Result,
    SimilarityRequest,
    SourceReady,
    SourceRequest,
)
from napari_ld.session.reshaping import Similarity, window
from napari_ld.session.review import CLICKED

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource
    from napari_ld.proposals import Example

IsCancelled = Callable[[], bool]
_OFFERS = 5  # nested regions at a clicked place
_KEPT_TREES = 6  # planes whose tree of regions is kept, so that another number of regions needs no new tree


class Trees:
    """Trees of regions of the last planes, for cutting them anew at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], tuple[Any, Any]] = OrderedDict()

    def get(
        self, request: SourceRequest, source: FeatureSource, plane: int, params: Any, cancelled: IsCancelled
    ) -> tuple[Any, Any]:
        """Evidence and tree of a plane."""
        from napari_ld.proposals.evidence import plane_evidence
        from napari_ld.proposals.hierarchy import tree_of

        key = (request.serial, request.context, plane, replace(params, n_regions=1))
        if key not in self._kept:
            evidence = plane_evidence(source, plane, cancelled)
            self._kept[key] = evidence, tree_of(evidence, params)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT_TREES:
            self._kept.popitem(last=False)
        return self._kept[key]

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()


def propose(request: ProposeRequest, sources: Sources, trees: Trees, cancelled: IsCancelled) -> Iterator[Result]:
    """Propose regions plane by plane.

    Raises
    ------
    Cancelled
        Soon after ``cancelled`` turned true.
    NapariLDError
        When the encoder, the image or the examples cannot be used.
    """
    source, name = sources.get(request)
    device = f"{source.device.name} · {source.device.dtype}"
    yield SourceReady(request.serial, request.context, name, device, source.device.reason)
    sha = source.model.sha256[:16]
    total = len(request.planes)
    if request.method == "hierarchy" and _joins_slices(request):
        # Regions of a whole volume come when its last slice was seen; until then the shown slice can be reviewed.
        [(_, first)] = _cuts(replace(request, planes=request.planes[:1]), source, trees, cancelled)
        yield Proposed(request.serial, request.context, request.run, first, 1, total, sha, provisional=True)
        for done, plane in enumerate(request.planes, start=1):
            source.plane(plane, cancelled)
            yield Proposed(request.serial, request.context, request.run, (), done, total, sha, provisional=True)
    for done, batch in _batches(request, source, trees, cancelled):
        yield Proposed(request.serial, request.context, request.run, batch, done, total, sha)
    yield Proposed(request.serial, request.context, request.run, (), total, total, sha)
    ready = sum(source.is_ready(plane) for plane in range(source.n_planes))
    yield EmbeddingProgress(request.serial, request.context, ready, source.n_planes)


def _batches(
    request: ProposeRequest, source: FeatureSource, trees: Trees, cancelled: IsCancelled
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    from napari_ld.proposals import PROPOSERS, stream_regions

    if request.method == "hierarchy" and not _joins_slices(request):
        yield from _cuts(request, source, trees, cancelled)
        return
    done = 0

    def count(searched: int, _: int) -> None:
        nonlocal done
        done = searched

    for table in stream_regions(
        source,
        request.method,
        params=params_of(request.method, request.n_regions, request.model, request.single),
        examples=[_example(source, mark) for mark in request.marks] if PROPOSERS[request.method].needs_examples else (),
        stack_kind="volume" if request.stack_kind == "volume" else "images",
        planes=request.planes,
        progress=count,
        cancelled=cancelled,
    ):
        yield done + 1, tuple(table)


def _joins_slices(request: ProposeRequest) -> bool:
    """Whether regions of several slices shall become one."""
    return request.stack_kind == "volume" and len(request.planes) > 1


def _cuts(
    request: ProposeRequest, source: FeatureSource, trees: Trees, cancelled: IsCancelled
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    from napari_ld.proposals.hierarchy import regions_of_cut

    params = params_of(request.method, request.n_regions)
    for done, plane in enumerate(request.planes, start=1):
        evidence, tree = trees.get(request, source, plane, params, cancelled)
        spacing = source.spacing(plane)
        found = regions_of_cut(source, evidence, tree, request.n_regions)
        scale = None if spacing is None else spacing[0] * spacing[1]
        yield done, tuple(replace(r, area_mm2=None if scale is None else r.area * scale) for r in found)


def params_of(method: str, n_regions: int, model: str = "", single: bool = False) -> Any:
    """Parameters of a proposer, with the wanted number of regions or clusters, or the model, where it has these."""
    from napari_ld.proposals import PROPOSERS

    kind = PROPOSERS[method].params
    names = {field.name for field in dataclasses.fields(kind)}
    given = {"n_regions": n_regions, "n_clusters": n_regions, "model": model, "single": single}
    return kind(**{name: value for name, value in given.items() if name in names})


def _example(source: FeatureSource, mark: Mark) -> Example:
    from napari_ld.proposals import Example

    return Example(source, mark.plane, mark.mask, mark.position, mark.positive)


def offer(request: OfferRequest, sources: Sources, trees: Trees, cancelled: IsCancelled) -> Iterator[Result]:
    """Find nested regions that stand out at a clicked place; a small spot there comes first."""
    from napari_ld.proposals.components import mean_vector
    from napari_ld.proposals.hierarchy import STRUCTURES
    from napari_ld.proposals.outlines import outlines_at
    from napari_ld.proposals.spots import spot_outline

    source, _ = sources.get(request)
    plane, position = request.plane, request.position
    evidence, tree = trees.get(request, source, plane, STRUCTURES, cancelled)
    spot = spot_outline(evidence, position)
    outlines = [*([] if spot is None else [spot]), *outlines_at(tree, position, _OFFERS)]
    spacing = source.spacing(plane)
    found = []
    for number, outline in enumerate(outlines, start=1):
        mask = Mask.from_array(outline, plane)
        area = None if spacing is None else mask.area * spacing[0] * spacing[1]
        vector = mean_vector(evidence, mask.pixels(plane))
        # a person pointed at it: nothing is more likely to be wanted
        found.append(Region(number, source.address(plane)[0], mask, 1.0, vector, area, kind=CLICKED))
    yield Offered(request.serial, request.context, tuple(found))


def region_similarity(request: SimilarityRequest, sources: Sources, cancelled: IsCancelled) -> Iterator[Result]:
    """How alike the surroundings of a region are to its mean embedding."""
    source, _ = sources.get(request)
    maps: dict[int, Similarity] = {}
    for plane in request.mask.planes:
        embedding = source.plane(plane, cancelled)
        if len(request.vector) == embedding.vectors.shape[0]:
            box = window(request.mask, plane)
            maps[plane] = (box[0], box[1]), similarity_in(embedding, request.vector, box)
    yield RegionSimilarity(request.serial, request.context, request.region, maps)


def similarity_in(
    embedding: Embedding, vector: npt.NDArray[np.float32], box: tuple[int, int, int, int]
) -> npt.NDArray[np.float32]:
    """Cosine of every pixel of a box to a vector, linear between the cells of the features.

    Parameters
    ----------
    embedding : Embedding
    vector : (D,) array
    box : (top, left, bottom, right)
        Half-open, in pixels.

    Returns
    -------
    (rows, columns) float32 array
        In [-1, 1].
    """
    places = []
    for axis in (0, 1):
        pixels = np.arange(box[axis], box[axis + 2])
        cells = (pixels - embedding.origin[axis]) / embedding.step[axis]
        places.append(np.clip(cells, 0, embedding.vectors.shape[axis + 1] - 1))
    first = [int(np.floor(cells[0])) for cells in places]
    last = [int(np.ceil(cells[-1])) + 1 for cells in places]
    part = np.asarray(embedding.vectors[:, first[0] : last[0], first[1] : last[1]], np.float32)
    unit = vector / max(float(np.linalg.norm(vector)), 1e-10)
    cosines = np.tensordot(unit.astype(np.float32), part, 1)
    where = np.meshgrid(places[0] - first[0], places[1] - first[1], indexing="ij")
    return np.asarray(ndimage.map_coordinates(cosines, where, order=1, mode="nearest"), np.float32)
