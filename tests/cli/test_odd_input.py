"""Input as it should not be, to every command that looks at many texts: a sensible answer or a sentence, on the starter."""

import json

import pytest

from huiyi.cli.app import main

TEXTS = {
    "one text": ["退款要几天"],
    "all the same": ["退款要几天"] * 30,
    "a hundred thousand the same": ["退款要几天"] * 100_000,
    "emoji only": ["😀", "👍👍", "🎉", "😀", "🙂"],
    "empty between": ["退款要几天", "", "怎么退货", "   ", "花呗怎么还款"],
    "a megabyte": ["a" * 1_000_000, "退款要几天", "怎么退货"],
    "nothing but empty": ["", "  ", ""],
}
WITHOUT_TEXT = ("nothing but empty",)
LONGEST_SHOWN = 2_000  # characters that may be shown of a text of a million


@pytest.fixture(params=list(TEXTS))
def odd(request, tmp_path, own_home):
    """A table with an id a row, and what kind of input it is."""
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f"{row},{text}\n" for row, text in enumerate(TEXTS[request.param], 1)), "utf-8")
    return path, request.param


def run(capsys, *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, args), "-m", "starter"])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "--json" in args or "a" * LONGEST_SHOWN not in out + err
    return ended.value.code, out, err


def test_cluster_says_a_topic_for_every_row(odd, tmp_path, capsys) -> None:
    path, kind = odd
    out = tmp_path / "topics.jsonl"
    code, _, said = run(capsys, "cluster", path, "-o", out)
    if kind in WITHOUT_TEXT:
        assert code == 1
        assert "text" in said
        return
    assert code == 0
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [str(row) for row in range(1, len(TEXTS[kind]) + 1)]
    assert [line["topic"] == -1 for line in lines] == [not text.strip() for text in TEXTS[kind]]
    assert all(line["name"] and len(line["name"]) <= 12 for line in lines if line["topic"] >= 0)


@pytest.mark.parametrize("method", ["graph", "kmeans"])
def test_more_topics_than_texts_are_as_many_as_there_are(tmp_path, own_home, capsys, method) -> None:
    (tmp_path / "in.csv").write_text("text\n退款要几天\n怎么退货\n花呗怎么还款\n密码忘了\n", "utf-8")
    code, out, _ = run(capsys, "cluster", tmp_path / "in.csv", "--topics", 50, "--method", method, "--json")
    assert code == 0
    assert len(json.loads(out)["topics"]) == 4


def test_dedup_keeps_one_of_each_text(odd, tmp_path, capsys) -> None:
    path, kind = odd
    out = tmp_path / "kept.csv"
    code, _, said = run(capsys, "dedup", path, "-o", out)
    assert code == 0
    kept = len(out.read_text("utf-8-sig").splitlines()) - 1
    assert kept == len({text.strip() for text in TEXTS[kind]})
    if [text.strip() for text in TEXTS[kind]].count("") > 1:
        assert "they count as one text" in said


def test_summarize_says_each_text_once(odd, tmp_path, capsys) -> None:
    path, kind = odd
    assert run(capsys, "summarize", path)[0] == (kind in WITHOUT_TEXT)
    code, out, said = run(capsys, "summarize", path, "-k", 50, "--json")
    if kind in WITHOUT_TEXT:
        assert code == 1
        assert "text" in said
        return
    assert code == 0
    shown = [line["text"] for line in json.loads(out)["lines"]]
    assert len(shown) == len({text.strip() for text in TEXTS[kind]} - {""})


def test_recommend_has_something_else_or_says_that_there_is_nothing(odd, capsys) -> None:
    path, kind = odd
    code, out, said = run(capsys, "recommend", path, "--like", 1, "-k", 50, "--json")
    others = {text.strip() for text in TEXTS[kind]} - {"", TEXTS[kind][0].strip()}
    if not others:
        assert code == 1
        assert "no row is left to recommend" in said or "empty" in said
        return
    assert code == 0
    assert len(json.loads(out)["lines"]) == len(others)


def test_classify_answers_every_row_or_says_what_it_needs(odd, tmp_path, capsys) -> None:
    path, kind = odd
    if len(TEXTS[kind]) < 1_000:  # a class a row: more of them would be a wait, and no other case
        code, _, said = run(capsys, "classify", "fit", "odd", path, "--label", "id")
        assert code == (0 if sum(bool(text.strip()) for text in TEXTS[kind]) > 1 else 1), said
    labels = tmp_path / "labels.txt"
    labels.write_text("退款\n登录: 忘记密码,无法登录\n", "utf-8")
    out = tmp_path / "sorted.jsonl"
    code, _, said = run(capsys, "classify", "predict", path, "--zero-shot", labels, "-o", out)
    assert code == 0, said
    assert len(out.read_text("utf-8").splitlines()) == len(TEXTS[kind])
