"""From a score to a decision and a probability: a threshold and a curve, both learned from pairs that are not the ones reported.

Either from pairs of their own (`fit`), or, where there are none, by folds (`judge_by_folds`): every pair is judged by what the other folds
say. A fold is told from the pair itself, so that equal pairs share one and the order of rows changes nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.training.bootstrap import Estimate, Values, draws, interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Aim = Literal["accuracy", "f1"]

FOLDS = 5
# scikit-learn's documentation warns of isotonic regression well below 1,000 rows; it needs enough of the rarer label besides.
ISOTONIC_ROWS, ISOTONIC_EACH = 1000, 200
ISOTONIC_BIN = 25


@dataclass(frozen=True)
class Calibration:
    """What a score means: at `threshold` and above two texts are taken for the same.

    method: isotonic (the probability is interpolated between the points scores[i] -> probabilities[i]) or platt
    (1 / (1 + exp(-(slope * score + intercept))), Platt 1999). space: of the vectors that the scores come from.
    """

    threshold: float
    aim: Aim
    method: Literal["isotonic", "platt"]
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    slope: float = 0.0
    intercept: float = 0.0
    model: str = ""
    space: str = ""
    adapter: str | None = None
    learned_from: str = ""
    digest: str = ""
    pairs: int = 0

    def probability(self, scores: ArrayLike) -> Floats:
        """Of two texts being the same, for each score; never falls as the score rises."""
        values = np.asarray(scores, np.float64)
        if self.method == "isotonic":
            return np.interp(values, self.scores, self.probabilities)
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * values + self.intercept, -700, 700))))

    def same(self, scores: ArrayLike) -> Ints:
        return (np.asarray(scores, np.float64) >= self.threshold).astype(np.int64)

    def to_json(self) -> str:
        return json.dumps({"huiyi": "calibration", **asdict(self)}, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, name: str) -> "Calibration":
        """InvalidInput when `text`, of the file `name`, is not what `to_json` wrote."""
        try:
            found: dict[str, Any] = json.loads(text)
            if found.pop("huiyi") != "calibration":
                raise ValueError("it is something else")
            made = cls(**found | {key: tuple(map(float, found[key])) for key in ("scores", "probabilities")})
            finite = np.isfinite([made.threshold, made.slope, made.intercept, *made.scores, *made.probabilities]).all()
            rises = np.all(np.diff(made.scores) >= 0) and np.all(np.diff(made.probabilities) >= 0) and made.slope >= 0
            fits = len(made.scores) == len(made.probabilities) and (made.method == "platt" or (made.method == "isotonic" and made.scores))
            if not (finite and rises and fits):
                raise ValueError("its curve is damaged")
            return made
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            way_out = "`huiyi evaluate pairs FILE --save-calibration OUT` writes one"
            raise InvalidInput(f"{name} is not a calibration ({error}); {way_out}") from error


def fit(scores: ArrayLike, labels: ArrayLike, aim: Aim = "accuracy", about: Mapping[str, Any] | None = None) -> Calibration:
    """Threshold and curve of n scored pairs with labels 0 and 1, both of which must occur. about: other fields of the result."""
    score, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    ones = int(truth.sum())
    if not 0 < ones < len(truth):
        raise InvalidInput(f"a threshold needs pairs with label 0 and with label 1; all {len(truth):,} have label {int(ones > 0)}")
    threshold = best_threshold(score, truth, aim)
    fields: dict[str, Any] = {"threshold": threshold, "aim": aim, "pairs": len(truth), **(about or {})}
    if len(truth) >= ISOTONIC_ROWS and min(ones, len(truth) - ones) >= ISOTONIC_EACH:
        return Calibration(method="isotonic", **_isotonic(score, truth), **fields)
    return Calibration(method="platt", **_platt(score, truth), **fields)


def _isotonic(score: Floats, truth: Ints) -> dict[str, Any]:
    """Steps of ISOTONIC_BIN rows at least, each at the share of label 1 by Laplace's rule: a few pairs that agree make nobody certain."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(score, kind="stable")
    bins = np.array_split(order, len(order) // ISOTONIC_BIN)
    middles = np.array([score[rows].mean() for rows in bins])
    ones, rows = (np.array([each.sum() for each in counted]) for counted in ([truth[at] for at in bins], [np.ones(len(at)) for at in bins]))
    level = IsotonicRegression().fit(middles, ones / rows, sample_weight=rows).predict(middles)
    starts = np.flatnonzero(np.r_[True, np.diff(level) > 0])
    shares = np.maximum.accumulate((np.add.reduceat(ones, starts) + 1) / (np.add.reduceat(rows, starts) + 2))
    ends = np.r_[starts[1:] - 1, len(level) - 1]
    return {
        "scores": tuple(np.stack([middles[starts], middles[ends]], axis=1).ravel().tolist()),
        "probabilities": tuple(np.repeat(shares, 2).tolist()),
    }


def _platt(score: Floats, truth: Ints) -> dict[str, Any]:
    """A logistic curve of the score to Platt's smoothed targets; one that would fall is flat at the base rate."""
    from scipy.optimize import minimize
    from scipy.special import expit

    ones, zeros = int(truth.sum()), int((1 - truth).sum())
    target = np.where(truth == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    middle, spread = float(score.mean()), float(score.std()) or 1.0
    rows = np.stack([(score - middle) / spread, np.ones(len(score))], axis=1)

    def loss(line: Floats) -> tuple[float, Floats]:
        """Cross entropy and its gradient."""
        logit = rows @ line
        return float(np.mean(np.logaddexp(0, logit) - target * logit)), rows.T @ (expit(logit) - target) / len(score)

    steep, height = minimize(loss, np.zeros(2), jac=True, method="BFGS").x.tolist()
    if steep <= 0:
        return {"slope": 0.0, "intercept": float(np.log(target.mean() / (1 - target.mean())))}
    return {"slope": steep / spread, "intercept": height - steep * middle / spread}


def best_threshold(scores: Floats, labels: Ints, aim: Aim = "accuracy") -> float:
    """Midway between two neighbouring scores, or beside the outermost, where `aim` is highest; of equals the lowest."""
    return float(_thresholds(scores, labels, aim, np.ones((1, len(scores))))[0])


def threshold_estimate(scores: ArrayLike, labels: ArrayLike, aim: Aim = "accuracy", resamples: int = 200, seed: int = 0) -> Estimate:
    """The threshold, and how far it moves when the pairs it is learned from are drawn again."""
    score, truth = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    value = best_threshold(score, truth, aim)
    samples = np.concatenate([_thresholds(score, truth, aim, weights) for weights in draws(len(score), resamples, seed)])
    return Estimate(value, interval(value, samples))


def _thresholds(scores: Floats, labels: Ints, aim: Aim, weights: Floats) -> Values:
    order = np.argsort(scores, kind="stable")
    ordered, ones = scores[order], (weights * labels)[:, order]
    zeros = weights[:, order] - ones
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    # cut k: everything from the k-th distinct score on is taken for the same; the last cut takes nothing
    below_ones, below_zeros = (np.pad(np.cumsum(each, axis=1), ((0, 0), (1, 0)))[:, np.r_[starts, len(scores)]] for each in (ones, zeros))
    hits = ones.sum(axis=1, keepdims=True) - below_ones
    if aim == "accuracy":
        quality = hits + below_zeros
    else:
        false = zeros.sum(axis=1, keepdims=True) - below_zeros
        quality = 2 * hits / np.maximum(2 * hits + false + below_ones, 1e-9)
    values = ordered[starts]
    edge = max(float(values[-1] - values[0]), 1.0) * 1e-6
    cuts = np.r_[values[0] - edge, (values[1:] + values[:-1]) / 2, values[-1] + edge]
    return np.asarray(cuts[np.argmax(quality, axis=1)])


@dataclass(frozen=True, eq=False)
class Judged:
    """predicted: int64 [n]. probabilities: float64 [n]. thresholds: that judged, one a fold."""

    predicted: Ints
    probabilities: Floats
    thresholds: tuple[float, ...]


def judge_by_folds(scores: ArrayLike, labels: ArrayLike, folds: ArrayLike, aim: Aim = "accuracy") -> Judged:
    """Every pair by the threshold and curve of the pairs in the other folds. folds: int [n]."""
    score, truth, fold = np.asarray(scores, np.float64), np.asarray(labels, np.int64), np.asarray(folds, np.int64)
    predicted, probabilities, thresholds = np.zeros(len(score), np.int64), np.zeros(len(score)), []
    for number in np.unique(fold):
        here = fold == number
        try:
            learned = fit(score[~here], truth[~here], aim)
        except InvalidInput as error:
            raise InvalidInput("too few pairs to learn a threshold by folds; name a file of others with --threshold-from") from error
        predicted[here], probabilities[here] = learned.same(score[here]), learned.probability(score[here])
        thresholds.append(learned.threshold)
    return Judged(predicted, probabilities, tuple(thresholds))


def fold_of(key: str, folds: int = FOLDS) -> int:
    """The fold of whatever is called `key`, the same everywhere and for good."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") % folds


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[dict[str, float]]:
    """The reliability curve: pairs in `bins` parts of like number, from the least probable on: what was said, and what was so.

    Each part: expected (mean probability), observed (share of label 1), pairs.
    """
    chance, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    order = np.argsort(chance, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [{"expected": float(chance[part].mean()), "observed": float(truth[part].mean()), "pairs": len(part)} for part in parts]


def calibration_error(curve: list[dict[str, float]]) -> float:
    """Mean distance of what was said and what was so, over pairs (the expected calibration error, Naeini et al. 2015)."""
    return sum(part["pairs"] * abs(part["expected"] - part["observed"]) for part in curve) / sum(part["pairs"] for part in curve)
