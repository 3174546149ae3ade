"""Thresholds and probabilities: as good as can be on what they were learned from, and blind to what they judge."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from huiyi.errors import InvalidInput
from huiyi.training.calibration import (
    Calibration,
    best_threshold,
    calibration_error,
    fit,
    fold_of,
    judge_by_folds,
    reliability,
    threshold_estimate,
)

ROWS = st.lists(st.tuples(st.sampled_from(np.linspace(-1, 1, 17).tolist()), st.integers(0, 1)), min_size=2, max_size=40)
BOTH = ROWS.filter(lambda rows: 0 < sum(label for _, label in rows) < len(rows))


@settings(max_examples=25)
@given(ROWS)
def test_no_threshold_is_better_than_the_best(rows) -> None:
    scores, labels = map(np.array, zip(*rows, strict=True))
    tried = [-2, *(scores - 1e-3), *(scores + 1e-3), 2]
    chosen = best_threshold(scores, labels)
    assert np.mean((scores >= chosen) == labels) == max(np.mean((scores >= threshold) == labels) for threshold in tried)
    chosen = best_threshold(scores, labels, "f1")
    best = max(f1_score(labels, scores >= threshold, zero_division=0) for threshold in tried)
    assert f1_score(labels, scores >= chosen, zero_division=0) == pytest.approx(best)


@settings(max_examples=25)
@given(BOTH, st.data())
def test_a_fold_is_judged_by_the_others_alone(rows, data) -> None:
    """Whatever is reported for a row would be the same with any other label of the rows of its fold."""
    scores, labels = map(np.array, zip(*rows, strict=True))
    folds = np.arange(len(rows)) % 3
    here = folds == data.draw(st.sampled_from(sorted(set(folds))))
    changed = np.where(here, 1 - labels, labels)
    try:
        before = judge_by_folds(scores, labels, folds)
        after = judge_by_folds(scores, changed, folds)
    except InvalidInput:  # too few rows to learn from, with the one label or with the other
        return
    assert before.predicted[here].tolist() == after.predicted[here].tolist()
    assert before.probabilities[here].tolist() == after.probabilities[here].tolist()


@settings(max_examples=25)
@given(BOTH)
def test_a_probability_rises_with_the_score_and_survives_its_file(rows) -> None:
    scores, labels = map(np.array, zip(*rows, strict=True))
    made = fit(scores, labels, about={"model": "模型", "space": "x"})
    grid = made.probability(np.linspace(-1.5, 1.5, 101))
    assert (np.diff(grid) >= 0).all()
    assert ((grid >= 0) & (grid <= 1)).all()
    assert Calibration.from_json(made.to_json(), "c.json") == made


@pytest.mark.parametrize(("rows", "method"), [(5000, "isotonic"), (400, "platt")])
def test_probabilities_are_true_ones(rows, method) -> None:
    """Scores whose true probability is known: what is learned from one half is right for the other."""
    random = np.random.default_rng(0)
    scores = random.uniform(-1, 1, 2 * rows)
    truth = 1 / (1 + np.exp(-6 * (scores - 0.3)))
    labels = (random.random(2 * rows) < truth).astype(int)
    made = fit(scores[:rows], labels[:rows])
    assert made.method == method
    assert abs(made.probability(scores[rows:]) - truth[rows:]).mean() < 0.04
    assert made.threshold == pytest.approx(0.3, abs=0.15)
    curve = reliability(made.probability(scores[rows:]), labels[rows:])
    assert sum(part["pairs"] for part in curve) == rows
    assert calibration_error(curve) < 0.06
    estimate = threshold_estimate(scores[:rows], labels[:rows])
    assert estimate.ci[0] <= estimate.value == made.threshold <= estimate.ci[1]


def test_a_few_pairs_that_agree_make_nobody_certain() -> None:
    """Nine in ten above 0.8 are the same, and so the best pair of all is no surer than that, whatever its own label."""
    scores = np.linspace(0.6, 1, 2000)
    labels = np.where(np.arange(2000) % 10 == 0, scores < 0.8, scores >= 0.8).astype(int)
    assert labels[-1] == 1
    assert fit(scores, labels).probability([0.0, 1.0]) == pytest.approx([0.1, 0.9], abs=0.05)


def test_scores_that_say_the_opposite_get_a_flat_curve() -> None:
    made = fit(np.r_[np.zeros(30), np.ones(30)], np.r_[np.ones(30), np.zeros(30)])
    assert made.probability([-1, 0, 1]) == pytest.approx([0.5, 0.5, 0.5])


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"all 3 have label 1"):
        fit([0.1, 0.2, 0.3], [1, 1, 1])
    with pytest.raises(InvalidInput, match=r"--threshold-from"):
        judge_by_folds([0.1, 0.9], [0, 1], [0, 1])


def test_files_that_are_no_calibration_are_refused() -> None:
    good = json.loads(fit(np.linspace(0, 1, 2000), np.arange(2000) // 1000).to_json())
    bad = ["{}", "[]", "nonsense", "{", json.dumps(good | {"huiyi": "x"}), json.dumps(good | {"scores": [1.0]}), b"\xff\xfe"]
    bad += [json.dumps(good | {"threshold": float("nan")}), json.dumps(good | {"probabilities": good["probabilities"][::-1]})]
    for text in bad:
        with pytest.raises(InvalidInput, match=r"c.json is not a calibration .*--save-calibration"):
            Calibration.from_json(text, "c.json")


@settings(max_examples=25)
@given(st.text())
def test_a_fold_depends_on_the_name_alone(key) -> None:
    assert fold_of(key) == fold_of(key)
    assert 0 <= fold_of(key) < 5


def test_folds_are_of_like_size() -> None:
    counts = np.bincount([fold_of(str(number)) for number in range(5000)])
    assert len(counts) == 5
    assert (abs(counts - 1000) < 120).all()


def test_platts_curve_is_the_logistic_regression_to_smoothed_targets() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(0.6, 0.9, 500)
    labels = (random.random(500) < 1 / (1 + np.exp(-20 * (scores - 0.75)))).astype(int)
    ones, zeros = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    model = LogisticRegression(C=1e9, max_iter=5000, tol=1e-9)
    model.fit(np.tile(scores * 10, 2)[:, None], np.repeat([1, 0], 500), sample_weight=np.r_[target, 1 - target])
    made = fit(scores, labels)
    assert made.method == "platt"
    np.testing.assert_allclose(made.probability(scores), model.predict_proba(scores[:, None] * 10)[:, 1], atol=1e-3)
