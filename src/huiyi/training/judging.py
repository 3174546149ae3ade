"""A system's answers on a file, judged: scores of pairs, rankings, features of texts become figures with their intervals.

Whatever is chosen (thresholds, curves, classifiers) is learned from other rows than those it is reported on. Rows come in an order of the
caller's; one that depends on the texts alone makes every figure independent of the file's order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.training.bootstrap import Estimate, Resampled, resampled
from huiyi.training.calibration import Aim, Calibration, fit, judge_by_folds, threshold_estimate
from huiyi.training.evaluate import (
    classification_statistics,
    clustering_scores,
    pair_statistics,
    retrieval_statistics,
    score_statistics,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RECALL_AT = (1, 5, 10, 100)
FOLDS = 5
STRENGTHS = (1.0, 10.0, 100.0)  # inverse regularisation of the logistic regression, chosen on training rows
TRIED = 2000
HALVES = 100  # half-samples of a clustering


@dataclass(frozen=True, eq=False)
class Learned:
    """Scored pairs that are not the reported ones."""

    scores: Floats
    labels: Ints


@dataclass(frozen=True, eq=False)
class JudgedPairs:
    """figures: see `pair_statistics`. threshold, calibration: for other pairs than these; where the reported ones were judged by folds
    they are learned from all of these. predicted, probabilities: [n], of the reported pairs, by what was learned elsewhere."""

    figures: Resampled
    scores: Floats
    predicted: Ints
    probabilities: Floats
    threshold: Estimate
    calibration: Calibration


def judge_pairs(scores: ArrayLike, labels: ArrayLike, *, learned: Learned | None, folds: ArrayLike, aim: Aim = "accuracy") -> JudgedPairs:
    """n scored pairs with labels 0 and 1, by the threshold and curve of `learned`, or by folds where that is None."""
    score, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    source = learned or Learned(score, truth)
    calibration = fit(source.scores, source.labels, aim)
    if learned:
        predicted, probabilities = calibration.same(score), calibration.probability(score)
    else:
        judged = judge_by_folds(score, truth, folds, aim)
        predicted, probabilities = judged.predicted, judged.probabilities
    figures = resampled(pair_statistics(score, truth, predicted, probabilities), len(score))
    threshold = threshold_estimate(source.scores, source.labels, aim)
    return JudgedPairs(figures, score, predicted, probabilities, threshold, calibration)


@dataclass(frozen=True, eq=False)
class JudgedScores:
    figures: Resampled
    scores: Floats


def judge_scores(scores: ArrayLike, wanted: ArrayLike) -> JudgedScores:
    """spearman and pearson."""
    values = np.asarray(scores, np.float64)
    return JudgedScores(resampled(score_statistics(values, wanted), len(values)), values)


@dataclass(frozen=True, eq=False)
class JudgedRankings:
    """first: the rank of the first relevant passage of each query, None where it is not among the ranked."""

    figures: Resampled
    first: tuple[int | None, ...]


def judge_rankings(ranked: Sequence[Sequence[int]] | Ints, relevant: Sequence[dict[int, float]]) -> JudgedRankings:
    """ndcg@10, mrr@10, recall@1, 5, 10 and 100; queries are what is drawn again. Arguments as of `retrieval_statistics`."""
    first = [
        next((rank for rank, place in enumerate(each, 1) if place in gains), None) for each, gains in zip(ranked, relevant, strict=True)
    ]
    return JudgedRankings(resampled(retrieval_statistics(ranked, relevant, RECALL_AT), len(relevant)), tuple(first))


def best_places(scores: Floats, depth: int) -> Ints:
    """[queries, depth]: places of the highest of each row, best first; of equal scores the lower place first."""
    depth = min(depth, scores.shape[1])
    return np.argsort(-scores, axis=1, kind="stable")[:, :depth]


@dataclass(frozen=True, eq=False)
class JudgedClasses:
    """predicted: the class of each text. sure: [n], the probability that was given to the true class (0 for one never seen)."""

    figures: Resampled
    predicted: tuple[str, ...]
    sure: Floats


def judge_classes(features: Any, labels: Sequence[str], *, learned: tuple[Any, Any] | None, folds: ArrayLike) -> JudgedClasses:
    """A logistic regression on features (dense or sparse, [n, d]), learned from `learned` (features, labels), or by folds."""
    truth = np.asarray(labels, dtype=object)
    if learned:
        predicted, sure = _classify(*learned, features, truth)
    else:
        predicted, sure = np.empty(len(truth), dtype=object), np.zeros(len(truth))
        fold = np.asarray(folds, np.int64)
        for number in np.unique(fold):
            here, there = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            predicted[here], sure[here] = _classify(features[there], truth[there], features[here], truth[here])
    answers = tuple(map(str, predicted))
    return JudgedClasses(resampled(classification_statistics(labels, answers), len(truth)), answers, sure)


def _classify(features: Any, labels: Any, new: Any, truth: Any) -> tuple[Any, Floats]:
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise InvalidInput("classification needs training texts of two classes at least; name a file of them with --train")
    model = _regression(_strength(features, codes)).fit(features, codes)
    chances = model.predict_proba(new)
    column = {name: place for place, name in enumerate(names)}
    sure = np.array([chances[row, column[name]] if name in column else 0.0 for row, name in enumerate(truth)])
    return names[np.argmax(chances, axis=1)], sure


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=200, tol=1e-3)


def _strength(features: Any, codes: Ints) -> float:
    """The best of STRENGTHS on a fifth of at most TRIED training rows, learned from the rest of them."""
    tried = np.linspace(0, len(codes) - 1, min(TRIED, len(codes))).astype(np.int64)
    features, codes = features[tried], codes[tried]
    held = np.arange(len(codes)) % FOLDS == 0
    if len(np.unique(codes[~held])) < 2:
        return STRENGTHS[0]
    quality = [_regression(strength).fit(features[~held], codes[~held]).score(features[held], codes[held]) for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(quality))]


@dataclass(frozen=True, eq=False)
class JudgedClusters:
    figures: Resampled
    clusters: Ints


def judge_clusters(features: Any, labels: Sequence[str], seed: int = 0) -> JudgedClusters:
    """k-means, told the number of classes: ari, ami and v_measure. Rows of unit length, so that distances are cosines."""
    from sklearn.cluster import KMeans

    count = len(set(labels))
    clusters = KMeans(count, n_init=10, random_state=seed).fit_predict(features).astype(np.int64)
    return JudgedClusters(clustering_figures(labels, clusters, seed), clusters)


def clustering_figures(labels: Sequence[str], clusters: ArrayLike, seed: int = 0) -> Resampled:
    """The scores of an assignment, resampled by half-samples without replacement, moved to lie about the score.

    Rows drawn twice would agree with themselves and raise every score of pairs; a half drawn without replacement varies as a whole sample
    drawn with it does.
    """
    names, assigned = np.asarray(labels, dtype=object), np.asarray(clusters, np.int64)
    whole = clustering_scores(list(names), list(assigned))
    random = np.random.default_rng(seed)
    halves = [random.permutation(len(names))[: max(1, len(names) // 2)] for _ in range(HALVES)]
    samples = [clustering_scores(list(names[half]), list(assigned[half])) for half in halves]
    spread = {name: np.array([sample[name] for sample in samples]) for name in whole}
    return Resampled(whole, {name: value + spread[name] - spread[name].mean() for name, value in whole.items()})
