"""The rows of one open file, in file order, one reader a format; the whole file is never in memory.

A row is its line number (1-based; of the sheet for xlsx, of the row for parquet) and its cells by column name.
Readers start at the beginning of the file each time, never close it, and name the line in every error.
"""

import csv
import io
import itertools
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

from huiyi.errors import InvalidInput, MissingExtra, NotFound

MAX_CELL_CHARACTERS = 1 << 26
BATCH_ROWS = 256

Cells = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    cells: Cells


def read_txt(file: BinaryIO, name: str, encoding: str) -> Iterator[Row]:
    """One text a line, in the column `text`; an empty line is an empty text."""
    with _text(file, encoding, newline=None) as text:
        for number, line in enumerate(_lines(text, name), 1):
            yield Row(number, {"text": line.removesuffix("\n")})


def read_csv(file: BinaryIO, name: str, encoding: str, delimiter: str) -> Iterator[Row]:
    """Excel's dialect: quotes doubled inside quotes, line breaks inside quotes. Blank lines are no rows; missing last cells are empty."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with _text(file, encoding, newline="") as text:
        reader = csv.reader(_lines(text, name), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InvalidInput(f"{name}, line {number}: {_csv_fault(error)}") from error
            if not cells:
                continue
            if header is None:
                header = unique(cells)
            else:
                yield Row(number, _fill(header, cells, f"{name}, line {number}"))


def _csv_fault(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote opened in this row is never closed"
    if "expected after" in str(error):
        return 'a quote inside a quoted cell must be doubled ("")'
    if "field larger" in str(error):
        return f"a cell is longer than {MAX_CELL_CHARACTERS:,} characters; split it"
    return str(error)


def read_tsv(file: BinaryIO, name: str, encoding: str) -> Iterator[Row]:
    """Cells between tabs, quotes taken as they are; every line has as many cells as the header. Blank lines are no rows."""
    with _text(file, encoding, newline="\n") as text:
        header: list[str] | None = None
        for number, line in enumerate(_lines(text, name), 1):
            line = line.removesuffix("\n").removesuffix("\r")
            if not line:
                continue
            cells = line.split("\t")
            if header is None:
                header = unique(cells)
                continue
            if len(cells) < len(header):
                raise InvalidInput(
                    f"{name}, line {number}: {len(cells)} cells where the header has {len(header)}; "
                    "if cells are quoted as Excel does it, pass --format csv"
                )
            yield Row(number, _fill(header, cells, f"{name}, line {number}"))


def _fill(header: Sequence[str], cells: Sequence[str], place: str) -> Cells:
    if any(cells[len(header) :]):
        raise InvalidInput(f"{place}: {len(cells)} cells where the header has {len(header)}; quote a cell that holds the delimiter")
    return dict(itertools.zip_longest(header, cells[: len(header)], fillvalue=""))


def read_jsonl(file: BinaryIO, name: str, encoding: str) -> Iterator[Row]:
    """A JSON object a line, or a string, which is the column `text`. Blank lines are no rows."""
    with _text(file, encoding, newline="\n") as text:
        for number, line in enumerate(_lines(text, name), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
                if "\\u" in line:
                    value = json.loads(_without_lone_surrogates(json.dumps(value, ensure_ascii=False)))
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"{name}, line {number} is not JSON: {error}") from error
            if isinstance(value, str):
                value = {"text": value}
            if not isinstance(value, dict):
                raise InvalidInput(f"{name}, line {number} is neither an object nor a string")
            yield Row(number, value)


def _without_lone_surrogates(text: str) -> str:
    """Half an emoji, as programs that cut strings by UTF-16 units write it, becomes U+FFFD: no encoding can write it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_xlsx(file: BinaryIO, name: str, sheet: str | None) -> Iterator[Row]:
    """The first sheet or `sheet`; its first filled row names the columns. Values, not formulas.

    Cells beyond the header and empty rows at the end are no part of the table.
    """
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    file.seek(0)
    try:
        book = load_workbook(file, read_only=True, data_only=True)
        names = [found.title for found in book.worksheets]
        if not names or sheet not in (None, *names):
            raise NotFound(f"{name} has no sheet {sheet!r}; its sheets: {', '.join(names)}")
        page = book[sheet or names[0]]
        page.reset_dimensions()  # some programs write wrong ones, and rows would be cut
        rows = enumerate(page.iter_rows(values_only=True), 1)
        top = next((values for _, values in rows if any(value is not None for value in values)), ())
        header = unique([as_text(value) for value in _without_empty_end(top)])
        blank: list[Row] = []
        for number, values in rows:
            row = Row(number, dict(itertools.zip_longest(header, values[: len(header)])))
            if all(value is None for value in row.cells.values()):
                blank.append(row)
                continue
            yield from blank
            blank.clear()
            yield row
    except (zipfile.BadZipFile, InvalidFileException, ParseError, KeyError, ValueError, EOFError) as error:
        raise InvalidInput(f"{name} is not a readable xlsx file ({error}); open it in Excel and save it as .xlsx") from error


