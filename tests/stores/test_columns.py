"""Filters over columns: the same records as `matches` tells one by one, whatever the metadata, also after changes and from a file."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.stores.columns import Columns
from huiyi.stores.filters import matches, parse

FIELDS = st.sampled_from(["a", "b", "名"])
SCALARS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 1e308]),
    st.booleans(),
    st.sampled_from(["", "x", "y", "1", "true", "t", "sx", "长" * 70, "长" * 71]),
)
VALUES = SCALARS | st.lists(st.sampled_from(["", "x", "y", "1", "长" * 70]), max_size=3)
METADATA = st.dictionaries(FIELDS, VALUES, max_size=3)
CONDITIONS = st.one_of(
    SCALARS,
    st.builds(lambda op, value: {op: value}, st.sampled_from(["$eq", "$ne"]), SCALARS),
    st.builds(lambda op, values: {op: values}, st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, max_size=4)),
    st.builds(
        lambda op, value: {op: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.integers(-3, 3) | st.floats(allow_nan=False)
    ),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, min_size=1, max_size=3),
    lambda inner: st.builds(lambda op, parts: {op: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=300)
@given(
    st.lists(METADATA, max_size=12), st.dictionaries(st.integers(0, 11), METADATA, max_size=4), st.lists(FILTERS, min_size=1, max_size=4)
)
def test_a_filter_over_columns_means_what_it_means_for_one_record(records, changes, filters) -> None:
    columns = Columns()
    for position, metadata in enumerate(records):
        columns.put(position, metadata)
    current = list(records)
    for position, metadata in changes.items():
        if position < len(current):
            columns.replace(position, metadata)
            current[position] = metadata
    again = Columns.loaded({name: array.copy() for name, array in columns.saved(len(current)).items()})
    for each in filters:
        tree = parse(each)
        expected = [matches(tree, metadata) for metadata in current]
        assert columns.mask(tree, len(current)).tolist() == expected
        assert again.mask(tree, len(current)).tolist() == expected


def test_columns_from_a_file_go_on_growing() -> None:
    columns = Columns()
    for position in range(100):
        columns.put(position, {"n": position, "kind": "even" if position % 2 == 0 else "odd"})
    again = Columns.loaded(columns.saved(100))
    again.put(100, {"kind": "even", "late": ["x"]})
    again.replace(3, {"kind": "even"})
    assert again.mask(parse({"kind": "even"}), 101).sum() == 52
    assert np.flatnonzero(again.mask(parse({"late": "x"}), 101)).tolist() == [100]
    assert again.mask(parse({"n": {"$gte": 0}}), 101).sum() == 99
