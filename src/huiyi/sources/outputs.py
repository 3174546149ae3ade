"""Tables written for people and programs: csv, tsv, jsonl and xlsx, whole or not at all.

csv and xlsx are for Excel: csv starts with a byte-order mark, and a text cell that a spreadsheet would run as a formula gets an
apostrophe in front. Numbers stay numbers. jsonl and tsv are for programs and hold the texts as they are, except that tsv,
which has no quoting, has blanks for the tabs and line breaks inside a cell.
"""

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from huiyi.errors import Conflict, InvalidInput
from huiyi.sources.readers import Cells, as_text
from huiyi.sources.tables import Table

TableFormat = Literal["csv", "tsv", "jsonl", "xlsx"]

# Excel's limits; openpyxl would cut a longer cell without a word.
XLSX_CELL_CHARACTERS = 32_767
XLSX_ROWS = 1_048_576

# The full-width forms start a formula too where Excel runs in an East Asian language.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # what XML 1.0 cannot hold


def neutral(value: object) -> object:
    """`value`, with an apostrophe in front of text that a spreadsheet would take for a formula: of "-5", not of the number -5."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def table_format(path: Path) -> TableFormat:
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in WRITERS:
        raise InvalidInput(f"{path} has a name that does not tell how to write it; end it in .csv, .tsv, .jsonl or .xlsx")
    return suffix  # type: ignore[return-value]


def require_table(path: Path, table: Table, overwrite: bool) -> None:
    """Refuse before the work what could not be written after it: `table` with a column more, to `path`."""
    require_place(path, overwrite)
    longest = max(column.longest for column in table.columns.values())
    if table_format(path) == "xlsx" and (table.rows >= XLSX_ROWS or longest >= XLSX_CELL_CHARACTERS):
        raise InvalidInput(
            f"{table.rows:,} rows with a longest cell of {longest:,} characters do not fit an xlsx sheet "
            f"({XLSX_ROWS - 1:,} and {XLSX_CELL_CHARACTERS - 1:,}); write .csv or .jsonl"
        )


def require_place(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise Conflict(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise Conflict(f"there is no folder {path.parent} to write {path.name} in; make it, or name another")
    if path.exists() and not overwrite:
        raise Conflict(f"{path} is there already; pass --force to replace it, or name another file")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    """`rows` as they come, in the format of the name of `path`; the file is there when all are written, and untouched before."""
    write = WRITERS[table_format(path)]
    with replacing(path) as partial:
        write(partial, columns, rows)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place at the end, on disk first; on an error nothing is left."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(neutral, columns))
        for cells in rows:
            writer.writerow([neutral(_flat(cells.get(column))) for column in columns])


def _write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        _tsv_line(file, columns)
        for cells in rows:
            _tsv_line(file, [cells.get(column) for column in columns])


def _tsv_line(file: TextIO, values: Iterable[object]) -> None:
    file.write("\t".join(re.sub("[\t\r\n]", " ", as_text(value)) for value in values) + "\n")


def _write_jsonl(path: Path, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for cells in rows:
            file.write(json_line(cells) + "\n")


def json_line(cells: Cells) -> str:
    return json.dumps(cells, ensure_ascii=False, default=str)


def _write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("huiyi")
    sheet.append([_xlsx_value(column) for column in columns])
    for cells in rows:
        sheet.append([_xlsx_value(cells.get(column)) for column in columns])
    book.save(path)


def _xlsx_value(value: object) -> object:
    flat = neutral(_flat(value))
    return _CONTROL.sub("\ufffd", flat) if isinstance(flat, str) else flat


def _flat(value: object) -> object:
    return value if isinstance(value, (str, bool, int, float, type(None))) else as_text(value)


WRITERS: dict[str, Callable[[Path, Sequence[str], Iterable[Cells]], Any]] = {
    "csv": _write_csv,
    "tsv": _write_tsv,
    "jsonl": _write_jsonl,
    "xlsx": _write_xlsx,
}
