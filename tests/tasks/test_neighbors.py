"""The kNN graph: exact answers where there are few rows, nearly all of them where there are many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from huiyi.errors import InvalidInput
from huiyi.tasks import neighbors as module
from huiyi.tasks.neighbors import neighbors


def vectors(n: int, d: int = 32, seed: int = 0) -> np.ndarray:
    """Topics of unequal width, as texts have them."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((20, d))
    rows = centres[random.integers(0, 20, n)] + random.standard_normal((n, d)) * random.uniform(0.2, 1.0, (n, 1))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def exact(rows: np.ndarray, k: int) -> np.ndarray:
    scores = rows @ rows.T
    np.fill_diagonal(scores, -2)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def test_the_nearest_rows_best_first_and_never_the_row_itself() -> None:
    rows = vectors(500)
    found = neighbors(rows, 15)
    assert found.indices.shape == found.scores.shape == (500, 15)
    assert (found.indices.dtype, found.scores.dtype, found.recall) == (np.int32, np.float32, 1.0)
    np.testing.assert_array_equal(found.indices, exact(rows, 15))
    np.testing.assert_allclose(found.scores, np.take_along_axis(rows @ rows.T, found.indices.astype(int), 1), atol=1e-5)


def test_many_rows_are_searched_by_lists_with_a_recall_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT_ROWS", 1_000)
    monkeypatch.setattr(module, "LIST_ROWS", 50)
    rows = vectors(4_000)
    found, true = neighbors(rows, 15), exact(rows, 15)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(found.indices, true, strict=True)])
    assert recall >= 0.9
    assert found.recall == pytest.approx(recall, abs=0.03)
    assert (found.indices != np.arange(4_000)[:, None]).all()
    assert (np.diff(found.scores, axis=1) <= 0).all()
    again = neighbors(rows, 15)
    np.testing.assert_array_equal(found.indices, again.indices)


def test_more_lists_are_asked_where_the_first_ones_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows without any structure: the hardest case."""
    monkeypatch.setattr(module, "EXACT_ROWS", 1_000)
    monkeypatch.setattr(module, "LIST_ROWS", 50)
    monkeypatch.setattr(module, "PROBES", 1)
    rows = np.random.default_rng(3).standard_normal((2_000, 16)).astype(np.float32)
    assert neighbors(rows, 15).recall >= 0.9


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=st.sampled_from([-1.0, 0.5, 1.0])), st.integers(1, 20))
@settings(max_examples=60)
def test_equal_rows_and_few_rows_still_get_others_only(rows: np.ndarray, k: int) -> None:
    found = neighbors(rows, k)
    assert found.indices.shape == (len(rows), min(k, len(rows) - 1))
    for own, line in enumerate(found.indices.tolist()):
        assert own not in line
        assert len(set(line)) == len(line)


def test_rows_of_any_length_are_brought_to_unit_length() -> None:
    rows = vectors(50)
    np.testing.assert_array_equal(neighbors(rows * 7, 5).indices, neighbors(rows, 5).indices)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([1.0, 2.0], "shape"),
        ([["a"]], "numbers"),
        ([[1.0, 0.0], [0.0, 0.0]], "row 1 is NaN, Inf or all zeros"),
        ([[np.nan, 1.0]], "row 0"),
    ],
)
def test_what_has_no_neighbours_is_refused_with_a_reason(rows: list, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        neighbors(rows, 3)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="k must be"):
        neighbors(vectors(5), 0)
