"""The regions of a session: questions to the proposers, their answers, and the review of what they proposed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from psygnal import Signal

from napari_ld._types import Image, Position
from napari_ld.errors import RegionError
from napari_ld.model.own import card_of
from napari_ld.proposals.masks import Mask
from napari_ld.session import tracks as t
from napari_ld.session.landmarks import LandmarkWork
from napari_ld.session.region_changes import Change, to_json
from napari_ld.session.requests import (
    Mark,
    Offered,
    OfferRequest,
    Proposed,
    ProposeRequest,
    RegionSimilarity,
    SimilarityRequest,
    ViewRequest,
)
from napari_ld.session.review import CLICKED, RegionReview

_EXAMPLES = 16  # planes whose accepted masks are learned from at once


@dataclass(frozen=True, slots=True)
class Proposing:
    """What the proposer is doing, for the progress bar."""

    running: bool = False
    done: int = 0
    total: int = 0
    error: str = ""


class RegionWork(LandmarkWork):
    """Proposals, decisions and accepted pixels of the image; parameters as :class:`ImageWork`.

    Attributes
    ----------
    regions : RegionReview
    marks : tuple of Mark
        Examples and counter-examples of what is looked for.
    proposing : Proposing
    n_clusters : int
        How many clusters the view of the clusters shows.
    single : bool
        Each plane holds one of what the examples show; then one is proposed, and a click puts another in its place.
    model : str
        File of a segmenter or classifier that proposes regions; ``""`` for none.
    """

    proposing_changed: ClassVar[Signal] = Signal()
    """Progress, errors, or the examples."""

    def __init__(self, sessions: Path | None = None) -> None:
        self.regions = RegionReview(self._commit_regions, self.save)
        self._runs = itertools.count(1)
        self.model = ""
        self.n_clusters = 16
        self.single = False
        super().__init__(sessions)

    def _take(self, image: Image | None, stem: str) -> None:
        super()._take(image, stem)
        self.marks: tuple[Mark, ...] = ()
        self.proposing = Proposing()
        self._run: ProposeRequest | None = None
        self._begun = False
        self.regions.open_image(image)

    def _commit_regions(self, label: str, change: Change) -> None:
        self.regions.flush()
        self.history.record_regions(label, change)
        self.save({"op": "regions", "label": label, **to_json(change)})
        self._change_regions(change)

    def _change_regions(self, change: Change) -> None:
        self.regions.book.apply(change)
        self.regions.applied(change)

    # --- examples -----------------------------------------------------------------------------------------------------

    def add_mark(self, mark: Mark) -> None:
        """Add an example or counter-example.

        Raises
        ------
        RegionError
            When the outline is empty, or the click lies outside the image.
        """
        if self.image is None:
            raise RegionError("There is no image to give examples on; open an image or a sample first.")
        rows, columns = self.image.plane_shape
        if mark.mask is not None and not mark.mask.area:
            raise RegionError("The outline holds no pixel of the image; draw it on the image.")
        if mark.position is not None and not (
            -0.5 <= mark.position[0] <= rows - 0.5 and -0.5 <= mark.position[1] <= columns - 0.5
        ):
            raise RegionError(
                f"Row {mark.position[0]:.1f}, column {mark.position[1]:.1f} is outside the image of {rows} rows and "
                f"{columns} columns; click on the image."
            )
        self.marks = (*self.marks, mark)
        self.proposing_changed.emit()

    def clear_marks(self) -> None:
        """Forget all examples."""
        self.marks = ()
        self.proposing_changed.emit()

    def mark_accepted(self) -> None:
        """Make what is accepted in the present class the examples, on sixteen planes at most, spread evenly.

        Raises
        ------
        RegionError
            When nothing of that class is accepted yet.
        """
        book, label = self.regions.book, self.regions.label
        shown = {plane: book.labels(plane) == label for plane in book.canvas.planes}
        planes = [plane for plane, inside in shown.items() if inside.any()]
        if not planes:
            raise RegionError(f"Nothing is accepted in class {label} yet; accept or paint one first.")
        chosen = np.unique(np.linspace(0, len(planes) - 1, min(len(planes), _EXAMPLES)).round().astype(int))
        self.marks = tuple(
            Mark(plane, mask=Mask.from_array(shown[plane], plane)) for plane in (planes[place] for place in chosen)
        )
        self.proposing_changed.emit()

    def choose_model(self, file: str) -> None:
        """Let a model of the person's own propose regions.

        Raises
        ------
        ModelFileError
            When the file is no model of napari-ld.
        """
        card_of(Path(file))
        self.model = file
        self.proposing_changed.emit()

    def choose_cluster_count(self, count: int) -> None:
        """Show another number of clusters from now on; clusters that are proposed are asked for with their number."""
        self.n_clusters = count
        self.proposing_changed.emit()

    def choose_single(self, single: bool) -> None:
        """Say whether each plane holds one of what the examples show; for the proposals that are asked for next."""
        self.single = single
        self.proposing_changed.emit()

    # --- questions ----------------------------------------------------------------------------------------------------

    def request_proposals(
        self, method: str, n_regions: int, visible_plane: int, *, only: bool = False, rest: bool = False
    ) -> ProposeRequest | None:
        """Question for regions, the visible plane first or only; None without an image.

        With ``rest`` for the planes on which nothing is accepted, if there are such.
        """
        if self.image is None:
            return None
        wanted = (visible_plane,) if only else (self._untouched() if rest else ()) or range(self.n_planes)
        planes = t.nearest(wanted, visible_plane)
        self._run = ProposeRequest(
            *self._asking(self.image),
            next(self._runs),
            method,
            n_regions,
            self.marks,
            planes,
            only,
            self.model,
            self.single,
        )
        self._begun = False
        self.proposing = Proposing(True, 0, len(planes))
        self.proposing_changed.emit()
        return self._run

    def request_offer(self, plane: int, position: Position) -> OfferRequest | None:
        """Question which regions stand out at a clicked place; None without an image."""
        return None if self.image is None else OfferRequest(*self._asking(self.image), plane, position)

    def _untouched(self) -> tuple[int, ...]:
        """Planes without an accepted pixel, and without a region that a person clicked."""
        book = self.regions.book
        touched = {plane for plane in book.canvas.planes if book.labels(plane).any()}
        touched |= {plane for region in book.present() if region.kind == CLICKED for plane in region.planes}
        return tuple(plane for plane in range(self.n_planes) if plane not in touched)

    def request_similarity(self) -> SimilarityRequest | None:
        """Question for the similarity map of the current region; None when it is known or there is no region."""
        one = self.regions.wants_similarity
        if self.image is None or one is None:
            return None
        item = self.regions.book.items[one]
        mask = item.origin or item.region.mask
        return SimilarityRequest(*self._asking(self.image), one, mask, item.region.embedding)

    def request_view(self, kind: str, visible_plane: int, position: Position | None = None) -> ViewRequest | None:
        """Question for a picture of what the encoder sees; of one plane: its input, and the like of a ``position``."""
        if self.image is None:
            return None
        only = position is not None or kind == "input"
        planes = (visible_plane,) if only else t.nearest(range(self.n_planes), visible_plane)
        return ViewRequest(*self._asking(self.image), kind, planes, position, self.n_clusters)

    def _asking(self, image: Image) -> tuple[int, str, Image, str, str, str]:
        return self.serial, self.context, image, self.encoder, self.stack_kind, self.device

    # --- answers ------------------------------------------------------------------------------------------------------

    def proposing_ended(self, error: str = "") -> None:
        """The proposer stopped: done, cancelled, or with an error in words."""
        self.regions.flush()
        self.proposing = replace(self.proposing, running=False, error=error)
        self.proposing_changed.emit()

    def _proposed(self, result: Proposed) -> None:
        run = self._run
        if run is None or result.run != run.run or result.context != self.context:
            return
        if result.regions or (result.done == result.total and not result.provisional):
            old = [] if self._begun else [one for one in self.regions.book.items if self._goes(one, run)]
            self._begun = not result.provisional
            self.regions.propose(result.regions, old, self._origin(run, result))
        if not run.only:
            self.regions.flush()
        self.proposing = replace(self.proposing, done=result.done, total=result.total)
        self.proposing_changed.emit()

    def _goes(self, one: int, run: ProposeRequest) -> bool:
        """Whether a run replaces a region, as long as nobody decided about it; what a person clicked stays."""
        region = self.regions.book.items[one].region
        planes = region.planes
        return region.kind != CLICKED and (not run.only or set(planes) <= set(run.planes))

    def _origin(self, run: ProposeRequest, result: Proposed) -> dict[str, Any]:
        marks = [
            {"plane": m.plane, "mask": m.mask.to_text() if m.mask else None, "at": m.position, "positive": m.positive}
            for m in run.marks
        ]
        by = {"method": run.method, "n_regions": run.n_regions, "encoder": result.encoder, "examples": marks}
        return {**by, "model": Path(run.model).name} if run.method == "model" else by

    def _offered(self, result: Offered) -> None:
        if result.context == self.context and result.regions:
            plane = result.regions[0].planes[0]
            here = self.regions.queue.on_plane(plane) if self.single else ()
            self.regions.offer(result.regions, [region.id for region in here if region.kind == "like_examples"])

    def _alike(self, result: RegionSimilarity) -> None:
        if result.context == self.context:
            self.regions.set_similarity(result.region, result.maps)
