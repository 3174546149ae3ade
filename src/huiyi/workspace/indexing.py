"""A file or folder into a collection, and the collection in step with it: what is new is added, what changed changes, what went is deleted.

Everything is read through once before anything is written: what cannot be used is refused, and what is there already is told from what has
to be embedded. What was embedded is on disk some records at a time, so a run that was stopped goes on where it was.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from huiyi.collection import Added, Collection, slices
from huiyi.encoding.ahead import in_order
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.machines import RayEncoder
from huiyi.errors import Conflict, InvalidInput
from huiyi.model import Model
from huiyi.sources import chunks, documents
from huiyi.sources.readers import as_text
from huiyi.sources.tables import Format, Table, open_table
from huiyi.stores.store import Record, as_record, digest, fingerprint
from huiyi.workspace.collections import open_collection
from huiyi.workspace.texts import Progress

LOOK_UP = 1_000
ID_DIGITS = 16
SPECIAL_TOKENS = 2  # of a model, at most
ID_COLUMNS = ("id", "编号")
# A column of such cells is one of numbers. Not "007", and nothing of more digits than a float keeps: those are names of things.
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")


@dataclass(frozen=True)
class Indexed:
    """What came of it, in records. kept: in the collection but not in the source. skipped: what was left out of the source, and why.

    embedded, tokens: texts and tokens that went through the model. cut: texts longer than it reads, which lost their end.
    """

    name: str
    source: str
    records: int
    added: int
    changed: int
    unchanged: int
    deleted: int
    kept: int
    skipped: tuple[str, ...]
    embedded: int
    tokens: int
    cut: int
    model: str
    seconds: float


class Source(Protocol):
    """Records in the order of the source, as often as asked; `skipped` after the first time."""

    @property
    def description(self) -> str: ...
    @property
    def skipped(self) -> list[str]: ...
    def records(self) -> Iterator[Record]: ...
    def keeps(self, record: Record) -> bool:
        """Whether a record that is not in the source stays all the same: its document could not be read this time."""
        ...

    def require_unchanged(self) -> None: ...


def index(
    name: str,
    source: str | Path,
    load: Callable[[str | None], Model],
    *,
    text: str | None = None,
    id: str | None = None,
    meta: Sequence[str] | None = None,
    keep_missing: bool = False,
    replace: bool = False,
    store: str | None = None,
    instruction: str | None = None,
    dimensions: int | None = None,
    chunk_tokens: int = chunks.DEFAULT_TOKENS,
    overlap: int = chunks.DEFAULT_OVERLAP,
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    home: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Indexed:
    """Bring the collection `name` in step with a table, a document, or a folder of documents; make it when it is not there.

    load: gives the model of that name (None: the default one), when one is needed. text, id, meta: columns of a table; by default one that
    is called like it, a digest of the text, and all other columns. keep_missing: delete nothing. replace: also where no record of the
    collection is in the source, which is a Conflict otherwise. store, instruction, dimensions: of a new collection. chunk_tokens,
    overlap: of documents. say: gets what was decided, a line each.
    """
    began = monotonic()
    with ExitStack() as stack:
        table = None if _is_documents(source, format, text) else stack.enter_context(open_table(source, format, encoding, sheet))
        read: Source | None = _TableSource(table, text, id, meta) if table else None
        if table is None and (id, meta, sheet) != (None, None, None):
            raise InvalidInput("columns and sheets are of tables; documents bring their own ids and metadata")
        options = {"instruction": instruction, "dimensions": dimensions}
        collection = stack.enter_context(open_collection(name, None, home, store, load=load, **options))  # type: ignore[arg-type]
        if read is None:
            room = max(chunks.LEAST_TOKENS, collection.model.max_seq_length - SPECIAL_TOKENS)
            read = _DocumentSource(source, encoding, _counter(collection.model), min(chunk_tokens, room), min(overlap, room // 2))
        survey = _Survey.of(read, collection)
        say(read.description)
        _require_sense(survey, collection, str(source), keep_missing, replace)
        if survey.texts:
            say(f"{survey.texts:,} texts to embed with {collection.model.name}")
        clock, done = _Clock(survey.texts, report), Added()
        encoder = collection.model.encoder if survey.texts else None
        with in_order(encoder, collection.prepare, slices(read.records())) as prepared:
            for _, future in prepared:
                done += clock.add(collection.write(future.result()))
        read.require_unchanged()
        gone = [] if keep_missing else _gone(survey, read, collection)
        for start in range(0, len(gone), LOOK_UP):
            collection.delete(ids=gone[start : start + LOOK_UP])
        count, model = collection.count(), collection.facts.model
    return Indexed(
        name=name,
        source=read.description,
        records=count,
        added=done.added,
        changed=done.changed,
        unchanged=done.unchanged,
        deleted=len(gone),
        kept=count - len(survey.ids),
        skipped=tuple(read.skipped),
        embedded=done.embedded,
        tokens=done.tokens,
        cut=done.cut,
        model=model,
        seconds=monotonic() - began,
    )


@dataclass
class _Survey:
    """What the source holds against what the collection holds. texts: that have to be embedded. known: ids that are in both."""

    ids: set[str] = field(default_factory=set)
    known: int = 0
    texts: int = 0

    @classmethod
    def of(cls, source: Source, collection: Collection) -> "_Survey":
        survey = cls()
        records = source.records()
        while some := list(islice(records, LOOK_UP)):
            known = collection.store.fingerprints([record.id for record in some])
            survey.ids |= {record.id for record in some}
            survey.known += len(known)
            survey.texts += sum(record.id not in known or known[record.id].text != fingerprint(record).text for record in some)
        return survey


def _require_sense(survey: _Survey, collection: Collection, source: str, keep_missing: bool, replace: bool) -> None:
    """Stop before everything in a collection is deleted because of a wrong file or name."""
    there = collection.count()
    if not survey.ids and not replace:
        raise InvalidInput(f"{source} holds no text to index" + ("; pass --replace to empty the collection" if there else ""))
    if there and not survey.known and not keep_missing and not replace:
        raise Conflict(
            f"none of the {there:,} records of {collection.name} is in {source}, so all of them would be deleted: "
            "pass --keep-missing to add to them, --replace if that is what you want, or take another name"
        )


def _gone(survey: _Survey, source: Source, collection: Collection) -> list[str]:
    """Ids that are in the collection and not in the source any more."""
    missing = [id_ for id_ in collection.store.ids() if id_ not in survey.ids]
    gone: list[str] = []
    for start in range(0, len(missing), LOOK_UP):
        records = collection.store.get(missing[start : start + LOOK_UP])
        gone += [id_ for id_, record in records.items() if not source.keeps(record)]
    return gone


class _TableSource:
    """Rows as records. Rows without text are left out; of rows with one id the last counts."""

    def __init__(self, table: Table, text: str | None, id: str | None, meta: Sequence[str] | None) -> None:
        self._table = table
        self._text = table.text_column(text)
        self._id = table.column(id) if id is not None else next((name for name in ID_COLUMNS if name in table.columns), None)
        if self._id == self._text and id is None:
            self._id = None
        others = [name for name in table.columns if name not in (self._text, self._id)]
        self._meta = others if meta is None else [table.column(name) for name in meta]
        self._numbers: set[str] = set()
        self._last: dict[str, int] = {}
        empty = repeated = 0
        numeric = dict.fromkeys(self._meta, True)
        filled = dict.fromkeys(self._meta, False)
        for number, (id_, row) in enumerate(self._rows()):
            if id_ is None:
                empty += 1
                continue
            repeated += id_ in self._last
            self._last[id_] = number
            for name in self._meta:
                value = row.get(name)
                if isinstance(value, str) and value:
                    filled[name] = True
                    numeric[name] = numeric[name] and NUMBER.fullmatch(value) is not None
        self._numbers = {name for name in self._meta if numeric[name] and filled[name] and table.format in ("csv", "tsv")}
        self.skipped = [f"rows without text, left out: {empty:,}"] * bool(empty)
        self.skipped += [f"rows whose id comes again further down, left out: {repeated:,}"] * bool(repeated)
        named = ", ".join(f"{name} (number)" if name in self._numbers else name for name in self._meta) or "none"
        self.description = f"{table.description()}; texts from {self._text!r}, ids from {self._id and repr(self._id)}, metadata: {named}"
        self.description = self.description.replace("ids from None", "ids made of the texts")

    def records(self) -> Iterator[Record]:
        for number, (id_, row) in enumerate(self._rows()):
            if id_ is not None and self._last[id_] == number:
                metadata = {name: self._value(name, row.get(name)) for name in self._meta}
                yield as_record({"id": id_, "text": as_text(row.get(self._text)), "metadata": metadata})

    def keeps(self, record: Record) -> bool:
        return False

    def require_unchanged(self) -> None:
        self._table.require_unchanged()

    def _rows(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Ids and cells; no id where there is no text. Without a column of ids: a digest of the text, and a number where it comes again."""
        seen: dict[str, int] = {}
        for row in self._table:
            text = as_text(row.cells.get(self._text))
            if not text.strip():
                yield None, row.cells
            elif self._id is not None:
                id_ = as_text(row.cells.get(self._id))
                if not id_:
                    raise InvalidInput(f"{self._table.name}, line {row.number}: the column {self._id!r} is empty, and a record needs an id")
                yield id_, row.cells
            else:
                made = digest(text)[:ID_DIGITS]
                seen[made] = count = seen.get(made, 0) + 1
                yield made if count == 1 else f"{made}-{count}", row.cells

    def _value(self, name: str, value: Any) -> Any:
        if value is None or value == "":
            return None
        if name in self._numbers and isinstance(value, str):
            return float(value) if "." in value else int(value)
        plain = isinstance(value, str | bool | int | float) or (isinstance(value, list) and all(isinstance(each, str) for each in value))
        return value if plain and not (isinstance(value, int) and abs(value) > 2**53) else as_text(value)


