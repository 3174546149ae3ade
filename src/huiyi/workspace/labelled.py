"""Labelled queries of a collection: a table of queries, and the id of the record that answers each."""

from pathlib import Path

from huiyi.collection import Collection
from huiyi.errors import InvalidInput
from huiyi.sources.readers import as_text
from huiyi.sources.tables import Format, open_table

QUERIES, IDS = ("query", "question", "text", "问题"), ("id", "passage_id", "faq_id", "record_id", "answer_id")
NOTHING = {"", "-1", "none", "null"}  # ids of queries that nothing answers


def labelled_queries(
    collection: Collection,
    source: str | Path,
    *,
    text: str | None = None,
    id: str | None = None,
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    called: str = "query",
) -> dict[str, set[str]]:
    """For each query the ids of the records that answer it, none of them where nothing does; errors name the line. text, id: columns.

    called: what a query is to whoever reads the errors.
    """
    known = set(collection.store.ids())
    wanted: dict[str, set[str]] = {}
    with open_table(source, format, encoding, sheet) as table:
        asked = table.text_column(text or next((name for name in QUERIES if name in table.columns), None))
        named = id or next((name for name in IDS if name in table.columns and name != asked), None)
        if named not in table.columns:
            raise InvalidInput(
                f"{table.name} has no column {id!r}" if id else f"{table.name} does not say which record answers; name the column with --id"
            )
        for row in table:
            query, answering = (as_text(row.cells.get(each)).strip() for each in (asked, named))
            if not query:
                raise InvalidInput(f"{table.name}, line {row.number}: there is no {called} in the column {asked!r}")
            ids = wanted.setdefault(query, set())
            if answering in known:
                ids.add(answering)
            elif answering.casefold() not in NOTHING:
                raise InvalidInput(
                    f"{table.name}, line {row.number}: {collection.name} has no record with the id {answering!r}; "
                    f"write nothing, or -1, for a {called} that nothing answers"
                )
    return wanted
