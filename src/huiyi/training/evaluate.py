"""Metrics of pairs, retrieval, classification and clustering, on arrays; texts, models and files are other people's.

Every metric is written for weights (how often each row counts), because that makes a bootstrap of 1,000 resamples a few matrix operations;
with weights of one they are scikit-learn's. A figure that does not exist (an AUC of one class) is nan.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.training.bootstrap import Statistics, Values, Weights

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
Groups = NDArray[np.int64]


def pair_statistics(scores: ArrayLike, labels: ArrayLike, predicted: ArrayLike, probabilities: ArrayLike) -> Statistics:
    """accuracy, f1, f1_weighted, precision, recall, average_precision, auc, spearman and brier of n pairs.

    scores: higher is more alike. labels, predicted: 0 or 1. probabilities: of the label being 1, for brier (its mean squared error).
    """
    score, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    guess, chance = np.asarray(predicted, np.int64), np.asarray(probabilities, np.float64)
    cells = np.stack([truth & guess, (1 - truth) & guess, truth & (1 - guess), (1 - truth) & (1 - guess)], axis=1).astype(np.float64)
    errors = (chance - truth) ** 2
    ranking = _Ranking(score, truth)
    correlation = rank_correlation(score, truth)

    def statistics(weights: Weights) -> dict[str, Values]:
        total = weights.sum(axis=1)
        hit, false, missed, rest = (weights @ cells).T
        f1 = _ratio(2 * hit, 2 * hit + false + missed)
        f1_of_zero = _ratio(2 * rest, 2 * rest + false + missed)
        return {
            "accuracy": (hit + rest) / total,
            "f1": f1,
            "f1_weighted": ((hit + missed) * f1 + (rest + false) * f1_of_zero) / total,
            "precision": _ratio(hit, hit + false),
            "recall": _ratio(hit, hit + missed),
            **ranking(weights),
            **correlation(weights),
            "brier": weights @ errors / total,
        }

    return statistics


def score_statistics(scores: ArrayLike, wanted: ArrayLike) -> Statistics:
    """spearman and pearson of n scores with the wanted ones."""
    score, truth = np.asarray(scores, np.float64), np.asarray(wanted, np.float64)
    correlation = rank_correlation(score, truth)
    # moments about the middle: raw ones would lose digits where all values lie close together
    x, y = score - score.mean(), truth - truth.mean()

    def statistics(weights: Weights) -> dict[str, Values]:
        means = weights @ np.stack([x, y, x * y, x * x, y * y], axis=1) / weights.sum(axis=1, keepdims=True)
        mx, my, xy, xx, yy = means.T
        return {**correlation(weights), "pearson": _ratio(xy - mx * my, np.sqrt(np.clip((xx - mx**2) * (yy - my**2), 0, None)), np.nan)}

    return statistics


class _Ranking:
    """average_precision and auc: what depends on the order of the scores alone. Equal scores are one step."""

    def __init__(self, scores: Scores, labels: Labels) -> None:
        self._order, self._starts = _steps(scores)
        self._labels = labels[self._order].astype(np.float64)

    def __call__(self, weights: Weights) -> dict[str, Values]:
        ordered = weights[:, self._order]
        ones = np.add.reduceat(ordered * self._labels, self._starts, axis=1)
        zeros = np.add.reduceat(ordered * (1 - self._labels), self._starts, axis=1)
        all_ones, all_zeros = ones.sum(axis=1), zeros.sum(axis=1)
        zeros_below = np.cumsum(zeros, axis=1) - zeros
        auc = _ratio((ones * (zeros_below + zeros / 2)).sum(axis=1), all_ones * all_zeros, np.nan)
        ones_above = all_ones[:, None] - np.cumsum(ones, axis=1) + ones
        zeros_above = all_zeros[:, None] - zeros_below
        precision = _ratio(ones_above, ones_above + zeros_above)
        return {"average_precision": _ratio((ones * precision).sum(axis=1), all_ones, np.nan), "auc": auc}


def rank_correlation(scores: ArrayLike, wanted: ArrayLike) -> Statistics:
    """spearman: Pearson's correlation of ranks, equal values sharing the mean of theirs."""
    ranks = [_Ranks(np.asarray(values, np.float64)) for values in (scores, wanted)]

    def statistics(weights: Weights) -> dict[str, Values]:
        middle = (weights.sum(axis=1, keepdims=True) + 1) / 2
        a, b = (rank(weights) - middle for rank in ranks)
        across, aa, bb = ((weights * left * right).sum(axis=1) for left, right in ((a, b), (a, a), (b, b)))
        return {"spearman": _ratio(across, np.sqrt(aa * bb), np.nan)}

    return statistics


