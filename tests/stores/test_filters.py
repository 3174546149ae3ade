"""The filter language: what is understood, what is refused with which words, and what each operator means."""

import pytest

from huiyi.errors import InvalidInput
from huiyi.stores.filters import Among, Compared, Every, Not, Present, Some, fields, matches, parse

BOOK = {"lang": "zh", "price": 9.5, "stock": 3, "new": True, "tags": ["sale", "gift"]}


@pytest.mark.parametrize(
    ("given", "tree"),
    [
        (None, None),
        ({}, None),
        ({"lang": "zh"}, Among("lang", ("zh",))),
        ({"stock": {"$eq": 3}}, Among("stock", (3.0,))),
        ({"lang": {"$ne": "en"}}, Not(Among("lang", ("en",)))),
        ({"lang": {"$in": ["zh", "en", "zh"]}}, Among("lang", ("en", "zh"))),
        ({"price": {"$gte": 5, "$lt": 10}}, Every((Compared("price", "$gte", 5.0), Compared("price", "$lt", 10.0)))),
        ({"a": 1, "b": 2}, Every((Among("a", (1.0,)), Among("b", (2.0,))))),
        ({"$or": [{"a": 1}, {"b": {"$exists": False}}]}, Some((Among("a", (1.0,)), Not(Present("b"))))),
        ({"$and": [{"a": 1}]}, Among("a", (1.0,))),
    ],
)
def test_a_filter_becomes_a_tree(given, tree) -> None:
    assert parse(given) == tree
    assert parse(given) is None or hash(parse(given)) == hash(tree)


@pytest.mark.parametrize(
    ("given", "matching"),
    [
        ({"lang": "zh"}, True),
        ({"lang": "en"}, False),
        ({"missing": "zh"}, False),
        ({"missing": {"$ne": "zh"}}, True),
        ({"missing": {"$nin": ["zh"]}}, True),
        ({"missing": {"$exists": False}}, True),
        ({"lang": {"$exists": True}}, True),
        ({"stock": 3.0}, True),
        ({"stock": "3"}, False),
        ({"new": True}, True),
        ({"new": 1}, False),
        ({"stock": {"$in": [True, 4]}}, False),
        ({"new": {"$gt": 0}}, False),
        ({"lang": {"$gt": 0}}, False),
        ({"missing": {"$gt": 0}}, False),
        ({"price": {"$gt": 9.5}}, False),
        ({"price": {"$gte": 9.5, "$lte": 9.5}}, True),
        ({"tags": "gift"}, True),
        ({"tags": {"$in": ["other", "sale"]}}, True),
        ({"tags": {"$ne": "sale"}}, False),
        ({"tags": {"$nin": ["other"]}}, True),
        ({"lang": {"$in": []}}, False),
        ({"lang": {"$nin": []}}, True),
        ({"$or": [{"lang": "en"}, {"price": {"$lt": 10}}]}, True),
        ({"$and": [{"lang": "zh"}, {"price": {"$lt": 5}}]}, False),
    ],
)
def test_what_a_filter_means(given, matching) -> None:
    assert matches(parse(given), BOOK) is matching


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": {"$like": "x"}}, "'$like' (on 'a') is not an operator here; there are $eq, "),
        ({"a": {"eq": "x"}}, "'eq' (on 'a') is not an operator"),
        ({"$nor": [{"a": 1}]}, "$nor is not an operator that joins"),
        ({"$and": []}, "$and takes a list of filters, at least one"),
        ({"$or": {"a": 1}}, "$or takes a list of filters"),
        ({"$or": [{}, {"a": 1}]}, "$or holds an empty filter"),
        ({"a": {}}, "the filter on 'a' says nothing"),
        ({"a": None}, "$eq on 'a' compares with texts, numbers, true and false, not with None; records without"),
        ({"a": [1]}, "$eq on 'a' compares"),
        ({"a": {"$in": "zh"}}, "$in on 'a' takes a list of values, not 'zh'"),
        ({"a": {"$gt": "2024-01-01"}}, "$gt on 'a' takes a number, not '2024-01-01'; keep dates as numbers"),
        ({"a": {"$gt": True}}, "takes a number"),
        ({"a": float("nan")}, "not with nan"),
        ({"a": 2**53 + 1}, "integer beyond 2^53"),
        ({"a": {"$gt": 10**400}}, "integer beyond 2^53"),
        ({"a": {"$exists": "yes"}}, "takes true or false"),
        ({1: 2}, "names its fields by texts"),
        (["a"], "a filter is an object"),
        ({"a": {"$in": list(range(20_000))}}, "up to 10,000 values"),
    ],
)
def test_a_filter_that_is_not_understood_is_an_error_that_says_what_is(given, words) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(given)
    assert words in str(error.value)


def test_a_filter_without_an_end_is_refused() -> None:
    deep = {"a": 1}
    for _ in range(30):
        deep = {"$and": [deep]}
    with pytest.raises(InvalidInput, match="20 levels"):
        parse(deep)


def test_the_fields_that_a_filter_asks_for() -> None:
    assert fields(parse({"a": 1, "$or": [{"b": {"$gt": 1}}, {"c": {"$nin": ["x"]}}]})) == {"a", "b", "c"}
    assert fields(None) == set()
