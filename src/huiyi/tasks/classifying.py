"""`Classifier`: a few labelled vectors into one that sorts the others, says how sure it is, and stays silent where it is not.

Logistic regression on unit vectors, with the manners of scikit-learn. What it says of itself (probabilities, when to stay silent, figures,
likely label errors) rests on rows that it had not seen: all come from one cross-validation at fit. Knows nothing of texts or files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from huiyi.errors import InvalidInput
from huiyi.tasks.neighbors import unit
from huiyi.types import Floats

Ints = NDArray[np.int64]

FOLDS = 5
SCOPE_KEPT = 0.95  # of the texts of its own classes that the limit of scope lets pass
UNCALIBRATED = 0.05  # softmax temperature of cosines where each class has one example and nothing can be held out
SCALES = np.geomspace(0.05, 20, 121)  # temperatures tried
MANY_ROWS = 3_000
MANY_PRODUCTS = 2_000_000_000  # a pass; below, threads wait for each other longer than they work (0.3 against 7.5 s on a busy machine)
RESAMPLES = 1_000


@dataclass(frozen=True)
class Estimate:
    """A figure and its bootstrap interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassFigures:
    """rows: labelled so. precision: None where nothing was taken for it."""

    label: str
    rows: int
    precision: float | None
    recall: float
    f1: float


@dataclass(frozen=True)
class Validation:
    """How it did on rows that were held out, each once.

    rows: of classes with two examples or more. majority: accuracy of always naming the largest class. coverage: share of rows that it
    is sure of, and `precision` what share of those it gets right. confusion: int64 [c, c], a row a true class, in the order of `classes_`.
    scope: share of held-out rows taken for in scope; outside: share of the given out-of-scope rows that were noticed, None without such.
    """

    rows: int
    folds: int
    accuracy: Estimate
    macro_f1: Estimate
    majority: float
    coverage: float
    precision: float
    confusion: Ints
    classes: tuple[ClassFigures, ...]
    scope: float
    outside: float | None


@dataclass(frozen=True)
class LabelError:
    """A row whose label is likely wrong: the others would have it `suggested`. Probabilities are of the row held out."""

    row: int
    label: str
    suggested: str
    probability_label: float
    probability_suggested: float


