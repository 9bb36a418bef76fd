"""More like this: regions that look like clicked or outlined examples, and unlike counter-examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.logistic import Logistic, fit_logistic
from napari_ld.proposals.appearance import Basis, appearance, common_basis
from napari_ld.proposals.components import regions_of_mask
from napari_ld.proposals.evidence import PlaneEvidence, plane_evidence
from napari_ld.proposals.examples import Example
from napari_ld.proposals.job import Job
from napari_ld.proposals.linking import linked, numbered
from napari_ld.proposals.margins import margin_of, without_margin
from napari_ld.proposals.matched import Matched, contrasts, fit_matched
from napari_ld.proposals.outlines import outline_of
from napari_ld.proposals.regions import Region, Regions
from napari_ld.proposals.thresholds import best_dice_level, own_level

__all__ = ["ExampleModel", "LikeParams", "fit_examples", "propose_like_examples"]

Array = npt.NDArray[np.float32]

_PIXELS = 30_000  # of each kind, from all examples together
_PLANES = 6  # of one example
_NEGATIVE = 3.0  # weight of an outlined counter-example's pixel, against 1 for any other
_SURE = 25  # per cent of the positives; what scores above is not taken for a negative
_MATCHED_SMOOTHING = 0.7  # pixels
_IN_MARGIN = 0.05  # part of an example, or of the plane; with more in a black margin, that is searched like the rest
_SMALL_STEP = 768  # longest side in pixels at which large structures are scored


@dataclass(frozen=True, slots=True)
class LikeParams:
    """Settings of the search for more like the examples.

    Attributes
    ----------
    threshold : float
        On the calibrated score, between 0 and 1.
    components : int
        Principal components of the embedding that are used.
    ridge : float
        Penalty of the logistic regression.
    large : float
        Examples that cover more than this part of their plane are found where the searched plane itself divides; others
        at the level learned on the example, since small structures may be missing or many.
    small : float
        Clicked examples that cover less than this part of their plane are matched by their local contrasts alone: so
        few pixels teach no rule.
    """

    threshold: float = 0.5
    components: int = 32
    ridge: float = 0.2
    large: float = 0.01
    small: float = 0.002

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or self.components < 1 or not self.ridge > 0 or not 0 < self.large <= 1:
            raise ConfigError(
                f"{self}: expected a threshold between 0 and 1, at least 1 component, and a ridge above 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class ExampleModel:
    """What was learned from the examples.

    Attributes
    ----------
    basis : Basis
    rule : Logistic or Matched
    level : float
        Log-odds at which the examples are cut best.
    share : float
        Part of its plane that an example covers.
    area : float
        Usual size of a connected part of an example, as a part of its plane.
    framed : bool
        Whether black margins are left out; they are unless an example lies in one.
    params : LikeParams
    """

    basis: Basis
    rule: Logistic | Matched
    level: float
    share: float
    area: float
    framed: bool
    params: LikeParams

    def score(self, evidence: PlaneEvidence) -> Array:
        """Calibrated score of every pixel, ``(rows, columns)`` in [0, 1]; 0.5 is where examples are cut best.

        In a black margin it is 0, unless an example lies there.
        """
        if not self.framed:
            return self._score(evidence, np.zeros(evidence.shape, bool))
        margin = margin_of(evidence.channels)
        score = self._score(without_margin(evidence, margin), margin)
        score[margin] = 0
        return score

    def _score(self, evidence: PlaneEvidence, margin: npt.NDArray[np.bool_]) -> Array:
        if isinstance(self.rule, Matched):
            odds = ndimage.gaussian_filter(self.rule(contrasts(evidence)), _MATCHED_SMOOTHING)
            return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.float32)
        large = self.share > self.params.large
        step = max(1, -(-max(evidence.shape) // _SMALL_STEP)) if large else 1
        odds = self.rule(appearance(evidence, self.basis, step))
        odds = ndimage.gaussian_filter(odds, _smoothing(self.share, odds.shape))
        level = own_level(odds, self.level, self.share, ~margin[::step, ::step]) if large else self.level
        if step > 1:
            odds = _enlarged(odds, evidence.shape, step)
        return np.asarray(1 / (1 + np.exp(-np.clip(odds - level, -30, 30))), np.float32)


def fit_examples(
    examples: Sequence[Example],
    params: LikeParams | None = None,
    *,
    seed: int = 0,
    cancelled: Callable[[], bool] | None = None,
) -> ExampleModel:
    """Learn what tells the examples from the rest of their planes.

    Pixels outside the outlines are negatives. Around a clicked example they may hold more of the same, so those that
    score like it are left out and the rule is fitted once more.

    Parameters
    ----------
    examples : sequence of Example
        At least one positive.
    params : LikeParams, optional
    seed : int
        For the choice of pixels.
    cancelled : callable, optional

    Raises
    ------
    ConfigError
        Without a positive example, or when an example fills its planes, so that nothing tells it from the rest.
    """
    params = LikeParams() if params is None else params
    if not any(example.positive for example in examples):
        raise ConfigError("no positive example was given; click or outline at least one")
    marked = [_marked(*where, own, cancelled) for where, own in _by_plane(examples).items()]
    framed = all(one.can_be_framed() for one in marked)
    if framed:
        marked = [one.within_frame() for one in marked]
    basis = common_basis([one.evidence.embedding for one in marked], params.components)
    if (small := _small_click(examples, marked, params)) is not None:
        share = float(small.inside.mean())
        matched = fit_matched(contrasts(small.evidence), small.inside)
        return ExampleModel(basis, matched, 0.0, share, _usual_part(small.inside), framed, params)
    random = np.random.default_rng(seed)
    features, truth, weights = _samples(marked, basis, random)
    if truth.all() or not truth.any():
        raise ConfigError("the example fills its whole plane; outline a part of it, so that it differs from the rest")
    rule = fit_logistic(features, truth, _balanced_weights(truth, weights), params.ridge)
    if any(example.mask is None and example.positive for example in examples):
        odds = rule(features)
        kept = truth | (weights > 1) | (odds < np.percentile(odds[truth], _SURE))
        if (kept & ~truth).any():
            features, truth, weights = features[kept], truth[kept], weights[kept]
            rule = fit_logistic(features, truth, _balanced_weights(truth, weights), params.ridge)
    shares = [float(one.inside.mean()) for one in marked if one.inside.any()]
    level = _level(marked, basis, rule)
    smallest = min(_usual_part(one.inside) for one in marked if one.inside.any())
    return ExampleModel(basis, rule, level, float(np.mean(shares)), smallest, framed, params)


def _small_click(examples: Sequence[Example], marked: Sequence[_Marked], params: LikeParams) -> _Marked | None:
    """The plane of a single clicked example, if that is small."""
    alone = len(examples) == 1 and examples[0].mask is None
    return marked[0] if alone and float(marked[0].inside.mean()) < params.small else None


def propose_like_examples(job: Job) -> Iterator[list[Region]]:
    """Connected parts of every plane that score above the threshold, by their mean score."""
    params = job.params
    model = fit_examples(job.examples, params, seed=job.seed, cancelled=job.cancelled)
    for plane in job.planes:
        evidence = plane_evidence(job.source, plane, job.cancelled)
        yield regions_like(job.source, evidence, model)


def score_and_regions(
    source: FeatureSource, model: ExampleModel, scores: Array, *, stack_kind: str = "images"
) -> Regions:
    """Regions of all planes that look like the examples, and the score maps they come from.

    Parameters
    ----------
    source : FeatureSource
        Planes of one size.
    model : ExampleModel
    scores : (planes, rows, columns) float32 array
        Filled.
    stack_kind : {"images", "volume"}
        In a volume, regions that continue on the next slice become one.
    """
    batches = []
    for plane in range(source.n_planes):
        evidence = plane_evidence(source, plane)
        scores[plane] = model.score(evidence)
        batches.append(regions_of_score(source, evidence, scores[plane], model))
    joined = linked(batches) if stack_kind == "volume" else iter(batches)
    return numbered(source, joined)


def regions_like(source: FeatureSource, evidence: PlaneEvidence, model: ExampleModel) -> list[Region]:
    """Regions of one plane that look like the examples."""
    return regions_of_score(source, evidence, model.score(evidence), model)


def regions_of_score(source: FeatureSource, evidence: PlaneEvidence, score: Array, model: ExampleModel) -> list[Region]:
    """Connected parts of a score map (rows, columns) above the threshold; specks beside large examples are left out."""
    smallest = max(1, round(0.05 * model.area * score.size))
    chosen = ndimage.binary_fill_holes(score > model.params.threshold)
    return regions_of_mask(source, evidence, chosen, score, kind="like_examples", smallest=smallest)


@dataclass(frozen=True, slots=True, eq=False)
class _Marked:
    """One plane with examples: what lies inside positive ones, inside negative ones, and in the black margin."""

    evidence: PlaneEvidence
    inside: npt.NDArray[np.bool_]
    counter: npt.NDArray[np.bool_]
    margin: npt.NDArray[np.bool_]

    def can_be_framed(self) -> bool:
        """Whether the examples lie beside the black margin, and other pixels too."""
        marks = self.inside | self.counter
        return float(self.margin[marks].mean()) <= _IN_MARGIN and float((~marks & ~self.margin).mean()) > _IN_MARGIN

    def within_frame(self) -> _Marked:
        """The same without the margin."""
        return _Marked(
            without_margin(self.evidence, self.margin),
            self.inside & ~self.margin,
            self.counter & ~self.margin,
            self.margin,
        )


def _by_plane(examples: Sequence[Example]) -> dict[tuple[FeatureSource, int], list[Example]]:
    """Examples by source and plane; of an outline over many planes the largest parts."""
    found: dict[tuple[FeatureSource, int], list[Example]] = defaultdict(list)
    for example in examples:
        planes: Sequence[int] = [example.plane]
        if example.mask is not None:
            mask = example.mask
            planes = sorted(mask.planes, key=lambda plane: (-mask.on_plane(plane).area, plane))[:_PLANES]
        for plane in sorted(planes):
            found[example.source, plane].append(example)
    return found


def _marked(
    source: FeatureSource, plane: int, examples: Sequence[Example], cancelled: Callable[[], bool] | None
) -> _Marked:
    evidence = plane_evidence(source, plane, cancelled)
    inside, counter = (np.zeros(evidence.shape, bool) for _ in range(2))
    for example in examples:
        if example.mask is not None:
            outline = example.mask.to_array(plane)
        else:
            outline = outline_of(evidence, example.position or (0.0, 0.0))
        target = inside if example.positive else counter
        target |= outline
    return _Marked(evidence, inside & ~counter, counter, margin_of(evidence.channels))


def _samples(
    marked: Sequence[_Marked], basis: Basis, random: np.random.Generator
) -> tuple[Array, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Features, truth and weights of pixels inside and outside."""
    features, truth, weights = [], [], []
    each = max(500, _PIXELS // len(marked))
    for one in marked:
        pixels = appearance(one.evidence, basis).reshape(one.inside.size, -1)
        inside, counter, margin = (part.reshape(-1) for part in (one.inside, one.counter, one.margin))
        outside = ~inside & ~counter & ~margin if inside.any() else np.zeros_like(inside)
        for where, positive, weight in ((inside, True, 1.0), (outside, False, 1.0), (counter, False, _NEGATIVE)):
            places = np.flatnonzero(where)
            if len(places) > each:
                places = np.sort(random.choice(places, each, replace=False))
            features.append(pixels[places])
            truth.append(np.full(len(places), positive))
            weights.append(np.full(len(places), weight))
    return np.concatenate(features), np.concatenate(truth), np.concatenate(weights)


def _balanced_weights(truth: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights by which both sides count equally."""
    sums = weights[truth].sum(), weights[~truth].sum()
    return np.asarray(np.where(truth, 0.5 / sums[0], 0.5 / sums[1]) * weights, np.float64)


def _level(marked: Sequence[_Marked], basis: Basis, rule: Logistic) -> float:
    """Log-odds at which the positive examples are cut best, over their planes together."""
    odds, truth = [], []
    for one in marked:
        if one.inside.any():
            smooth = rule(appearance(one.evidence, basis))
            odds.append(ndimage.gaussian_filter(smooth, _smoothing(float(one.inside.mean()), smooth.shape)).reshape(-1))
            truth.append(one.inside.reshape(-1))
    return best_dice_level(np.concatenate(odds), np.concatenate(truth))


def _usual_part(inside: npt.NDArray[np.bool_]) -> float:
    """Median size of the connected parts of a mask, as a part of the plane."""
    labels, count = ndimage.label(inside, np.ones((3, 3), int))
    return float(np.median(np.bincount(labels.reshape(-1), minlength=count + 1)[1:]) / inside.size)


def _smoothing(share: float, shape: tuple[int, ...]) -> float:
    """Sigma in pixels by which odds are smoothed: a tenth of the example's radius, at most a hundredth of the plane."""
    radius = float(np.sqrt(share * shape[0] * shape[1] / np.pi))
    return min(0.1 * radius, max(shape) / 100)


def _enlarged(odds: Array, shape: tuple[int, int], step: int) -> Array:
    """Every pixel's value from those of every ``step``-th row and column."""
    rows, columns = (
        np.minimum(np.arange(side) / step, known - 1) for side, known in zip(shape, odds.shape, strict=True)
    )
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(odds, grid, order=1, mode="nearest"), np.float32)
