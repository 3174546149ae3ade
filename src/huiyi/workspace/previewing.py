"""How a file would be read before anything is done with it: its columns, its first rows, and the column that the texts would come from."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from huiyi.errors import NotFound
from huiyi.sources import documents
from huiyi.sources.readers import as_text
from huiyi.sources.tables import open_table

EXCERPT = 300


@dataclass(frozen=True)
class Preview:
    """description: a line. columns: of a table, none of a document. text: the column that would be taken, None where nobody can tell.

    rows: the first ones, a text a column, long ones cut; of a document the beginning of its text. total: rows, None of a document.
    """

    description: str
    columns: tuple[str, ...]
    text: str | None
    rows: tuple[tuple[str, ...], ...]
    total: int | None


def preview_file(source: Path, rows: int = 5) -> Preview:
    """Raises what reading the file raises: InvalidInput, NotFound, MissingExtra."""
    if documents.kind_of(source) not in (None, "text"):
        document = documents.read_document(source)
        return Preview(source.name, (), None, ((_cut(document.text),),), None)
    with open_table(source) as table:
        columns = tuple(table.columns)
        try:
            text = table.text_column()
        except NotFound:
            text = None
        first = tuple(tuple(_cut(as_text(row.cells.get(column))) for column in columns) for row in islice(table, rows))
        return Preview(table.description(), columns, text, first, table.rows)


def _cut(text: str) -> str:
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"
