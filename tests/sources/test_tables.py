"""Tables of every format: rows in file order, columns found or named, and errors that name the line."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from conftest import shared_data
from huiyi.errors import InvalidInput, NotFound
from huiyi.sources.tables import Table, open_table, slices


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def cells(table: Table) -> list[dict]:
    return [row.cells for row in table]


def texts(path: Path, **options) -> list[str]:
    with open_table(path, **options) as table:
        column = table.text_column()
        return [row.cells[column] for row in table]


def test_a_txt_file_has_a_text_a_line_and_keeps_empty_ones(tmp_path) -> None:
    path = write(tmp_path / "a.txt", "one\r\n\r\n  two \nthree\u2028still three\x0c")
    assert texts(path) == ["one", "", "  two ", "three\u2028still three\x0c"]
    assert texts(write(tmp_path / "b.txt", "only")) == ["only"]
    assert texts(write(tmp_path / "c.txt", "\n")) == [""]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_a_file_without_rows_is_refused(tmp_path, name) -> None:
    with pytest.raises(InvalidInput, match=f"{name} holds no rows"):
        open_table(write(tmp_path / name, ""))


def test_a_header_alone_is_no_row(tmp_path) -> None:
    with pytest.raises(InvalidInput, match=r"holds no rows"):
        open_table(write(tmp_path / "a.csv", "text,label\r\n"))


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("gb18030", ","), ("utf-8-sig", ","), ("utf-16", "\t"), ("utf-8", ";")], ids=lambda value: repr(value)
)
def test_csv_as_excel_writes_it(tmp_path, encoding, delimiter) -> None:
    rows = [["编号", "question"], ["1", '他说"你好"'], ["2", "两行\n文字"], ["3", f"a{delimiter}b"], ["4", ""]]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    with open_table(write(tmp_path / "a.csv", text.getvalue(), encoding)) as table:
        assert (table.format, table.encoding, table.delimiter, table.rows) == ("csv", encoding, delimiter, 4)
        assert [list(table.columns), *(list(row.values()) for row in cells(table))] == rows
        assert [row.number for row in table] == [2, 3, 5, 6]
        assert table.text_column() == "question"
        assert table.empty("question") == 1


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=12)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_every_cell_of_a_csv_comes_back(tmp_path_factory, rows, encoding) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue(), encoding)
    with open_table(path) as table:
        assert [(row["a"], row["b"]) for row in cells(table)] == rows
        assert cells(table) == cells(table)


def test_blank_csv_lines_are_no_rows_and_missing_last_cells_are_empty(tmp_path) -> None:
    path = write(tmp_path / "a.csv", "\r\ntext,label\r\n\r\none,x\r\ntwo\r\n\r\n")
    with open_table(path) as table:
        assert cells(table) == [{"text": "one", "label": "x"}, {"text": "two", "label": ""}]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('text,n\na,1\n"never closed,2\nb,3\n', "line 3: a quote opened in this row is never closed"),
        ('text,n\n"he said "no"",1\n', r'line 2: a quote inside a quoted cell must be doubled \(""\)'),
        ("text,n\nFirst, second,1\n", "line 2: 3 cells where the header has 2; quote a cell that holds the delimiter"),
    ],
)
def test_a_csv_that_would_be_misread_is_refused_with_its_line(tmp_path, text, problem) -> None:
    with pytest.raises(InvalidInput, match=f"a.csv, {problem}"):
        open_table(write(tmp_path / "a.csv", text))


def test_nameless_and_repeated_columns_get_names(tmp_path) -> None:
    with open_table(write(tmp_path / "a.csv", " text ,,text,\na,b,c,d\n")) as table:
        assert cells(table) == [{"text": "a", "column 2": "b", "text (2)": "c", "column 4": "d"}]


def test_a_tsv_has_no_quotes(tmp_path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\r\n"open quote\t1\r\nhe said "no"\t0\n')
    assert texts(path) == ['"open quote', 'he said "no"']
    with pytest.raises(InvalidInput, match=r"a.tsv, line 2: 1 cells where the header has 2; .* pass --format csv"):
        open_table(write(path, 'text\tlabel\n"two\nlines"\t1\n'))
    assert texts(path, format="csv") == ["two\nlines"]


def test_jsonl_holds_objects_or_strings(tmp_path) -> None:
    lines = [
        '{"id": 1, "text": "一"}',
        "",
        '"just text"',
        '{"text": null, "tags": ["a"]}',
        '{"id": 4}',
        '"cut emoji \\ud83d!"',
        '"\\ud83d\\ude00"',
    ]
    with open_table(write(tmp_path / "a.jsonl", "\n".join(lines))) as table:
        assert list(table.columns) == ["id", "text", "tags"]
        assert [row.get("text") for row in cells(table)] == ["一", "just text", None, None, "cut emoji \ufffd!", "😀"]
        assert [row.number for row in table] == [1, 3, 4, 5, 6, 7]
        assert (table.text_column(), table.empty("text")) == ("text", 2)


@pytest.mark.parametrize(
    ("line", "problem"), [("{oops", "is not JSON"), ("[1]", "neither an object nor a string"), ("[" * 200_000, "is not JSON")]
)
def test_a_bad_jsonl_line_is_named(tmp_path, line, problem) -> None:
    with pytest.raises(InvalidInput, match=f"a.jsonl, line 2.*{problem}"):
        open_table(write(tmp_path / "a.jsonl", '{"text": "good"}\n' + line + "\n"))


def workbook(path: Path, **sheets: list[list]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_xlsx_has_values_in_its_first_or_a_named_sheet(tmp_path) -> None:
    path = workbook(tmp_path / "a.xlsx", 工单=[["id", "问题", None], [1, "退款"], [None, None], [2.5, None], []], other=[["text"], ["二"]])
    with open_table(path) as table:
        assert cells(table) == [{"id": 1, "问题": "退款"}, {"id": None, "问题": None}, {"id": 2.5, "问题": None}]
        assert (table.text_column(), table.empty("问题"), table.columns["id"].type) == ("问题", 2, "number")
        assert [row.number for row in table] == [2, 3, 4]
    assert texts(path, sheet="other") == ["二"]
    with pytest.raises(NotFound, match=r"no sheet 'third'; its sheets: 工单, other"):
        open_table(path, sheet="third")


def test_what_is_no_xlsx_is_refused(tmp_path) -> None:
    with pytest.raises(InvalidInput, match=r"a.xlsx is not a readable xlsx file"):
        open_table(write(tmp_path / "a.xlsx", "text,label"))
    with pytest.raises(InvalidInput, match=r"save it as .xlsx"):
        open_table(write(tmp_path / "a.xls", ""))
    whole = workbook(tmp_path / "b.xlsx", s=[["text"], *([str(n)] for n in range(2000))]).read_bytes()
    (tmp_path / "b.xlsx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"b.xlsx is not a readable xlsx file"):
        open_table(tmp_path / "b.xlsx")


def test_parquet_rows_and_types(tmp_path) -> None:
    parquet.write_table(
        pa.table({"text": ["a", None, "c"], "n": [1, 2, 3], "v": [[1.0], [], None]}), tmp_path / "a.parquet", row_group_size=2
    )
    with open_table(tmp_path / "a.parquet") as table:
        assert [row["text"] for row in cells(table)] == ["a", None, "c"]
        assert [row.number for row in table] == [1, 2, 3]
        assert table.columns["n"].type == "integer"
    with pytest.raises(InvalidInput, match=r"b.parquet is not a readable parquet file"):
        open_table(write(tmp_path / "b.parquet", "PAR1"))


def test_parquet_without_pyarrow_names_the_extra(tmp_path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from huiyi.errors import MissingExtra; from huiyi.sources.tables import open_table\n"
        "try: open_table(sys.argv[1])\n"
        "except MissingExtra as error: print(error)"
    )
    write(tmp_path / "a.parquet", "PAR1")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.parquet")], capture_output=True, text=True, check=True)
    assert "pip install 'huiyi[parquet]'" in done.stdout


def test_ten_megabytes_in_one_cell_are_read_whole(tmp_path) -> None:
    cell = "字" * (10 * 1024 * 1024 // 3)
    for name, text in {"a.txt": cell, "a.csv": f'text\n"{cell}"\n', "a.tsv": f"text\n{cell}\n", "a.jsonl": json.dumps(cell)}.items():
        assert texts(write(tmp_path / name, text)) == [cell], name


def test_a_line_without_end_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huiyi.sources.readers.MAX_CELL_CHARACTERS", 1000)
    for name in ("a.txt", "a.csv", "a.tsv", "a.jsonl"):
        with pytest.raises(InvalidInput, match=f"{name}, line 2 is longer than 1,000 characters"):
            open_table(write(tmp_path / name, '"x"\n' + "y" * 5000))
    with pytest.raises(InvalidInput, match=r"a.csv, line 2: a cell is longer than 1,000 characters"):
        open_table(write(tmp_path / "a.csv", 'text\n"' + "y\n" * 5000 + '"\n'))


def test_the_text_column_is_named_found_or_asked_for(tmp_path) -> None:
    with open_table(write(tmp_path / "a.csv", "id,Question,content\n1,a,b\n")) as table:
        assert table.text_column() == "Question"
        assert table.text_column("id") == "id"
        with pytest.raises(NotFound, match=r"no column 'body': a.csv has the columns id, Question, content"):
            table.text_column("body")
    with open_table(write(tmp_path / "a.csv", "id,body\n1,a\n")) as table, pytest.raises(NotFound, match=r"columns id, body; .*--text"):
        table.text_column()
    assert texts(write(tmp_path / "a.csv", "whatever\na\n")) == ["a"]


def test_pair_columns_are_named_found_or_asked_for(tmp_path) -> None:
    with open_table(write(tmp_path / "a.csv", "id,sentence1,sentence2\n1,a,b\n")) as table:
        assert table.pair_columns() == ("sentence1", "sentence2")
        assert table.pair_columns(b="id") == ("sentence1", "id")
    with open_table(write(tmp_path / "a.csv", "q,r\na,b\n")) as table:
        assert table.pair_columns() == ("q", "r")
    with (
        open_table(write(tmp_path / "a.csv", "q,r,s\na,b,c\n")) as table,
        pytest.raises(NotFound, match=r"no column 'sentence1': .* q, r, s"),
    ):
        table.pair_columns()


def test_files_that_cannot_be_read_are_refused(tmp_path) -> None:
    with pytest.raises(NotFound, match=r"no file .*gone.csv"):
        open_table(tmp_path / "gone.csv")
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(InvalidInput, match=r"dir.csv cannot be read"):
        open_table(tmp_path / "dir.csv")
    with pytest.raises(InvalidInput, match=r"--format"):
        open_table(write(tmp_path / "a.log", "x"))
    assert texts(tmp_path / "a.log", format="txt") == ["x"]
    with pytest.raises(InvalidInput, match=r"a sheet was named"):
        open_table(write(tmp_path / "a.csv", "text\nx"), sheet="s")
    with pytest.raises(InvalidInput, match=r"an encoding was named"):
        open_table(workbook(tmp_path / "a.xlsx", s=[["text"], ["x"]]), encoding="utf-8")


def test_a_pipe_is_read_as_a_file_is(tmp_path) -> None:
    reading, writing = os.pipe()
    os.write(writing, "文\n本\n".encode("gb18030"))
    os.close(writing)
    with open_table(f"/dev/fd/{reading}", format="txt") as table:
        assert [row["text"] for row in cells(table)] == ["文", "本"]
        table.require_unchanged()
    os.close(reading)


@given(st.lists(st.text("ab字", max_size=9), min_size=1, max_size=40), st.integers(1, 30), st.integers(0, 5))
def test_slices_are_the_same_from_the_start_of_any_slice(tmp_path_factory, rows, max_bytes, text_bytes) -> None:
    path = write(tmp_path_factory.mktemp("txt") / "a.txt", "\n".join(rows) + "\n")
    with open_table(path) as table:
        whole = list(slices(table, ["text"], max_bytes, text_bytes))
        assert [text for piece in whole for text in piece.texts] == rows
        for piece in whole:
            assert len(piece.rows) == 1 or sum(len(text.encode()) + text_bytes for text in piece.texts) <= max_bytes
        for start in range(1, len(whole)):
            rest = [row for piece in whole[start:] for row in piece.rows]
            assert list(slices(rest, ["text"], max_bytes, text_bytes)) == whole[start:]


def test_public_tsv_data_is_read_as_its_authors_wrote_it(tmp_path) -> None:
    import gzip

    path = tmp_path / "dev.tsv"
    path.write_bytes(gzip.decompress(shared_data("pairs/afqmc_dev.tsv.gz").read_bytes()))
    with open_table(path) as table:
        assert (table.rows, list(table.columns)) == (4316, ["sentence1", "sentence2", "label"])
        lines = path.read_text("utf-8").split("\n")[1:-1]
        assert ["\t".join(row.values()) for row in cells(table)] == lines


def test_a_packed_file_is_the_file_in_it(tmp_path) -> None:
    import gzip

    data = "text\tlabel\n花呗\t1\n".encode()
    (tmp_path / "a.tsv").write_bytes(data)
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(data))
    with open_table(tmp_path / "a.tsv") as plain, open_table(tmp_path / "a.tsv.gz") as packed:
        assert (packed.format, cells(packed), packed.digest()) == ("tsv", cells(plain), plain.digest())
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(data)[:-12])
    with pytest.raises(InvalidInput, match=r"a.tsv.gz is not a whole gzip file"):
        open_table(tmp_path / "a.tsv.gz")
    (tmp_path / "a.tsv.gz").write_bytes(data)
    with pytest.raises(InvalidInput, match=r"a.tsv.gz is not a whole gzip file"):
        open_table(tmp_path / "a.tsv.gz")
    with pytest.raises(InvalidInput, match="is a folder; name a file in it"):
        open_table(tmp_path)
    with pytest.raises(InvalidInput, match=r"a name that does not tell what it is"):
        open_table(tmp_path / "a.gz")


def test_json_lines_may_be_named_json(tmp_path) -> None:
    with open_table(write(tmp_path / "a.json", '{"sentence1": "a", "label": "0"}\n')) as table:
        assert (table.format, cells(table)) == ("jsonl", [{"sentence1": "a", "label": "0"}])