@dataclass(frozen=True)
class Decisions:
    """A row each. best: the likeliest class. sure: whether it is likely enough. in_scope: whether the row is near any class."""

    best: NDArray[Any]
    probability: Floats
    sure: NDArray[np.bool_]
    in_scope: NDArray[np.bool_]


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """fit(vectors [n, d], labels [n]); predict and predict_proba as in scikit-learn; decide adds when to stay silent.

    precision: what share of the rows it is sure of should be right; the threshold for that is chosen on held-out rows. outside: the label
    of rows that belong to no class; they are examples of what is out of scope. C: the inverse of the penalty. seed: of the folds.
    After fit: classes_ (sorted), threshold_ (least probability), scope_ (least cosine to a class's centre), validation_ and
    label_errors_ (None and empty where every class has one example only, so that nothing could be held out).
    """

    def __init__(self, *, precision: float = 0.95, outside: str | None = None, C: float = 10.0, seed: int = 0) -> None:
        self.precision = precision
        self.outside = outside
        self.C = C
        self.seed = seed

    def fit(self, X: ArrayLike, y: Sequence[Any] | NDArray[Any]) -> Self:
        """InvalidInput for fewer than two classes, or another number of labels than of vectors."""
        rows, labels = unit(X), np.asarray(y)
        self._check(rows, labels)
        inside = labels != self.outside if self.outside is not None else np.ones(len(labels), bool)
        self.classes_, codes = np.unique(labels[inside], return_inverse=True)
        if len(self.classes_) < 2:
            there = f"one label only ({self.classes_[0]})" if len(self.classes_) else "no label of a class"
            raise InvalidInput(f"there is {there}; sorting needs examples of two or more")
        self.n_features_in_ = rows.shape[1]
        self.row_numbers_ = np.flatnonzero(inside)
        own, strange = rows[inside], rows[~inside]
        counts = np.bincount(codes)
        self.coef_, self.intercept_ = _weights(own, codes, len(counts), self.C)
        self.centres_ = _centres(own, codes, len(counts))
        self.temperature_, self.threshold_, self.scope_ = UNCALIBRATED, 0.0, -1.0
        self.validation_: Validation | None = None
        self.label_errors_: tuple[LabelError, ...] = ()
        if counts.max() > 1:
            self._validate(own, codes, counts, strange)
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Float32 [n, c], higher is likelier; also with two classes."""
        return self._rows(X) @ self.coef_.T + self.intercept_

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Float32 [n, c] in the order of `classes_`; calibrated on held-out rows where there were any."""
        return _softmax(self.decision_function(X) / self.temperature_)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likeliest class of each row, however likely."""
        best = self.decision_function(X).argmax(axis=1)
        return self.classes_[best]  # type: ignore[no-any-return]

    def decide(self, X: ArrayLike) -> Decisions:
        rows = self._rows(X)
        probabilities = _softmax((rows @ self.coef_.T + self.intercept_) / self.temperature_)
        best, likeliest = probabilities.argmax(axis=1), probabilities.max(axis=1)
        near = (rows @ self.centres_.T).max(axis=1, initial=-1) >= self.scope_
        return Decisions(self.classes_[best], likeliest, (likeliest >= self.threshold_) & near, near)

    def suggest(self, X: ArrayLike, n: int = 10) -> Ints:
        """Rows to label next, most useful first: those between two classes or far from all, and no two of them alike.

        From the 10 n rows of least margin, one at a time the one furthest from those chosen, weighed with its doubt.
        """
        rows = self._rows(X)
        if n < 1:
            raise InvalidInput(f"n must be 1 or more, not {n}")
        probabilities = np.sort(_softmax((rows @ self.coef_.T + self.intercept_) / self.temperature_), axis=1)
        doubt = 1 - (probabilities[:, -1] - probabilities[:, -2])
        pool = np.argsort(-doubt, kind="stable")[: 10 * n]
        nearest = np.zeros(len(pool))
        chosen: list[int] = []
        while len(chosen) < min(n, len(pool)):
            worth = doubt[pool] * (1 - nearest)
            worth[chosen] = -np.inf
            chosen.append(int(worth.argmax()))
            nearest = np.maximum(nearest, rows[pool] @ rows[pool[chosen[-1]]])
        return pool[chosen]

    def state(self) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Arrays and facts, which `from_state` makes the same classifier of: what a file has to hold, and no pickle."""
        self._require_fitted()
        arrays = {"coef": self.coef_, "intercept": self.intercept_, "centres": self.centres_}
        facts = {**self.get_params(), "classes": [str(label) for label in self.classes_], "temperature": float(self.temperature_),
                 "threshold": float(self.threshold_), "scope": float(self.scope_)}  # fmt: skip
        return arrays, facts

    @classmethod
    def from_state(cls, arrays: Mapping[str, Floats], facts: Mapping[str, Any]) -> Self:
        """Without its validation, which is of the fit. Labels are texts. InvalidInput where they do not belong together."""
        try:
            made = cls(**{name: facts[name] for name in ("precision", "outside", "C", "seed")})
            made.classes_ = np.array(facts["classes"])
            made.coef_, made.intercept_, made.centres_ = (np.array(arrays[name], np.float32) for name in ("coef", "intercept", "centres"))
            made.temperature_, made.threshold_, made.scope_ = (float(facts[name]) for name in ("temperature", "threshold", "scope"))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"this is no saved classifier: {error}") from error
        shape = len(made.classes_), made.coef_.shape[-1]
        if made.coef_.shape != shape or made.centres_.shape != shape or made.intercept_.shape != shape[:1] or not made.temperature_ > 0:
            raise InvalidInput("this is no saved classifier: its arrays do not fit together")
        made.n_features_in_ = shape[1]
        made.validation_, made.label_errors_ = None, ()
        return made

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    def _check(self, rows: Floats, labels: NDArray[Any]) -> None:
        if labels.ndim != 1 or len(labels) != len(rows):
            raise InvalidInput(f"there are {len(labels):,} labels for {len(rows):,} vectors; give one label a vector, in the same order")
        if not 0 < self.precision < 1:
            raise InvalidInput(f"precision is a share between 0 and 1, not {self.precision}")
        if not self.C > 0:
            raise InvalidInput(f"C must be above 0, not {self.C}")

    def _rows(self, X: ArrayLike) -> Floats:
        self._require_fitted()
        rows = unit(X) if len(np.shape(X)) != 2 or len(np.asarray(X)) else np.asarray(X, np.float32)
        if rows.shape[1] != self.n_features_in_:
            raise InvalidInput(f"these vectors have {rows.shape[1]} numbers, and it was fitted on {self.n_features_in_}")
        return rows

    def _require_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("this Classifier is not fitted yet; call fit with vectors and labels first")

    def _validate(self, rows: Floats, codes: Ints, counts: Ints, strange: Floats) -> None:
        folds = _folds(codes, counts, self.seed)
        held = np.flatnonzero(folds >= 0)
        scores = np.zeros((len(rows), len(counts)), np.float32)
        near = np.full(len(rows), -1, np.float32)
        for fold in range(folds.max() + 1):
            here, others = folds == fold, folds != fold
            weights, intercept = _weights(rows[others], codes[others], len(counts), self.C)
            scores[here] = rows[here] @ weights.T + intercept
            near[here] = (rows[here] @ _centres(rows[others], codes[others], len(counts)).T).max(axis=1)
        truth, logits = codes[held], scores[held]
        self.temperature_ = _temperature(logits, truth)
        probabilities = _softmax(logits / self.temperature_)
        self.scope_ = _scope(near[held], (strange @ self.centres_.T).max(axis=1) if len(strange) else None)
        predicted, likeliest = probabilities.argmax(axis=1), probabilities.max(axis=1)
        right = predicted == truth
        self.threshold_ = _threshold(likeliest, right, self.precision)
        sure = (likeliest >= self.threshold_) & (near[held] >= self.scope_)
        confusion = np.bincount(truth * len(counts) + predicted, minlength=len(counts) ** 2).reshape(len(counts), -1)
        accuracy, macro_f1 = _intervals(truth, predicted, len(counts), self.seed)
        self.validation_ = Validation(
            rows=len(held), folds=int(folds.max()) + 1, accuracy=accuracy, macro_f1=macro_f1,
            majority=float(np.bincount(truth).max() / len(truth)),
            coverage=float(sure.mean()), precision=float(right[sure].mean()) if sure.any() else 0.0, confusion=confusion,
            classes=tuple(_figures(confusion, [str(label) for label in self.classes_])), scope=float((near[held] >= self.scope_).mean()),
            outside=float(((strange @ self.centres_.T).max(axis=1) < self.scope_).mean()) if len(strange) else None,
        )  # fmt: skip
        names = [str(label) for label in self.classes_]
        self.label_errors_ = tuple(_label_errors(probabilities, truth, self.row_numbers_[held], names))


