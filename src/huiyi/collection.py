"""`Collection`: a model and a store that stay in step; texts go in, the nearest come out, and what did not change is not embedded again.

Owns the space law: a collection keeps the vectors of eight probe texts, and a model that is used on it must give the same ones. The model
is loaded when something has to be embedded, not before. Knows nothing of sources or the backends behind the `Store` protocol.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import numpy as np

from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.probes import FEW
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.stores.filters import parse
from huiyi.stores.store import Facts, Fingerprint, Hit, Page, Record, Status, Store, as_record, fingerprint
from huiyi.types import Embedded, Floats, Kind

SLICE_RECORDS = 256
SLICE_CHARACTERS = 1 << 16
LONGEST_TEXT = 500_000  # characters that a model is given; none reads 32,768 tokens of 15 characters each
# The least cosine of a probe text's vector with the stored one, and where int8 computes or nobody knows what does.
SAME, SAME_INT8 = 0.999, 0.995

Mode = Literal["semantic"]
MODES: tuple[Mode, ...] = ("semantic",)
Filtering = Mapping[str, Any] | None
Given = Record | Mapping[str, Any]


@dataclass(frozen=True)
class Added:
    """What `add` did, in records. cut: new texts that were longer than the model reads, and lost their end.

    embedded, tokens: texts and tokens that went through the model; fewer than added and changed where texts repeat.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    cut: int = 0
    embedded: int = 0
    tokens: int = 0

    def __add__(self, other: "Added") -> "Added":
        return Added(
            self.added + other.added,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.cut + other.cut,
            self.embedded + other.embedded,
            self.tokens + other.tokens,
        )


@dataclass(frozen=True)
class Contents:
    """All records of one moment, in one order. vectors: float32 [n, dim], unit rows."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    metadata: tuple[dict[str, Any], ...]
    vectors: Floats


@dataclass(frozen=True)
class Reindexed:
    """embedded: texts that this run embedded; an interrupted one's were kept."""

    name: str
    model: str
    before: str
    records: int
    embedded: int
    tokens: int


