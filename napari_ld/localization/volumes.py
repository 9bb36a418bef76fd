"""Stack kind ``volumes``: every image is another subject's volume; a point in one is found in space in the others.

The volumes are brought to one order of axes by their affines, cut along all three, and searched as a whole: the
similarity of a point is the mean over the three views of the cosine of vectors pooled in space. How the volumes lie to
each other is found first, from their own structure (:mod:`napari_ld.localization.alignment`), and tells where to look;
last come crops at a finer scale (:mod:`napari_ld.localization.volume_fine`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Image, Match, Stage, Status
from napari_ld.embedding.source import FeatureSource
from napari_ld.embedding.tiling import check_cancelled
from napari_ld.embedding.volume import VIEWS, VOLUME_SIZE, VolumeSource, check_volume
from napari_ld.errors import ImageError
from napari_ld.localization.alignment import Alignment, align
from napari_ld.localization.confidence import Scale, status_of
from napari_ld.localization.field import Grid, grid_of, similarity_field, summits, top_summits
from napari_ld.localization.query import Query, Template
from napari_ld.localization.volume_fine import VolumeStage, refine_point, stage_vectors

__all__ = ["search_volumes", "volume_of"]

Points = npt.NDArray[np.float64]
Progress = Callable[[int, int], None] | None

_CELL = 4.0  # pixels of the model input between grid points
_TOGETHER = 8  # landmarks whose fields are in memory at once
_PRIOR = 8.0  # sigma around the predicted place, or twice the spread of the alignment if that is more
_OTHER_PEAKS = 24


def search_volumes(query: Query, planes: Sequence[int], refine: bool, progress: Progress) -> Iterator[Match]:
    """The place of every landmark in each volume that one of ``planes`` belongs to.

    First come the coarse answers for all volumes, then the refined ones.

    Yields
    ------
    Match
        ``point`` is the place in stored voxels of its image, ``plane`` the plane nearest to it.

    Raises
    ------
    ImageError
        For an image that is no volume, has no spacing, or says nothing about its orientation where others do.
    """
    search = _Search(query, list(dict.fromkeys(query.source.address(plane)[0] for plane in planes)))
    return search.run(refine, progress)


def volume_of(source: FeatureSource, image: int, scale: float, sigma: float) -> VolumeSource:
    """One image of a source seen along three axes; made once for each scale and kept with the source."""
    key = ("volume", image, round(scale, 9), sigma)
    if key not in source.kept:
        source.kept[key] = VolumeSource(
            source.images[image],
            source.model,
            scale=scale,
            device=source.device.name,
            precision=source.device.dtype,
            store=source.store,
            sigma=sigma,
        )
    found: VolumeSource = source.kept[key]
    return found


class _Search:
    """One search: the templates' volumes and vectors, and the volumes that are searched."""

    def __init__(self, query: Query, images: Sequence[int]) -> None:
        self.query = query
        self.images = list(images)
        examples = {(id(t.source), t.source.address(t.plane)[0]): _image(t) for t in query.templates}
        check_comparable([*examples.values(), *(query.source.images[k] for k in self.images)])
        longest = max(
            float(length * spacing)
            for image in examples.values()
            for length, spacing in zip(image.array.shape[:3], image.spacing or (), strict=True)
        )
        self.scale = VOLUME_SIZE / longest
        self.stage = VolumeStage()
        self._fine: dict[int, list[Tensor]] = {}

    def run(self, refine: bool, progress: Progress) -> Iterator[Match]:
        sizes = [self.volume(image).n_slices for image in self.images]
        total, done = sum(sizes) * (2 if refine else 1), 0
        coarse: dict[int, list[Match]] = {}
        for image, size in zip(self.images, sizes, strict=True):

            def embedding(part: int, whole: int, done: int = done) -> None:
                if progress is not None:
                    progress(done + part, total)

            coarse[image] = self.coarse(image, embedding)
            yield from coarse[image]
            done += size
            self.volume(image).release()
        for image, size in zip(self.images, sizes, strict=True):
            if refine:
                for match in coarse[image]:
                    check_cancelled(self.query.cancelled)
                    yield self.refined(image, match)
                self.volume(image).release()
                done += size
                if progress is not None:
                    progress(done, total)

    def volume(self, image: int) -> VolumeSource:
        return volume_of(self.query.source, image, self.scale, self.query.params.coarse_sigma)

    def home(self, template: Template) -> VolumeSource:
        image = template.source.address(template.plane)[0]
        return volume_of(template.source, image, self.scale, self.query.params.coarse_sigma)

    def place(self, template: Template) -> Points:
        """The template's point in millimetres of its volume, (3,)."""
        plane = template.source.address(template.plane)[1]
        depth = plane if template.depth is None else template.depth
        return _only(self.home(template).millimetres(np.array([[depth, *template.position]], np.float64)))

    @cached_property
    def vectors(self) -> list[Tensor]:
        """Pooled vectors of all templates, (T, D) for each view."""
        cancelled = self.query.cancelled
        places = [(self.home(template), self.place(template)) for template in self.query.templates]
        for home in {id(home): home for home, _ in places}.values():
            home.embed_all(cancelled=cancelled)
        return [torch.stack([home.vector(axis, at, cancelled) for home, at in places]) for axis in range(VIEWS)]

    @cached_property
    def scales(self) -> list[Scale]:
        """Per landmark, scores that count as 0 and 1: what typical wrong places score, and 1."""
        radius = self.query.params.exclusion * VOLUME_SIZE / self.scale
        names = self.query.landmarks
        levels: list[list[float]] = [[] for _ in names]
        homes = {id(home): home for home in map(self.home, self.query.templates)}
        for key, home in homes.items():
            own = [k for k, name in enumerate(names) if key in {id(self.home(t)) for t in self.query.of(k)}]
            grid = grid_of(home, _CELL)
            for first in range(0, len(own), _TOGETHER):
                chunk = own[first : first + _TOGETHER]
                for landmark, field in zip(chunk, self.fields(home, grid, chunk), strict=True):
                    others = top_summits(field, grid, radius, _OTHER_PEAKS)[1][1:]
                    levels[landmark].append(float(np.median(others)) if len(others) else float(field.min()))
        return [Scale(float(np.mean(found)), 1.0) for found in levels]

    def fields(self, volume: VolumeSource, grid: Grid, landmarks: Sequence[int]) -> Tensor:
        """Similarity with each landmark on a grid, (landmarks, z, y, x)."""
        query = self.query
        names = [query.landmarks[k] for k in landmarks]
        chosen = [k for k, template in enumerate(query.templates) if template.landmark in names]
        maps = similarity_field(volume, [rows[chosen] for rows in self.vectors], query.levels, grid)
        owners = [query.templates[k].landmark for k in chosen]
        reduced = []
        for name in names:
            own = maps[[k for k, owner in enumerate(owners) if owner == name]]
            reduced.append(own.amax(dim=0) if query.params.combine == "max" else own.mean(dim=0))
        return torch.stack(reduced)

    def coarse(self, image: int, progress: Callable[[int, int], None]) -> list[Match]:
        query, volume = self.query, self.volume(image)
        self.vectors  # noqa: B018 - the templates come first, so that a search can begin
        volume.embed_all(progress=progress, cancelled=query.cancelled)
        grid = grid_of(volume, _CELL)
        answers: dict[int, Match] = {}
        for landmark in range(len(query.landmarks)):
            click = self.click(landmark, image)
            if click is not None:
                answers[landmark] = self.match(image, landmark, click, 1.0, 1.0, "verified", "coarse")
        waiting = [landmark for landmark in range(len(query.landmarks)) if landmark not in answers]
        for first in range(0, len(waiting), _TOGETHER):
            check_cancelled(query.cancelled)
            chunk = waiting[first : first + _TOGETHER]
            for landmark, field in zip(chunk, self.fields(volume, grid, chunk), strict=True):
                answers[landmark] = self.answer(image, landmark, field, grid)
        return [answers[landmark] for landmark in range(len(query.landmarks))]

    def answer(self, image: int, landmark: int, field: Tensor, grid: Grid) -> Match:
        """The best place of one landmark, from its similarity (z, y, x) on a grid."""
        volume, params = self.volume(image), self.query.params
        radius = params.exclusion * VOLUME_SIZE / self.scale
        place = summits(self.weighted(field, grid, landmark, volume)[None], grid)[0][0]
        score = float(field.flatten()[int(grid.squared_distances(place).argmin())])
        peaks, values = top_summits(field, grid, radius, 2)
        others = values[((peaks - place) ** 2).sum(axis=1) > radius**2]
        margin = score - float(others[0]) if len(others) else score - float(field.min())
        status = status_of(score, margin, self.scales[landmark], params)
        return self.match(image, landmark, volume.stored(place[None])[0], score, margin, status, "coarse")

    def weighted(self, field: Tensor, grid: Grid, landmark: int, volume: VolumeSource) -> Tensor:
        """Field (z, y, x) times bells around the places that the alignment of the volumes predicts."""
        predictions = []
        for template in self.query.of(landmark):
            found = self.alignment(self.home(template), volume)
            if found is not None:
                predictions.append((found.predict(self.place(template)[None])[0], found.spread))
        if not predictions:
            return field
        bells = [
            np.exp(-grid.squared_distances(at) / (2 * max(_PRIOR / self.scale, 2 * spread) ** 2))
            for at, spread in predictions
        ]
        return field.clamp_min(0) * torch.from_numpy(np.mean(bells, axis=0)).float()

    def alignment(self, home: VolumeSource, volume: VolumeSource) -> Alignment | None:
        return align(home, volume, self.query.levels)

    def refined(self, image: int, match: Match) -> Match:
        """The match at a finer scale; absent and verified ones stay as they are."""
        if match.point is None or match.status == "verified":
            return replace(match, stage="fine")
        query, volume = self.query, self.volume(image)
        landmark = query.landmarks.index(match.landmark)
        templates = [self.closely(k) for k, t in enumerate(query.templates) if t.landmark == match.landmark]
        start = volume.millimetres(np.array([match.point], np.float64))[0]
        place, score = refine_point(volume, start, templates, query.levels, self.stage, query.cancelled)
        point = volume.stored(place[None])[0]
        return self.match(image, landmark, point, score, match.margin, match.status, "fine")

    def closely(self, k: int) -> list[Tensor]:
        """Vectors of one template at the finer scale."""
        if k not in self._fine:
            template = self.query.templates[k]
            home = self.home(template)
            self._fine[k] = stage_vectors(home, self.place(template), self.stage, self.query.cancelled)
        return self._fine[k]

    def click(self, landmark: int, image: int) -> Points | None:
        """The user's own point in stored voxels, where the volume holds one."""
        for template in self.query.of(landmark):
            if template.source is self.query.source and template.source.address(template.plane)[0] == image:
                return _only(self.home(template).stored(self.place(template)[None]))
        return None

    def match(
        self, image: int, landmark: int, point: Points, score: float, margin: float, status: Status, stage: Stage
    ) -> Match:
        z, y, x = (float(value) for value in point)
        plane = self.query.source.first_plane(image) + round(z)
        known = status != "absent"
        return Match(
            self.query.landmarks[landmark],
            plane,
            (y, x) if known else None,
            score,
            margin,
            status,
            stage,
            unit="mm",
            point=(z, y, x) if known else None,
        )


def _only(points: Points) -> Points:
    return np.asarray(points[0], np.float64)


def _image(template: Template) -> Image:
    return template.source.images[template.source.address(template.plane)[0]]


def check_comparable(images: Sequence[Image]) -> None:
    """Refuse volumes that cannot be laid beside each other.

    Raises
    ------
    ImageError
        Names the image and the remedy.
    """
    for image in images:
        check_volume(image)
    oriented = [image for image in images if image.affine is not None]
    bare = [image for image in images if image.affine is None]
    if oriented and bare:
        raise ImageError(
            f"{bare[0].source or 'an image'} does not say how it lies in the patient and "
            f"{oriented[0].source or 'another'} does, so left and right cannot be told apart; save all volumes with "
            "their orientation, as NIfTI does, or all without"
        )