class _DocumentSource:
    """Chunks of documents as records; a hit's metadata lead back to the place."""

    def __init__(self, place: str | Path, encoding: str | None, count: chunks.CountTokens, tokens: int, overlap: int) -> None:
        self._place, self._encoding, self._count, self._tokens, self._overlap = place, encoding, count, tokens, overlap
        self._failed: set[str] = set()
        self.skipped: list[str] = []
        self._documents = self._chunks = 0

    @property
    def description(self) -> str:
        return f"{self._place}: {self._documents:,} document{'s' * (self._documents != 1)} in {self._chunks:,} chunks"

    def records(self) -> Iterator[Record]:
        self._failed, self.skipped, self._documents, self._chunks = set(), [], 0, 0
        for document in documents.read_documents(self._place, self._encoding):
            if isinstance(document, documents.Skipped):
                self.skipped.append(f"{document.source}: {document.reason}")
                if document.failed:
                    self._failed.add(document.source)
                continue
            self._documents += 1
            for chunk in chunks.chunk(document, self._count, self._tokens, self._overlap):
                self._chunks += 1
                yield as_record({"id": chunk.id, "text": chunk.text, "metadata": chunk.metadata})

    def keeps(self, record: Record) -> bool:
        return record.metadata.get("source") in self._failed

    def require_unchanged(self) -> None:
        return None