class Collection:
    """Records {"id", "text", "metadata"} that are found by meaning; what `huiyi.open` returns. Safe to call from many threads.

    Raise Conflict where the model is not the collection's or somebody else reindexed it, NotFound before it was made.
    """

    def __init__(self, name: str, store: Store, load: Callable[[], Model], instruction: str | None = None) -> None:
        """load: gives the collection's model. instruction: for the queries of this object, in the place of the collection's own."""
        self.name = name
        self._instruction = instruction
        self._live: tuple[Store, Callable[[], Model]] = store, load
        self._models: dict[Callable[[], Model], Model] = {}
        self._loading = threading.Lock()

    @property
    def facts(self) -> Facts:
        """Its model, space, dim and instruction."""
        facts = self._store.facts
        if facts is None:
            raise NotFound(f"there is no collection {self.name}; make it with huiyi index, or huiyi.open({self.name!r}, model=...)")
        return facts

    @property
    def model(self) -> Model:
        """Loaded and checked when first asked for."""
        return self._model(*self._live)

    def add(self, records: Iterable[Given], report: Callable[[Added], object] = lambda done: None) -> Added:
        """Add records, or bring those of the same ids up to date; on disk when it returns. Of two with one id the later counts.

        A record that cannot be kept raises InvalidInput, and then none is added. Texts that are there already are not embedded again.
        report: called with what was done so far, which is kept whatever happens after.
        """
        latest = {record.id: record for record in map(as_record, records)}
        done = Added()
        for piece in slices(latest.values()):
            done += self._add(piece)
            report(done)
        return done

    def delete(self, ids: Iterable[str] | str | None = None, filter: Filtering = None) -> int:
        """Take away the records of these ids, or those that match; how many there were."""
        if ids is not None and filter is None:
            return self._store.delete(ids=_ids(ids))
        tree = parse(filter)
        if tree is None or ids is not None:
            raise InvalidInput("say which records to delete, by ids=[...] or by a filter that is not empty")
        return self._store.delete(filter=tree)

    def count(self, filter: Filtering = None) -> int:
        return self._store.count(parse(filter))

    def __len__(self) -> int:
        return self.count()

    def get(self, id: str) -> Record | None:
        """The record of that id; None when there is none."""
        return self._store.get([id]).get(id)

    def ids(self) -> list[str]:
        """All ids, in the order of `vectors`."""
        return [record.id for record in self.records()]

    def records(self, filter: Filtering = None) -> Iterator[Record]:
        """All records, or those that match, in the order of `vectors`."""
        for batch in self._store.scan(parse(filter)):
            yield from batch.records

    def page(self, limit: int = 100, after: str | None = None, filter: Filtering = None) -> Page:
        """Up to `limit` records, and `next`, which is the `after` of the page that follows."""
        return self._store.page(limit, after, parse(filter))

    def vectors(self, filter: Filtering = None) -> Floats:
        """float32 [n, dim], unit rows; `contents` gives ids and texts of the same moment with them."""
        return self.contents(filter).vectors

    def contents(self, filter: Filtering = None) -> Contents:
        """Ids, texts, metadata and vectors of all records, or of those that match, of one moment."""
        batches = list(self._store.scan(parse(filter)))
        records = [record for batch in batches for record in batch.records]
        vectors = np.concatenate([np.empty((0, self.facts.dim), np.float32), *(batch.vectors for batch in batches)])
        ids, texts, metadata = ([getattr(record, name) for record in records] for name in ("id", "text", "metadata"))
        return Contents(tuple(ids), tuple(texts), tuple(metadata), vectors)

    def search(self, query: str | Floats, k: int = 10, mode: Mode = "semantic", filter: Filtering = None) -> list[Hit]:
        """The k records nearest to a text, or to a vector [dim], best first. filter: only records that match are looked at."""
        return self.search_all([query] if isinstance(query, str) else np.asarray(query, np.float32)[None], k, mode, filter)[0]

    def search_all(
        self, queries: Sequence[str] | Floats, k: int = 10, mode: Mode = "semantic", filter: Filtering = None
    ) -> list[list[Hit]]:
        """As `search`, for several queries (or vectors [n, dim]) at once: a list of hits for each."""
        if mode not in MODES:
            raise InvalidInput(f"there is no mode {mode!r}; there is {', '.join(MODES)}")
        if k < 1:
            raise InvalidInput(f"k is the number of hits, 1 or more, not {k}")
        tree = parse(filter)
        while True:
            store, load = self._live
            try:
                return store.search(self._queries(store, load, queries), k, tree)
            except Conflict:
                if self._live[0] is store:
                    raise  # else this collection was reindexed by another thread just now

    def reindex(self, load: Callable[[], Model], report: Callable[[int, int, Added], object] = lambda done, all_, made: None) -> Reindexed:
        """Embed everything with another model beside the live vectors, then swap. Searches and writes go on; a broken run goes on.

        report: called with records done, records in all, and what this run embedded.
        """
        store, _ = self._live
        before, model = self.facts, load()
        facts = facts_of(model, before.instruction, None)
        successor = store.successor(facts)
        embedded = tokens = 0
        while True:
            while records := successor.missing(SLICE_RECORDS):
                for piece in slices(records):
                    made = embed(model, [record.text for record in piece], "document", dimensions=facts.dim)
                    successor.put(piece, made.vectors)
                    embedded, tokens = embedded + len(piece), tokens + int(made.tokens.sum())
                    report(successor.count(), store.count(), Added(embedded=embedded, tokens=tokens))
            swapped = successor.swap()
            if swapped is not None:
                break
        self._models[load] = model
        self._live = swapped, load
        store.close()
        return Reindexed(self.name, facts.model, before.model, swapped.count(), embedded, tokens)

    def status(self) -> Status:
        return self._store.status()

    @property
    def store(self) -> Store:
        """What is behind it."""
        return self._store

    def close(self) -> None:
        """Let go of its files; the model stays, since others may use it."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"

    @property
    def _store(self) -> Store:
        return self._live[0]

    def _add(self, records: Sequence[Record]) -> Added:
        """Some records in one transaction. Texts are embedded outside of it; it begins anew when somebody wrote meanwhile."""
        store, load = self._live
        ids = [record.id for record in records]
        vectors: dict[str, Floats] = {}
        cut = tokens = 0
        while True:
            known = store.fingerprints(ids)
            texts = _texts_to_embed(records, known)
            missing = [text for text in texts if text not in vectors]
            if missing:
                made = embed(self._model(store, load), missing, "document", dimensions=self.facts.dim)
                vectors |= dict(zip(missing, made.vectors, strict=True))
                tokens += int(made.tokens.sum())
                cut += int((made.tokens >= self._model(store, load).encoder.max_tokens).sum())
            with store.writing():
                if store.fingerprints(ids) == known:
                    counted = _write(store, records, known, vectors)
                    return replace(counted, cut=cut, embedded=len(vectors), tokens=tokens)

    def _queries(self, store: Store, load: Callable[[], Model], queries: Sequence[str] | Floats) -> Floats:
        if isinstance(queries, np.ndarray) and queries.dtype.kind == "f":
            norms = np.linalg.norm(queries, axis=-1, keepdims=True)
            if queries.ndim != 2 or not (np.isfinite(norms).all() and (norms > 0).all()):
                raise InvalidInput("a query is a text, or a vector [dim] of finite numbers that are not all zero")
            return cast(Floats, queries / norms)
        texts = list(queries)
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise InvalidInput("a query is a text that is not empty" + ("" if isinstance(text, str) else f", not {text!r}"))
        facts = self.facts
        instruction = facts.instruction if self._instruction is None else self._instruction
        return embed(self._model(store, load), texts, "query", instruction, facts.dim).vectors

    def _model(self, store: Store, load: Callable[[], Model]) -> Model:
        with self._loading:
            if load not in self._models:
                model = load()
                if store.facts is not None:
                    require_same_space(self.name, store.facts, model)
                self._models = {load: model}
            return self._models[load]


def embed(model: Model, texts: Sequence[str], kind: Kind, instruction: str | None = None, dimensions: int | None = None) -> Embedded:
    """Vectors of full or cut width; a text that is too long loses its end."""
    encoder = model.encoder
    width = None if dimensions == encoder.dim else dimensions
    if isinstance(encoder, LocalEncoder):
        return encoder.embed([text[:LONGEST_TEXT] for text in texts], kind, instruction, width, truncate="end")
    return encoder.embed(texts, kind, instruction, width)


def facts_of(model: Model, instruction: str | None, dimensions: int | None) -> Facts:
    """What a new collection of this model is."""
    probes = embed(model, FEW, "document", dimensions=dimensions).vectors
    return Facts(lasting(model.name), model.encoder.space, precision_of(model), probes.shape[1], instruction, probes)


def lasting(model: str) -> str:
    """The name of a model; of a folder its whole path, since it will be asked for from other places."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if any((folder / name).is_file() for name in ("config.json", "modules.json")) else model