def _weights(rows: Floats, codes: Ints, classes: int, C: float) -> tuple[Floats, Floats]:
    """[c, d] and [c]: of logistic regression, or where no class has two examples, the examples themselves (scores are cosines then).

    A class that is not among `codes` (its only example is held out) scores lowest.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    present = np.unique(codes)
    weights, intercept = np.zeros((classes, rows.shape[1]), np.float32), np.full(classes, -1e4, np.float32)
    if len(present) == len(codes) or len(present) == 1:
        weights[codes], intercept[codes] = rows, 0
        return weights, intercept
    # sparse gradients of many rows: the last digits of the weights decide nothing (banking77: 0.921 against 0.923 at a fifth of the time)
    model = LogisticRegression(C=C, tol=1e-3 if len(rows) > MANY_ROWS else 1e-4, max_iter=300)
    with threadpool_limits(None if rows.size * len(present) > MANY_PRODUCTS else 1):
        model.fit(rows, codes)
    found, offset = model.coef_, model.intercept_
    if len(present) == 2:
        found, offset = np.concatenate([-found, found]) / 2, np.concatenate([-offset, offset]) / 2
    weights[present], intercept[present] = found, offset
    return weights, intercept


def _centres(rows: Floats, codes: Ints, classes: int) -> Floats:
    sums = np.zeros((classes, rows.shape[1]), np.float32)
    np.add.at(sums, codes, rows)
    centres: Floats = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centres


def _folds(codes: Ints, counts: Ints, seed: int) -> Ints:
    """The fold in which each row is held out, classes spread evenly; -1 for the only example of a class, which never is."""
    random = np.random.default_rng(seed)
    parts = min(FOLDS, max(2, int(np.sort(counts[counts > 1])[0]))) if counts.max() < FOLDS else FOLDS
    folds = np.full(len(codes), -1, np.int64)
    for code in np.flatnonzero(counts > 1):
        rows = random.permutation(np.flatnonzero(codes == code))
        folds[rows] = (np.arange(len(rows)) + random.integers(parts)) % parts
    used = np.unique(folds[folds >= 0])
    folds[folds >= 0] = np.searchsorted(used, folds[folds >= 0])
    return folds


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True)) if logits.size else logits
    shares: Floats = (shifted / np.maximum(shifted.sum(axis=1, keepdims=True), 1e-30)).astype(np.float32)
    return shares


def _temperature(logits: Floats, truth: Ints) -> float:
    """What held-out scores are divided by to give probabilities: the one of least log loss (Guo et al. 2017).

    Each label counts as (n + 1)/(n + 2) certain (Platt 1999), so that eight rows that are all right do not make it sure of everything.
    """
    doubt = 1 / (len(truth) + 2)
    losses = []
    for scale in SCALES:
        logs = np.log(np.maximum(_softmax(logits / scale), 1e-12))
        own = logs[np.arange(len(truth)), truth]
        others = (logs.sum(axis=1) - own) / (logits.shape[1] - 1)
        losses.append(float(-((1 - doubt) * own + doubt * others).mean()))
    return float(SCALES[int(np.argmin(losses))])


def _threshold(likeliest: Floats, right: NDArray[np.bool_], precision: float) -> float:
    """The least probability above which held-out rows are right as often as asked; 1.01, never reached, where they nowhere are."""
    order = np.argsort(-likeliest, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_ties = np.append(np.diff(likeliest[order]) < 0, True)
    good = np.flatnonzero((shares >= precision) & last_of_ties)
    return float(likeliest[order[good[-1]]]) if len(good) else 1.01


def _scope(near: Floats, strange: Floats | None) -> float:
    """The least cosine to a class's centre: lets SCOPE_KEPT pass, or best parts examples of what is outside from held-out rows."""
    if strange is None:
        return float(np.quantile(near, 1 - SCOPE_KEPT))
    limits = np.unique(np.concatenate([near, strange]))
    kept = 1 - np.searchsorted(np.sort(near), limits) / len(near)
    noticed = np.searchsorted(np.sort(strange), limits) / len(strange)
    return float(limits[int(np.argmax(kept + noticed))])


