"""More like this: regions that look like clicked or outlined examples, and unlike counter-examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.logistic import Logistic, fit_logistic
from napari_ld.proposals.appearance import Basis, appearance, common_basis
from napari_ld.proposals.components import mean_vector, regions_of_mask
from napari_ld.proposals.dividing import Expected, border_of, divided, fitted_to
from napari_ld.proposals.evidence import PlaneEvidence, plane_evidence
from napari_ld.proposals.examples import Example
from napari_ld.proposals.job import Job
from napari_ld.proposals.linking import linked, numbered
from napari_ld.proposals.margins import margin_of, without_margin
from napari_ld.proposals.marked import Marked, by_plane, marked_plane
from napari_ld.proposals.regions import Region, Regions
from napari_ld.proposals.spots import Spots, fit_spots
from napari_ld.proposals.thresholds import best_dice_level
from napari_ld.proposals.wholes import candidates_of, likeliest

__all__ = ["ExampleModel", "LikeParams", "fit_examples", "propose_like_examples"]

Array = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]

_PIXELS = 30_000  # of each kind, from all examples together
_NEGATIVE = 3.0  # weight of an outlined counter-example's pixel, against 1 for any other
_SURE = 25  # per cent of the positives; what scores above is not taken for a negative
_LARGE_SIDE = 256  # longest side in pixels at which large structures are scored
_LEVEL_SPREAD = 6.0  # log-odds by which the level of another plane may differ from that of the example
_STEERED_SPREAD = 1.5  # the same with counter-examples: a person says where the line is
_OWN_SPREAD = 3.0  # the same once the rule is the plane's own
_OWN_GAIN = np.float32(3.0)  # its log-odds are shrunk by the ridge; they are stretched to be as sure as the examples'
_OWN_SMOOTHING = 1 / 128  # sigma, as a part of the longest side, of the odds of the plane's own rule
_SPECK = 0.05  # of the usual part of the examples: what is smaller is left out
_SPECKS_AT_MOST = 0.002  # part of the plane: of a large example small ones are still found
_LEAST_PART = 0.5  # value of a part, against the best one, from which on it is kept beside an example of one part


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
        Examples that cover more than this part of their plane are found where the searched plane itself divides, first
        by the rule of the examples and then by one of its own; others at the level learned on the example, since small
        structures may be missing or many.
    single : bool
        Each plane holds one structure that is connected, as those of the outlined examples do: of the nested regions of
        each plane the likeliest is proposed, whatever its score.
    small : float
        Clicked examples that cover less than this part of their plane are found by their local contrasts alone: so few
        pixels teach no rule.
    """

    threshold: float = 0.5
    components: int = 32
    ridge: float = 0.2
    large: float = 0.01
    small: float = 0.002
    single: bool = False

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
    rule : Logistic or Spots
    level : float
        Log-odds at which the examples are cut best.
    share : float
        Part of its plane that an example covers.
    area : float
        Usual size of a connected part of an example, as a part of its plane.
    evenness : float
        Median size of the connected parts of the examples, relative to the largest of the same plane.
    border : float
        Part of the border of its plane that an example takes, at most.
    steered : bool
        Whether there are counter-examples; then planes have no rule of their own.
    vector : (D,) float32 array
        Mean embedding of the examples, of unit length.
    framed : bool
        Whether black margins are left out; they are unless an example lies in one.
    params : LikeParams
    """

    basis: Basis
    rule: Logistic | Spots
    level: float
    share: float
    area: float
    evenness: float
    border: float
    steered: bool
    vector: Array
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

    def whole(self, evidence: PlaneEvidence) -> tuple[BoolMask, float] | None:
        """The one region of a plane that is most like the examples, and how likely it is that in [0, 1].

        None where no region has a fitting size, or where a small clicked spot was the example.
        """
        if not isinstance(self.rule, Logistic):
            return None
        margin = margin_of(evidence.channels) if self.framed else np.zeros(evidence.shape, bool)
        painted = without_margin(evidence, margin)
        odds = self.rule(appearance(painted, self.basis))
        odds = ndimage.gaussian_filter(odds, _smoothing(self.share, odds.shape))
        return likeliest(candidates_of(painted, odds, margin), self.share, self.border, self.vector)

    def _score(self, evidence: PlaneEvidence, margin: BoolMask) -> Array:
        if isinstance(self.rule, Spots):
            odds = self.rule(evidence, ~margin)
        elif self.share > self.params.large:
            odds = self._large(evidence, margin, self.rule)
        else:
            odds = self.rule(appearance(evidence, self.basis))
            odds = ndimage.gaussian_filter(odds, _smoothing(self.share, odds.shape)) - np.float32(self.level)
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.float32)

    def _large(self, evidence: PlaneEvidence, margin: BoolMask, rule: Logistic) -> Array:
        """Log-odds of a large structure: the plane divided by the examples' rule, then by its own."""
        step = max(1, -(-max(evidence.shape) // _LARGE_SIDE))
        features, within = appearance(evidence, self.basis, step), ~margin[::step, ::step]
        odds = rule(features)
        odds = ndimage.gaussian_filter(odds, _smoothing(self.share, odds.shape))
        least = _LEAST_PART * self.evenness
        spread = _STEERED_SPREAD if self.steered else _LEVEL_SPREAD
        found = divided(odds, Expected(self.level, spread, self.share, least, self.border), within)
        if found is None:
            return _enlarged(odds - np.float32(self.level), evidence.shape, step)
        centred = found.centred(odds)
        own = None if self.steered else fitted_to(features, found.mask, within)
        if own is not None:
            own = ndimage.gaussian_filter(own, _OWN_SMOOTHING * max(own.shape))
            expected = Expected(0.0, _OWN_SPREAD, float(found.mask.mean()), least, self.border)
            again = divided(own, expected, within)
            centred = centred if again is None else _OWN_GAIN * again.centred(own)
        return _enlarged(centred, evidence.shape, step)


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
    marked = [marked_plane(*where, own, cancelled) for where, own in by_plane(examples).items()]
    framed = all(one.can_be_framed() for one in marked)
    if framed:
        marked = [one.within_frame() for one in marked]
    basis = common_basis([one.evidence.embedding for one in marked], params.components)
    if (small := _small_click(examples, marked, params)) is not None:
        share = float(small.inside.mean())
        spots = fit_spots(small.evidence, small.inside, ~small.margin)
        area, vector = _usual_part(small.inside), _mean_of(marked)
        return ExampleModel(basis, spots, 0.0, share, area, 1.0, 0.0, False, vector, framed, params)
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
    evenness = min(_evenness(one.inside) for one in marked if one.inside.any())
    steered = any(not example.positive for example in examples)
    border = max(float(border_of(one.inside).mean()) for one in marked)
    share = float(np.mean(shares))
    vector = _mean_of(marked)
    return ExampleModel(basis, rule, level, share, smallest, evenness, border, steered, vector, framed, params)


def _mean_of(marked: Sequence[Marked]) -> Array:
    """Mean embedding of all examples, of unit length."""
    vectors = [mean_vector(one.evidence, np.flatnonzero(one.inside)) for one in marked if one.inside.any()]
    mean = np.mean(vectors, axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-10), np.float32)


def _small_click(examples: Sequence[Example], marked: Sequence[Marked], params: LikeParams) -> Marked | None:
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
    """Connected parts of a score map (rows, columns) above the threshold; specks beside large examples are left out.

    Of single structures one region is given.
    """
    if model.params.single and (found := model.whole(evidence)) is not None:
        sure = np.full(score.shape, found[1], np.float32)
        return regions_of_mask(source, evidence, ndimage.binary_fill_holes(found[0]), sure, kind="like_examples")
    smallest = max(1, round(min(_SPECK * model.area, _SPECKS_AT_MOST) * score.size))
    chosen = ndimage.binary_fill_holes(score > model.params.threshold)
    return regions_of_mask(source, evidence, chosen, score, kind="like_examples", smallest=smallest)


def _samples(
    marked: Sequence[Marked], basis: Basis, random: np.random.Generator
) -> tuple[Array, BoolMask, npt.NDArray[np.float64]]:
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


def _balanced_weights(truth: BoolMask, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights by which both sides count equally."""
    sums = weights[truth].sum(), weights[~truth].sum()
    return np.asarray(np.where(truth, 0.5 / sums[0], 0.5 / sums[1]) * weights, np.float64)


def _level(marked: Sequence[Marked], basis: Basis, rule: Logistic) -> float:
    """Log-odds at which the positive examples are cut best, over their planes together."""
    odds, truth = [], []
    for one in marked:
        if one.inside.any():
            smooth = rule(appearance(one.evidence, basis))
            odds.append(ndimage.gaussian_filter(smooth, _smoothing(float(one.inside.mean()), smooth.shape)).reshape(-1))
            truth.append(one.inside.reshape(-1))
    return best_dice_level(np.concatenate(odds), np.concatenate(truth))


def _usual_part(inside: BoolMask) -> float:
    """Median size of the connected parts of a mask, as a part of the plane."""
    return float(np.median(_part_sizes(inside)) / inside.size)


def _evenness(inside: BoolMask) -> float:
    """Median size of the connected parts of a mask, relative to the largest."""
    sizes = _part_sizes(inside)
    return float(np.median(sizes) / sizes.max())


def _part_sizes(inside: BoolMask) -> npt.NDArray[np.int64]:
    labels, count = ndimage.label(inside, np.ones((3, 3), int))
    return np.bincount(labels.reshape(-1), minlength=count + 1)[1:]


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
