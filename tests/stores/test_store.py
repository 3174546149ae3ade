"""Records as people write them: what is put right, and what is refused with which words."""

import numpy as np
import pytest

from huiyi.errors import InvalidInput
from huiyi.stores.store import Record, as_record, fingerprint


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("text", "a record is an object"),
        ({"text": "x"}, "a record has no id"),
        ({"id": 3, "text": "x"}, "the id of a record is a text, not 3"),
        ({"id": "a"}, "record 'a': its text is missing"),
        ({"id": "a", "text": 5}, "its text is a int"),
        ({"id": "a", "text": "x", "meta": {}}, "meta belongs into its metadata"),
        ({"id": "a", "text": "x", "metadata": ["b"]}, "its metadata is an object"),
        ({"id": "a", "text": "x", "metadata": {"$b": 1}}, "called '$b'"),
        ({"id": "a", "text": "x", "metadata": {"b": {"c": 1}}}, "its b is a dict; give its parts fields of their own"),
        ({"id": "a", "text": "x", "metadata": {"b": [1]}}, "make them texts"),
        ({"id": "a", "text": "x", "metadata": {"b": float("inf")}}, "infinite"),
        ({"id": "a", "text": "x", "metadata": {"b": 2**53 + 1}}, "beyond 2^53"),
        ({"id": "a", "text": "x\ud800", "metadata": {}}, "half a surrogate pair"),
    ],
)
def test_a_record_that_cannot_be_kept_is_refused_by_name(given, words) -> None:
    with pytest.raises(InvalidInput) as error:
        as_record(given)
    assert words in str(error.value)


def test_metadata_without_a_value_is_left_out_and_numpys_numbers_become_plain_ones() -> None:
    given = {
        "id": "a",
        "text": "x",
        "metadata": {"none": None, "nan": float("nan"), "n": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True)},
    }
    made = as_record(given)
    assert made == Record("a", "x", {"n": 3, "f": 0.5, "b": True})
    assert [type(value) for value in made.metadata.values()] == [int, float, bool]


def test_metadata_may_be_left_out_and_sets_are_lists() -> None:
    assert as_record({"id": "", "text": ""}) == Record("", "", {})
    assert as_record({"id": "a", "text": "x", "metadata": {"tags": {"b", "a"}}}).metadata == {"tags": ["a", "b"]}


def test_a_fingerprint_knows_text_from_metadata_and_no_order_of_fields() -> None:
    one, other = Record("a", "x", {"b": 1, "c": "d"}), Record("e", "x", {"c": "d", "b": 1})
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one).metadata != fingerprint(Record("a", "x", {"b": True, "c": "d"})).metadata
    assert fingerprint(one).text != fingerprint(Record("a", "y", {})).text