def _intervals(truth: Ints, predicted: Ints, classes: int, seed: int) -> tuple[Estimate, Estimate]:
    """Accuracy and macro F1 over the classes that have rows, rows drawn anew RESAMPLES times."""
    random = np.random.default_rng(seed)
    pairs = truth * classes + predicted
    samples = (random.choice(pairs, len(pairs)) for _ in range(RESAMPLES))
    drawn = [_scores(np.bincount(sample, minlength=classes**2).reshape(classes, -1)) for sample in samples]
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    value = _scores(np.bincount(pairs, minlength=classes**2).reshape(classes, -1))
    return Estimate(value[0], float(low[0]), float(high[0])), Estimate(value[1], float(low[1]), float(high[1]))


def _scores(confusion: Ints) -> tuple[float, float]:
    hits, rows, taken = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    there = rows > 0
    return float(hits.sum() / rows.sum()), float((2 * hits[there] / (rows + taken)[there]).mean())


def _figures(confusion: Ints, names: list[str]) -> list[ClassFigures]:
    hits, rows, taken = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassFigures(name, int(rows[i]), float(hits[i] / taken[i]) if taken[i] else None, float(hits[i] / rows[i]),
                     float(2 * hits[i] / (rows[i] + taken[i])))
        for i, name in enumerate(names) if rows[i]
    ]  # fmt: skip


def _label_errors(probabilities: Floats, truth: Ints, rows: Ints, names: list[str]) -> list[LabelError]:
    """Rows that another class claims with more than its own rows' mean probability, worst first (Northcutt et al. 2021)."""
    classes = probabilities.shape[1]
    counts = np.bincount(truth, minlength=classes)
    own = probabilities[np.arange(len(truth)), truth]
    usual = np.where(counts > 0, np.bincount(truth, own, classes) / np.maximum(counts, 1), 2.0)
    claims = np.where(probabilities >= usual, probabilities, -1)
    best = claims.argmax(axis=1)
    wrong = np.flatnonzero((claims.max(axis=1) > 0) & (best != truth))
    claimed = probabilities[wrong, best[wrong]]
    order = np.argsort(own[wrong] - claimed, kind="stable")
    return [LabelError(int(rows[wrong[i]]), names[truth[wrong[i]]], names[best[wrong[i]]], float(own[wrong[i]]), float(claimed[i]))
            for i in order]  # fmt: skip
