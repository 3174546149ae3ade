"""One or many queries to a collection: by meaning, by words, by both, and both side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from huiyi.collection import Collection
from huiyi.encoding.reranker import Reranker
from huiyi.errors import InvalidInput
from huiyi.model import Model
from huiyi.retrieval import MODES, RERANKED, Mode
from huiyi.sources.readers import as_text
from huiyi.sources.tables import Format, open_table
from huiyi.stores.filters import fields, parse
from huiyi.stores.store import Hit as Hit
from huiyi.workspace.collections import existing_store
from huiyi.workspace.models import load as load_model
from huiyi.workspace.texts import Progress

SLICE_QUERIES = 32
FIRST_RECORDS = 100  # that are looked at for the fields there are

MinScore = float | Literal["tuned"] | None
LoadNamed = Callable[[str | None], Model]  # of a name, None for the default model
Filtering = Mapping[str, Any] | None


@dataclass(frozen=True)
class Searched:
    """hits: for each of `queries` its own, best first. seconds: without opening the collection and loading the model.

    hint: why nothing may have been found for one of them, None where nothing explains it.
    """

    name: str
    mode: str
    queries: tuple[str, ...]
    hits: list[list[Hit]]
    seconds: float
    hint: str | None = None


@dataclass(frozen=True)
class ComparedSearch:
    """The same queries by words and by meaning. hint: as in `Searched`."""

    name: str
    queries: tuple[str, ...]
    keyword: list[list[Hit]]
    semantic: list[list[Hit]]
    hint: str | None = None


def search(
    name: str,
    queries: Sequence[str],
    *,
    k: int = 10,
    mode: Mode = "hybrid",
    filter: Filtering = None,
    min_score: MinScore = None,
    diversity: float | None = None,
    highlight: bool = True,
    rerank: Reranker | None = None,
    rerank_depth: int = RERANKED,
    load: LoadNamed = load_model,
    home: str | Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Searched:
    """The k records that answer each query best, as `Collection.search` finds them. load: gives the model of that name, when one is needed.

    NotFound where there is no collection; what can be refused is refused before the model is loaded.
    """
    with opened(name, home, load) as collection:
        return search_in(
            collection,
            queries,
            k=k,
            mode=mode,
            filter=filter,
            min_score=min_score,
            diversity=diversity,
            highlight=highlight,
            rerank=rerank,
            rerank_depth=rerank_depth,
            report=report,
        )


def search_in(
    collection: Collection,
    queries: Sequence[str],
    *,
    k: int = 10,
    mode: Mode = "hybrid",
    filter: Filtering = None,
    min_score: MinScore = None,
    diversity: float | None = None,
    highlight: bool = True,
    rerank: Reranker | None = None,
    rerank_depth: int = RERANKED,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Searched:
    """The same of a collection that is open."""
    asked = _checked(queries, mode)
    collection.search_all([], k, mode, filter, min_score=min_score, diversity=diversity)  # refuses what makes no sense
    if mode != "keyword":
        collection.model  # noqa: B018  loaded now, so that the seconds are those of the search
    began = monotonic()
    hits: list[list[Hit]] = []
    for start in range(0, len(asked), SLICE_QUERIES):
        some = asked[start : start + SLICE_QUERIES]
        hits += collection.search_all(
            some,
            k,
            mode,
            filter,
            min_score=min_score,
            diversity=diversity,
            highlight=highlight,
            rerank=rerank,
            rerank_depth=rerank_depth,
        )
        seconds = max(monotonic() - began, 1e-9)
        report(Progress(len(asked), len(hits), len(hits) / seconds, 0.0, (len(asked) - len(hits)) * seconds / len(hits)))
    hint = None if all(hits) else unknown_fields(collection, filter)
    return Searched(collection.name, mode, tuple(asked), hits, monotonic() - began, hint)


def search_compare(
    name: str,
    queries: Sequence[str],
    *,
    k: int = 10,
    filter: Filtering = None,
    load: LoadNamed = load_model,
    home: str | Path | None = None,
) -> ComparedSearch:
    """What words find and what meaning finds, for each query."""
    with opened(name, home, load) as collection:
        return search_compare_in(collection, queries, k=k, filter=filter)


def search_compare_in(
    collection: Collection, queries: Sequence[str], *, k: int = 10, filter: Filtering = None, highlight: bool = True
) -> ComparedSearch:
    """The same of a collection that is open."""
    words = search_in(collection, queries, k=k, mode="keyword", filter=filter, highlight=highlight)
    meaning = search_in(collection, queries, k=k, mode="semantic", filter=filter, highlight=highlight)
    return ComparedSearch(collection.name, words.queries, words.hits, meaning.hits, meaning.hint)


def unknown_fields(collection: Collection, filter: Filtering) -> str | None:
    """A sentence where the filter names fields that no record has; None where it names none."""
    unknown = sorted(field for field in fields(parse(filter)) if not collection.count({field: {"$exists": True}}))
    if not unknown:
        return None
    there = sorted({field for record in collection.page(FIRST_RECORDS).records for field in record.metadata})
    named = ", ".join(map(repr, unknown))
    return f"no record of {collection.name} has {named}, which the filter asks for; it has: {', '.join(there) or 'no metadata'}"


def queries_of(
    source: str | Path, *, text: str | None = None, format: Format | None = None, encoding: str | None = None, sheet: str | None = None
) -> list[str]:
    """The queries in a file, a row each; rows without text are an error that names the line, since answers are told by their order."""
    with open_table(source, format, encoding, sheet) as table:
        column = table.text_column(text or ("query" if "query" in table.columns else None))
        queries = []
        for row in table:
            query = as_text(row.cells.get(column))
            if not query.strip():
                raise InvalidInput(f"{table.name}, line {row.number}: there is no query in the column {column!r}")
            queries.append(query)
    return queries


def _checked(queries: Sequence[str], mode: Mode) -> list[str]:
    if isinstance(queries, str):
        raise InvalidInput("queries are a list of texts; pass [query] for one")
    if mode not in MODES:
        raise InvalidInput(f"there is no mode {mode!r}; there are {', '.join(MODES)}")
    for query in queries:
        if not isinstance(query, str) or not query.strip():
            raise InvalidInput("a query is a text that is not empty" + ("" if isinstance(query, str) else f", not {query!r}"))
    return list(queries)


@contextmanager
def opened(name: str, home: str | Path | None, load: LoadNamed) -> Iterator[Collection]:
    """A collection that is there, with the model of its name. NotFound."""
    store = existing_store(name, home)
    facts = store.facts
    with Collection(name, store, lambda: load(facts.model if facts else None)) as collection:
        yield collection
