"""A collection in Pinecone, behind its HTTP API. Needs the extra `pinecone`, and a key in PINECONE_API_KEY.

Collections are namespaces of one index for each width of vectors (`huiyi-1024`); what they are, and which namespace is live, is a record
of the index `huiyi-facts`, so that a reindex swaps by writing one record. Pinecone shows writes after a delay: a write returns when
search, fetch and list all show it. Writers on one machine take turns; Pinecone itself has no lock for writers on several.
"""

import base64
import json
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound
from huiyi.stores.beside import BesideSuccessor, Digests, checked
from huiyi.stores.filters import Filter
from huiyi.stores.pinecone_index import KEYS, Indexes, Side, any_vector
from huiyi.stores.pinecone_rows import digests_of, expression, id_of, key_of, record_of, row_of
from huiyi.stores.store import Batch, Candidates, Choose, Facts, Fingerprint, Hit, Page, Record, Status, all_of_them
from huiyi.stores.turns import Turns
from huiyi.types import Floats

REGISTRY = "huiyi-facts"
MOST_HITS = 10_000  # Pinecone's own limit for k; with metadata, 1,000
MOST_HITS_WITH_TEXT = 100  # an answer has at most 4 MB, and a record up to 40 KB
STALE_S = 10.0


def open_store(name: str, address: str, folder: Path) -> "PineconeStore":
    """address: cloud and region of new indexes, as `aws/us-east-1`, which is taken without one; or the URL of a local Pinecone."""
    return PineconeStore(name, address, folder)


@dataclass(frozen=True)
class _Entry:
    """What the registry knows of a collection. live: None before its creation is through. following: what a reindex fills."""

    live: Side | None = None
    following: Side | None = None


class PineconeStore:
    """See `Store`. A scan reads on while others write: it is no snapshot. Above 10,000 records a count lags some seconds behind."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name = name
        self._address = address
        self._turns = Turns(folder / "pinecone.lock")
        self._indexes = Indexes(name, address)
        self._live: Side | None = None
        self._swapped = False
        self._seen_s = -STALE_S
        try:
            self._live = self._entry().live
        except BaseException:
            self.close()
            raise

    # What it is

    @property
    def facts(self) -> Facts | None:
        if self._live is None:
            self._live = self._entry().live
        return self._live.facts if self._live else None

    def create(self, facts: Facts) -> None:
        with self.writing():
            if self._entry().live:
                raise Conflict(f"the collection {self.name} exists in Pinecone already; open it, or delete it first")
            side = self._begin(facts)
            self._write_entry(_Entry(live=side))
            self._live = side

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._turns.taken(f"the collection {self.name}"):
            yield

    # Reading

    def fingerprints(self, ids: Sequence[str]) -> dict[str, Fingerprint]:
        side = self._required()
        found = self._indexes.fetched(side, [key_of(id_) for id_ in dict.fromkeys(ids)])
        return {
            id_of(key, row.metadata): Fingerprint(row.metadata["~text_digest"], row.metadata["~metadata_digest"])
            for key, row in found.items()
        }

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        found = self.records(self._required(), [key_of(id_) for id_ in dict.fromkeys(ids)])
        return {record.id: record for record in found}

    def count(self, filter: Filter | None = None) -> int:
        return self.size(self._required(), filter)

    def search(self, vectors: Floats, k: int, filter: Filter | None = None) -> list[list[Hit]]:
        side = self._required()
        vectors = checked(vectors, side.facts.dim)
        if not 1 <= k <= MOST_HITS:
            raise InvalidInput(f"k is between 1 and {MOST_HITS:,}, not {k}")
        return [self._search(side, vector, k, filter) for vector in vectors]

    def search_keywords(self, texts: Sequence[str], k: int, filter: Filter | None = None) -> list[list[Hit]]:
        raise self._without_words()

    def candidates(
        self, vectors: Floats, texts: Sequence[str], k: int, filter: Filter | None = None, choose: Choose = all_of_them
    ) -> list[Candidates]:
        raise self._without_words()

    def _without_words(self) -> InvalidInput:
        return InvalidInput(
            f"{self.name} is kept in Pinecone, which finds by meaning alone: search with mode='semantic' (--mode semantic), or keep the "
            f"collection in the local store or in Milvus, which have keywords"
        )

    def _search(self, side: Side, vector: Floats, k: int, filter: Filter | None) -> list[Hit]:
        whole = k <= MOST_HITS_WITH_TEXT
        matches = self._indexes.query(side, vector.astype(float).tolist(), k, expression(filter), include_metadata=whole)
        rows = {match.id: match for match in matches} if whole else self._indexes.fetched(side, [match.id for match in matches])
        hits = []
        for match in matches:
            if match.id in rows:  # deleted in between, otherwise
                record = record_of(match.id, rows[match.id].metadata)
                hits.append(Hit(record.id, float(match.score), record.text, record.metadata))
        return hits

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        side = self._required()
        keys = {key_of(id_): id_ for id_ in ids}
        return {keys[key]: np.asarray(row.values, np.float32) for key, row in self._indexes.fetched(side, list(keys)).items()}

    def kept(self, name: str) -> str | None:
        self._required()
        return self._turns.kept(name)

    def keep(self, name: str, text: str | None) -> None:
        self._required()
        with self.writing():
            self._turns.keep(name, text)

    def ids(self) -> Iterator[str]:
        side = self._required()
        for keys in self._indexes.key_pages(side):
            far = [key for key in keys if key.startswith("#")]
            yield from (id_of(key, {}) for key in keys if not key.startswith("#"))
            yield from (id_of(key, row.metadata) for key, row in self._indexes.fetched(side, far).items())

    def page(self, limit: int, after: str | None = None, filter: Filter | None = None) -> Page:
        side = self._required()
        if limit < 1:
            raise InvalidInput(f"a page has at least one record, not {limit}")
        token = None if after is None else _opened(after)
        records: list[Record] = []
        while len(records) < limit:
            rows, token = self._indexes.row_page(side, min(KEYS, limit - len(records)), token, filter)
            records += [record_of(key, row.metadata) for key, row in rows]
            if token is None:
                break
        return Page(tuple(records), None if token is None else _sealed(token))

    def scan(self, filter: Filter | None = None) -> Iterator[Batch]:
        side, token = self._required(), None
        while True:
            rows, token = self._indexes.row_page(side, KEYS, token, filter)
            if rows:
                vectors = np.array([row.values for _, row in rows], dtype=np.float32)
                yield Batch(tuple(record_of(key, row.metadata) for key, row in rows), vectors)
            if token is None:
                return

    # Writing

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        live = self._required()
        vectors = checked(vectors, live.facts.dim, len(records))
        with self.writing():
            entry = self._current(live)
            rows = _rows(records, vectors)
            if entry.following:
                self.remove(entry.following, [row["id"] for row in rows])
            self._indexes.upsert(live, rows)

    def revise(self, records: Sequence[Record]) -> None:
        live = self._required()
        with self.writing():
            following = self._current(live).following
            for side in (live, following) if following else (live,):
                self.rewrite(side, records)

    def delete(self, ids: Sequence[str] | None = None, filter: Filter | None = None) -> int:
        if (ids is None) == (filter is None):
            raise InvalidInput("say which records to delete by ids or by a filter, one of them")
        live = self._required()
        with self.writing():
            following = self._current(live).following
            if ids is not None:
                keys = list(self._indexes.fetched(live, [key_of(id_) for id_ in dict.fromkeys(ids)]))
            else:
                keys = self._matching(live, filter)
            if following:
                self.remove(following, keys)
            self.remove(live, keys)
        return len(keys)

    def _matching(self, side: Side, filter: Filter | None) -> list[str]:
        keys: list[str] = []
        token = None
        while True:
            rows, token = self._indexes.row_page(side, KEYS, token, filter)
            keys += [key for key, _ in rows]
            if token is None:
                return keys

    # What a successor asks for

    def require_live(self, side: Side) -> None:
        self._current(side)

    def key(self, id: str) -> str:
        return key_of(id)

    def digest_pages(self, side: Side) -> Iterator[list[Digests]]:
        for keys in self._indexes.key_pages(side):
            yield list(self.digests(side, keys).values())

    def digests(self, side: Side, keys: Sequence[str]) -> dict[str, Digests]:
        return {key: digests_of(key, row.metadata) for key, row in self._indexes.fetched(side, keys).items()}

    def records(self, side: Side, keys: Sequence[str]) -> list[Record]:
        return [record_of(key, row.metadata) for key, row in self._indexes.fetched(side, keys).items()]

    def write(self, side: Side, records: Sequence[Record], vectors: Floats) -> None:
        self._indexes.upsert(side, _rows(records, vectors))

    def rewrite(self, side: Side, records: Sequence[Record]) -> None:
        """Those records that are there get new metadata and keep their text and vector. Pinecone's own update cannot take a field away."""
        by_key = {key_of(record.id): record for record in records}
        found = self._indexes.fetched(side, list(by_key))
        now = [replace(record_of(key, row.metadata), metadata=by_key[key].metadata) for key, row in found.items()]
        self._indexes.upsert(side, _rows(now, np.array([row.values for row in found.values()], dtype=np.float32)))

    def remove(self, side: Side, keys: Sequence[str]) -> None:
        self._indexes.remove(side, keys)

    def size(self, side: Side, filter: Filter | None = None) -> int:
        found = len(self._indexes.query(side, any_vector(side), MOST_HITS, expression(filter)))
        if found < MOST_HITS:
            return found
        if filter is not None:
            return len(self._matching(side, filter))
        with self._indexes.calls():
            summary = self._indexes.index(side.index).describe_index_stats().namespaces.get(side.namespace)
        return summary.vector_count if summary else found

    def promote(self, live: Side, following: Side) -> "PineconeStore":
        self._write_entry(_Entry(live=following))
        self._indexes.erase(live)
        self._swapped = True
        return PineconeStore(self.name, self._address, self._turns.path.parent)

    def abandon(self, following: Side) -> None:
        self._write_entry(replace(self._entry(), following=None))
        self._indexes.erase(following)

    # Another model beside the live one

    def successor(self, facts: Facts) -> "BesideSuccessor[Side]":
        live = self._required()
        with self.writing():
            following = self._current(live).following
            if following and following.facts != facts:
                self.abandon(following)
                following = None
            if following is None:
                following = self._begin(facts)
                self._write_entry(_Entry(live, following))
        return BesideSuccessor(self, live, following)

    def status(self) -> Status:
        live, records = self._required(), self.count()
        about = {"backend": "Pinecone", "index": live.index, "namespace": live.namespace}
        return Status(records, records, None, about)

    def is_current(self) -> bool:
        try:
            self._current(self._required())
        except (Conflict, NotFound):
            return False
        return True

    def drop(self) -> None:
        live = self._required()
        with self.writing():
            entry = self._current(live)
            self._write_entry(_Entry())
            for side in (entry.live, entry.following):
                if side:
                    self._indexes.erase(side)
        self.close()
        self._turns.forget()

    def close(self) -> None:
        self._indexes.close()

    # The registry

    def _required(self) -> Side:
        """The live side as it was at most STALE_S ago: the namespace of a collection that was reindexed would just look empty."""
        self._indexes.require_open()
        if self.facts is None or self._live is None:
            raise NotFound(f"there is no collection {self.name} in Pinecone; create it first, as `huiyi index` does")
        if self._swapped or time.monotonic() - self._seen_s > STALE_S:
            self._current(self._live)
        return self._live

    def _current(self, side: Side) -> _Entry:
        """The registry's entry. Conflict or NotFound when `side` is live no more."""
        entry = self._entry()
        if entry.live is None:
            raise NotFound(f"the collection {self.name} was deleted since it was opened")
        if entry.live.namespace != side.namespace:
            raise Conflict(f"the collection {self.name} was reindexed since it was opened; open it again")
        return entry

    def _entry(self) -> _Entry:
        with self._indexes.calls():
            index = self._indexes.index(REGISTRY, 1)
            found = index.fetch(ids=[key_of(self.name)], namespace="collections").vectors if index else {}
        self._seen_s = time.monotonic()
        if not found:
            return _Entry()
        fields = found[key_of(self.name)].metadata
        return _Entry(*(self._side(json.loads(fields[what])) for what in ("live", "following")))

    def _side(self, fields: dict[str, Any] | None) -> Side | None:
        if fields is None:
            return None
        keys = [f"{fields['namespace']}/{number}" for number in range(fields["probes"])]
        with self._indexes.calls():
            found = self._indexes.index(fields["index"]).fetch(ids=keys, namespace="probes").vectors
        if len(found) < len(keys):
            raise HuiyiError(f"Pinecone's index {fields['index']} lacks the probe vectors of {self.name}; restore it from a backup")
        probes = np.array([found[key].values for key in keys], dtype=np.float32)
        return Side(fields["index"], fields["namespace"], Facts(**fields["facts"], probes=probes))

    def _write_entry(self, entry: _Entry) -> None:
        registry = Side(REGISTRY, "collections", Facts("", "", "", 1, None, np.ones((0, 1), np.float32)))
        key = key_of(self.name)
        metadata = {"~key": key, "~write": secrets.token_hex(8)} | {
            what: json.dumps(None if side is None else _plain(side))
            for what, side in (("live", entry.live), ("following", entry.following))
        }
        with self._indexes.calls():
            self._indexes.index(REGISTRY, 1, make=True)
        self._indexes.upsert(registry, [{"id": key, "values": [1.0], "metadata": metadata}])

    def _begin(self, facts: Facts) -> Side:
        side = Side(f"huiyi-{facts.dim}", f"{_ascii(self.name)}/{secrets.token_hex(6)}", facts)
        write = secrets.token_hex(8)
        rows = [
            {
                "id": f"{side.namespace}/{number}",
                "values": probe.astype(float).tolist(),
                "metadata": {"~write": write, "~key": f"{side.namespace}/{number}"},
            }
            for number, probe in enumerate(facts.probes)
        ]
        probes = replace(side, namespace="probes")
        with self._indexes.calls():
            self._indexes.index(side.index, facts.dim, make=True)
        self._indexes.upsert(probes, rows)
        return side


def _rows(records: Sequence[Record], vectors: Floats) -> list[dict[str, Any]]:
    write = secrets.token_hex(8)
    return [row_of(record, vector, write) for record, vector in zip(records, vectors, strict=True)]


def _plain(side: Side) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(side.facts).items() if name != "probes"}
    return {"index": side.index, "namespace": side.namespace, "facts": facts, "probes": len(side.facts.probes)}


def _ascii(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", lambda found: f".{ord(found[0]):x}.", name)


def _sealed(token: str) -> str:
    return "p" + base64.urlsafe_b64encode(token.encode()).decode()


def _opened(after: str) -> str:
    try:
        if not after.startswith("p"):
            raise ValueError
        return base64.urlsafe_b64decode(after[1:].encode("ascii")).decode()
    except ValueError:
        raise InvalidInput(f"{after!r} is no place of a scroll; pass the `next` of the page before") from None
