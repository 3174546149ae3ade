"""Two legs made one: scores that mean the same for every query, places, and hits that differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.errors import InvalidInput
from huiyi.tasks.fusion import convex, ranks, reciprocal_rank, varied

COSINES = st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 500)), min_size=1, max_size=20)


@given(COSINES, st.floats(0, 1))
def test_more_of_either_never_lowers_a_score(pairs, weight) -> None:
    cosines, bm25 = map(np.array, zip(*pairs, strict=True))
    scores = convex(cosines, bm25, weight)
    assert (scores <= 1).all()
    assert (convex(cosines + 0.1, bm25, weight) >= scores).all()
    assert (convex(cosines, bm25 + 1, weight) >= scores).all()


@given(COSINES, st.floats(0, 1))
def test_a_score_does_not_depend_on_the_other_candidates(pairs, weight) -> None:
    cosines, bm25 = map(np.array, zip(*pairs, strict=True))
    alone = [convex(cosines[i : i + 1], bm25[i : i + 1], weight)[0] for i in range(len(cosines))]
    np.testing.assert_allclose(convex(cosines, bm25, weight), alone)


def test_at_the_ends_of_the_weight_one_leg_decides() -> None:
    cosines, bm25 = [0.9, 0.1, 0.5], [0.0, 8.0, 4.0]
    for fuse in (convex, lambda *given: reciprocal_rank(given[0], given[1], 10, given[2])):
        assert np.argsort(-fuse(cosines, bm25, 1.0)).tolist() == [0, 2, 1]
        assert np.argsort(-fuse(cosines, bm25, 0.0)).tolist() == [1, 2, 0]


def test_places_end_at_the_depth_and_at_nothing_in_common() -> None:
    assert ranks([0.5, 0.9, 0.5, 0.1], 3).tolist() == [2, 1, 3, 0]
    assert ranks([3.0, 0.0, 5.0], 10, above=0).tolist() == [2, 0, 1]
    assert ranks([], 3).tolist() == []


def test_hits_that_differ() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert varied(rows, [0.9, 0.89, 0.5], 2, 0.0).tolist() == [0, 1]
    assert varied(rows, [0.9, 0.89, 0.5], 2, 0.5).tolist() == [0, 2]
    assert varied(rows, [0.9, 0.89, 0.5], 9, 0.5).tolist() == [0, 2, 1]
    with pytest.raises(InvalidInput):
        varied(rows, [0, 0, 0], 1, 1.5)
