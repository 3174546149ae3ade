"""The rows that say most: every heap has one, none is there twice, and the figures say how much is covered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.errors import InvalidInput
from huiyi.tasks import summarize


def heaps(sizes: list[int], dim: int = 32, spread: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(dim)[owner] + spread * random.standard_normal((len(owner), dim)) / np.sqrt(dim), owner


def test_every_heap_has_one_and_the_largest_comes_first() -> None:
    vectors, owner = heaps([50, 30, 20, 10])
    found = summarize(vectors, 4)
    assert sorted(owner[found.indices]) == [0, 1, 2, 3]
    assert owner[found.indices[0]] == 0
    assert found.shares.sum() == pytest.approx(1)
    assert found.shares[0] == pytest.approx(50 / 110, abs=0.05)


def test_it_covers_more_than_the_baseline_and_than_chance() -> None:
    vectors, _ = heaps([60, 40, 8, 7, 6, 5], spread=0.9)
    ours, central = summarize(vectors, 6), summarize(vectors, 6, method="lexrank")
    assert ours.coverage > central.coverage
    assert ours.coverage > ours.chance


def test_nothing_is_said_twice() -> None:
    vectors = np.concatenate([np.eye(4)[[0] * 50], np.eye(4)[[1, 2]]])
    for method in ("coverage", "lexrank"):
        found = summarize(vectors, 10, method=method)
        assert len(found.indices) == 3
        assert found.coverage == pytest.approx(1)


def test_weights_are_as_good_as_copies() -> None:
    vectors, _ = heaps([5, 5, 5], spread=0.8)
    weights = np.random.default_rng(0).integers(1, 6, 15)
    weighed = summarize(vectors, 2, weights)
    copied = summarize(np.repeat(vectors, weights, axis=0), 2)
    owner = np.repeat(np.arange(15), weights)
    assert weighed.indices.tolist() == owner[copied.indices].tolist()
    assert weighed.coverage == pytest.approx(copied.coverage, abs=1e-5)


@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=30)
def test_any_rows_give_different_ones_and_figures_between_0_and_1(rows: int, k: int, seed: int) -> None:
    found = summarize(np.random.default_rng(seed).standard_normal((rows, 6)), k)
    assert len(set(found.indices.tolist())) == len(found.indices) <= min(rows, k)
    assert 0 <= found.chance <= found.coverage + 1e-6 <= 1 + 2e-6 or rows == 0


def test_a_hundred_thousand_rows_take_seconds() -> None:
    vectors, owner = heaps([40_000, 40_000, 20_000], spread=1.0)
    found = summarize(vectors.astype(np.float32), 3)
    assert sorted(owner[found.indices]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"k": 0}, "k must be"),
        ({"weights": [1.0]}, "one number a row"),
        ({"weights": [0.0, 0.0]}, "not all 0"),
        ({"method": "best"}, "coverage or lexrank"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, sentence) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        summarize(np.eye(2), **arguments)
