"""Metrics are scikit-learn's, with weights as with repeated rows, and do not depend on the order of the rows."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from huiyi.training.evaluate import (
    classification_statistics,
    clustering_scores,
    mean_statistics,
    pair_statistics,
    retrieval_statistics,
    score_statistics,
)

ROW = st.tuples(st.sampled_from([-0.5, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 1), st.integers(0, 1), st.floats(0, 1))
ROWS = st.lists(ROW, min_size=2, max_size=40)


def once(statistics, rows: int) -> dict[str, float]:
    return {name: float(values[0]) for name, values in statistics(np.ones((1, rows))).items()}


def of_pairs(rows) -> dict[str, float]:
    return once(pair_statistics(*zip(*rows, strict=True)), len(rows))


@settings(max_examples=50)
@given(ROWS)
def test_metrics_of_pairs_are_scikit_learns(rows) -> None:
    scores, labels, predicted, chance = map(np.array, zip(*rows, strict=True))
    ours = of_pairs(rows)
    assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert ours["f1"] == pytest.approx(metrics.f1_score(labels, predicted, zero_division=0))
    assert ours["f1_weighted"] == pytest.approx(metrics.f1_score(labels, predicted, average="weighted", zero_division=0))
    assert ours["precision"] == pytest.approx(metrics.precision_score(labels, predicted, zero_division=0))
    assert ours["recall"] == pytest.approx(metrics.recall_score(labels, predicted, zero_division=0))
    assert ours["brier"] == pytest.approx(float(np.mean((chance - labels) ** 2)))
    if 0 < labels.sum() < len(labels):
        assert ours["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores))
        assert ours["average_precision"] == pytest.approx(metrics.average_precision_score(labels, scores))
        if len(set(scores)) > 1:
            assert ours["spearman"] == pytest.approx(stats.spearmanr(scores, labels).statistic)
    else:
        assert np.isnan(ours["auc"])
        assert np.isnan(ours["spearman"])


@settings(max_examples=50)
@given(ROWS, st.randoms())
def test_the_order_of_pairs_changes_nothing(rows, random) -> None:
    shuffled = random.sample(rows, len(rows))
    assert of_pairs(rows) == pytest.approx(of_pairs(shuffled), nan_ok=True)


@settings(max_examples=50)
@given(ROWS, st.data())
def test_a_weight_is_how_often_a_row_stands_there(rows, data) -> None:
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    repeated = [row for row, times in zip(rows, weights, strict=True) for _ in range(times)]
    assume(repeated)
    weighted = pair_statistics(*zip(*rows, strict=True))(np.array([weights], float))
    assert {name: float(values[0]) for name, values in weighted.items()} == pytest.approx(of_pairs(repeated), nan_ok=True, abs=1e-9)
    scored = score_statistics([row[0] for row in rows], [row[3] for row in rows])(np.array([weights], float))
    again = once(score_statistics([row[0] for row in repeated], [row[3] for row in repeated]), len(repeated))
    assert float(scored["spearman"][0]) == pytest.approx(again["spearman"], nan_ok=True)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-1, 1, width=16), st.floats(0, 5, width=16)), min_size=3, max_size=30))
def test_correlations_are_scipys(rows) -> None:
    scores, wanted = map(np.array, zip(*rows, strict=True))
    assume(np.ptp(scores) > 1e-3 and np.ptp(wanted) > 1e-3)
    ours = once(score_statistics(scores, wanted), len(rows))
    assert ours["spearman"] == pytest.approx(stats.spearmanr(scores, wanted).statistic)
    assert ours["pearson"] == pytest.approx(stats.pearsonr(scores, wanted).statistic, abs=1e-6)


@settings(max_examples=50)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_ndcg_is_scikit_learns_and_ranks_are_counted_from_one(passages, seed) -> None:
    random = np.random.default_rng(seed)
    scores = random.permutation(passages).astype(float)
    gains = random.integers(0, 3, passages)
    assume(gains.any())
    ranked = np.argsort(-scores)
    relevant = {int(place): float(gain) for place, gain in enumerate(gains) if gain}
    ours = once(retrieval_statistics([ranked], [relevant], [1, 3, 10]), 1)
    assert ours["ndcg@10"] == pytest.approx(metrics.ndcg_score([gains], [scores], k=10))
    first = next(rank for rank, place in enumerate(ranked, 1) if gains[place])
    assert ours["mrr@10"] == pytest.approx(1 / first if first <= 10 else 0)
    for k in (1, 3, 10):
        assert ours[f"recall@{k}"] == pytest.approx((gains[ranked[:k]] > 0).sum() / (gains > 0).sum())


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=40))
def test_classification_and_clustering_are_scikit_learns(rows) -> None:
    labels, predicted = zip(*rows, strict=True)
    ours = once(classification_statistics(labels, predicted), len(rows))
    assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert ours["f1_macro"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro", zero_division=0))
    found = clustering_scores(labels, [ord(name) for name in predicted])
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(labels, predicted))
    assert found["v_measure"] == pytest.approx(metrics.v_measure_score(labels, predicted))


def test_means_are_over_rows() -> None:
    found = mean_statistics({"a": np.array([1.0, 0.0, 0.0]), "b": np.array([3.0, 3.0, 6.0])})(np.array([[1.0, 1, 1], [2, 0, 1]]))
    assert found["a"].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert found["b"].tolist() == pytest.approx([4, 4])
