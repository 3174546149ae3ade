"""When a match is no answer: from evidence to a probability, and the least one that is answered, for a precision that is asked for.

Both are learned from labelled questions, and judged by folds: a question's figures come from what the others say.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.training.calibration import Calibration, fit, fold_of

Floats = NDArray[np.float64]

STRENGTH = 1.0  # of the logistic regression, over evidence of unit variance


@dataclass(frozen=True)
class Rejection:
    """A match is an answer where its score, weights · evidence + bias, is at least `threshold`.

    threshold: in score; least: the same as a probability. precision: what was asked for. curve: from score to probability. answered, right,
    questions: how many of the questions were answered by folds, how many of those rightly, of how many it was learned. space: of the
    vectors whose cosines are in the evidence.
    """

    weights: tuple[float, ...]
    bias: float
    threshold: float
    least: float
    precision: float
    curve: Calibration
    answered: int
    right: int
    questions: int
    space: str = ""

    def scores(self, evidence: ArrayLike) -> Floats:
        """float64 [n] of evidence [n, e]."""
        made: Floats = np.asarray(evidence, np.float64) @ np.array(self.weights) + self.bias
        return made

    def probability(self, scores: ArrayLike) -> Floats:
        return self.curve.probability(scores)

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"curve": json.loads(self.curve.to_json())}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, name: str) -> "Rejection":
        """InvalidInput when `text`, kept for `name`, is not what `to_json` gave."""
        try:
            fields: dict[str, Any] = json.loads(text)
            curve = Calibration.from_json(json.dumps(fields["curve"]), name)
            made = cls(**fields | {"curve": curve, "weights": tuple(map(float, fields["weights"]))})
            if not np.isfinite([*made.weights, made.bias, made.threshold]).all():
                raise ValueError("its numbers are damaged")
            return made
        except (ValueError, KeyError, TypeError, AttributeError, InvalidInput) as error:
            raise InvalidInput(f"what was learned of {name} cannot be read ({error}): learn it again with huiyi answer --learn") from error


def learn(evidence: ArrayLike, right: ArrayLike, keys: Sequence[str], precision: float = 0.95, space: str = "") -> Rejection:
    """evidence: [n, e] of the best match of each question. right: [n], 1 where it is the answer. keys: of the questions; equal ones share a
    fold. Raises InvalidInput where all matches are right or all wrong, and where no threshold is as precise."""
    rows, truth = np.asarray(evidence, np.float64), np.asarray(right, np.int64)
    if not 0 < precision < 1:
        raise InvalidInput(f"precision is the share of answers that are right, between 0 and 1, not {precision}")
    if not 0 < truth.sum() < len(truth):
        raise InvalidInput(
            f"to learn when to answer, some best matches must be right and some wrong; all {len(truth):,} are "
            f"{'right: add questions that nothing answers' if truth.sum() else 'wrong: are the ids those of the collection?'}"
        )
    held = np.empty(len(rows))
    folds = np.array([fold_of(key) for key in keys])
    for fold in np.unique(folds):
        here = folds == fold
        if len(np.unique(truth[~here])) < 2:
            raise InvalidInput(f"{len(truth)} questions are too few to learn when to answer; label some dozens, some without an answer")
        weights, bias = _line(rows[~here], truth[~here])
        held[here] = rows[here] @ weights + bias
    cut = threshold_for(held, truth, precision)
    if cut is None:
        raise InvalidInput(
            f"no threshold gives answers of which {precision:.0%} are right, as far as {len(truth):,} questions show; "
            f"label more of them, or ask for less with --target-precision"
        )
    weights, bias = _line(rows, truth)
    curve, taken = fit(held, truth), held >= cut
    return Rejection(
        weights=tuple(weights.tolist()),
        bias=bias,
        threshold=cut,
        least=float(curve.probability([cut])[0]),
        precision=precision,
        curve=curve,
        answered=int(taken.sum()),
        right=int(truth[taken].sum()),
        questions=len(truth),
        space=space,
    )


def threshold_for(scores: ArrayLike, right: ArrayLike, precision: float) -> float | None:
    """The least score from which on the share of right ones, by Laplace's rule, reaches `precision`; None where it never does."""
    score, truth = np.asarray(scores, np.float64), np.asarray(right, np.float64)
    order = np.argsort(-score, kind="stable")
    count = np.arange(1, len(score) + 1)
    share = (np.cumsum(truth[order]) + 1) / (count + 2)
    last = np.append(np.diff(score[order]) < 0, True)  # equal scores are answered together
    enough = np.flatnonzero((share >= precision) & last)
    return float(score[order][enough[-1]]) if len(enough) else None


def _line(rows: Floats, truth: NDArray[np.int64]) -> tuple[Floats, float]:
    """Logistic regression, weights for evidence as it is."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = rows.mean(axis=0), rows.std(axis=0)
    spread[spread < 1e-9] = 1.0
    made = LogisticRegression(C=STRENGTH, max_iter=1000).fit((rows - middle) / spread, truth)
    weights = made.coef_[0] / spread
    return np.asarray(weights, np.float64), float(made.intercept_[0] - middle @ weights)