def _without_empty_end(values: Sequence[object]) -> list[object]:
    kept = list(values)
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def read_parquet(file: BinaryIO, name: str) -> Iterator[Row]:
    source = open_parquet(file, name)
    numbers = itertools.count(1)
    for batch in source.iter_batches(batch_size=BATCH_ROWS):
        for cells in batch.to_pylist():
            yield Row(next(numbers), cells)


def open_parquet(file: BinaryIO, name: str) -> Any:
    """A pyarrow ParquetFile. MissingExtra without pyarrow."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("reading parquet", "parquet") from error
    file.seek(0)
    try:
        return parquet.ParquetFile(file)
    except pa.ArrowException as error:
        raise InvalidInput(f"{name} is not a readable parquet file: {error}") from error


def as_text(value: object) -> str:
    """A cell as a model reads it: nothing is "", numbers and dates as Python writes them, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else str(value)


def sniff_delimiter(file: BinaryIO, encoding: str) -> str:
    """Of comma, semicolon and tab the one that stands most often outside quotes in the first line; a comma when none does."""
    counts = dict.fromkeys(",;\t", 0)
    quoted = False
    with _text(file, encoding, newline="") as text:
        for character in text.read(1 << 16).lstrip("\r\n"):
            if character == '"':
                quoted = not quoted
            elif not quoted and character in "\r\n":
                break
            elif not quoted and character in counts:
                counts[character] += 1
    return max(counts, key=lambda delimiter: counts[delimiter])


def unique(names: Iterable[str]) -> list[str]:
    """Column names without blanks around them; a nameless column is called by its place, a repeated name gets a number."""
    taken: dict[str, None] = {}
    for place, name in enumerate(names, 1):
        base = name.strip() or f"column {place}"
        candidates = itertools.chain([base], (f"{base} ({count})" for count in itertools.count(2)))
        taken[next(candidate for candidate in candidates if candidate not in taken)] = None
    return list(taken)


@contextmanager
def _text(file: BinaryIO, encoding: str, newline: str | None) -> Iterator[io.TextIOWrapper]:
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, newline=newline)
    try:
        if text.read(1) != "\ufeff":  # a mark that the codec leaves in, as utf-16-le does
            text.seek(0)
        yield text
    finally:
        if not file.closed:  # an iteration that was given up may end after the table was closed
            text.detach()


def _lines(text: io.TextIOWrapper, name: str) -> Iterator[str]:
    number = 0
    while line := text.readline(MAX_CELL_CHARACTERS + 1):
        number += 1
        if len(line) > MAX_CELL_CHARACTERS:
            raise InvalidInput(f"{name}, line {number} is longer than {MAX_CELL_CHARACTERS:,} characters; split it")
        yield line
