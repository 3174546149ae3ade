"""Queries, passages and what joins them, in the three layouts that files of them have."""

import pytest

from huiyi.errors import InvalidInput, NotFound
from huiyi.training.data import Queries
from huiyi.training.searches import Asked, joined, read_answers, read_asked, read_passages


def read(read, *rows: dict, **options):
    return read(enumerate(rows, 2), dict.fromkeys(name for row in rows for name in row), "file.tsv", **options)


PASSAGES = {"1": "还款方式", "2": "逾期后果", "3": "提额"}


def test_queries_with_the_text_that_answers_them() -> None:
    asked = read(read_asked, {"query": "怎么还", "positive": "还款方式", "negative": "注销"}, {"query": "会怎样", "positive": "逾期后果"})
    assert isinstance(asked, Queries)
    found = joined(asked, None, None)
    assert found.corpus == tuple(sorted(["还款方式", "注销", "逾期后果"]))
    assert found.queries == ("会怎样", "怎么还")
    assert [found.corpus[place] for gains in found.relevant for place in gains] == ["逾期后果", "还款方式"]
    assert found.lines == (3, 2)
    larger = joined(asked, {"x": "别的"}, None)
    assert set(larger.corpus) == {*found.corpus, "别的"}


def test_queries_with_ids_of_passages() -> None:
    asked = read(read_asked, {"query": "b", "faq_id": "2"}, {"query": "a", "faq_id": "-1"}, {"query": "b", "faq_id": 3})
    assert isinstance(asked, Asked)
    found = joined(asked, PASSAGES, None)
    assert (found.queries, found.unanswered, found.lines) == (("b",), 1, (2,))
    assert {found.corpus[place]: gain for place, gain in found.relevant[0].items()} == {"逾期后果": 1, "提额": 1}
    with pytest.raises(InvalidInput, match=r"give the file that holds them with --corpus"):
        joined(asked, None, None)
    with pytest.raises(InvalidInput, match=r"are the ids the same in both files"):
        joined(asked, {"7": "x"}, None)


def test_queries_answers_and_passages_in_three_files() -> None:
    """As BEIR has them: _id and text twice, query-id, corpus-id, score."""
    asked = read(read_asked, {"_id": "q1", "text": "怎么还"}, {"_id": "q2", "text": "会怎样"})
    answers = read(
        read_answers,
        {"query-id": "q1", "corpus-id": "1", "score": "2"},
        {"query-id": "q1", "corpus-id": "3", "score": "1"},
        {"query-id": "q2", "corpus-id": "2", "score": "0"},
    )
    assert answers == {"q1": {"1": 2.0, "3": 1.0}}
    found = joined(asked, read(read_passages, *({"_id": id_, "text": text} for id_, text in PASSAGES.items())), answers)
    assert (found.queries, found.unanswered) == (("怎么还",), 1)
    assert {found.corpus[place]: gain for place, gain in found.relevant[0].items()} == {"还款方式": 2, "提额": 1}
    with pytest.raises(InvalidInput, match=r"--qrels"):
        joined(asked, PASSAGES, None)


def test_passages_have_unique_ids_and_known_columns() -> None:
    assert read(read_passages, {"id": "1", "question": "q", "answer": "a"}, named={"text": "answer", "query": "elsewhere"}) == {"1": "a"}
    assert read(read_passages, {"text": "a"}, {"text": "a"}) == {"a": "a"}
    with pytest.raises(InvalidInput, match=r"file.tsv, line 3: the id '1' stood there before, with another text"):
        read(read_passages, {"id": "1", "text": "a"}, {"id": "1", "text": "b"})
    with pytest.raises(NotFound, match=r"has the columns x; passages are in the columns id and text"):
        read(read_passages, {"x": "1"})
    with pytest.raises(NotFound, match=r"has the columns query; retrieval needs query and positive"):
        read(read_asked, {"query": "1"})
    with pytest.raises(NotFound, match=r"answers are in the columns query_id and passage_id"):
        read(read_answers, {"query_id": "1"})


def test_the_order_of_rows_changes_nothing() -> None:
    rows = [{"query": f"q{number % 4}", "passage_id": str(number % 3 + 1)} for number in range(9)]
    one, other = (joined(read(read_asked, *each), PASSAGES, None) for each in (rows, rows[::-1]))
    assert (one.queries, one.relevant, one.digest) == (other.queries, other.relevant, other.digest)
    assert one.digest != joined(read(read_asked, *rows), {**PASSAGES, "4": "x"}, None).digest
