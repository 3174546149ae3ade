"""`huiyi summarize` and `huiyi recommend` as a person types them, on MiniLM."""

import csv
import io
import json
import sys

import pytest

import huiyi
from fake_model import fake_model
from huiyi.cli.app import main

ARTICLES = {
    "football": ["The striker scored twice", "The goalkeeper saved a penalty", "The team won the cup final", "A midfielder was sent off"],
    "cooking": ["How to bake sourdough bread", "A quick recipe for tomato soup", "Knead the dough for ten minutes", "Roast the vegetables"],
    "space": ["The rocket reached orbit", "Astronauts repaired the station", "A probe landed on Mars", "The telescope saw a new planet"],
}
ROWS = [(f"a{i}", text, topic) for i, (text, topic) in enumerate((text, topic) for topic in ARTICLES for text in ARTICLES[topic])]


def run(*args: object, load=None) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, args)), load=load)
    return ended.value.code


@pytest.fixture
def table(tmp_path, own_home):
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "topic"], *ROWS])
    return tmp_path / "in.csv"


def test_of_many_texts_one_of_each_kind(table, tmp_path, minilm, capsys) -> None:
    assert run("summarize", table, "-k", 3, "--json", "-m", minilm, "-o", tmp_path / "out.csv") == 0
    found = json.loads(capsys.readouterr().out)
    assert {dict((text, topic) for _, text, topic in ROWS)[line["text"]] for line in found["lines"]} == set(ARTICLES)
    assert found["coverage"] > found["chance"]
    assert found["coverage"] >= found["lexrank"]
    assert len((tmp_path / "out.csv").read_text("utf-8-sig").splitlines()) == 4


def test_equal_texts_count_and_are_said_once(tmp_path, own_home, minilm, capsys) -> None:
    (tmp_path / "in.csv").write_text("text\n" + "refund please\n" * 30 + "where is my parcel\n\n", "utf-8")
    assert run("summarize", tmp_path / "in.csv", "-k", 5, "-m", minilm) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == ["refund please ×30", "where is my parcel"]


def test_sentences_of_one_text_stay_in_order_in_any_script(tmp_path, own_home, minilm, capsys, monkeypatch) -> None:
    text = "Dr. Smith paid 3.5 dollars. 今天下雨。我们在家！هل وصل الطرد؟ نعم وصل. 雨が降る。Later it was sunny."
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run("summarize", "-", "-k", 20, "--json", "-m", minilm) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "text"
    assert found["items"] == 7
    assert "Dr. Smith paid 3.5 dollars." in [line["text"] for line in found["lines"]]
    assert [line["row"] for line in found["lines"]] == sorted(line["row"] for line in found["lines"])


def test_lines_of_a_text_file_can_be_texts(tmp_path, own_home, minilm, capsys) -> None:
    (tmp_path / "in.txt").write_text("One. Two.\nThree. Four.\n", "utf-8")
    assert run("summarize", tmp_path / "in.txt", "--json", "-m", minilm) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 4
    assert run("summarize", tmp_path / "in.txt", "--as", "rows", "--json", "-m", minilm) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 2


def test_more_like_this_and_less_like_that(table, tmp_path, minilm, capsys) -> None:
    assert run("recommend", table, "--like", "a0", "--dislike", "a4", "-k", 3, "--diversity", 0, "--json", "-m", minilm) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert {line["id"] for line in lines} == {"a1", "a2", "a3"}
    assert {line["because"] for line in lines} == {"a0"}


def test_a_filter_and_a_history(table, tmp_path, minilm, capsys) -> None:
    out = tmp_path / "out.xlsx"
    command = ["recommend", table, "--history", "a0", "--history", "a8", "--where", "topic=space", "-m", minilm, "-o", out]
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert {line.split()[1] for line in printed.splitlines() if "(as " in line} == {"a9", "a10", "a11"}
    assert out.exists()


