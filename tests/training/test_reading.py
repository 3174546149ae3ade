"""Rows become what their columns say, and every row that cannot be used is told with its line."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.errors import InvalidInput, NotFound
from huiyi.training.data import Labelled, Pairs, Queries, ScoredPairs, Triplets
from huiyi.training.reading import MAX_CHARACTERS, read_labelled, read_pairs, read_training


def read(*rows: dict, read=read_training, **options):
    columns = dict.fromkeys(name for row in rows for name in row)
    return read(enumerate(rows, 2), columns, "train.tsv", **options)


def test_the_columns_decide() -> None:
    found = read({"sentence1": "花呗", "sentence2": "借呗", "label": "1", "score": "0.3"})
    assert isinstance(found, Pairs)
    assert (found.first, found.second, found.labels.tolist(), found.lines.tolist()) == (("花呗",), ("借呗",), [1], [2])
    found = read({"sentence1": "a", "sentence2": "b", "score": "4.5"})
    assert isinstance(found, ScoredPairs)
    assert found.scores.tolist() == [4.5]
    found = read({"anchor": "a", "positive": "b", "negative": "c"})
    assert isinstance(found, Triplets)
    assert (found.anchor, found.positive, found.negative) == (("a",), ("b",), ("c",))
    found = read({"query": "q", "positive": "p"})
    assert isinstance(found, Queries)
    assert (found.queries, found.positives, found.negatives) == (("q",), (("p",),), ((),))


def test_other_names_are_known_or_can_be_named() -> None:
    assert read({"Question1": "a", "question2": "b", "Label": 0}).first == ("a",)
    assert read({"问题1": "甲", "问题2": "乙", "标签": True}).labels.tolist() == [1]
    row = {"left": "a", "right": "b", "same": 1.0}
    assert read(row, named={"sentence1": "left", "sentence2": "right", "label": "same"}).second == ("b",)
    with pytest.raises(NotFound, match=r"train.tsv has the columns left, right, same; there is no column 'lift' to be sentence1"):
        read(row, named={"sentence1": "lift"})
    with pytest.raises(InvalidInput, match=r"there is no role 'first'.* the roles are sentence1, sentence2, label"):
        read(row, named={"first": "left"})


def test_queries_gather_their_passages_from_rows_columns_and_lists() -> None:
    found = read(
        {"query": "q", "positive": "a", "negative_1": "x", "negative_2": ""},
        {"query": "r", "positive": ["b", "c"], "negative_1": ["x", "y"]},
        {"query": "q", "positive": "y", "negative_1": "z", "negative_2": "a"},
    )
    assert found.queries == ("q", "r")
    assert found.positives == (("a", "y"), ("b", "c"))
    assert found.negatives == (("x", "z"), ("x", "y"))  # what answers a query elsewhere is no negative of it
    assert found.lines.tolist() == [2, 3]


def test_missing_columns_name_those_that_are_there() -> None:
    with pytest.raises(NotFound, match=r"train.tsv has the columns sentence1, sentence2; training data has .* --columns"):
        read({"sentence1": "a", "sentence2": "b"})
    with pytest.raises(NotFound, match=r"has the columns text; pairs are in sentence1 and sentence2"):
        read({"text": "a"}, read=read_pairs)
    with pytest.raises(NotFound, match=r"has the columns text; labelled texts are in the columns text and label"):
        read({"text": "a"}, read=read_labelled)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"label": "2"}, "line 3: label is '2', not 0 or 1; for graded scores, name the column score"),
        ({"label": "entailment"}, "line 3: label is 'entailment', not 0 or 1; correct them"),
        ({"label": None}, "line 3: label is empty, not 0 or 1"),
        ({"label": float("nan")}, "line 3: label is 'nan', not 0 or 1"),
        ({"sentence2": "　\t"}, "line 3: sentence2 is empty; correct them, or leave them out"),
        ({"sentence2": None}, "line 3: sentence2 is empty"),
        (
            {"sentence1": "x" * 10_000_000},
            "line 3: sentence1 has 10,000,000 characters, more than 200,000; cut such texts, or look for a quote",
        ),
        ({"sentence1": ["a"]}, "line 3: sentence1 is a list or an object, not a text"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_its_line(cells, problem) -> None:
    good = {"sentence1": "a", "sentence2": "b", "label": "1"}
    with pytest.raises(InvalidInput, match=re.escape(f"train.tsv, {problem}")):
        read(good, good | cells, good)


def test_many_faults_are_told_together() -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "score": "much"}] * 12
    with pytest.raises(InvalidInput) as refused:
        read(*rows)
    assert re.findall(r"line (\d+)", str(refused.value)) == ["2", "3", "4", "5", "6"]
    assert "and 7 more" in str(refused.value)
    with pytest.raises(InvalidInput, match=r"train.tsv holds no rows"):
        read_training([], ["query", "positive"], "train.tsv")


def test_a_query_without_a_passage_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"line 3: positive is empty"):
        read({"query": "q", "positive": "a"}, {"query": "r", "positive": ""})
    with pytest.raises(InvalidInput, match=r"line 2: positive is empty"):
        read({"query": "q", "positive": [""]})


def test_labelled_texts_keep_the_names_of_their_classes() -> None:
    found = read({"text": "a", "label": 3}, {"text": "b", "label": "refund"}, read=read_labelled)
    assert isinstance(found, Labelled)
    assert (found.sentences, found.labels) == (("a", "b"), ("3", "refund"))


WORD = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=8)


@settings(max_examples=50)
@given(st.lists(st.tuples(WORD, WORD, st.sampled_from(["0", "1", 0, 1, 0.0, 1.0, True, False, "1.0", " 0 "])), min_size=1))
def test_every_good_row_comes_through_as_it_is(rows) -> None:
    found = read(*({"sentence1": a, "sentence2": b, "label": label} for a, b, label in rows))
    assert list(zip(found.first, found.second, found.labels.tolist(), strict=True)) == [(a, b, int(float(label))) for a, b, label in rows]
    assert found.lines.tolist() == list(range(2, len(rows) + 2))
    assert max(map(len, found.first)) <= MAX_CHARACTERS
