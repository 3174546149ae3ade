"""`recommend` on a collection: the store is asked for what is near, conditions become a filter, and nobody reads all of it."""

import json

import pytest

import huiyi
from fake_encoder import FakeEncoder
from huiyi.errors import InvalidInput, NotFound
from huiyi.model import Model
from huiyi.stores.local import LocalStore
from huiyi.workspace.recommending import recommend_file

ARTICLES = [
    {"id": "a", "text": "the striker scored twice", "metadata": {"topic": "football", "year": 2024, "open": True}},
    {"id": "b", "text": "the striker scored again", "metadata": {"topic": "football", "year": 2023, "open": False}},
    {"id": "c", "text": "the striker saved a penalty", "metadata": {"topic": "football", "year": 2023.5, "tags": ["cup", "final"]}},
    {"id": "d", "text": "knead the dough", "metadata": {"topic": "cooking", "year": 2024, "open": True}},
    {"id": "e", "text": "the striker scored again", "metadata": {"topic": "football", "year": 2024}},
    {"id": "f", "text": " ", "metadata": {"topic": "football", "year": 2024}},
]


def never() -> Model:
    raise AssertionError("a collection has its vectors")


@pytest.fixture
def articles(own_home):
    with huiyi.open("articles", model=Model(FakeEncoder(), "fake")) as made:
        made.add(ARTICLES)
    return "articles"


@pytest.fixture
def unread(articles, monkeypatch):
    monkeypatch.setattr(LocalStore, "scan", None)
    return articles


def ids(**asked: object) -> set[str]:
    return {line.id for line in recommend_file("articles", never, **asked).lines}


def test_what_is_near_is_found_and_told_why(unread) -> None:
    found = recommend_file(unread, never, liked=["a"], k=1, diversity=0)
    (line,) = found.lines
    assert (line.text, line.because) == ("the striker scored again", "a")
    assert (found.id_column, found.model) == ("id", "fake")
    assert found.source == "articles: collection, 6 records, vectors of fake"
    assert ids(liked=["a"]) == {"b", "c", "d"}  # e says what b says, f nothing


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["topic=football"], {"b", "c"}),
        (["topic=football", "year=2023"], {"b"}),
        (["year=2023.5"], {"c"}),
        (["open=false"], {"b"}),
        (["open=True"], {"d"}),
        (["tags=cup"], {"c"}),
        (["tags="], {"b", "d"}),
    ],
)
def test_conditions_are_read_as_people_write_them(unread, where, expected) -> None:
    assert ids(liked=["a"], where=where) == expected


def test_a_condition_on_the_id_or_the_text_is_one_as_well(articles) -> None:
    assert ids(liked=["a"], where=["id=b"]) == {"b"}  # they are no fields: all of it is read


def test_what_cannot_be_done_is_said(unread) -> None:
    with pytest.raises(NotFound, match="no record with the id 'z'; the first are a, b, c"):
        ids(liked=["z"])
    with pytest.raises(NotFound, match=r"no record of articles has 'colour'.*it has: open, tags, topic, year"):
        ids(liked=["a"], where=["colour=red"])
    with pytest.raises(InvalidInput, match="no row meets topic=tennis"):
        ids(liked=["a"], where=["topic=tennis"])
    with pytest.raises(InvalidInput, match="write COLUMN=VALUE"):
        ids(liked=["a"], where=["topic"])
    with pytest.raises(InvalidInput, match="no row is left"):
        ids(liked=["d"], where=["topic=cooking"])
    with pytest.raises(InvalidInput, match="'a' is liked and disliked"):
        ids(liked=["a"], disliked=["a"])
    with pytest.raises(NotFound, match="no collection 'nothing'"):
        recommend_file("nothing", never, liked=["a"])


def test_what_is_written_holds_the_records_and_their_fields(unread, tmp_path) -> None:
    recommend_file(unread, never, liked=["a"], k=2, diversity=0, output=tmp_path / "out.jsonl")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    assert (first["topic"], first["because"], second["because"]) == ("football", "a", "a")
    assert first["score"] > second["score"]
