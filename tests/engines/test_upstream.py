"""What comes over the wire: rows in the order of the inputs, or a sentence that says whose fault it is."""

import base64
import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.engines.upstream import Garbled, answer_of, base_of
from huiyi.errors import InvalidInput

floats = st.floats(-1e6, 1e6, width=32)


def answer(*items: object) -> bytes:
    return json.dumps({"object": "list", "data": items}).encode()


@given(st.lists(st.lists(floats, min_size=3, max_size=3), min_size=1, max_size=8), st.booleans(), st.randoms(use_true_random=False))
def test_rows_come_by_their_index_however_they_are_written_and_ordered(rows: list[list[float]], coded: bool, chance: random.Random) -> None:
    def written(row: list[float]) -> object:
        return base64.b64encode(np.array(row, "<f4").tobytes()).decode() if coded else row

    items = [{"index": i, "embedding": written(row)} for i, row in enumerate(rows)]
    chance.shuffle(items)
    np.testing.assert_array_equal(answer_of(answer(*items), len(rows)).rows, np.array(rows, np.float32))


@pytest.mark.parametrize("nothing", [None, [None, None], [float("nan")] * 2])
def test_a_row_without_numbers_is_nan_and_the_others_are_there(nothing: object) -> None:
    rows = answer_of(answer({"index": 1, "embedding": nothing}, {"index": 0, "embedding": [1, 2]}), 2).rows
    assert rows[0].tolist() == [1, 2]
    assert np.isnan(rows[1]).all()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "without a list"),
        (b'{"data": [1]}', "without a list"),
        (answer({"embedding": [1.0]}), "1 vectors for 2"),
        (answer({"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}), "told apart"),
        (answer({"index": 0, "embedding": [1.0]}, {"embedding": [1.0]}), "told apart"),
        (answer({"embedding": [1.0]}, {"embedding": [1.0, 2.0]}), "several widths"),
        (answer({"embedding": None}, {"embedding": None}), "no numbers"),
        (answer({"embedding": "?"}, {"embedding": "?"}), "neither numbers"),
        (answer({"embedding": {"a": 1}}, {"embedding": [1.0]}), "neither numbers"),
        (answer({"embedding": [[1.0], [2.0]]}, {"embedding": [[1.0], [2.0]]}), "a vector a token"),
    ],
)
def test_what_cannot_be_the_answer_is_not_taken_for_it(sent: bytes, reason: str) -> None:
    with pytest.raises(Garbled, match=reason):
        answer_of(sent, 2)


def test_addresses_as_people_write_them() -> None:
    assert (
        base_of("http://gpu1:30000")
        == base_of("http://gpu1:30000/")
        == base_of("http://gpu1:30000/v1/embeddings")
        == "http://gpu1:30000/v1"
    )
    assert base_of("https://cloud.example/compatible-mode/v1") == "https://cloud.example/compatible-mode/v1"
    for wrong in ("gpu1", "ftp://gpu1", "http://", "http://user:word@gpu1"):
        with pytest.raises(InvalidInput):
            base_of(wrong)
