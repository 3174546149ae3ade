"""A file or folder into a collection, and the collection in step with it."""

import csv
import json

import openpyxl
import pytest

from fake_encoder import FakeEncoder
from fake_model import fake_model
from fakes import FakeEngine
from huiyi import workspace
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model

ROWS = [
    {"id": "1", "question": "how do I get an invoice", "answer": "ask us", "price": "3", "phone": "0138"},
    {"id": "2", "question": "where is my parcel", "answer": "on its way", "price": "12.5", "phone": "0139"},
    {"id": "3", "question": "包裹到哪儿了", "answer": "", "price": "", "phone": "0140"},
]


@pytest.fixture
def faq(tmp_path, own_home):
    """Writes rows to faq.csv and indexes it; the encoder is kept, to tell what was embedded."""
    encoder = FakeEncoder()

    def index(rows=ROWS, name="faq", file="faq.csv", **options):
        path = tmp_path / file
        write(path, rows)
        return workspace.index(name, path, options.pop("load", lambda wanted: Model(encoder, "fake")), **options)

    index.encoder = encoder
    return index


def write(path, rows) -> None:
    with path.open("w", encoding="gb18030", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["id", "question"])
        writer.writeheader()
        writer.writerows(rows)


def records(name="faq"):
    with workspace.open_collection(name) as collection:
        return {record.id: record for record in collection.records()}


def counted(done):
    return done.added, done.changed, done.unchanged, done.deleted, done.embedded


def test_a_table_becomes_a_collection(faq) -> None:
    said = []
    done = faq(text="question", say=said.append)
    assert counted(done) == (3, 0, 0, 0, 3)
    assert done.records == 3
    there = records()
    assert there["2"].text == "where is my parcel"
    assert there["2"].metadata == {"answer": "on its way", "price": 12.5, "phone": "0139"}
    assert there["1"].metadata["price"] == 3
    assert there["3"].metadata == {"phone": "0140"}
    assert "gb18030" in said[0]
    assert "price (number)" in said[0]


def test_it_is_brought_in_step(faq) -> None:
    faq(text="question")
    rows = [{**ROWS[0], "question": "changed"}, {**ROWS[1], "price": "13"}, {**ROWS[2], "id": "4"}]
    assert counted(faq(rows, text="question")) == (1, 2, 0, 1, 2)
    there = records()
    assert there.keys() == {"1", "2", "4"}
    assert there["1"].text == "changed"
    assert there["2"].metadata["price"] == 13
    assert counted(faq(rows, text="question")) == (0, 0, 3, 0, 0)


def test_nothing_to_embed_loads_no_model(faq) -> None:
    faq(text="question")

    def refuse(wanted):
        raise AssertionError("a model was loaded")

    rows = [ROWS[2], {**ROWS[0], "answer": "other"}]
    assert counted(faq(rows, text="question", load=refuse)) == (0, 1, 1, 1, 0)


def test_missing_records_may_be_kept(faq) -> None:
    faq(text="question")
    done = faq([{**ROWS[0], "id": "new"}], text="question", keep_missing=True)
    assert (done.added, done.deleted, done.kept, done.records) == (1, 0, 3, 4)


def test_a_wrong_file_does_not_empty_a_collection(faq) -> None:
    faq(text="question")
    other = [{"id": "99", "question": "of another file"}]
    with pytest.raises(Conflict, match=r"--keep-missing .* --replace"):
        faq(other, text="question")
    assert len(records()) == 3
    assert counted(faq(other, text="question", replace=True)) == (1, 0, 0, 3, 1)


def test_a_file_without_text_is_refused(faq) -> None:
    with pytest.raises(InvalidInput, match="holds no text"):
        faq([{"id": "1", "question": ""}], text="question")


def test_ids_are_made_of_texts_where_there_are_none(faq) -> None:
    rows = [{"question": "a"}, {"question": "b"}, {"question": "a"}]
    assert counted(faq(rows, text="question")) == (3, 0, 0, 0, 2)
    assert counted(faq([rows[1], rows[2], rows[0], {"question": "c"}], text="question")) == (1, 0, 3, 0, 1)


def test_metadata_columns_may_be_named(faq) -> None:
    faq(text="question", meta=["phone"])
    assert records()["1"].metadata == {"phone": "0138"}
    faq(text="question", meta=[])
    assert records()["1"].metadata == {}
    with pytest.raises(NotFound, match="no column 'colour'"):
        faq(text="question", meta=["colour"])


@pytest.mark.parametrize(
    ("cells", "kept"),
    [
        (["1", "2"], [1, 2]),
        (["1", "x"], ["1", "x"]),
        (["007", "1"], ["007", "1"]),
        (["-1.5", ""], [-1.5, None]),
        (["1" * 16, "1"], ["1" * 16, "1"]),
    ],
)
def test_a_column_of_numbers_is_one_of_numbers(faq, cells, kept) -> None:
    faq([{"id": str(i), "question": "x", "cell": cell} for i, cell in enumerate(cells)], text="question")
    assert [record.metadata.get("cell") for record in records().values()] == kept


