"""`huiyi dedup` as a person types it: a file, two files, what is written, what is refused. MiniLM is the model."""

import csv
import json

import openpyxl
import pytest

from fake_model import fake_model
from huiyi.cli.app import main

ROWS = [
    "How do I reset my password?",
    "how do i reset my password",
    "How can I reset my password?",
    "You can get a refund within 7 days.",
    "You can get a refund within 14 days.",
    "I can log in to my account",
    "I cannot log in to my account",
    "<b>bold</b> & more",
]


def dedup(*args: object, load=None) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["dedup", *map(str, args)], load=load)
    return ended.value.code


@pytest.fixture
def table(tmp_path):
    with (tmp_path / "in.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([["id", "question"], *enumerate(ROWS, 1)])
    return tmp_path / "in.csv"


def test_repeats_go_and_what_says_something_else_stays(table, tmp_path, capsys, minilm, own_home) -> None:
    out, review = tmp_path / "kept.xlsx", tmp_path / "review.jsonl"
    assert dedup(table, "-o", out, "--review", review, "--threshold", 0.8, "-m", minilm) == 0
    printed = capsys.readouterr().out
    assert "8 rows: 6 stay, 2 repeats in 1 group" in printed
    assert "kept apart by the guard: 2" in printed
    kept = [row[1] for row in openpyxl.load_workbook(out).active.iter_rows(values_only=True)]
    assert kept[0] == "question"
    assert set(ROWS[3:]) < set(kept)
    pairs = [json.loads(line) for line in review.read_text("utf-8").splitlines()]
    assert {(pair["decision"], pair["remark"].split(":")[0]) for pair in pairs} == {
        ("repeat", ""),
        ("kept apart", "number"),
        ("kept apart", "negation"),
    }
    assert all(pair["text"] == ROWS[pair["row"] - 2] for pair in pairs)  # the line of the file: the header is the first


def test_everything_is_merged_when_asked_for(table, capsys, minilm, own_home) -> None:
    assert dedup(table, "--merge-all", "--threshold", 0.8, "--json", "-m", minilm) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["kept"], result["apart"], result["groups"]) == (4, 0, 3)


def test_a_page_shows_pairs_side_by_side_without_running_what_stands_in_them(table, tmp_path, capsys, minilm, own_home) -> None:
    with table.open("a", encoding="gb18030", newline="") as file:
        csv.writer(file).writerow([9, "<b>bold</b> & more!"])
    assert dedup(table, "--review", tmp_path / "review.html", "-m", minilm) == 0
    page = (tmp_path / "review.html").read_text("utf-8")
    assert "<mark>14</mark>" in page
    assert "<b>" not in page
    assert "http" not in page


def test_what_another_file_has_too(table, tmp_path, capsys, minilm, own_home) -> None:
    (tmp_path / "train.txt").write_text(
        "how can i reset my password\nThe weather is fine.\nYou can get a refund within 30 days.\n", "utf-8"
    )
    assert dedup(table, "--against", tmp_path / "train.txt", "--against-text", "text", "-m", minilm, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {pair["row"] for pair in result["repeats"]} == {2, 3, 4}
    assert {pair["stays"] for pair in result["repeats"]} == {1}
    assert {pair["row"] for pair in result["held"]} == {5, 6}


def test_own_terms_are_kept_apart(tmp_path, capsys, minilm, own_home) -> None:
    (tmp_path / "in.txt").write_text("how do i close my gold account\nhow do i close my plus account\n", "utf-8")
    (tmp_path / "terms.txt").write_text("gold\nplus, plus plan\n", "utf-8")
    common = [tmp_path / "in.txt", "--threshold", 0.6, "--json", "-m", minilm]
    assert dedup(*common) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1
    assert dedup(*common, "--terms", tmp_path / "terms.txt") == 0
    assert json.loads(capsys.readouterr().out)["held"][0]["remark"].startswith("term: ")


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["nothing-there.csv"], 1, "there is no file"),
        (["tickets"], 1, "there is no collection 'tickets'"),
        (["IN", "-o", "out.pdf"], 1, "end it in .csv"),
        (["IN", "--review", "IN", "--force", "-o", "IN"], 1, "named twice"),
        (["IN", "--text", "body"], 1, "there is no column 'body'"),
        (["IN", "--against-text", "x"], 2, "--against-text means nothing"),
        (["IN", "--merge-all", "--terms", "IN"], 2, "--terms means nothing"),
        (["IN", "--threshold", "90"], 2, "threshold"),
        (["IN", "-o", "IN"], 1, "is there already"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_model_is_loaded(table, capsys, args, code, sentence) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    assert dedup(*[str(table) if each == "IN" else each for each in args], load=never) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err


@pytest.mark.parametrize("text", ["one text", "\n\n\n", "same\n" * 100_000, "😀\n🎉\n", "a" * 1_000_000], ids=lambda text: f"{len(text)}")
def test_odd_input_gets_a_sensible_answer(tmp_path, capsys, own_home, text) -> None:
    (tmp_path / "in.txt").write_text(text, "utf-8")
    assert dedup(tmp_path / "in.txt", "--json", load=lambda *_: fake_model()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["kept"] == len(set(text.splitlines()))


def test_a_language_that_the_model_does_not_read_is_not_thrown_together(tmp_path, capsys, own_home) -> None:
    """The starter has hardly seen Arabic: to it, all these are one. What says different things stays, and the person is told why."""
    arabic = [
        "أين طردي؟", "أريد استرداد أموالي", "نسيت كلمة المرور", "كم تكلفة الشحن إلى الرياض؟", "لون الفستان مختلف عن الصورة",
        "شكرا جزيلا لكم", "لا أستطيع الدفع بالبطاقة", "نسيت كلمة المرور!",
    ]  # fmt: skip
    file = tmp_path / "messages.txt"
    file.write_text("\n".join(["密码忘了怎么办", "忘了密码怎么办", *arabic]) + "\n", "utf-8")
    assert dedup(file, "-m", "starter", "--json") == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert {frozenset({pair["row"], pair["stays"]}) for pair in result["repeats"]} == {frozenset({1, 2}), frozenset({5, 10})}
    assert result["unread"] == ["Arabic"]
    assert dedup(file, "-m", "starter") == 0
    assert "does not tell texts in Arabic script apart" in capsys.readouterr().err
