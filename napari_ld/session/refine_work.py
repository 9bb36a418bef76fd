"""Refining labels in a session: questions to the refiners, previews, and what is applied as one level of undo."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_ld._types import Box, Image
from napari_ld.session.canvas import Canvas, as_classes
from napari_ld.session.refine_report import Report
from napari_ld.session.region_work import RegionWork
from napari_ld.session.regions import RegionBook
from napari_ld.session.repaint import LayerChange, Repaint
from napari_ld.session.requests import LabelPlanes, LabelsRefined, RefinedPlane, RefineRequest

PREVIEWED = "Preview, not applied yet:"
APPLIED = "Applied:"
STOPPED = "Stopped: nothing was changed."
CHANGED_MEANWHILE = "The labels were changed meanwhile"


@dataclass(frozen=True, slots=True, eq=False)
class OwnLabels:
    """A Labels layer of the person: the number it is known by, and how a plane of it is read."""

    key: int
    read: LabelPlanes


@dataclass(frozen=True, slots=True)
class Refining:
    """What a refiner does to the labels, or did.

    Attributes
    ----------
    running : bool
        Whether labels are being refined that shall be applied.
    done, total : int
        Steps.
    solid : bool
        Whether all slices are refined together.
    error : str
        Why nothing came of it.
    heading : str
        What the report is about.
    report : tuple of str
        What became of the labels, line by line.
    """

    running: bool = False
    done: int = 0
    total: int = 0
    solid: bool = False
    error: str = ""
    heading: str = ""
    report: tuple[str, ...] = ()


@dataclass(slots=True)
class _Application:
    """Labels on their way to be applied."""

    request: RefineRequest
    key: int | None
    report: Report = field(default_factory=Report)
    repaints: list[Repaint] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)


class RefineWork(RegionWork):
    """Refines the accepted masks, or labels of the person's own; parameters as :class:`ImageWork`.

    Attributes
    ----------
    refining : Refining
    previewed : RefinedPlane or None
        The newest preview.
    applied : mapping of int to Repaint
        By plane what was applied last; empty once anything else was done to these labels.
    """

    refining_changed: ClassVar[Signal] = Signal()
    """Progress, a preview, or a report."""
    layer_changed: ClassVar[Signal] = Signal(object)
    """A :class:`LayerChange` that is to be written into a layer of the person."""

    def __init__(self, sessions: Path | None = None) -> None:
        self._refine_runs = itertools.count(1)
        super().__init__(sessions)
        self.regions.painted.connect(self._accepted_touched)

    def _take(self, image: Image | None, stem: str) -> None:
        self.refining = Refining()
        self.previewed: RefinedPlane | None = None
        self.applied: Mapping[int, Repaint] = {}
        self._applied_key: int | None = None
        self._preview_run = 0
        self._application: _Application | None = None
        super()._take(image, stem)

    # --- questions ----------------------------------------------------------------------------------------------------

    def request_preview(
        self,
        method: str,
        plane: int,
        labels: OwnLabels | None = None,
        scribbles: LabelPlanes | None = None,
        steps: tuple[float, ...] | None = None,
    ) -> RefineRequest | None:
        """Question how the labels of a plane would look; None without an image.

        Parameters
        ----------
        method : str
            A name of :data:`napari_ld.refinement.REFINERS`.
        plane : int
        labels : OwnLabels, optional
            By default the accepted masks.
        scribbles : callable, optional
            Reads a plane of what the person is sure of: a label, or a number that the labels do not have for none.
        steps : tuple of float, optional
            Distances between (planes,) rows and columns, where the image's spacing is unknown.
        """
        if self.image is None:
            return None
        request = self._refine_request(method, (plane,), labels, scribbles, steps)
        self._preview_run = request.run
        return request

    def request_refinement(
        self,
        method: str,
        planes: Collection[int],
        labels: OwnLabels | None = None,
        scribbles: LabelPlanes | None = None,
        steps: tuple[float, ...] | None = None,
    ) -> RefineRequest | None:
        """Question for the refined labels of some planes, which will be applied as one step; None without an image.

        Several planes of a volume are refined together. Parameters as :meth:`request_preview`.
        """
        if self.image is None:
            return None
        request = self._refine_request(method, tuple(planes), labels, scribbles, steps)
        self._application = _Application(request, None if labels is None else labels.key)
        self.refining = Refining(True, 0, len(request.planes), request.solid)
        self.refining_changed.emit()
        return request

    def _refine_request(
        self,
        method: str,
        planes: tuple[int, ...],
        labels: OwnLabels | None,
        scribbles: LabelPlanes | None,
        steps: tuple[float, ...] | None,
    ) -> RefineRequest:
        assert self.image is not None
        book = self.regions.book
        read = accepted_reader(book) if labels is None else labels.read
        solid = self.stack_kind == "volume" and len(planes) > 1
        spacing = self.image.spacing or steps
        run = next(self._refine_runs)
        return RefineRequest(*self._asking(self.image), run, method, read, scribbles, planes, solid, spacing)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _refined(self, result: LabelsRefined) -> None:
        if result.context != self.context:
            return
        if result.run == self._preview_run and result.planes:
            self.previewed = result.planes[0]
            self._show_report(result)
        application = self._application
        if application is None or application.request.run != result.run:
            return
        application.repaints += [plane.repaint for plane in result.planes]
        application.report.add(result.changes, result.note)
        self.refining = replace(self.refining, done=result.done, total=result.total)
        if result.done == result.total:
            self._application = None
            self._apply(application)
        self.refining_changed.emit()

    def _show_report(self, result: LabelsRefined) -> None:
        report = Report()
        report.add(result.changes)
        self.refining = replace(self.refining, error="", heading=PREVIEWED, report=tuple(report.lines()))
        self.refining_changed.emit()

    def apply_preview(self, plane: RefinedPlane, labels: OwnLabels | None = None) -> None:
        """Apply what a preview shows, without asking again."""
        self._commit_refined([plane.repaint], None if labels is None else labels.key)
        self.refining = Refining(heading=APPLIED, report=self.refining.report)
        self.refining_changed.emit()

    def _apply(self, application: _Application) -> None:
        touched = application.touched
        spared = touched if not application.request.solid else set(application.request.planes) if touched else set()
        left = [part for part in application.repaints if part.plane not in spared and len(part.pixels)]
        lost = sorted({part.plane for part in application.repaints} & spared)
        lines = tuple(application.report.lines())
        self._commit_refined(left, application.key)
        if lost and not left:
            self.refining = Refining(heading=f"{CHANGED_MEANWHILE}, so nothing was applied. Apply again.")
            return
        if lost:
            numbers = ", ".join(map(str, lost))
            lines = (*lines, f"{CHANGED_MEANWHILE} on plane {numbers}: left alone there.")
        self.refining = Refining(heading=APPLIED, report=lines)

    def _commit_refined(self, repaints: list[Repaint], key: int | None) -> None:
        repaints = [part for part in repaints if len(part.pixels)]
        if not repaints:
            return
        where = f"plane {repaints[0].plane}" if len(repaints) == 1 else f"{len(repaints)} planes"
        label = "refine the labels" if self.n_planes == 1 else f"refine {where}"
        if key is None:
            self.regions.repaint(label, repaints)
        else:
            change = LayerChange(key, tuple(repaints))
            self.history.record_regions(label, change)
            self.layer_changed.emit(change)
        self.applied, self._applied_key = {part.plane: part for part in repaints}, key

    def refining_ended(self, error: str = "") -> None:
        """The refiner stopped: done, cancelled, or with an error in words; what was not complete is not applied."""
        application, self._application = self._application, None
        self.refining = replace(self.refining, running=False)
        if application is not None:
            self.refining = Refining(error=error, heading="" if error else STOPPED)
        self.refining_changed.emit()

    def preview_ended(self, error: str = "") -> None:
        """There is no preview, in words why; ``""``: none is wanted any more."""
        self.forget_preview()
        if not self.refining.running:
            self.refining = Refining(error=error)
        self.refining_changed.emit()

    def forget_preview(self) -> None:
        """Drop the preview, and the one that may be on its way."""
        self.previewed, self._preview_run = None, 0

    # --- what happens meanwhile ---------------------------------------------------------------------------------------

    def labels_touched(self, key: int | None, planes: Collection[int] | None) -> None:
        """Take notice that labels were changed on these planes (None: on all), by whatever hand.

        ``key`` names the person's own layer; None: the accepted masks.
        """
        if self._applied_key == key:
            self.applied = {}
        application = self._application
        if application is not None and application.key == key:
            application.touched |= set(application.request.planes if planes is None else planes)

    def _accepted_touched(self, boxes: Mapping[int, Box] | None) -> None:
        self.labels_touched(None, None if boxes is None else boxes.keys())


def accepted_reader(book: RegionBook) -> LabelPlanes:
    """Reads planes of the accepted masks from any thread."""
    return partial(_accepted, book.canvas, dict(book.classes))


def _accepted(canvas: Canvas, classes: Mapping[int, int], plane: int) -> npt.NDArray[np.uint8]:
    """Classes of a plane, read while the person may be at work: a copy is made before it is looked at twice."""
    return as_classes(canvas.owners(plane).copy(), classes)


def before_applied(now: npt.NDArray[Any], repaint: Repaint) -> npt.NDArray[Any]:
    """Labels of a plane (rows, columns) as they were before they were refined."""
    past = now.copy()
    past.reshape(-1)[repaint.pixels] = repaint.before
    return past
