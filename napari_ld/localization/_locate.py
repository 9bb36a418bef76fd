"""locate(): one click, every plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from napari_ld._types import Match, Stage
from napari_ld.adaptation import ADAPTABLE_KINDS
from napari_ld.embedding.source import FeatureSource
from napari_ld.errors import ConfigError, ImageError
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.expected_error import ExpectedError
from napari_ld.localization.images import search_images
from napari_ld.localization.laterality import of_both_sides
from napari_ld.localization.lessons import lessons
from napari_ld.localization.params import LocateParams
from napari_ld.localization.query import Query, Template
from napari_ld.localization.side_by_side import refine_planes
from napari_ld.localization.timelapse import search_timelapse
from napari_ld.localization.volume import search_volume
from napari_ld.localization.volumes import search_volumes

__all__ = ["STACK_KINDS", "locate"]

Progress = Callable[[int, int], None] | None
PlaneSearch = Callable[[Query, Sequence[int]], Iterator[CoarseMatch]]
StackKind = Callable[[Query, Sequence[int], bool, Progress], Iterator[Match]]


def _by_plane(search: PlaneSearch, *, ordered: bool) -> StackKind:
    """Coarse answers of a search on all planes, then, plane by plane, the refined ones.

    ``ordered``: a place follows from those on the neighbouring planes, so the refinement keeps close to it.
    """

    def run(query: Query, planes: Sequence[int], refine: bool, progress: Progress) -> Iterator[Match]:
        if ordered:  # nothing is calibrated for these
            return _search(query, search, planes, query.params.path_sigma if refine else None, progress, None)
        sigma = query.params.search_sigma if refine else None
        return _search(query, search, planes, sigma, progress, ExpectedError(query))

    return run


STACK_KINDS: dict[str, StackKind] = {
    "images": _by_plane(search_images, ordered=False),  # each plane is another subject
    "volume": _by_plane(search_volume, ordered=True),  # ordered slices of one subject
    "timelapse": _by_plane(search_timelapse, ordered=True),  # ordered moments of one scene
    "volumes": search_volumes,  # each image is the volume of another subject
}


def locate(
    source: FeatureSource,
    templates: Sequence[Template],
    *,
    stack_kind: str = "images",
    params: LocateParams | None = None,
    planes: Sequence[int] | None = None,
    refine: bool = True,
    progress: Progress = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Match]:
    """Find landmarks on every plane of a stack.

    First come the coarse matches of all planes, then, with ``refine``, the refined ones: the same landmarks and planes,
    with ``stage`` ``"fine"``. A coarse match may come a second time and then replaces the first: when all planes
    together say that one is mirrored, or that it is not, or that a landmark lies elsewhere. Planes that are not
    embedded yet are embedded on the way. The result is the same each time. On a plane that holds the user's own click
    the answer is that click, ``"verified"``.

    Parameters
    ----------
    source : FeatureSource
        What is searched.
    templates : sequence of Template
        At least one; several may share a landmark.
    stack_kind : {"images", "volume", "timelapse", "volumes"}
        With ``volumes`` the answers are one per landmark and *image*, see
        :mod:`napari_ld.localization.volumes`.
    params : LocateParams, optional
    planes : sequence of int, optional
        Only these planes are answered; all by default.
    refine : bool
    progress : callable, optional
        Called with (done, total), counted in planes and stages.
    cancelled : callable, optional
        Asked between planes.

    Yields
    ------
    Match
        ``score`` in [-1, 1]; ``margin`` is the lead over the best other peak of the whole plane, also for refined
        matches.

    Raises
    ------
    ConfigError
        For an unknown stack kind, templates of another encoder, or adaptation to a kind other than ``images``.
    LandmarkError
        Without templates, or for a template outside its image.
    ImageError
        For a plane that does not exist.
    Cancelled
        When ``cancelled()`` became true.
    """
    if stack_kind not in STACK_KINDS:
        raise ConfigError(f"unknown stack kind {stack_kind!r}: expected one of {', '.join(STACK_KINDS)}")
    params = LocateParams() if params is None else params
    if params.adapt is not None and stack_kind not in ADAPTABLE_KINDS:
        kinds = ", ".join(ADAPTABLE_KINDS)
        raise ConfigError(f"adaptation is for the stack kind {kinds}, not {stack_kind!r}: leave it out")
    wanted = list(range(source.n_planes) if planes is None else dict.fromkeys(planes))
    for plane in wanted:
        if not 0 <= plane < source.n_planes:
            raise ImageError(f"plane {plane} was asked for; there are planes 0 to {source.n_planes - 1}")
    query = Query(source, templates, params, cancelled)
    if params.adapt is not None and params.mirror and of_both_sides(query):
        query = Query(source, templates, replace(params, adapt=None), cancelled)
    return STACK_KINDS[stack_kind](query, wanted, refine, progress) if wanted else iter(())


def _search(
    query: Query,
    kind: PlaneSearch,
    planes: Sequence[int],
    search_sigma: float | None,
    progress: Progress,
    expected: ExpectedError | None,
) -> Iterator[Match]:
    total, done = len(planes) * (1 if search_sigma is None else 2), 0
    by_plane: dict[int, dict[int, CoarseMatch]] = {plane: {} for plane in planes}
    for match in kind(query, planes):
        on_plane, known = by_plane[match.plane], match.landmark in by_plane[match.plane]
        on_plane[match.landmark] = _with_click(query, match)
        yield _match(query, on_plane[match.landmark], "coarse", on_plane[match.landmark], expected)
        if not known and len(on_plane) == len(query.landmarks):
            done += 1
            _report(progress, done, total)
    if search_sigma is None:
        return
    if query.params.adapt is not None:
        query.learn_from(lessons(query))
    planes_of_matches = [list(on_plane.values()) for on_plane in by_plane.values()]
    for matches, refined in zip(planes_of_matches, refine_planes(query, planes_of_matches, search_sigma), strict=True):
        for coarse, match in zip(matches, refined, strict=True):
            yield _match(query, match, "fine", coarse, expected)
        done += 1
        _report(progress, done, total)


def _with_click(query: Query, match: CoarseMatch) -> CoarseMatch:
    """On the user's own point there is nothing to search."""
    click = query.click(match.landmark, match.plane)
    if click is None:
        return match
    return CoarseMatch(match.landmark, match.plane, click, 1.0, match.margin, "verified", point=match.point)


def _match(
    query: Query, match: CoarseMatch, stage: Stage, coarse: CoarseMatch, expected: ExpectedError | None
) -> Match:
    unit = "px" if query.source.spacing(match.plane) is None else "mm"
    likely = None
    if expected is not None and match.status in ("confident", "uncertain"):
        likely = expected.of(coarse, match if stage == "fine" else None)
    return Match(
        query.landmarks[match.landmark],
        match.plane,
        match.position,
        match.score,
        match.margin,
        match.status,
        stage,
        expected_error=likely,
        unit="mm" if unit == "mm" else "px",
        point=_within_image(query, match),
    )


def _within_image(query: Query, match: CoarseMatch) -> tuple[float, float, float] | None:
    """The match's point in space, its plane counted within its image."""
    if match.point is None:
        return None
    image = query.source.address(match.plane)[0]
    return match.point[0] - query.source.first_plane(image), match.point[1], match.point[2]


def _report(progress: Progress, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
