"""`huiyi answer` as a person types it: a shop's FAQ on the starter, taught and asked."""

import json

import pytest

import huiyi as package
import shop
from chat_server import Server
from huiyi.cli.app import main


@pytest.fixture(scope="module")
def model():
    with package.load("starter") as model:
        yield model


@pytest.fixture(scope="module")
def huiyi(model):
    def run(*args: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, args)), load=lambda *_: model)
        return ended.value.code

    return run


@pytest.fixture(scope="module")
def files(huiyi, tmp_path_factory):
    """A workspace with the FAQ in it, taught; and the folder of its files."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUIYI_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("HUIYI_LLM_KEY", raising=False)
        faq, queries = shop.write(folder)
        assert huiyi("index", "faq", faq, "--text", "question") == 0
        assert huiyi("index", "untaught", faq, "--text", "question") == 0
        assert huiyi("answer", "faq", "--learn", queries, "--target-precision", 0.95) == 0
        yield folder


def test_it_says_what_it_learned(files, huiyi, capsys) -> None:
    assert huiyi("answer", "faq", "--learn", files / "queries.tsv", "--target-precision", 0.95) == 0
    out = capsys.readouterr().out
    assert "learned from 80 questions, 24 of them without an answer: faq answers from a confidence of 0." in out
    assert "by folds: " in out
    assert huiyi("answer", "faq", "--learn", files / "queries.tsv", "--target-precision", 0.95, "--json") == 0
    learned = json.loads(capsys.readouterr().out)
    assert (learned["questions"], learned["answerable"], learned["precision"]) == (80, 56, 0.95)


def test_an_answer_with_its_confidence_and_what_is_near(files, huiyi, capsys) -> None:
    assert huiyi("answer", "faq", "退款多久到账", "-k", 2) == 0
    out, err = capsys.readouterr()
    first, second, *rest = out.splitlines()
    assert first.startswith("[1] 退款多久能到账 (confidence ")
    assert second == shop.FAQ["refund"][1]
    assert [line[:3] for line in rest if line.startswith("[")] == ["[2]", "[3]"]
    assert err == ""


def test_no_match_shows_the_nearest(files, huiyi, capsys) -> None:
    assert huiyi("answer", "faq", "哪支球队赢了昨晚的比赛") == 0
    out = capsys.readouterr().out
    assert out.startswith("no match (confidence 0.")
    assert "nearest:\n[1] " in out


def test_as_json(files, huiyi, capsys) -> None:
    assert huiyi("answer", "faq", "退款多久到账", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"] == shop.FAQ["refund"][1]
    assert found["hit"]["id"] == "refund"
    assert found["confidence"] >= found["least"]
    assert len(found["suggestions"]) == 3


def test_untaught_it_answers_by_a_default_and_says_so(files, huiyi, capsys) -> None:
    assert huiyi("answer", "untaught", "退款多久到账") == 0
    out, err = capsys.readouterr()
    first, second, *_ = out.splitlines()
    assert first.startswith("[1] 退款多久能到账 (confidence ")
    assert second == shop.FAQ["refund"][1]
    assert "a default of the model" in err
    assert "huiyi answer untaught --learn" in err
    assert huiyi("answer", "untaught", "哪支球队赢了昨晚的比赛") == 0
    assert capsys.readouterr().out.startswith("no match (confidence 0.")


def test_a_filter_on_a_field_that_no_record_has_is_told(files, huiyi, capsys) -> None:
    assert huiyi("answer", "faq", "退款多久到账", "--filter", '{"colour": "red"}') == 0
    out, err = capsys.readouterr()
    assert out == "no match\n"
    assert "no record of faq has 'colour'" in err


def test_a_language_model_writes_from_the_passages_and_is_watched(files, huiyi, capsys) -> None:
    server = Server()
    try:
        for says, said in (
            ("三到五个工作日到账 [1]。", ""),
            ("五天 [1]，另见 [8]。", "cites [8]"),
            ("不知道。", "none of the passages"),
        ):
            server.says = says
            assert huiyi("answer", "faq", "退款多久到账", "--llm", server.url, "--llm-model", "m") == 0
            out, err = capsys.readouterr()
            assert out.startswith(says + "\n\n[1]")
            assert ("[1]*" in out) == ("[1]" in says)
            assert said in err
        assert len(server.asked) == 3
        assert huiyi("answer", "faq", "哪支球队赢了昨晚的比赛", "--llm", server.url, "--llm-model", "m") == 0
        assert len(server.asked) == 3  # nothing to write from
    finally:
        server.shutdown()
        server.server_close()
    assert huiyi("answer", "faq", "退款多久到账", "--llm", server.url, "--llm-model", "m") == 1
    assert "gave no reply" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["faq"], 2, "give a question, or a file"),
        (["faq", "a", "--learn", "x.tsv"], 2, "give a question, or a file"),
        (["faq", "a", "--llm", "http://127.0.0.1:1"], 2, "go together"),
        (["faq", "a", "--text", "query"], 2, "are columns of --learn"),
        (["faq", "--learn", "x.tsv", "--filter", "{}"], 2, "leave out"),
        (["faq", "--learn", "nothing.tsv"], 1, "there is no file nothing.tsv"),
        (["faq", ""], 1, "not empty"),
        (["faq", "a", "--answer", "price"], 1, "no 'price'"),
        (["faq", "a", "-k", "0"], 2, "-k"),
        (["nowhere", "a"], 1, "there is no collection nowhere"),
        (["faq", "a", "--llm", "localhost", "--llm-model", "m"], 1, "no URL"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(files, huiyi, capsys, args, code, words) -> None:
    assert huiyi("answer", *args) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err