def test_a_collection_gives_its_own_vectors(table, minilm, capsys) -> None:
    with huiyi.open("articles", model=str(minilm)) as collection:
        collection.add([{"id": id_, "text": text, "metadata": {"topic": topic}} for id_, text, topic in ROWS])

    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    assert run("recommend", "articles", "--like", "a0", "-k", 2, "--where", "topic=football", "--json", load=never) == 0
    assert {line["id"] for line in json.loads(capsys.readouterr().out)["lines"]} < {"a1", "a2", "a3"}
    assert run("summarize", "articles", "-k", 3, "--json", load=never) == 0
    assert len(json.loads(capsys.readouterr().out)["lines"]) == 3
    assert run("dedup", "articles", "--json", load=never) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 12
    assert run("dedup", "articles", "--against", table, load=lambda *_: fake_model()) == 1
    err = capsys.readouterr().err
    assert "fake" in err
    assert str(minilm) in err


def test_held_out_interactions(table, tmp_path, minilm, capsys) -> None:
    lines = ["user,item,time", *(f"u{i % 3},a{4 * (i % 3) + i // 3},{i}" for i in range(12)), "u9,gone,1"]
    (tmp_path / "seen.csv").write_text("\n".join(lines), "utf-8")
    assert run("recommend", table, "--evaluate", tmp_path / "seen.csv", "-k", 3, "--json", "-m", minilm) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["held"]["histories"] == 3
    assert found["held"]["hit_rate"] > found["held"]["chance"]
    assert found["unknown"] == 1


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["recommend", "IN"], 1, "--like ID"),
        (["recommend", "IN", "--like", "zz"], 1, "no row with the id 'zz'"),
        (["recommend", "IN", "--like", "a0", "--where", "topic"], 1, "COLUMN=VALUE"),
        (["recommend", "IN", "--like", "a0", "--where", "topic=tennis"], 1, "no row meets"),
        (["recommend", "IN", "--like", "a0", "--evaluate", "IN"], 2, "--like means nothing"),
        (["recommend", "IN", "--like", "football", "--id", "topic"], 1, "4 rows with the topic"),
        (["summarize", "nothing.pdf"], 1, "nothing.pdf"),
        (["summarize", "nothing"], 1, "no collection 'nothing'"),
        (["summarize", "IN", "-o", "out.html"], 1, "end it in .csv"),
    ],
)
def test_what_cannot_be_done_is_refused(table, capsys, args, code, sentence) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    assert run(*[table if each == "IN" else each for each in args], load=never) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err


@pytest.mark.parametrize("text", ["one text", "same\n" * 100_000, "😀\n🎉\n", "a" * 1_000_000], ids=lambda text: f"{len(text)}")
def test_odd_input_gets_a_sensible_answer(tmp_path, own_home, capsys, text) -> None:
    (tmp_path / "in.txt").write_text(text, "utf-8")
    load = lambda *_: fake_model()  # noqa: E731
    for kind in ("text",) if len(text) > 500_000 else ("rows", "text"):
        assert run("summarize", tmp_path / "in.txt", "--as", kind, "-k", 1000, "--json", load=load) == 0
        lines = json.loads(capsys.readouterr().out)["lines"]
        assert 1 <= len(lines) <= 1000
        assert len({line["text"] for line in lines}) == len(lines)
    if len(text) <= 500_000:
        assert run("recommend", tmp_path / "in.txt", "--like", "1", "--json", load=load) == (0 if "🎉" in text else 1)
        assert "no row" in capsys.readouterr().err or "🎉" in text


def test_empty_lines_alone_are_refused(tmp_path, own_home, capsys) -> None:
    (tmp_path / "in.txt").write_text("\n\n\n", "utf-8")
    for kind in ("rows", "text"):
        assert run("summarize", tmp_path / "in.txt", "--as", kind, load=lambda *_: fake_model()) == 1
        assert "in.txt" in capsys.readouterr().err