class _Clock:
    """Progress by texts that have to be embedded."""

    def __init__(self, texts: int, report: Callable[[Progress], None]) -> None:
        self._texts, self._report = texts, report
        self._done = self._tokens = 0
        self._began = monotonic()

    def add(self, made: Added) -> Added:
        if made.embedded:
            self._done, self._tokens = self._done + made.embedded, self._tokens + made.tokens
            seconds = max(monotonic() - self._began, 1e-9)
            left = max(0, self._texts - self._done) * seconds / self._done
            self._report(Progress(self._texts, self._done, self._done / seconds, self._tokens / seconds, left))
        return made


def _is_documents(source: str | Path, format: str | None, text: str | None) -> bool:
    """A folder, or a file whose name is a document's. A .txt is a table of lines, as everywhere, unless it is in a folder."""
    if str(source) == "-" or format is not None:
        return False
    path = Path(source)
    return path.is_dir() or (documents.kind_of(path) not in (None, "text") and text is None)


def _counter(model: Model) -> chunks.CountTokens:
    encoder = model.encoder
    if isinstance(encoder, LocalEncoder | RayEncoder):
        special = len(encoder.token_ids([""])[0])
        return lambda texts: [len(ids) - special for ids in encoder.token_ids(list(texts), truncate="end")]
    return lambda texts: [len(text.encode()) // 2 + 1 for text in texts]  # a remote tokenizer; hardly any text has more tokens
