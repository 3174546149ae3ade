"""Topics of vectors: found whatever the order of the rows, nested, with outliers and a measure of how firm each is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from huiyi.errors import InvalidInput
from huiyi.tasks import assign, cluster
from huiyi.tasks.clustering import at_level

METHODS = ("graph", "kmeans", "hdbscan")


def topics(n: int = 600, count: int = 8, d: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of `count` topics, three of them near each other, and the true topics."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count, d)) * 2
    centres[1:3] = centres[0] + random.standard_normal((2, d)) * 1.5
    truth = np.arange(n) % count
    rows = centres[truth] + random.standard_normal((n, d)) * 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray]:
    return topics()


@pytest.mark.parametrize("method", METHODS)
def test_topics_are_found_without_being_told_how_many(made, method) -> None:
    rows, truth = made
    found = cluster(rows, method, outliers=False)
    assert adjusted_rand_score(truth, found.labels) > (0.9 if method == "graph" else 0.7)
    assert found.sizes.sum() == len(rows)
    assert (np.diff(found.sizes) <= 0).all()
    assert found.about


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_rows_get_the_same_topics(made, method) -> None:
    rows, _ = made
    rows = np.concatenate([rows, rows[:50]])  # some twice
    order = np.random.default_rng(5).permutation(len(rows))
    one, other = cluster(rows, method), cluster(rows[order], method)
    np.testing.assert_array_equal(one.labels[order], other.labels)
    np.testing.assert_array_equal(one.levels[0][order], other.levels[0])
    np.testing.assert_allclose(one.stability, other.stability)


@pytest.mark.parametrize("method", METHODS)
def test_levels_nest_from_fine_to_coarse_and_hold_the_labels(made, method) -> None:
    found = cluster(made[0], method)
    np.testing.assert_array_equal(found.levels[found.level], found.labels)
    for fine, coarse in zip(found.levels, found.levels[1:], strict=False):
        assert fine.max() > coarse.max()
        for topic in range(fine.max() + 1):
            assert len(set(coarse[fine == topic].tolist())) == 1
        np.testing.assert_array_equal(fine < 0, coarse < 0)


def test_granularity_and_a_given_number(made) -> None:
    rows, truth = made
    broad, narrow = cluster(rows, granularity=0.1), cluster(rows, granularity=8)
    assert len(broad.sizes) <= 8 < len(narrow.sizes)
    assert broad.granularity == 0.1
    for count in (2, 5, 8):
        assert len(cluster(rows, n_topics=count).sizes) == count
        assert len(cluster(rows, "kmeans", n_topics=count).sizes) == count
    assert adjusted_rand_score(truth, cluster(rows, n_topics=8, outliers=False).labels) > 0.9


def test_rows_that_stand_alone_are_outliers_with_the_highest_scores(made) -> None:
    alone = np.random.default_rng(9).standard_normal((6, 24))
    found = cluster(np.concatenate([made[0], alone]))
    assert (found.labels[-6:] == -1).all()
    assert (found.labels[:-6] == -1).mean() < 0.05
    np.testing.assert_array_equal(found.labels == -1, found.outlier_scores > 1)
    assert found.outlier_scores[-6:].min() > np.median(found.outlier_scores)
    assert (cluster(np.concatenate([made[0], alone]), outliers=False).labels >= 0).all()


def test_firm_topics_are_found_again_and_arbitrary_ones_are_not(made) -> None:
    firm = cluster(made[0], n_topics=8)
    noise = cluster(np.random.default_rng(1).standard_normal((600, 24)), n_topics=8)
    assert firm.stability.min() > 0.85
    assert noise.stability.mean() < 0.7


def test_new_rows_go_to_the_topics_that_are_there(made) -> None:
    rows, _ = made
    found = cluster(rows, outliers=False)
    fresh, fresh_truth = topics(seed=0, n=160)
    labels, cosines = assign(fresh, found)
    assert adjusted_rand_score(fresh_truth[labels >= 0], labels[labels >= 0]) > 0.9
    assert (labels >= 0).mean() > 0.9
    assert cosines.max() <= 1 + 1e-5
    far, _ = assign(np.random.default_rng(2).standard_normal((20, 24)), found)
    assert (far == -1).mean() > 0.8
    with pytest.raises(InvalidInput, match="model that made the topics"):
        assign(np.ones((1, 3)), found)


def test_small_topics_join_the_nearest(made) -> None:
    found = cluster(made[0], granularity=16, min_size=30, outliers=False)
    assert found.sizes.min() >= 30


@given(st.integers(1, 12), st.sampled_from(METHODS))
@settings(max_examples=12)
def test_few_rows_are_no_reason_to_fail(n, method) -> None:
    found = cluster(np.random.default_rng(n).standard_normal((n, 4)), method)
    assert found.labels.shape == (n,)
    assert found.sizes.sum() == (found.labels >= 0).sum()


@pytest.mark.parametrize("method", METHODS)
def test_all_rows_the_same_are_one_topic(method) -> None:
    found = cluster(np.ones((100_000, 4), np.float32), method)
    assert found.sizes.tolist() == [100_000]
    assert (found.labels == 0).all()
    assert found.stability.tolist() == [1.0]


def test_more_topics_than_rows_are_as_many_as_there_are(made) -> None:
    assert len(cluster(made[0][:5], n_topics=50, outliers=False).sizes) <= 5


def test_weights_count_in_sizes(made) -> None:
    weights = np.full(len(made[0]), 3)
    assert cluster(made[0], weights=weights, outliers=False).sizes.sum() == 3 * len(made[0])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "kmean"}, "no method"),
        ({"granularity": 0}, "above 0"),
        ({"granularity": 1, "method": "kmeans"}, "belongs to the method graph"),
        ({"granularity": 1, "n_topics": 2}, "not both"),
        ({"n_topics": 0}, "1 or more"),
        ({"n_topics": 3, "method": "hdbscan"}, "finds its own number"),
        ({"min_size": 0}, "least size"),
        ({"weights": [1]}, "weights"),
    ],
)
def test_what_cannot_be_meant_is_refused(made, options, sentence) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        cluster(made[0], **options)
    with pytest.raises(InvalidInput, match="no rows"):
        cluster(np.zeros((0, 3)))


def test_another_level_is_the_same_search_looked_at_more_coarsely_or_finely(made) -> None:
    rows, _ = made
    found = cluster(rows)
    for level in range(len(found.levels)):
        other = at_level(found, level)
        assert other.sizes.sum() == (other.labels >= 0).sum()
        assert other.centres.shape == (len(other.sizes), rows.shape[1])
        assert len(other.sizes) == 1 or other.sizes.min() >= 5
        assert (other.labels[other.labels >= 0] < len(other.sizes)).all()
        assert np.allclose(np.linalg.norm(other.centres, axis=1), 1, atol=1e-5)
    assert at_level(found, found.level) is found
    with pytest.raises(InvalidInput, match="levels"):
        at_level(found, len(found.levels))
