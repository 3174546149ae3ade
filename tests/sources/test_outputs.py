"""Tables for people open in Excel as they are meant; tables for programs hold the texts as they are; a table is whole or not there."""

import csv
import json

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.errors import Conflict, InvalidInput
from huiyi.sources.outputs import neutral, replacing, require_table, write_table
from huiyi.sources.tables import open_table

COLUMNS = ["text", "score"]
ROWS = [
    {"text": '=HYPERLINK("http://example.com")', "score": -0.5},
    {"text": "+86 10 1234", "score": 1},
    {"text": "-5", "score": 0.25},
    {"text": "@everyone", "score": None},
    {"text": "\tindented", "score": True},
    {"text": "＝full width", "score": 0.0},
    {"text": "退款,\n说'好'", "score": 0.123456},
    {"text": "safe = 1 + 1 - @", "score": 7},
]
FIRST_SIX_GUARDED = [f"'{row['text']}" for row in ROWS[:6]] + [row["text"] for row in ROWS[6:]]


def test_csv_opens_in_excel_without_running_anything(tmp_path) -> None:
    write_table(tmp_path / "a.csv", COLUMNS, ROWS)
    data = (tmp_path / "a.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbftext,score\r\n")
    rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines(keepends=True)))
    assert [row["text"] for row in rows] == FIRST_SIX_GUARDED
    assert [row["score"] for row in rows] == ["-0.5", "1", "0.25", "", "True", "0.0", "0.123456", "7"]


def test_xlsx_holds_no_formula_and_real_numbers(tmp_path) -> None:
    write_table(tmp_path / "a.xlsx", COLUMNS, ROWS)
    head, *rows = openpyxl.load_workbook(tmp_path / "a.xlsx").active.iter_rows()
    assert [cell.value for cell in head] == COLUMNS
    assert [text.value for text, _ in rows] == FIRST_SIX_GUARDED
    assert {text.data_type for text, _ in rows} == {"s"}
    assert [score.value for _, score in rows] == [row["score"] for row in ROWS]


def test_jsonl_and_tsv_are_for_programs(tmp_path) -> None:
    write_table(tmp_path / "a.jsonl", COLUMNS, ROWS)
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()] == ROWS
    write_table(tmp_path / "a.tsv", COLUMNS, ROWS)
    lines = (tmp_path / "a.tsv").read_text("utf-8").split("\n")
    assert lines[0] == "text\tscore"
    assert lines[3] == "-5\t0.25"
    assert lines[7] == "退款, 说'好'\t0.123456"
    assert len(lines) == 1 + len(ROWS) + 1


@given(st.one_of(st.text(), st.floats(allow_nan=False), st.integers(), st.none()))
def test_neutral_changes_only_texts_that_start_like_a_formula(value) -> None:
    assert neutral(value) in (value, f"'{value}")
    assert not str(neutral(value)).startswith(("=", "+", "-", "@", "\t", "\r")) or isinstance(value, (int, float))
    if not isinstance(value, str):
        assert neutral(value) is value


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "a.jsonl", "a.tsv"])
def test_what_is_written_is_read_back(tmp_path, name) -> None:
    rows = [{"id": 1, "text": "花呗怎么还", "tags": ["x", 2]}, {"id": None, "text": "don't\x07 panic", "tags": None}]
    write_table(tmp_path / name, ["id", "text", "tags"], rows)
    with open_table(tmp_path / name) as table:
        assert list(table.columns) == ["id", "text", "tags"]
        first, second = (row.cells for row in table)
    assert (str(first["id"]), first["text"]) == ("1", "花呗怎么还")
    assert first["tags"] in (["x", 2], '["x", 2]')
    assert second["text"] == ("don't\ufffd panic" if name == "a.xlsx" else "don't\x07 panic")  # XML has no place for a bell
    assert second["id"] in (None, "")


def test_a_failed_write_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("before")

    def rows():
        yield ROWS[0]
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match=r"the model failed"):
        write_table(path, COLUMNS, rows())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x" * 40_000}))
    with open_table(tmp_path / "a.jsonl") as table:
        require_table(tmp_path / "b.csv", table, overwrite=False)
        with pytest.raises(InvalidInput, match=r"longest cell of 40,000 characters do not fit an xlsx"):
            require_table(tmp_path / "b.xlsx", table, overwrite=False)
        with pytest.raises(InvalidInput, match=r"end it in .csv, .tsv, .jsonl or .xlsx"):
            require_table(tmp_path / "b.txt", table, overwrite=False)
        with pytest.raises(Conflict, match=r"there is no folder"):
            require_table(tmp_path / "gone" / "b.csv", table, overwrite=False)
        with pytest.raises(Conflict, match=r"is a folder"):
            require_table(tmp_path, table, overwrite=True)
        with pytest.raises(Conflict, match=r"is there already; pass --force"):
            require_table(tmp_path / "a.jsonl", table, overwrite=False)
        require_table(tmp_path / "a.jsonl", table, overwrite=True)
