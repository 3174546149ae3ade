"""A table in a file or on standard input: what it is, its columns, and its rows as often as asked, in file order.

Opening reads all of it once, in pieces: an error in the last row is known before the first vector is made, and so is the number of rows.
It knows nothing of models.
"""

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal, cast, get_args

from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.sources import encodings, readers
from huiyi.sources.readers import Row, as_text

Format = Literal["txt", "csv", "tsv", "jsonl", "xlsx", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl", ".json": "jsonl", ".xlsm": "xlsx"}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}

# Columns that hold the text where none is named, the first that is there.
TEXT_COLUMNS = ("text", "question", "sentence", "content", "文本", "问题", "句子", "内容")
PAIR_COLUMNS: tuple[str, ...] = ("sentence1", "sentence2")

ColumnType = Literal["text", "integer", "number", "boolean", "mixed"]


@dataclass
class Column:
    """What all cells of a column are. characters, longest: of the cells as text. empty: cells that are missing or ""."""

    characters: int = 0
    longest: int = 0
    filled: int = 0
    type: ColumnType | None = None

    def observe(self, value: object) -> None:
        length = len(as_text(value))
        self.characters += length
        self.longest = max(self.longest, length)
        self.filled += bool(length)
        if value is not None:
            self.type = _joined(self.type, _type_of(value))


def _type_of(value: object) -> ColumnType:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "mixed"
    return "number" if isinstance(value, float) else "mixed"


def _joined(one: ColumnType | None, other: ColumnType) -> ColumnType:
    if one in (None, other):
        return other
    return "number" if {one, other} == {"integer", "number"} else "mixed"


@dataclass(frozen=True)
class Table:
    """A file that was read through once and found good. Close it, or use it in a `with`.

    rows: how many there are. columns: by name, in the order of their first appearance.
    """

    name: str
    format: Format
    encoding: str | None
    delimiter: str | None
    file: BinaryIO
    stamp: tuple[int, int]
    read: Callable[[], Iterator[Row]]
    columns: dict[str, Column] = field(default_factory=dict)
    rows: int = 0

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __iter__(self) -> Iterator[Row]:
        """The rows from the first on; one iteration at a time."""
        return self.read()

    def description(self) -> str:
        """One line: `faq.csv: csv, gb18030, comma, 1,234 rows`."""
        facts = [self.format, self.encoding, self.delimiter and DELIMITERS[self.delimiter], f"{self.rows:,} row{'s' * (self.rows != 1)}"]
        return f"{self.name}: {', '.join(fact for fact in facts if fact)}"

    def require_unchanged(self) -> None:
        """Conflict when the file was written to since it was opened."""
        if _stamp(self.file) != self.stamp:
            raise Conflict(f"{self.name} changed while it was read; run the command again")

    def digest(self) -> str:
        """SHA-256 of the bytes of the file."""
        digest = hashlib.sha256()
        self.file.seek(0)
        while chunk := self.file.read(encodings.CHUNK_BYTES):
            digest.update(chunk)
        return digest.hexdigest()

    def text_column(self, wanted: str | None = None) -> str:
        """`wanted`, else the only column, else the first of TEXT_COLUMNS. NotFound, naming the columns there are."""
        if wanted is not None:
            return self.column(wanted)
        if len(self.columns) == 1:
            return next(iter(self.columns))
        by_name = {name.casefold(): name for name in reversed(self.columns)}
        found = next((by_name[name] for name in TEXT_COLUMNS if name in by_name), None)
        if found is None:
            raise NotFound(f"{self._there()}; name the one that holds the text with --text")
        return found

    def pair_columns(self, a: str | None = None, b: str | None = None) -> tuple[str, str]:
        """`a` and `b`, by default PAIR_COLUMNS, else the only two columns. NotFound, naming the columns there are."""
        default = PAIR_COLUMNS
        if len(self.columns) == 2 and not self.columns.keys() >= set(PAIR_COLUMNS):
            default = tuple(self.columns)
        return self.column(a or default[0]), self.column(b or default[1])

    def column(self, name: str) -> str:
        """`name`; NotFound, naming the columns there are."""
        if name not in self.columns:
            raise NotFound(f"there is no column {name!r}: {self._there()}")
        return name

    def _there(self) -> str:
        return f"{self.name} has the columns {', '.join(self.columns)}"

    def empty(self, column: str) -> int:
        """Rows whose text in `column` is empty."""
        return self.rows - self.columns[column].filled


def open_table(source: str | Path, format: Format | None = None, encoding: str | None = None, sheet: str | None = None) -> Table:
    """The table in the file `source`, or on standard input when it is `-` (kept in a temporary file, as it is read more than once).

    format: told from the file's name (one that ends in .gz is unpacked), `txt` for standard input. encoding: forced, else told from the
    bytes. sheet: of an xlsx. NotFound, InvalidInput (with the line where there is one), MissingExtra.
    """
    name = "standard input" if str(source) == "-" else Path(source).name
    format = format or _format_of(source)
    if sheet is not None and format != "xlsx":
        raise InvalidInput(f"a sheet was named, but {name} is read as {format}")
    if encoding is not None and format in ("xlsx", "parquet"):
        raise InvalidInput(f"an encoding was named, but {name} is read as {format}, which has its own")
    file = _open(source, name)
    try:
        table = _surveyed(_described(file, name, format, encoding, sheet))
        if not table.rows:
            raise InvalidInput(f"{name} holds no rows")
        return table
    except BaseException:
        file.close()
        raise


def _format_of(source: str | Path) -> Format:
    if str(source) == "-":
        return "txt"
    suffix = suffix_of(source)
    if suffix not in SUFFIXES and Path(source).is_dir():
        raise InvalidInput(f"{source} is a folder; name a file in it")
    if suffix not in SUFFIXES:
        old = "; open it in Excel and save it as .xlsx" if suffix == ".xls" else f"; name its format with --format ({', '.join(FORMATS)})"
        raise InvalidInput(f"{source} has a name that does not tell what it is{old}")
    return SUFFIXES[suffix]


def suffix_of(source: str | Path) -> str:
    """What tells the format: of a packed file the one before .gz."""
    path = Path(source)
    return Path(path.stem if is_packed(path) else path).suffix.lower()


def is_packed(source: str | Path) -> bool:
    return Path(source).suffix.lower() == ".gz"


def _open(source: str | Path, name: str) -> BinaryIO:
    try:
        file = sys.stdin.buffer if str(source) == "-" else Path(source).open("rb")  # noqa: SIM115  (the table closes it)
        if str(source) != "-" and file.seekable() and not is_packed(source):
            return file
        kept = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
        if is_packed(source):
            with file, gzip.GzipFile(fileobj=file) as unpacked:
                shutil.copyfileobj(unpacked, kept)
        else:
            shutil.copyfileobj(file, kept)
        kept.seek(0)
        return kept
    except FileNotFoundError:
        raise NotFound(f"there is no file {source}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(f"{name} is not a whole gzip file ({error}); get it again, or unpack it yourself") from error
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror or error}") from error


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Size and time of the last change."""
    facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns


def _described(file: BinaryIO, name: str, format: Format, encoding: str | None, sheet: str | None) -> Table:
    stamp = _stamp(file)
    if format == "xlsx":
        return Table(name, format, None, None, file, stamp, lambda: readers.read_xlsx(file, name, sheet))
    if format == "parquet":
        return Table(name, format, None, None, file, stamp, lambda: readers.read_parquet(file, name))
    found = encodings.detect(file, name, encoding)
    if format == "csv":
        delimiter = readers.sniff_delimiter(file, found)
        return Table(name, format, found, delimiter, file, stamp, lambda: readers.read_csv(file, name, found, delimiter))
    read = {"txt": readers.read_txt, "tsv": readers.read_tsv, "jsonl": readers.read_jsonl}[format]
    return Table(name, format, found, None, file, stamp, lambda: read(file, name, found))


def _surveyed(table: Table) -> Table:
    count = 0
    for row in table:
        count += 1
        for name, value in row.cells.items():
            table.columns.setdefault(name, Column()).observe(value)
    return replace(table, rows=count)


@dataclass(frozen=True)
class Slice:
    """Consecutive rows and their texts, row by row: with two columns, the first row's two texts come first."""

    rows: list[Row]
    texts: list[str]


def slices(rows: Iterable[Row], columns: Sequence[str], max_bytes: int, text_bytes: int = 0) -> Iterator[Slice]:
    """`rows` in order, in slices of at most `max_bytes` of UTF-8, `text_bytes` counted beside every text, or of one longer row.

    Where a slice ends depends on its own rows alone: reading from the start of any slice gives the same ones.
    """
    piece, size = Slice([], []), 0
    for row in rows:
        texts = [as_text(row.cells.get(column)) for column in columns]
        own = sum(text_bytes + len(text.encode("utf-8", "replace")) for text in texts)
        if piece.rows and size + own > max_bytes:
            yield piece
            piece, size = Slice([], []), 0
        piece.rows.append(row)
        piece.texts.extend(texts)
        size += own
    if piece.rows:
        yield piece
