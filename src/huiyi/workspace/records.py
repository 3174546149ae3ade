"""What a task over texts works on: the rows of a file or a collection, and a vector for each, equal texts embedded once.

A source with a suffix or a slash is a file's path, `-` standard input; anything else is a collection's name.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np

from huiyi import __version__, settings
from huiyi.collection import Collection
from huiyi.encoding.cache import CachedEncoder
from huiyi.encoding.encoder import LocalEncoder, clip
from huiyi.errors import Conflict, InvalidInput, ModelFailed, NotFound
from huiyi.model import Model
from huiyi.sources.readers import Cells, as_text
from huiyi.sources.tables import Format, open_table
from huiyi.spaces import SAME, SAME_INT8, facts_of
from huiyi.stores.store import Facts
from huiyi.types import Embedded, Floats
from huiyi.workspace.collections import open_collection
from huiyi.workspace.texts import SLICE_BYTES, TEXT_BYTES, Encode, Loader, Progress, Truncate, text_encoder

PROBE = "会意"
REMEMBERED_TEXTS = 2_000  # from so many on, vectors are kept in HUIYI_HOME/cache, so that a stopped run is taken up where it was
EXCERPT = 40


@dataclass(frozen=True)
class Records:
    """Rows in order. texts: of the column `column`. numbers: their lines, as messages name them. columns: of all rows, in order.

    vectors, facts: of a collection, which has them already; None for a file.
    """

    name: str
    about: str
    column: str
    columns: tuple[str, ...]
    rows: tuple[Cells, ...]
    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    vectors: Floats | None = None
    facts: Facts | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def cells(self, column: str) -> list[str]:
        """A column as texts. NotFound, naming the columns there are."""
        if column not in self.columns:
            raise NotFound(f"there is no column {column!r}: {self.name} has the columns {', '.join(self.columns)}")
        return [as_text(row.get(column)) for row in self.rows]


def is_collection(source: str | Path) -> bool:
    return isinstance(source, str) and source != "-" and not Path(source).suffix and "/" not in source and "\\" not in source


def read_records(
    source: str | Path,
    *,
    text: str | None = None,
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Records:
    """All rows of `source`, of a collection with the columns id, text and its fields. text: the column, found as `Table.text_column` says.

    NotFound, InvalidInput.
    """
    if is_collection(source) and format is None:
        with opened_collection(str(source), text, say) as collection:
            return _collection_records(collection)
    with open_table(source, format, encoding, sheet) as table:
        column = table.text_column(text)
        say(f"{table.description()}; texts from the column {column!r}")
        rows = list(table)
        return Records(
            name=table.name,
            about=table.description(),
            column=column,
            columns=tuple(table.columns),
            rows=tuple(row.cells for row in rows),
            texts=tuple(as_text(row.cells.get(column)) for row in rows),
            numbers=tuple(row.number for row in rows),
        )


@contextmanager
def opened_collection(name: str, text: str | None, say: Callable[[str], None] = lambda line: None) -> Iterator[Collection]:
    """A collection with records, which is told; no model is needed. text: the column that was asked for. NotFound, InvalidInput."""
    if text not in (None, "text"):
        raise InvalidInput(f"the text of a collection is its own; leave out --text {text}")
    if not (settings.home() / "collections" / name).is_dir():
        raise NotFound(f"there is no collection {name!r}; for a file, give its path, with its suffix or a slash in it")
    with open_collection(name) as collection:
        if not collection.count():
            raise InvalidInput(f"the collection {name} holds no records")
        say(about_collection(collection))
        yield collection


def about_collection(collection: Collection) -> str:
    return f"{collection.name}: collection, {collection.count():,} records, vectors of {collection.facts.model}"


def _collection_records(collection: Collection) -> Records:
    found, facts, name = collection.contents(), collection.facts, collection.name
    fields = dict.fromkeys(field for metadata in found.metadata for field in metadata)
    rows = tuple({"id": id_, "text": text, **more} for id_, text, more in zip(found.ids, found.texts, found.metadata, strict=True))
    columns = ("id", "text", *(field for field in fields if field not in ("id", "text")))
    return Records(
        name, about_collection(collection), "text", columns, rows, found.texts, tuple(range(1, len(rows) + 1)), found.vectors, facts
    )


def vectors_of(
    records: Records, load: Loader, truncate: Truncate = "end", report: Callable[[Progress], None] = lambda progress: None
) -> tuple[Floats, Facts]:
    """A vector for each record, and what they are vectors of. load: called for a file only."""
    if records.vectors is not None and records.facts is not None:
        return records.vectors, records.facts
    model = load()
    return embed_texts(records.texts, model, truncate, report), facts_of(model, None, None)


def require_one_space(what: str, facts: Facts, other: str, others: Facts, way_out: str) -> None:
    """Conflict, naming both models, unless both vectors can be compared: by the digest of their weights, else by the probe texts."""
    if facts.dim == others.dim and facts.space == others.space:
        return
    if facts.dim == others.dim:
        least = float(np.einsum("nd,nd->n", _unit(facts.probes), _unit(others.probes)).min())
        if least >= (SAME if {facts.precision, others.precision} <= {"fp32", "bf16"} else SAME_INT8):
            return
    raise Conflict(
        f"{what} holds vectors of {facts.model} ({facts.dim} numbers), {other} those of {others.model} ({others.dim}), "
        f"and these cannot be compared; {way_out}"
    )


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def embed_texts(
    texts: Sequence[str],
    model: Model,
    truncate: Truncate = "end",
    report: Callable[[Progress], None] = lambda progress: None,
) -> Floats:
    """Float32 [n, dim] in the order of `texts`; each distinct text once, in an order that depends on the texts alone."""
    distinct = sorted(set(texts), key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    encoding = _remembering(model, truncate) if len(distinct) >= REMEMBERED_TEXTS else nullcontext(text_encoder(model, truncate=truncate))
    made: list[Floats] = []
    began, done, tokens = monotonic(), 0, 0
    with encoding as encode:
        while done < len(distinct):
            end, size = done, 0
            while end < len(distinct) and (end == done or size < SLICE_BYTES):
                size, end = size + TEXT_BYTES + len(distinct[end].encode("utf-8", "replace")), end + 1
            embedded = _embedded(distinct[done:end], encode)
            made.append(embedded.vectors)
            done, tokens, seconds = end, tokens + int(embedded.tokens.sum()), max(monotonic() - began, 1e-9)
            report(Progress(len(distinct), done, done / seconds, tokens / seconds, (len(distinct) - done) * seconds / done))
    rows = np.concatenate(made) if made else np.empty((0, model.encoder.dim), np.float32)
    if len(distinct) == len(texts) and list(texts) == distinct:
        return rows
    place = {text: row for row, text in enumerate(distinct)}
    ordered: Floats = rows[[place[text] for text in texts]] if texts else rows
    return ordered


def _embedded(part: list[str], encode: Encode) -> Embedded:
    """An error that names a text by its place shows its beginning instead."""
    try:
        return encode(part)
    except (InvalidInput, ModelFailed) as error:
        named = re.match(r"texts?[ \[](\d+)\]?:? ", str(error))
        if named is None:
            raise
        text = part[int(named[1])]
        excerpt = text if len(text) <= EXCERPT else f"{text[: EXCERPT - 1]}…"
        raise type(error)(f"the text {excerpt!r} {str(error)[named.end() :]}") from error


@contextmanager
def _remembering(model: Model, truncate: Truncate) -> Iterator[Encode]:
    """What was computed is in the cache's file at the end, whatever the end."""
    encoder = model.encoder
    if not isinstance(encoder, LocalEncoder):
        yield text_encoder(model, truncate=truncate)
        return
    probe = text_encoder(model)([PROBE]).vectors.tobytes()  # tells precisions apart
    cached = CachedEncoder(encoder, settings.home() / "cache" / "vectors", variant=f"{hashlib.sha256(probe).hexdigest()} {__version__}")
    side = None if truncate == "none" else truncate
    try:
        yield lambda texts: cached.embed([clip(text, side) for text in texts], truncate=side)
    finally:
        cached.flush()
