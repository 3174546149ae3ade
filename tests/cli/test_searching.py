"""`huiyi search` as a person types it."""

import json

import pytest

from fake_encoder import FakeEncoder
from huiyi.cli.app import main
from huiyi.model import Model

FAQ = "id,question,lang\n1,where is my parcel,en\n2,how do I get an invoice,en\n3,包裹到哪儿了,zh\n"


def huiyi(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, args)), load=lambda *_: Model(FakeEncoder(), "fake"))
    return ended.value.code


@pytest.fixture
def faq(tmp_path, own_home, capsys):
    (tmp_path / "faq.csv").write_text(FAQ, "utf-8")
    assert huiyi("index", "faq", tmp_path / "faq.csv", "--text", "question") == 0
    capsys.readouterr()
    return tmp_path


def said(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_hits_are_a_table(faq, capsys) -> None:
    assert huiyi("search", "faq", "my parcel", "-k", 2) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["score", "meaning", "words", "id", "text"]
    assert first.split()[0] == "1"
    assert first.rstrip().endswith("where is my parcel")
    assert second.split()[0] == "2"


def test_hits_are_json(faq, capsys) -> None:
    assert huiyi("search", "faq", "my parcel", "-k", 1, "--json") == 0
    result = said(capsys)
    (hit,) = result["hits"]
    assert result["query"] == "my parcel"
    assert (hit["id"], hit["text"], hit["metadata"]) == ("1", "where is my parcel", {"lang": "en"})
    assert [hit["text"][a:b] for a, b in hit["spans"]] == ["my", "parcel"]
    assert (hit["semantic_rank"], hit["keyword_rank"]) == (1, 1)


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
def test_modes_and_filters(faq, capsys, mode) -> None:
    assert huiyi("search", "faq", "包裹 parcel", "--mode", mode, "--filter", '{"lang": "zh"}', "--json") == 0
    assert [hit["id"] for hit in said(capsys)["hits"]] == ["3"]
    assert huiyi("search", "faq", "包裹 parcel", "--mode", mode, "--filter", '{"colour": "red"}') == 0
    out, err = capsys.readouterr()
    assert "nothing found" in out
    assert "no record of faq has 'colour', which the filter asks for; it has: lang" in err
    assert huiyi("search", "faq", "包裹 parcel", "--mode", mode, "--filter", '{"lang": "fr"}') == 0
    assert "which the filter asks for" not in capsys.readouterr().err


def test_words_beside_meaning(faq, capsys) -> None:
    assert huiyi("search", "faq", "包裹", "--compare") == 0
    out = capsys.readouterr().out
    assert "by words" in out
    assert "by meaning" in out
    assert out.count("包裹到哪儿了") == 2
    assert huiyi("search", "faq", "包裹", "--compare", "--json") == 0
    result = said(capsys)
    assert [hit["id"] for hit in result["keyword"]] == ["3"]
    assert len(result["semantic"]) == 3


def test_a_file_of_queries(faq, capsys) -> None:
    (faq / "queries.txt").write_text("my parcel\n包裹\n", "utf-8")
    assert huiyi("search", "faq", "--queries", faq / "queries.txt", "-k", 1, "--json") == 0
    assert [(each["query"], each["hits"][0]["id"]) for each in said(capsys)["results"]] == [("my parcel", "1"), ("包裹", "3")]
    assert huiyi("search", "faq", "--queries", faq / "queries.txt", "-k", 1) == 0
    assert "my parcel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("faq",), 2, "give a query"),
        (("faq", "a", "--queries", "x.txt"), 2, "give a query"),
        (("faq", "a", "-k", "0"), 2, "-k"),
        (("faq", "a", "--mode", "magic"), 2, "magic"),
        (("faq", "a", "--filter", "{"), 2, "JSON"),
        (("faq", "a", "--filter", '{"a": {"$near": 1}}'), 1, "not an operator"),
        (("faq", "a", "--min-score", "high"), 2, "number"),
        (("faq", "a", "--min-score", "tuned"), 1, "--tune"),
        (("faq", "a", "--compare", "--mode", "keyword"), 2, "--compare"),
        (("faq", "a", "--text", "x"), 2, "--queries"),
        (("faq", ""), 1, "not empty"),
        (("nothing", "a"), 1, "there is no collection nothing"),
    ],
)
def test_wrong_usage_says_what_to_do(faq, capsys, args, code, message) -> None:
    assert huiyi("search", *args) == code
    assert message in capsys.readouterr().err


def test_labelled_queries_teach(faq, capsys) -> None:
    rows = "query\tid\nparcel where\t1\nmy parcel\t1\ninvoice get\t2\nan invoice\t2\n包裹 到\t3\nnothing of that\t-1\n"
    (faq / "labelled.tsv").write_text(rows, "utf-8")
    assert huiyi("search", "faq", "--tune", faq / "labelled.tsv", "--target-precision", 0.6) == 0
    out = capsys.readouterr().out
    assert "weight of meaning" in out
    assert "--min-score tuned" in out
    assert huiyi("search", "faq", "--tune", faq / "labelled.tsv", "--json") == 0
    assert said(capsys)["answerable"] == 5
    assert huiyi("search", "faq", "--tune", faq / "labelled.tsv", "--mode", "keyword") == 2
    assert huiyi("search", "faq", "a", "--id", "id") == 2
