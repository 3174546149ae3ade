"""A collection in Milvus: a Lite file on this machine, or a server. Needs the extra `milvus`.

A live Milvus collection stands behind an alias, so that a reindex builds another one and moves the alias. Facts lie in a small collection
of their own, `huiyi_facts`. Keys are digests of ids, and filters are compiled to digests of fields and values, so that no text of a user
is ever part of an expression. Writers on one machine take turns; Milvus itself has no lock for writers on several.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound, Unavailable
from huiyi.stores.beside import BesideSuccessor, Digests, checked
from huiyi.stores.filters import Filter
from huiyi.stores.milvus_collections import CALL_S, REGISTRY, Live, erase, loaded, make
from huiyi.stores.milvus_connection import LITE_FILE, connect, disconnect, place_of
from huiyi.stores.milvus_rows import expression, key_of, record_of, row_of, words_of
from huiyi.stores.store import Batch, Candidates, Choose, Facts, Fingerprint, Hit, Page, Record, Status, all_of_them, digest
from huiyi.stores.turns import Turns
from huiyi.types import Floats

MOST_HITS = 16_384  # Milvus' own limit, for k and for rows of one query
MOST_ROWS = 10_000
_LAST_KEY = (1 << 128) - 1
SLICE = 500
KEYS_PAGE = 2000
SETTLED_ROWS = 2000
WORDS_DEPTH = 10
_NO_COLLECTION = (100, 4)  # codes of servers, and of older ones


def open_store(name: str, address: str, folder: Path) -> "MilvusStore":
    """address: a server as `http://host:19530` or `https://host/database`, or the path of a Lite file; without one, a file in `folder`."""
    return MilvusStore(name, address or str(folder.absolute() / LITE_FILE), folder)


class MilvusStore:
    """See `Store`. A scan reads on while others write: it is no snapshot."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name = name
        self._address = address
        self._place = place_of(address)
        self._turns = Turns(folder / "milvus.lock")
        self._alias = _alias_of(name)
        self._client = connect(self._place)
        self._closed = False
        self._unsettled: dict[str, int] = {}  # rows by collection
        self._known: dict[str, Live] = {}  # by collection, which never becomes another one
        self._live: Live | None = None
        try:
            with self._calls():
                self._live = self._look()
        except BaseException:
            self.close()
            raise

    # What it is

    @property
    def facts(self) -> Facts | None:
        with self._calls():
            self._live = self._live or self._look()
        return self._live.facts if self._live else None

    def create(self, facts: Facts) -> None:
        with self.writing(), self._calls():
            if self._look():
                raise Conflict(f"the collection {self.name} exists in {self._place.uri} already; open it, or delete it first")
            self._sweep()
            made = make(self._client, self._place, self._alias, facts)
            self._client.create_alias(made.collection, self._alias)
            self._live = made

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._turns.taken(f"the collection {self.name}"):
            yield

    # Reading

    def fingerprints(self, ids: Sequence[str]) -> dict[str, Fingerprint]:
        return {
            row["id"]: Fingerprint(row["text_digest"], row["metadata_digest"])
            for row in self._rows(ids, ["id", "text_digest", "metadata_digest"])
        }

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        return {row["id"]: record_of(row) for row in self._rows(ids, ["id", "text", "metadata"])}

    def count(self, filter: Filter | None = None) -> int:
        return self.size(self._required(), filter)

    def search(self, vectors: Floats, k: int, filter: Filter | None = None) -> list[list[Hit]]:
        live = self._required()
        vectors = checked(vectors, live.facts.dim)
        _require_hits(k)
        found = self._nearest(live, vectors, k, expression(filter, self._place.lite), ["id", "text", "metadata"])
        return [[_hit(row, score) for row, score in each] for each in found]

    def search_keywords(self, texts: Sequence[str], k: int, filter: Filter | None = None) -> list[list[Hit]]:
        live = self._required()
        self._require_words(live)
        _require_hits(k)
        where = expression(filter, self._place.lite)
        return [[_hit(row, score) for row, score in self._of_words(live, text, k, where, ["id", "text", "metadata"])] for text in texts]

    def candidates(
        self, vectors: Floats, texts: Sequence[str], k: int, filter: Filter | None = None, choose: Choose = all_of_them
    ) -> list[Candidates]:
        live = self._required()
        self._require_words(live)
        vectors = checked(vectors, live.facts.dim)
        _require_hits(k)
        where = expression(filter, self._place.lite)
        made = []
        for vector, text, near in zip(vectors, texts, self._nearest(live, vectors, k, where, ["key"]), strict=True):
            own = {row["key"]: score for row, score in near}
            # Of what lies deeper the words count nothing.
            words = [(row["key"], score) for row, score in self._of_words(live, text, min(MOST_HITS, WORDS_DEPTH * k), where, ["key"])]
            deep = [key for key, _ in words[:k] if key not in own]
            for row in self._by_key(live, deep, ["key", "vector"]):
                own[row["key"]] = float(np.asarray(row["vector"], np.float32) @ vector)
            scores = dict(words)
            cosines, bm25 = np.array(list(own.values())), np.array([scores.get(key, 0.0) for key in own])
            keys = list(own)
            chosen = {place: keys[place] for place in choose(cosines, bm25)}
            there = {row["key"]: record_of(row) for row in self._by_key(live, list(chosen.values()), ["key", "id", "text", "metadata"])}
            made.append(Candidates(cosines, bm25, {place: there[key] for place, key in chosen.items() if key in there}))
        return made

    def _nearest(self, live: Live, vectors: Floats, k: int, where: str, fields: list[str]) -> list[list[tuple[dict[str, Any], float]]]:
        params = {"metric_type": "IP", "params": {} if self._place.lite else {"ef": min(32_768, max(128, 2 * k))}}
        found = []
        step = max(1, min(64, MOST_HITS // k))
        for start in range(0, len(vectors), step):
            found += self._search(live, list(vectors[start : start + step]), "vector", k, where, fields, params)
        return found

    def _of_words(self, live: Live, text: str, k: int, where: str, fields: list[str]) -> list[tuple[dict[str, Any], float]]:
        words = words_of(text)
        params = {"metric_type": "BM25", "params": {}}
        if not words:
            return []
        found = self._search(live, [words], "keywords", k, where, fields, params)[0]
        return [(row, abs(score)) for row, score in found if score]  # Lite gives them a minus

    def _search(
        self, live: Live, asked: list[Any], field: str, k: int, where: str, fields: list[str], params: dict[str, Any]
    ) -> list[list[tuple[dict[str, Any], float]]]:
        with self._calls():
            answers = self._client.search(
                live.collection,
                data=asked,
                anns_field=field,
                limit=k,
                filter=where,
                output_fields=fields,
                search_params=params,
                timeout=CALL_S,
                **self._seen(),
            )
        return [[(hit["entity"], float(hit["distance"])) for hit in answer] for answer in answers]

    def _require_words(self, live: Live) -> None:
        if not live.words:
            raise InvalidInput(
                f"{self.name} has no keywords: the Milvus server that it was made on is older than 2.5; search with mode='semantic' "
                f"(--mode semantic), or index it again on a newer server or in the local store"
            )

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        return {row["id"]: np.asarray(row["vector"], np.float32) for row in self._rows(ids, ["id", "vector"])}

    def kept(self, name: str) -> str | None:
        self._required()
        return self._turns.kept(name)

    def keep(self, name: str, text: str | None) -> None:
        self._required()
        with self.writing():
            self._turns.keep(name, text)

    def ids(self) -> Iterator[str]:
        for rows in self._pages(self._required(), KEYS_PAGE, ["id"]):
            yield from (row["id"] for row in rows)

    def page(self, limit: int, after: str | None = None, filter: Filter | None = None) -> Page:
        if limit < 1:
            raise InvalidInput(f"a page has at least one record, not {limit}")
        if after is not None and not re.fullmatch("[0-9a-f]{32}", after):
            raise InvalidInput(f"{after!r} is no place of a scroll; pass the `next` of the page before")
        limit = min(limit, MOST_ROWS)
        live = self._required()
        rows = self._page(live, limit + 1, after or "", filter, ["id", "text", "metadata"], self.size(live, filter))
        return Page(tuple(map(record_of, rows[:limit])), rows[limit - 1]["key"] if len(rows) > limit else None)

    def scan(self, filter: Filter | None = None) -> Iterator[Batch]:
        for rows in self._pages(self._required(), SLICE, ["id", "text", "metadata", "vector"], filter):
            yield Batch(tuple(map(record_of, rows)), np.array([row["vector"] for row in rows], dtype=np.float32))

    def _rows(self, ids: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        return self._by_key(self._required(), [key_of(id_) for id_ in dict.fromkeys(ids)], fields)

    def _by_key(self, side: Live, keys: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(keys), SLICE):
            where = f"key in {json.dumps(list(keys[start : start + SLICE]))}"
            with self._calls():
                rows = self._client.query(side.collection, filter=where, output_fields=fields, timeout=CALL_S, **self._seen())
            yield from rows

    def _pages(self, side: Live, size: int, fields: list[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        after, total = "", self.size(side, filter)
        while rows := self._page(side, size, after, filter, fields, total):
            yield rows
            after = rows[-1]["key"]

    def _page(self, side: Live, size: int, after: str, filter: Filter | None, fields: list[str], total: int) -> list[dict[str, Any]]:
        """The first `size` rows behind the key `after`, by key. total: about how many there are.

        Milvus Lite cuts a limited query before it sorts. Keys are digests and lie evenly, so ranges of keys take a limit's place.
        """
        rows: list[dict[str, Any]] = []
        low = int(after or "0", 16)
        while len(rows) < size and low < _LAST_KEY:
            high = min(_LAST_KEY, low + 5 * (size - len(rows) + 8) * _LAST_KEY // (4 * max(1, total)) + 1)
            where = f'key > "{after}" and key <= "{high:032x}"' + (f" and ({expression(filter, self._place.lite)})" if filter else "")
            with self._calls():
                asked = {"filter": where, "output_fields": ["key", *fields]}
                found = self._client.query(side.collection, **asked, timeout=CALL_S, **self._seen())
            rows += sorted(found, key=lambda row: str(row["key"]))
            low, after = high, f"{high:032x}"
        return rows[:size]

    def _seen(self) -> dict[str, Any]:
        """Which writes a question waits for on a server: all that this process made, since waiting for everybody's (the next tick of the
        server's clock) takes 0.2 s; while a turn is taken everybody's, since what is read then decides what is written."""
        return {} if self._place.lite else {"consistency_level": "Strong" if self._turns.is_taken else "Session"}

    # Writing

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        live = self._required()
        vectors = checked(vectors, live.facts.dim, len(records))
        with self.writing(), self._calls():
            self.require_live(live)
            rows = self._made(live, records, vectors)
            if following := self._next():
                self.remove(following, [row["key"] for row in rows])
            self._upsert(live, rows)

    def revise(self, records: Sequence[Record]) -> None:
        live = self._required()
        with self.writing(), self._calls():
            self.require_live(live)
            following = self._next()
            for side in (live, following) if following else (live,):
                self.rewrite(side, records)

    def delete(self, ids: Sequence[str] | None = None, filter: Filter | None = None) -> int:
        if (ids is None) == (filter is None):
            raise InvalidInput("say which records to delete by ids or by a filter, one of them")
        live = self._required()
        with self.writing(), self._calls():
            self.require_live(live)
            if ids is not None:
                keys = [row["key"] for row in self._by_key(live, [key_of(id_) for id_ in dict.fromkeys(ids)], ["key"])]
            else:
                keys = [row["key"] for rows in self._pages(live, KEYS_PAGE, [], filter) for row in rows]
            if following := self._next():
                self.remove(following, keys)
            self.remove(live, keys)
        return len(keys)

    # What a successor asks for

    def key(self, id: str) -> str:
        return key_of(id)

    def digest_pages(self, side: Live) -> Iterator[list[Digests]]:
        for rows in self._pages(side, KEYS_PAGE, ["text_digest", "metadata_digest"]):
            yield [Digests(row["key"], row["text_digest"], row["metadata_digest"]) for row in rows]

    def digests(self, side: Live, keys: Sequence[str]) -> dict[str, Digests]:
        rows = self._by_key(side, keys, ["key", "text_digest", "metadata_digest"])
        return {row["key"]: Digests(row["key"], row["text_digest"], row["metadata_digest"]) for row in rows}

    def records(self, side: Live, keys: Sequence[str]) -> list[Record]:
        return [record_of(row) for row in self._by_key(side, keys, ["id", "text", "metadata"])]

    def write(self, side: Live, records: Sequence[Record], vectors: Floats) -> None:
        self._upsert(side, self._made(side, records, vectors))

    def rewrite(self, side: Live, records: Sequence[Record]) -> None:
        """Those records that are there get new metadata and keep their text and vector."""
        by_id = {record.id: record for record in records}
        found = list(self._by_key(side, [key_of(id_) for id_ in by_id], ["id", "text", "vector"]))
        now = [Record(row["id"], row["text"], by_id[row["id"]].metadata) for row in found]
        self._upsert(side, self._made(side, now, np.array([row["vector"] for row in found], dtype=np.float32)))

    def remove(self, side: Live, keys: Sequence[str]) -> None:
        with self._calls():
            for start in range(0, len(keys), SLICE):
                self._client.delete(side.collection, ids=list(keys[start : start + SLICE]), timeout=CALL_S)
        if keys and not self._place.lite:  # a server does not tell the time of a delete, for which later questions could wait: wait here
            list(self._by_key(side, keys[-1:], ["key"]))

    def size(self, side: Live, filter: Filter | None = None) -> int:
        with self._calls():
            asked = {"filter": expression(filter, self._place.lite), "output_fields": ["count(*)"]}
            found = self._client.query(side.collection, **asked, timeout=CALL_S, **self._seen())
        return int(found[0]["count(*)"])

    def promote(self, live: Live, following: Live) -> "MilvusStore":
        with self._calls():
            self._client.alter_alias(following.collection, self._alias)
            self._client.drop_alias(self._alias + "_next")
            erase(self._client, live.collection)
        return MilvusStore(self.name, self._address, self._turns.path.parent)

    def abandon(self, following: Live) -> None:
        with self._calls():
            self._client.drop_alias(self._alias + "_next")
            erase(self._client, following.collection)

    def _made(self, side: Live, records: Sequence[Record], vectors: Floats) -> list[dict[str, Any]]:
        return [row_of(record, vector, side.words, self._place.lite) for record, vector in zip(records, vectors, strict=True)]

    def _upsert(self, side: Live, rows: Sequence[dict[str, Any]]) -> None:
        with self._calls():
            for start in range(0, len(rows), SLICE):
                self._client.upsert(side.collection, list(rows[start : start + SLICE]), timeout=CALL_S)
        self._settle(side, len(rows))

    def _settle(self, side: Live, rows: int) -> None:
        """Lite reads what it has not yet brought into its files ten times slower, and keeps it through a kill but not a power cut."""
        if self._place.lite:
            self._unsettled[side.collection] = self._unsettled.get(side.collection, 0) + rows
            if self._unsettled[side.collection] >= SETTLED_ROWS:
                with self._calls():
                    self._client.flush(side.collection, timeout=CALL_S)
                del self._unsettled[side.collection]

    # Another model beside the live one

    def successor(self, facts: Facts) -> "BesideSuccessor[Live]":
        live = self._required()
        with self.writing(), self._calls():
            self.require_live(live)
            following = self._next()
            if following and following.facts != facts:
                self.abandon(following)
                following = None
            if following is None:
                self._sweep()
                following = make(self._client, self._place, self._alias, facts)
                self._client.create_alias(following.collection, self._alias + "_next")
        return BesideSuccessor(self, live, following)

    def _next(self) -> Live | None:
        """The collection that a reindex is filling; one whose swap was interrupted after the alias had moved is the live one."""
        return self._look("_next")

    def status(self) -> Status:
        live, records = self._required(), self.count()
        with self._calls():
            index = self._client.describe_index(live.collection, "vector") or {}
            version = self._client.get_server_version()
        indexed = 0 if self._place.lite else min(records, int(index.get("indexed_rows") or 0))
        size = None
        if self._place.lite:
            size = sum(file.stat().st_size for file in Path(self._place.uri).rglob("*") if file.is_file())
        about = {"backend": f"Milvus {version}", "address": self._place.uri, "collection": live.collection}
        return Status(records, indexed, size, about | {"keywords": "BM25" if live.words else "not on this server"})

    def is_current(self) -> bool:
        try:
            with self._calls():
                self.require_live(self._required())
        except (Conflict, NotFound):
            return False
        return True

    def drop(self) -> None:
        self._required()
        with self.writing(), self._calls():
            for alias in (self._alias, self._alias + "_next"):
                if self._client.has_collection(alias):
                    self._client.drop_alias(alias)
            self._sweep()
            left = set(self._client.list_collections()) - {REGISTRY}
        self.close()
        if self._place.lite and not left and Path(self._place.uri).is_relative_to(self._turns.path.parent.absolute()):
            shutil.rmtree(self._place.uri, ignore_errors=True)
        self._turns.forget()

    def close(self) -> None:
        if not self._closed:
            if self._live and self._live.collection in self._unsettled:
                with suppress(HuiyiError), self._calls():  # it is in the log
                    self._client.flush(self._live.collection, timeout=CALL_S)
            self._closed = True
            disconnect(self._client, self._place)

    # Collections of Milvus behind it

    def _required(self) -> Live:
        if self.facts is None or self._live is None:
            raise NotFound(f"there is no collection {self.name} in {self._place.uri}; create it first, as `huiyi index` does")
        return self._live

    def require_live(self, live: Live) -> None:
        """Conflict when the alias has moved: what is written now would be lost with the old collection."""
        now = self._client.describe_collection(self._alias)["collection_name"] if self._client.has_collection(self._alias) else None
        if now != live.collection:
            raise self._gone(now is not None)

    def _gone(self, elsewhere: bool) -> HuiyiError:
        if elsewhere:
            return Conflict(f"the collection {self.name} was reindexed since it was opened; open it again")
        return NotFound(f"the collection {self.name} was deleted since it was opened")

    def _look(self, suffix: str = "") -> Live | None:
        if not self._client.has_collection(self._alias + suffix, timeout=CALL_S):
            return None
        described = self._client.describe_collection(self._alias + suffix, timeout=CALL_S)
        collection = described["collection_name"]
        if suffix and self._live and collection == self._live.collection:
            self._client.drop_alias(self._alias + suffix)
            return None
        if collection not in self._known:
            words = any(field["name"] == "words" for field in described["fields"])
            self._known[collection] = loaded(self._client, self._place, collection, words)
        return self._known[collection]

    def _sweep(self) -> None:
        """Erase what interrupted runs left: collections of this name that no alias leads to."""
        kept = {look.collection for look in (self._look(), self._look("_next")) if look}
        for collection in self._client.list_collections():
            if re.fullmatch(rf"{self._alias}_v[0-9a-f]{{12}}", collection) and collection not in kept:
                erase(self._client, collection)

    @contextmanager
    def _calls(self) -> Iterator[None]:
        """Errors of Milvus' client as ours."""
        from pymilvus.exceptions import MilvusException

        if self._closed:
            raise Unavailable(f"the collection {self.name} was closed; open it again")
        try:
            yield
        except MilvusException as error:
            raise self._translated(error) from error

    def _translated(self, error: Any) -> HuiyiError:
        text = str(getattr(error, "message", "") or error)
        if error.code in _NO_COLLECTION and self._live:
            return self._gone(bool(self._client.has_collection(self._alias)))
        if error.code == 2 or "connect" in text.lower() or "deadline" in text.lower():
            return Unavailable(f"Milvus at {self._place.uri} does not answer ({text[:200]}); is it running, and is the address right?")
        return HuiyiError(f"Milvus at {self._place.uri} refused: {text[:500]}")


def _require_hits(k: int) -> None:
    if not 1 <= k <= MOST_HITS:
        raise InvalidInput(f"k is between 1 and {MOST_HITS:,}, not {k}")


def _hit(row: dict[str, Any], score: float) -> Hit:
    record = record_of(row)
    return Hit(record.id, score, record.text, record.metadata)


def _alias_of(name: str) -> str:
    """A name of letters, digits and `_`, another one for every name; Milvus takes 255 characters."""
    coded = re.sub(r"[^A-Za-z0-9]", lambda found: "__" if found[0] == "_" else f"_{ord(found[0]):x}_", name)
    return f"huiyi_{coded}" if len(coded) <= 200 else f"huiyi__x_{digest(name)}"
