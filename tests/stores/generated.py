"""Metadata and filters as hypothesis makes them up, for the tests that a backend agrees with `filters.matches`."""

from hypothesis import strategies as st

NAMES = st.sampled_from(["lang", "price", 'it\'s "x"', "a.b", "名称", "key", "x y", "\\"])
SCALARS = st.one_of(
    st.sampled_from(["zh", "en", "", "'", '"', "\\", '\\"', "%", "a] or true", "1", "true", "\n", "👍"]),
    st.sampled_from([0, 1, -1, 2, 2.5, -0.0, 1e300, 5e-324, -1e-7, 2**53, 1.0, 0.1]),
    st.booleans(),
)
METADATA = st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(st.sampled_from(["zh", "en", '"', "1"]), max_size=3)), max_size=4)
CONDITION = st.one_of(
    SCALARS,
    st.builds(lambda operator, value: {operator: value}, st.sampled_from(["$eq", "$ne"]), SCALARS),
    st.builds(lambda operator, values: {operator: values}, st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, max_size=4)),
    st.builds(
        lambda operator, bound: {operator: bound},
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        st.sampled_from([0, 1, -1.5, 2.5, 1e300, 5e-324, -1e-7, float("inf"), float("-inf"), 2**53]),
    ),
    st.builds(lambda there: {"$exists": there}, st.booleans()),
)
FILTERS = st.recursive(
    st.dictionaries(NAMES.filter(lambda name: not name.startswith("$")), CONDITION, min_size=1, max_size=2),
    lambda inner: st.builds(
        lambda operator, parts: {operator: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=5,
)
