"""Queries to a collection by name: one or many, compared, from a file."""

import pytest

from fake_encoder import FakeEncoder
from huiyi import workspace
from huiyi.errors import InvalidInput, NotFound
from huiyi.model import Model

FAQ = "id,question,lang\n1,where is my parcel,en\n2,how do I get an invoice,en\n3,包裹到哪儿了,zh\n"


def load(name):
    return Model(FakeEncoder(), "fake")


@pytest.fixture
def faq(tmp_path, own_home):
    (tmp_path / "faq.csv").write_text(FAQ, "utf-8")
    workspace.index("faq", tmp_path / "faq.csv", load, text="question")
    return tmp_path


def test_each_query_has_its_hits(faq) -> None:
    found = workspace.search("faq", ["my parcel", "包裹"], k=1, load=load)
    assert [hits[0].id for hits in found.hits] == ["1", "3"]
    assert (found.name, found.mode, found.queries) == ("faq", "hybrid", ("my parcel", "包裹"))
    assert found.hits[0][0].spans
    assert found.hits[0][0].metadata == {"lang": "en"}


def test_words_need_no_model(faq) -> None:
    def none(name):
        raise AssertionError("a model was loaded")

    assert workspace.search("faq", ["invoice"], mode="keyword", load=none).hits[0][0].id == "2"


def test_what_can_be_refused_is_refused_before_the_model_is_loaded(faq) -> None:
    def none(name):
        raise AssertionError("a model was loaded")

    for wrong in (
        {"queries": [""]},
        {"queries": ["a", "  "]},
        {"queries": "a"},
        {"queries": ["a"], "k": 0},
        {"queries": ["a"], "mode": "telepathy"},
        {"queries": ["a"], "filter": {"a": {"$near": 1}}},
        {"queries": ["a"], "diversity": 2},
        {"queries": ["a"], "min_score": "tuned"},
    ):
        with pytest.raises(InvalidInput):
            workspace.search("faq", load=none, **wrong)


def test_a_collection_that_is_not_there_is_not_made(own_home) -> None:
    with pytest.raises(NotFound):
        workspace.search("nothing", ["a"], load=load)
    assert workspace.collection_list().collections == ()


def test_words_and_meaning_side_by_side(faq) -> None:
    both = workspace.search_compare("faq", ["my parcel"], k=2, load=load)
    assert [hit.id for hit in both.keyword[0]] == ["1"]
    assert len(both.semantic[0]) == 2


def test_fields_that_no_record_has_are_named_where_nothing_is_found(faq) -> None:
    wrong = {"$or": [{"langg": "en"}, {"price": {"$lt": 3}}]}
    for ask in (workspace.search, workspace.search_compare):
        hint = ask("faq", ["parcel"], filter=wrong, load=load).hint
        assert hint == "no record of faq has 'langg', 'price', which the filter asks for; it has: lang"
        assert ask("faq", ["parcel"], filter={"lang": "fr"}, load=load).hint is None
        assert ask("faq", ["parcel"], filter={"langg": {"$ne": "en"}}, load=load).hint is None


def test_progress_is_told(faq) -> None:
    told = []
    workspace.search("faq", ["parcel"] * 70, load=load, report=told.append)
    assert [each.rows_done for each in told] == [32, 64, 70]
    assert all(each.rows == 70 for each in told)


def test_queries_from_a_file(tmp_path) -> None:
    (tmp_path / "queries.csv").write_text("n,query\n1,我的包裹\n2,invoice\n", "utf-8")
    assert workspace.queries_of(tmp_path / "queries.csv") == ["我的包裹", "invoice"]
    (tmp_path / "lines.txt").write_text("a\n\nb\n", "utf-8")
    with pytest.raises(InvalidInput, match="line 2"):
        workspace.queries_of(tmp_path / "lines.txt")