def test_rows_without_text_and_repeated_ids_are_told(faq) -> None:
    rows = [ROWS[0], {**ROWS[1], "question": " "}, {**ROWS[2], "id": "1"}]
    done = faq(rows, text="question")
    assert done.records == 1
    assert done.skipped == ("rows without text, left out: 1", "rows whose id comes again further down, left out: 1")
    assert records()["1"].text == ROWS[2]["question"]


def test_an_empty_id_names_its_line(faq) -> None:
    with pytest.raises(InvalidInput, match=r"faq.csv, line 3: the column 'id' is empty"):
        faq([ROWS[0], {**ROWS[1], "id": ""}], text="question")


def test_a_bad_file_leaves_no_collection(faq) -> None:
    with pytest.raises(NotFound, match="no column 'txt'"):
        faq(text="txt")
    assert workspace.collection_list().collections == ()


def test_jsonl_and_xlsx_keep_their_types(faq, tmp_path) -> None:
    rows = [{"id": 1, "text": "a", "n": 1, "f": 2.5, "yes": True, "tags": ["x", "y"], "none": None, "nested": {"a": 1}, "big": 2**60}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    workspace.index("j", tmp_path / "a.jsonl", lambda wanted: Model(faq.encoder, "fake"))
    (record,) = records("j").values()
    assert record.id == "1"
    assert record.metadata == {"n": 1, "f": 2.5, "yes": True, "tags": ["x", "y"], "nested": '{"a": 1}', "big": str(2**60)}
    book = openpyxl.Workbook()
    for row in (["id", "text", "price"], ["a", "one", 2.5], ["b", "two", 3]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    workspace.index("x", tmp_path / "a.xlsx", lambda wanted: Model(faq.encoder, "fake"))
    assert [record.metadata for record in records("x").values()] == [{"price": 2.5}, {"price": 3}]


def test_a_folder_of_documents_and_what_could_not_be_read(faq, tmp_path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Parcels\n\nWhere is my parcel?\n\n# Invoices\n\nHow do I get one?\n")
    (folder / "b.py").write_text("def mean(xs):\n    return sum(xs) / len(xs)\n")
    engine = FakeEngine()
    load = lambda wanted: fake_model(engine)  # noqa: E731
    done = workspace.index("docs", folder, load)
    assert done.added == len(records("docs")) >= 3
    parcel = next(record for record in records("docs").values() if "parcel?" in record.text)
    assert parcel.metadata["source"] == "a.md"
    assert parcel.metadata["heading"] == "Parcels"
    before = len(engine.seen)
    (folder / "a.md").write_text("# Parcels\n\nWhere is my parcel?\n\n# Invoices\n\nHow do I get another?\n")
    again = workspace.index("docs", folder, load)
    assert (again.added, again.deleted, again.embedded) == (1, 1, 1)
    assert len(engine.seen) == before + 1
    (folder / "b.py").write_text(" " * 9_000)  # as of a file that is being written
    done = workspace.index("docs", folder, load)
    assert (done.deleted, done.kept, done.skipped) == (0, 1, ("b.py: is empty",))
    (folder / "b.py").unlink()
    assert workspace.index("docs", folder, load).deleted > 0


def test_columns_are_of_tables(faq, tmp_path) -> None:
    (tmp_path / "a.md").write_text("# a\n\ntext\n")
    with pytest.raises(InvalidInput, match="columns and sheets are of tables"):
        workspace.index("docs", tmp_path / "a.md", lambda wanted: Model(faq.encoder, "fake"), id="id")


def test_the_collections_own_model_is_asked_for(faq) -> None:
    asked = []

    def load(wanted):
        asked.append(wanted)
        return Model(faq.encoder, "fake")

    faq(text="question", load=load)
    faq([*ROWS, {**ROWS[0], "id": "4", "question": "new"}], text="question", load=load)
    assert asked == [None, "fake"]


def test_progress_counts_texts_to_embed(faq) -> None:
    reports = []
    faq([{"id": str(i), "question": f"text {i}"} for i in range(700)], text="question", report=reports.append)
    assert [report.rows_done for report in reports] == [256, 512, 700]
    assert {report.rows for report in reports} == {700}
    assert reports[-1].seconds_left == 0


def test_a_run_that_was_stopped_goes_on(faq) -> None:
    rows = [{"id": str(i), "question": f"text {i}"} for i in range(700)]

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        faq(rows, text="question", report=stop)
    assert counted(faq(rows, text="question")) == (444, 0, 256, 0, 444)