class _Ranks:
    """The rank of every row in each resample, 1 for the least."""

    def __init__(self, values: Scores) -> None:
        self._order, self._starts = _steps(values)
        step = np.zeros(len(values), np.int64)
        step[self._starts[1:]] = 1
        self._step_of = np.empty(len(values), np.int64)
        self._step_of[self._order] = np.cumsum(step)

    def __call__(self, weights: Weights) -> Weights:
        count = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        ranks: Weights = np.cumsum(count, axis=1) - (count - 1) / 2
        return ranks[:, self._step_of]


def _steps(values: Scores) -> tuple[Groups, Groups]:
    """The order of `values`, and where in it each group of equal ones begins."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])


def retrieval_statistics(
    ranked: Sequence[Sequence[int]] | Groups, relevant: Sequence[dict[int, float]], recall_at: Sequence[int]
) -> Statistics:
    """ndcg@10, mrr@10 and recall@k, means over queries.

    ranked: places of passages, best first, at least max(10, k) or all. relevant: place of passage to its gain (> 0), one dict a query.
    nDCG with linear gains and log2 discounts (Järvelin and Kekäläinen 2002), as TREC's.
    """
    names = ["ndcg@10", "mrr@10", *(f"recall@{k}" for k in recall_at)]
    rows = np.array([_of_query(places, gains, recall_at) for places, gains in zip(ranked, relevant, strict=True)])
    return mean_statistics(dict(zip(names, rows.T, strict=True)))


def _of_query(places: Sequence[int] | Groups, gains: dict[int, float], recall_at: Sequence[int]) -> list[float]:
    discounts = 1 / np.log2(np.arange(2, 12))
    gained = [gains.get(int(place), 0.0) for place in places]
    ideal = sorted(gains.values(), reverse=True)[:10]
    ndcg = float(np.dot(gained[:10], discounts[: len(gained[:10])]) / np.dot(ideal, discounts[: len(ideal)]))
    first = next((rank for rank, gain in enumerate(gained[:10], 1) if gain > 0), None)
    found = np.cumsum([gain > 0 for gain in gained])
    return [ndcg, 1 / first if first else 0.0, *(float(found[min(k, len(found)) - 1]) / len(gains) for k in recall_at)]


def mean_statistics(columns: dict[str, Values]) -> Statistics:
    """Means over rows."""
    stacked = np.stack(list(columns.values()), axis=1)
    return lambda weights: dict(zip(columns, (weights @ stacked / weights.sum(axis=1, keepdims=True)).T, strict=True))


def classification_statistics(labels: Sequence[str], predicted: Sequence[str]) -> Statistics:
    """accuracy and f1_macro (the mean F1 of the classes that stand in `labels` or `predicted`), as scikit-learn's."""
    names, codes = np.unique([*labels, *predicted], return_inverse=True)
    truth, guess = codes[: len(labels)], codes[len(labels) :]
    one_hot = np.eye(len(names))
    columns = np.hstack([(truth == guess)[:, None], one_hot[truth] * (truth == guess)[:, None], one_hot[truth], one_hot[guess]])

    def statistics(weights: Weights) -> dict[str, Values]:
        sums = weights @ columns
        hit, true, guessed = np.split(sums[:, 1:], 3, axis=1)
        there = (true + guessed) > 0
        f1 = _ratio(2 * hit, true + guessed)
        return {"accuracy": sums[:, 0] / weights.sum(axis=1), "f1_macro": f1.sum(axis=1) / there.sum(axis=1)}

    return statistics


def clustering_scores(labels: Sequence[str], clusters: Sequence[int]) -> dict[str, float]:
    """ari, ami and v_measure of an assignment."""
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, v_measure_score

    scores = {"ari": adjusted_rand_score, "ami": adjusted_mutual_info_score, "v_measure": v_measure_score}
    return {name: float(score(labels, clusters)) for name, score in scores.items()}


def roc(scores: ArrayLike, labels: ArrayLike, points: int = 101) -> dict[str, list[float]]:
    """The ROC curve at `points` even steps of the share of false alarms: `false` and `true`, for a picture."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(labels, scores)
    at = np.linspace(0, 1, points)
    return {"false": at.tolist(), "true": np.interp(at, false, true).tolist()}


def shares_below(values: ArrayLike) -> Scores:
    """For each value the share of values below it, equal ones counted half: what makes scores on two scales comparable."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 0.5) / len(np.asarray(values)))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], otherwise: float = 0.0) -> NDArray[np.float64]:
    """above / below, and `otherwise` where below is 0."""
    quotient = np.full(np.broadcast(above, below).shape, otherwise)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient
