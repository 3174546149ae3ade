"""The protocol of a store of records and vectors, and the values that travel to and from it.

One store object is one collection. It keeps what it is given and finds nearest vectors; it knows no encoder, so texts come to it with
their vectors, and `fingerprints` tells the caller which texts need none. Every backend passes `tests/stores/contract.py`.
A backend's module has `open_store(name, address, folder) -> Store`: the collection's name, what follows the colon in
`store="milvus:ADDRESS"` ("" without one), and a folder of the collection's own on this machine, which may not exist yet.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import InvalidInput
from huiyi.stores.filters import LARGEST_INTEGER, Filter, Value
from huiyi.types import Floats

DIGEST_BYTES = 16


@dataclass(frozen=True)
class Facts:
    """What a collection is; kept with the vectors, not beside them, so that any machine that reaches them can check.

    model: as its owner called it. space: of the encoder. precision: of its numbers where known ("" where not). dim: width of the vectors.
    instruction: the task that queries carry, None for the model's own. probes: float32 [8, dim], unit rows, the vectors of the probe
    texts, which any encoder opened on the collection must reproduce.
    """

    model: str
    space: str
    precision: str
    dim: int
    instruction: str | None
    probes: Floats = field(compare=False, repr=False)


@dataclass(frozen=True)
class Record:
    """id: any text. metadata: by field a text, a number, true or false, or a list of texts; a field that has no value is not there."""

    id: str
    text: str
    metadata: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """A record that was found. score: higher is better; of a search by meaning the cosine with the query, of one by words BM25.

    Of a search by both also: cosine and bm25; the places among the nearest and among those of highest BM25, from 1, None where it is not
    among those that were looked at. spans: where in `text` words of the query stand, (start, end) in characters, if that was asked for.
    retrieved: the score before a reranker gave its own, None without one.
    """

    id: str
    score: float
    text: str
    metadata: dict[str, Value]
    cosine: float | None = None
    bm25: float | None = None
    semantic_rank: int | None = None
    keyword_rank: int | None = None
    spans: tuple[tuple[int, int], ...] = ()
    retrieved: float | None = None


Scores = NDArray[np.float64]
# Of cosines [n] and BM25 [n] the places of those whose records are wanted, in the order in which they are.
Choose = Callable[[Scores, Scores], Iterable[int]]


@dataclass(frozen=True)
class Candidates:
    """What meaning or words propose for one query. cosines: [n], with its vector. bm25: [n], 0 where there is no word of the query.

    records: those that were chosen, by place in both, in the order in which they were chosen; none that was deleted meanwhile.
    """

    cosines: Scores
    bm25: Scores
    records: dict[int, Record]


def all_of_them(cosines: Scores, bm25: Scores) -> Iterable[int]:
    return range(len(cosines))


@dataclass(frozen=True)
class Fingerprint:
    """Digests (32 hexadecimal digits) of a record's text and of its metadata: what has to be embedded, or written, again."""

    text: str
    metadata: str


@dataclass(frozen=True)
class Batch:
    """Records and their vectors, float32 [n, dim], row by row."""

    records: tuple[Record, ...]
    vectors: Floats


@dataclass(frozen=True)
class Page:
    """Records of a scroll. next: what to pass as `after` for the page that follows, None after the last."""

    records: tuple[Record, ...]
    next: str | None


@dataclass(frozen=True)
class Status:
    """records: how many there are. indexed: of these, in the approximate index; the others are searched one by one.

    size_bytes: on this machine's disk, None where they lie elsewhere. about: what else the backend says of itself, for people.
    """

    records: int
    indexed: int
    size_bytes: int | None
    about: dict[str, str]


class Store(Protocol):
    """One collection in one backend. Safe to call from many threads.

    All but `facts`, `create` and `close` raise NotFound before `create`. A write has happened when the call returns: it survives the end of
    the process, whole or not at all, batch by batch, and every later search of this object finds it. Errors are HuiyiErrors that name
    the way out: Conflict when the collection was reindexed since this object was opened (open it again) or another writer holds it too
    long, Unavailable when the backend cannot be reached, HuiyiError for a damaged file or a full disk.
    """

    @property
    def facts(self) -> Facts | None:
        """What the collection was made with; None when it does not exist yet."""
        ...

    def create(self, facts: Facts) -> None:
        """Begin the collection. Conflict when it exists."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Nobody else writes until the end; what is written inside is kept as one, where the backend can do that.

        So that a caller can ask `fingerprints`, see that nothing has changed since it embedded, and `put`.
        """
        ...

    def fingerprints(self, ids: Sequence[str]) -> dict[str, Fingerprint]:
        """Of those of `ids` that are there."""
        ...

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        """Add records, or replace those of the same ids. vectors: float32 [n, dim], unit rows. No id occurs twice."""
        ...

    def revise(self, records: Sequence[Record]) -> None:
        """Give records that are there new metadata; their text is what it was, and so their vector stays."""
        ...

    def delete(self, ids: Sequence[str] | None = None, filter: Filter | None = None) -> int:
        """Take records away, by id or by filter (one of them is given); how many were there."""
        ...

    def count(self, filter: Filter | None = None) -> int: ...

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Those of `ids` that are there."""
        ...

    def search(self, vectors: Floats, k: int, filter: Filter | None = None) -> list[list[Hit]]:
        """For each row of `vectors` (float32 [n, dim], unit length) up to k records of the highest cosine, best first.

        A filter leaves out before the k are chosen: with as many matching records there are k hits. k is 1 or more.
        """
        ...

    def search_keywords(self, texts: Sequence[str], k: int, filter: Filter | None = None) -> list[list[Hit]]:
        """For each query up to k records of the highest BM25, best first; none that has no word of it. InvalidInput without keywords."""
        ...

    def candidates(
        self, vectors: Floats, texts: Sequence[str], k: int, filter: Filter | None = None, choose: Choose = all_of_them
    ) -> list[Candidates]:
        """For each query, given as vector and as text, the k nearest records and the k of highest BM25, each once, in any order.

        choose: is given their scores before any record is read; only those that it names are.
        """
        ...

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        """Of those of `ids` that are there: float32 [dim], unit length."""
        ...

    def kept(self, name: str) -> str | None:
        """What `keep` was given under this name."""
        ...

    def keep(self, name: str, text: str | None) -> None:
        """Keep something short that was learned of the collection, under a name of letters; None forgets it."""
        ...

    def ids(self) -> Iterator[str]:
        """Every id once, in no particular order."""
        ...

    def page(self, limit: int, after: str | None = None, filter: Filter | None = None) -> Page:
        """Up to `limit` records; every record that stays the same is on exactly one page of a scroll."""
        ...

    def scan(self, filter: Filter | None = None) -> Iterator[Batch]:
        """All records with their vectors, batch by batch, as they were at the first, in the same order as `page`."""
        ...

    def successor(self, facts: Facts) -> "Successor":
        """Begin, or go on with, vectors of another model beside these. One that was begun with other facts is thrown away."""
        ...

    def status(self) -> Status: ...

    def is_current(self) -> bool:
        """False when somebody else deleted, restored or reindexed the collection since this object was opened: open it again."""
        ...

    def drop(self) -> None:
        """Delete the collection, whole, for good; then close."""
        ...

    def close(self) -> None:
        """Let go of files and connections; a second time does nothing."""
        ...


class Successor(Protocol):
    """The next vectors of a store that goes on being read, searched and written meanwhile.

    Whatever happens to records in the store before `swap` returns happens here as well: a new or changed one is `missing` again, a deleted
    one is gone. Kept as it grows: a successor that was interrupted goes on where it was.
    """

    def missing(self, limit: int) -> list[Record]:
        """Up to `limit` records that have no vector here yet; empty when all have."""
        ...

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        """Vectors of records that `missing` gave; one that was changed or deleted since is left out."""
        ...

    def count(self) -> int:
        """How many records have their vector here."""
        ...

    def swap(self) -> Store | None:
        """Take the old vectors' place, at once: a reader sees the one or the other. None when records came in since: embed those first.

        Returns the store with the new vectors; the old object answers nothing any more but Conflict, and is closed by its owner.
        """
        ...

    def discard(self) -> None:
        """Throw away what was made."""
        ...

    def close(self) -> None:
        """Let others write again, should they be waiting for the end of this one; what was made stays."""
        ...


def as_record(given: "Record | Mapping[str, Any]") -> Record:
    """A record as people write it, {"id", "text", "metadata"}, checked and put right; InvalidInput says which and why.

    Metadata without a value (None, NaN) is left out; numpy's numbers become Python's.
    """
    if isinstance(given, Record):
        given = {"id": given.id, "text": given.text, "metadata": given.metadata}
    if not isinstance(given, Mapping):
        raise InvalidInput(f'a record is an object {{"id", "text", "metadata"}}, not a {type(given).__name__}')
    if strange := sorted(map(str, given.keys() - {"id", "text", "metadata"})):
        raise InvalidInput(f"a record has id, text and metadata; {', '.join(strange)} belongs into its metadata")
    id_, text, metadata = given.get("id"), given.get("text"), given.get("metadata") or {}
    if not isinstance(id_, str):
        raise InvalidInput(f"the id of a record is a text, not {id_!r}" if "id" in given else "a record has no id")
    if not isinstance(text, str):
        raise InvalidInput(f"record {id_!r}: its text is {'missing' if text is None else f'a {type(text).__name__}, not a text'}")
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"record {id_!r}: its metadata is an object of fields and values, not a {type(metadata).__name__}")
    kept = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not name or name.startswith("$"):
            raise InvalidInput(f"record {id_!r}: a field of its metadata is called {name!r}; take a text that does not start with $")
        if (made := _value(value, f"record {id_!r}: its {name}")) is not None:
            kept[name] = made
    for each in (id_, text, *kept, *(part for value in kept.values() for part in (value if isinstance(value, list) else [value]))):
        if isinstance(each, str) and not each.isascii():
            try:
                each.encode()
            except UnicodeEncodeError:
                raise InvalidInput(f"record {id_!r}: it holds half a surrogate pair, which is no character; remove it") from None
    return Record(id_, text, kept)


def _value(value: object, where: str) -> Value | None:
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise InvalidInput(f"{where} is an integer beyond 2^53, which is not kept exactly; make it a text")
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise InvalidInput(f"{where} is infinite; leave it out")
        return None if math.isnan(value) else value
    if isinstance(value, list | tuple | set | frozenset):
        if not all(isinstance(each, str) for each in value):
            raise InvalidInput(f"{where} is a list of something else than texts; make them texts")
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    way = "give its parts fields of their own, such as author.name" if isinstance(value, Mapping) else "make it a text or a number"
    raise InvalidInput(f"{where} is a {type(value).__name__}; {way}")


def fingerprint(record: Record) -> Fingerprint:
    return Fingerprint(digest(record.text), digest(metadata_json(record.metadata)))


def metadata_json(metadata: Mapping[str, Value]) -> str:
    """The same text for the same metadata, whatever the order of its fields."""
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    return digest_bytes(text).hex()


def digest_bytes(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
