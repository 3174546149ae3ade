"""Examples as columns: rows taken, texts told once, a digest of what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.errors import InvalidInput
from huiyi.training.data import Pairs, Queries, Triplets

ROWS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5), st.integers(0, 1)), min_size=1, max_size=20)


def pairs(rows: list[tuple[str, str, int]]) -> Pairs:
    first, second, labels = zip(*rows, strict=True)
    return Pairs(first, second, np.array(labels))


@settings(max_examples=50)
@given(ROWS, st.data())
def test_rows_that_are_taken_keep_their_cells_and_their_lines(rows, data) -> None:
    places = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    taken = pairs(rows).take(places)
    assert list(zip(taken.first, taken.second, taken.labels, strict=True)) == [rows[i] for i in places]
    assert taken.lines.tolist() == [i + 1 for i in places]
    assert isinstance(taken, Pairs)
    assert len(taken) == len(places)


@settings(max_examples=50)
@given(ROWS, ROWS)
def test_the_digest_is_that_of_the_content(rows, others) -> None:
    lines = np.arange(len(rows)) + 100
    here = pairs(rows)
    assert here.digest == Pairs(here.first, here.second, here.labels, lines=lines, name="elsewhere.csv").digest
    assert (here.digest == pairs(others).digest) == (rows == others)


def test_texts_are_told_once_in_the_order_in_which_they_come() -> None:
    assert Triplets(("a", "b"), ("b", "c"), ("d", "a")).texts() == ["a", "b", "d", "c"]
    assert Queries(("q",), (("p", "q"),), ((),)).texts() == ["q", "p"]


def test_columns_of_two_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"columns of Pairs must be of one length"):
        Pairs(("a",), ("b", "c"), np.array([1]))
