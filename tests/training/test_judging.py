"""Answers judged: classes and clusters as scikit-learn would, intervals about the figure, nothing learned from what is reported."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from huiyi.errors import InvalidInput
from huiyi.training.judging import best_places, clustering_figures, judge_classes, judge_clusters, judge_rankings


def groups(count: int = 120, classes: int = 4, spread: float = 0.3, seed: int = 0):
    random = np.random.default_rng(seed)
    names = np.arange(count) % classes
    vectors = np.eye(8)[names] + spread * random.standard_normal((count, 8))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), [f"class {name}" for name in names]


def test_classes_are_learned_elsewhere_or_by_folds() -> None:
    features, labels = groups()
    more, names = groups(seed=1)
    learned = judge_classes(features, labels, learned=(more, names), folds=[])
    by_folds = judge_classes(features, labels, learned=None, folds=np.arange(len(labels)) // 4 % 5)
    for judged in (learned, by_folds):
        accuracy = judged.figures.estimates()["accuracy"]
        assert accuracy.value == np.mean(np.array(judged.predicted) == np.array(labels)) > 0.8
        assert accuracy.ci[0] <= accuracy.value <= accuracy.ci[1]
        assert ((judged.sure >= 0) & (judged.sure <= 1)).all()
    lies = judge_classes(features, labels, learned=(more, names[1:] + names[:1]), folds=[])
    assert lies.figures.values["accuracy"] < 0.2  # it believes what it learns from, not what it is judged by


def test_a_class_that_was_never_seen_is_never_right() -> None:
    features, labels = groups()
    seen = [row for row, label in enumerate(labels) if label != "class 0"]
    judged = judge_classes(features, labels, learned=(features[seen], [labels[row] for row in seen]), folds=[])
    assert "class 0" not in judged.predicted
    assert judged.sure[::4].sum() == 0
    with pytest.raises(InvalidInput, match=r"two classes at least"):
        judge_classes(features, labels, learned=(features[:1], labels[:1]), folds=[])


def test_clusters_of_well_parted_groups_are_the_groups() -> None:
    features, labels = groups(spread=0.05)
    estimates = judge_clusters(features, labels).figures.estimates()
    assert {name: round(estimate.value, 9) for name, estimate in estimates.items()} == {"ari": 1, "ami": 1, "v_measure": 1}
    loose = judge_clusters(*groups(spread=0.8)).figures.estimates()["ari"]
    assert loose.ci[0] < loose.value < loose.ci[1] < 1


def test_the_interval_of_a_clustering_is_as_wide_as_fresh_samples_vary() -> None:
    random = np.random.default_rng(0)

    def sample(count: int = 600):
        labels = random.integers(0, 5, count)
        clusters = np.where(random.random(count) < 0.7, labels, random.integers(0, 5, count))
        return [str(label) for label in labels], clusters

    fresh = [adjusted_rand_score(*sample()) for _ in range(60)]
    low, high = clustering_figures(*sample()).estimates()["ari"].ci
    assert high - low == pytest.approx(4 * np.std(fresh), rel=0.4)


def test_equal_scores_rank_the_lower_place_first() -> None:
    assert best_places(np.array([[0.0, 1.0, 0.0, 1.0]]), 3).tolist() == [[1, 3, 0]]
    judged = judge_rankings([[1, 0], [2, 1]], [{0: 1.0}, {0: 1.0}])
    assert judged.first == (2, None)
    assert judged.figures.values["mrr@10"] == 0.25
