"""Which image to annotate: the one in which the places of the others are found again best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld.embedding.source import FeatureSource
from napari_ld.embedding.tiling import check_cancelled
from napari_ld.errors import ConfigError, ImageError
from napari_ld.similarity import LevelWeights, comparable_rows

__all__ = ["coverage", "suggest_template"]

Matrix = npt.NDArray[np.float64]
_PROBE_STEP, _SEARCH_STEP = 5, 2  # of the coarse index: every n-th row and column
_MOST_OTHERS = 64  # planes that stand for the whole stack, so that the work grows with the stack and not its square


def suggest_template(
    source: FeatureSource,
    count: int = 1,
    *,
    have: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[int]:
    """Propose which planes of a stack of different subjects to annotate, without any annotation.

    A plane is a good template when the places of the other planes find something similar in it. The first suggestion
    is the plane that covers the others best; each further one covers best what those before leave (greedy facility
    location, [reconstruction: ours]).

    Parameters
    ----------
    source : FeatureSource
        Planes that are not embedded yet are embedded on the way.
    count : int
        How many.
    have : sequence of int
        Planes that are annotated already.
    progress : callable, optional
        Called with (done, total) planes.
    cancelled : callable, optional
        Asked between planes.

    Returns
    -------
    list of int
        Best first; ties go to the earlier plane.

    Raises
    ------
    ConfigError
        When fewer planes are left than asked for.
    ImageError
        For a plane of ``have`` that does not exist.
    Cancelled
        When ``cancelled()`` became true.
    """
    left = source.n_planes - len(set(have))
    if not 1 <= count <= left:
        raise ConfigError(f"{count} suggestions were asked for: expected 1 to {left}, the planes without annotation")
    for plane in have:
        if not 0 <= plane < source.n_planes:
            raise ImageError(f"plane {plane} is said to be annotated; there are planes 0 to {source.n_planes - 1}")
    covers = coverage(source, progress, cancelled)
    covered = np.max(covers[list(have)], axis=0) if have else np.full(covers.shape[1], -1.0)
    chosen: list[int] = []
    for _ in range(count):
        value = np.maximum(covers, covered).mean(axis=1)
        value[[*have, *chosen]] = -np.inf
        chosen.append(int(value.argmax()))
        covered = np.maximum(covered, covers[chosen[-1]])
    return chosen


def coverage(
    source: FeatureSource,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Matrix:
    """How well each plane covers others: mean best cosine of their places in it.

    Returns
    -------
    (planes, others) array
        Others are all planes, or 64 evenly spread ones of a larger stack. A plane says nothing about itself: there
        stands its mean over the others.
    """
    count = source.n_planes
    others = np.unique(np.linspace(0, count - 1, min(count, _MOST_OTHERS)).round().astype(int))
    probes = [_cells(source, int(other), _PROBE_STEP, cancelled) for other in others]
    joined, sizes = torch.cat(probes), [len(probe) for probe in probes]
    found = np.zeros((count, len(others)))
    for plane in range(count):
        check_cancelled(cancelled)
        best = (joined @ _cells(source, plane, _SEARCH_STEP, cancelled).T).amax(dim=1)
        found[plane] = [float(part.mean()) for part in torch.split(best, sizes)]
        itself = others == plane
        if itself.any() and not itself.all():
            found[plane, itself] = found[plane, ~itself].mean()
        if progress is not None:
            progress(plane + 1, count)
    return found


def _cells(source: FeatureSource, plane: int, step: int, cancelled: Callable[[], bool] | None) -> Tensor:
    """Comparable vectors (N, D) of every ``step``-th row and column of the coarse index of a plane."""
    index = source.indexed(plane, source.pooling_sigma, cancelled)
    rows, columns = index.grid(plane)
    start = min(step // 2, rows - 1), min(step // 2, columns - 1)
    grid = index.rows(plane).view(rows, columns, -1)[start[0] :: step, start[1] :: step]
    dims = source.model.header.config.level_dims
    return comparable_rows(grid.reshape(-1, grid.shape[-1]), LevelWeights((*dims,), (1.0,) * len(dims), separate=True))