def precision_of(model: Model) -> str:
    return str(getattr(model.encoder, "precision", ""))


def require_same_space(name: str, facts: Facts, model: Model) -> None:
    """Conflict unless the model gives the vectors that the collection holds: proven by the probe texts, or by the digest of its weights."""
    if facts.dim == model.encoder.dim and facts.space == model.encoder.space:
        return
    way_out = f"open it with model={facts.model!r}, or embed it anew with huiyi reindex {name} --model {model.name}"
    if facts.dim > model.encoder.dim:
        raise Conflict(f"{name} holds vectors of {facts.dim} numbers from {facts.model}; {model.name} gives {model.encoder.dim}: {way_out}")
    probes = embed(model, FEW, "document", dimensions=facts.dim).vectors
    least = float(np.einsum("nd,nd->n", probes, facts.probes / np.linalg.norm(facts.probes, axis=1, keepdims=True)).min())
    exact = {facts.precision, precision_of(model)} <= {"fp32", "bf16"}
    if least < (SAME if exact else SAME_INT8):
        raise Conflict(
            f"{name} holds vectors of {facts.model}, and {model.name} gives others (cosine {least:.3f} on a probe text): {way_out}"
        )


def slices(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Some records at a time: what is embedded, and is on disk, together."""
    piece: list[Record] = []
    characters = 0
    for record in records:
        if piece and (len(piece) == SLICE_RECORDS or characters + len(record.text) > SLICE_CHARACTERS):
            yield piece
            piece, characters = [], 0
        piece.append(record)
        characters += len(record.text)
    if piece:
        yield piece


def _texts_to_embed(records: Sequence[Record], known: Mapping[str, Fingerprint]) -> dict[str, None]:
    return {record.text: None for record in records if record.id not in known or known[record.id].text != fingerprint(record).text}


def _write(store: Store, records: Sequence[Record], known: Mapping[str, Fingerprint], vectors: Mapping[str, Floats]) -> Added:
    new = [record for record in records if record.id not in known]
    changed = [record for record in records if record.id in known and known[record.id] != fingerprint(record)]
    retold = [record for record in changed if known[record.id].text == fingerprint(record).text]
    put = [*new, *(record for record in changed if known[record.id].text != fingerprint(record).text)]
    if put:
        store.put(put, np.stack([vectors[record.text] for record in put]))
    if retold:
        store.revise(retold)
    return Added(len(new), len(changed), len(records) - len(new) - len(changed))


def _ids(ids: Iterable[str] | str) -> list[str]:
    listed = [ids] if isinstance(ids, str) else list(ids)
    for each in listed:
        if not isinstance(each, str):
            raise InvalidInput(f"ids are texts, not {each!r}")
    return listed
