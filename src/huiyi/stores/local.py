"""The local store: records in one SQLite file a collection, searched through an image in memory that follows the file.

Whoever reads sees one state: a search begins a transaction, has the image brought to exactly the state that it sees, and takes texts from
the same transaction. Scores are of the stored vectors; the index only proposes. The graph is built behind, a few vectors at a time,
in a thread that makes way. Any number of processes may read, one writes at a time.
"""

import atexit
import logging
import os
import shutil
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound
from huiyi.stores.filters import Filter, matches
from huiyi.stores.following import Following
from huiyi.stores.image import Image
from huiyi.stores.keywords import Keywords, Scored
from huiyi.stores.records import Records
from huiyi.stores.store import Batch, Candidates, Choose, Facts, Fingerprint, Hit, Page, Record, Status, all_of_them
from huiyi.stores.terms import asked
from huiyi.stores.transactions import Snapshot, Writing, step
from huiyi.types import Floats

log = logging.getLogger(__name__)

FILE = "collection.sqlite3"
SCAN_ROWS = 1_000


def open_store(name: str, address: str, folder: Path) -> "LocalStore":
    if address:
        raise InvalidInput(f"the local store takes no address; leave out {address!r}")
    return LocalStore(folder)


def restored(folder: Path, source: Path) -> "LocalStore":
    """The collection in `folder` with what is in a backup, in the place of what is there. A damaged file is put aside first."""
    path = folder / FILE
    try:
        records = Records(path)
    except Conflict:
        raise
    except HuiyiError:
        aside = path.with_name(f"damaged-{time.time_ns()}.sqlite3")
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
        records = Records(path)
    try:
        records.restore(source)
    finally:
        records.close()
    return LocalStore(folder)


class LocalStore:
    """The collection in `folder`; see `Store`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = Records(folder / FILE)
        self._facts: Facts | None = None
        self._generation = 0
        self.following = Following(folder, self._read, self._dim)
        self._origin: tuple[object, object] = (None, None)  # the file that was opened, and the history in it
        if self.records.exists():
            self._begin()

    def _begin(self) -> None:
        with self.records.reading() as snapshot:
            self._generation = snapshot.generation
            self._facts = snapshot.facts()
            self._origin = self._place(), snapshot.fact("token")
        _open_stores.add(self)

    @property
    def facts(self) -> Facts | None:
        return self._facts

    def create(self, facts: Facts) -> None:
        self.records.create(facts)
        self._begin()

    # reading

    def fingerprints(self, ids: Sequence[str]) -> dict[str, Fingerprint]:
        with self._read() as snapshot:
            return snapshot.fingerprints(ids)

    def count(self, filter: Filter | None = None) -> int:
        if filter is None:
            with self._read() as snapshot:
                return snapshot.count()
        with self.following.ask(lambda image: image.select(filter)) as (_, selection):
            return selection.count if selection else 0

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        with self._read() as snapshot:
            return snapshot.get(list(dict.fromkeys(ids)))

    def search(self, vectors: Floats, k: int, filter: Filter | None = None) -> list[list[Hit]]:
        queries = self._queries(vectors, k)
        with self.following.ask(lambda image: _proposed(image, queries, k + min(3 * k, 200) + 10, filter)) as (snapshot, proposed):
            best = [dict(list(rows.items())[:k]) for rows in _nearest(snapshot, queries, proposed)]
            records = snapshot.records(sorted({row for rows in best for row in rows}))
            return [[_hit(records[row], score) for row, score in rows.items()] for rows in best]

    def search_keywords(self, texts: Sequence[str], k: int, filter: Filter | None = None) -> list[list[Hit]]:
        require_hits(k)
        wanted = [asked(text) for text in texts]

        def found(image: Image, words: Keywords) -> list[Scored]:
            there, meant = image.masks(filter)
            return [words.search(each, k, there, meant) for each in wanted]

        with self.following.ask_words(found) as (snapshot, answers):
            records = snapshot.records(sorted({row for each in answers for row in each.rows}))
            return [[_hit(records[row], score) for row, score in each] for each in answers]

    def candidates(
        self, vectors: Floats, texts: Sequence[str], k: int, filter: Filter | None = None, choose: Choose = all_of_them
    ) -> list[Candidates]:
        queries = self._queries(vectors, k)
        wanted = [asked(text) for text in texts]

        def found(image: Image, words: Keywords) -> tuple[list[list[int]], list[Scored]]:
            proposed = _proposed(image, queries, k + k // 2 + 10, filter)
            there, meant = image.masks(filter)
            return proposed, [words.search(each, k, there, meant, rows) for each, rows in zip(wanted, proposed, strict=True)]

        with self.following.ask_words(found) as (snapshot, (proposed, answers)):
            nearest = _nearest(snapshot, queries, [each.rows for each in answers])
            scored, chosen = [], []
            for rows, own, each in zip(proposed, nearest, answers, strict=True):
                kept = set(sorted(rows, key=lambda row: (-own[row], row))[:k])
                kept.update([row for row, score in each if score > 0][:k])
                listed = [(row, score) for row, score in each if row in kept]
                cosines, bm25 = np.array([own[row] for row, _ in listed]), np.array([score for _, score in listed])
                scored.append((cosines, bm25))
                chosen.append({place: listed[place][0] for place in choose(cosines, bm25)})
            records = snapshot.records(sorted({row for each in chosen for row in each.values()}))
            return [
                Candidates(*scores, {place: records[row] for place, row in rows.items()})
                for scores, rows in zip(scored, chosen, strict=True)
            ]

    def _queries(self, vectors: Floats, k: int) -> Floats:
        queries = np.ascontiguousarray(vectors, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self._dim():
            raise InvalidInput(f"queries are vectors of shape [n, {self._dim()}], not {list(queries.shape)}")
        require_hits(k)
        return queries

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        with self._read() as snapshot:
            rows = snapshot.rows_of(list(dict.fromkeys(ids)))
            return dict(zip(rows, snapshot.vectors(list(rows.values())), strict=True)) if rows else {}

    def kept(self, name: str) -> str | None:
        with self._read() as snapshot:
            found = snapshot.fact(f"kept {name}")
        return None if found is None else str(found)

    def keep(self, name: str, text: str | None) -> None:
        with self._write() as writing:
            writing.set(f"kept {name}", text)

    def ids(self) -> Iterator[str]:
        with self._read() as snapshot:
            yield from snapshot.ids()

    def page(self, limit: int, after: str | None = None, filter: Filter | None = None) -> Page:
        if limit < 1:
            raise InvalidInput(f"a page holds 1 record or more, not {limit}")
        try:
            start = int(after or 0)
        except ValueError:
            raise InvalidInput(f"{after!r} is not where a page ended; pass `next` of the page before") from None
        if filter is None:
            with self._read() as snapshot:
                found = snapshot.scan(start, limit + 1)
        else:
            with self.following.ask(lambda image: image.matching(filter)) as (snapshot, rows):
                found = sorted(snapshot.records(rows[np.searchsorted(rows, start, "right") :][: limit + 1]).items())
        more = len(found) > limit
        return Page(tuple(record for _, record in found[:limit]), str(found[limit - 1][0]) if more else None)

    def scan(self, filter: Filter | None = None) -> Iterator[Batch]:
        if filter is None:
            with self._read() as snapshot:
                row = 0
                while found := snapshot.scan(row, SCAN_ROWS):
                    row = found[-1][0]
                    yield Batch(tuple(record for _, record in found), snapshot.vectors([number for number, _ in found]))
        else:
            with self.following.ask(lambda image: image.matching(filter)) as (snapshot, rows):
                for start in range(0, len(rows), SCAN_ROWS):
                    some = rows[start : start + SCAN_ROWS]
                    records = snapshot.records(some)
                    yield Batch(tuple(records[row] for row in some), snapshot.vectors(some))

    def status(self) -> Status:
        with self.following.ask(lambda image: (image.index.graphed, image.gone)) as (snapshot, (graphed, gone)):
            count = snapshot.count()
        about = {"file": str(self.records.path), "index": "graph" if graphed else "none: few enough to look at each"}
        return Status(count, max(0, min(graphed - gone, count)), self.size_bytes(), about)

    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    # writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._write():
            yield

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        require_vectors(records, vectors, self._dim())
        with self._write() as writing:
            writing.put(records, vectors)
        self.following.grew(len(records))

    def revise(self, records: Sequence[Record]) -> None:
        with self._write() as writing:
            writing.revise(records)

    def delete(self, ids: Sequence[str] | None = None, filter: Filter | None = None) -> int:
        if ids is not None and filter is None:
            with self._write() as writing:
                rows = list(writing.rows_of(list(dict.fromkeys(ids))).values())
                writing.delete(rows)
            return len(rows)
        if filter is None or ids is not None:
            raise InvalidInput("delete takes ids or a filter, one of them")
        while True:
            if self.records.is_within:
                return self.delete(ids=[record.id for batch in self.scan() for record in batch.records if matches(filter, record.metadata)])
            with self.following.ask(lambda image: image.matching(filter)) as (snapshot, rows):
                state = snapshot.state()
            with self._write() as writing:
                if writing.state() == state:  # else somebody wrote in between
                    writing.delete(rows)
                    return len(rows)

    def successor(self, facts: Facts) -> "LocalSuccessor":
        with self._write() as writing:
            begun = writing.successor
            if begun is None or writing.facts(begun) != facts:
                if begun is not None:
                    writing.end(begun)
                begun = max(writing.generations()) + 1
                writing.begin(begun, facts)
                writing.set("successor", begun)
        step("reindex: begun")
        return LocalSuccessor(self, begun, facts)

    def backup(self, target: Path) -> None:
        """The records as they are now, as one file; writes go on meanwhile."""
        self._dim()
        self.records.backup(target)

    def check(self) -> None:
        """Read everything; an error when anything is not what was written."""
        self.records.check()

    def is_current(self) -> bool:
        if self._place() != self._origin[0]:
            return False
        with self.records.reading(self._generation) as snapshot:
            return snapshot.live == self._generation and snapshot.fact("token") == self._origin[1]

    def _place(self) -> tuple[int, int] | None:
        """What file lies where this collection's should."""
        try:
            found = self.records.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def drop(self) -> None:
        self.close()
        aside = self.folder.with_name(f".deleted-{self.folder.name}-{os.getpid()}-{time.time_ns()}")
        with suppress(FileNotFoundError):
            self.folder.rename(aside)
            shutil.rmtree(aside)

    def close(self) -> None:
        self.following.close()
        self.records.close()
        _open_stores.discard(self)

    # transactions

    def _dim(self) -> int:
        if self._facts is None:
            raise NotFound(f"there is no collection {self.folder.name} yet")
        return self._facts.dim

    def _require_live(self, snapshot: Snapshot) -> None:
        if snapshot.live != self._generation:
            model = snapshot.facts(snapshot.live).model
            raise Conflict(f"the collection {self.folder.name} was reindexed with {model} since it was opened; open it again")

    @contextmanager
    def _read(self, within: bool = True) -> Iterator[Snapshot]:
        self._dim()
        with self.records.reading(self._generation, within) as snapshot:
            self._require_live(snapshot)
            yield snapshot

    @contextmanager
    def _write(self) -> Iterator[Writing]:
        self._dim()
        with self.records.writing(self._generation) as writing:
            self._require_live(writing)
            for orphan in set(writing.generations()) - {writing.live, writing.successor}:  # a process ended between swap and drop
                writing.end(orphan)
            yield writing


class LocalSuccessor:
    """See `Successor`: one more table of vectors in the same file."""

    def __init__(self, store: LocalStore, generation: int, facts: Facts) -> None:
        self._store, self._generation, self._facts = store, generation, facts
        self._after = 0  # rows up to here have their vector: new ones get larger numbers
        self._given: dict[str, int] = {}

    def missing(self, limit: int) -> list[Record]:
        with self._store.records.reading(self._generation) as snapshot:
            self._require_begun(snapshot)
            found = snapshot.missing(self._after, limit)
        self._given = {record.id: row for row, record in found}
        return [record for _, record in found]

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        require_vectors(records, vectors, self._facts.dim)
        rows = [self._given[record.id] for record in records]
        with self._store.records.writing(self._generation) as writing:
            self._require_begun(writing)
            there = writing.there(rows)
            kept = [i for i, row in enumerate(rows) if row in there]
            writing.put_vectors([rows[i] for i in kept], vectors[kept])
        step("reindex: batch")
        if len(rows) == len(self._given):
            self._after = max([self._after, *rows])

    def count(self) -> int:
        with self._store.records.reading(self._generation) as snapshot:
            self._require_begun(snapshot)
            return snapshot.vector_count()

    def swap(self) -> LocalStore | None:
        with self._store.records.writing(self._generation) as writing:
            self._require_begun(writing)
            if writing.missing(0, 1):
                self._after = 0
                return None
            old = writing.live
            writing.set("live", self._generation)
            writing.set("successor", None)
        step("reindex: swapped")
        with self._store.records.writing(self._generation) as writing:
            writing.end(old)
        step("reindex: done")
        return LocalStore(self._store.folder)

    def discard(self) -> None:
        with self._store.records.writing(self._generation) as writing:
            if writing.successor == self._generation:
                writing.set("successor", None)
                writing.end(self._generation)

    def close(self) -> None:
        pass

    def _require_begun(self, snapshot: Snapshot) -> None:
        if snapshot.successor != self._generation:
            raise Conflict(f"another reindex of {self._store.folder.name} was begun or finished meanwhile; give the command again")


def require_vectors(records: Sequence[Record], vectors: Floats, dim: int) -> None:
    if vectors.shape != (len(records), dim):
        raise InvalidInput(f"{len(records)} records need vectors of shape [{len(records)}, {dim}], not {list(vectors.shape)}")
    if not np.isfinite(vectors).all():
        raise InvalidInput("a vector holds NaN or infinity")


def require_hits(k: int) -> None:
    if k < 1:
        raise InvalidInput(f"k is 1 or more, not {k}")


def _proposed(image: Image, queries: Floats, count: int, filter: Filter | None) -> list[list[int]]:
    """For each query about the `count` nearest rows, by 8-bit codes where there is a graph: more than will be answered."""
    wanted = min(count, image.size)
    if not wanted:
        return [[] for _ in queries]
    return [image.rows(positions) for positions in image.index.search(queries, wanted, image.select(filter))]


def _nearest(snapshot: Snapshot, queries: Floats, proposed: list[list[int]]) -> list[dict[int, float]]:
    """The rows proposed for each query with their exact cosines, best first; equal ones by row, so that answers repeat."""
    every = sorted({row for rows in proposed for row in rows})
    if not every:
        return [{} for _ in queries]
    place = {row: number for number, row in enumerate(every)}
    vectors = snapshot.vectors(every)
    best = []
    for query, rows in zip(queries, proposed, strict=True):
        own = sorted(rows)
        scores = vectors[[place[row] for row in own]] @ query
        best.append({own[i]: float(scores[i]) for i in np.argsort(-scores, kind="stable")})
    return best


def _hit(record: Record, score: float) -> Hit:
    return Hit(record.id, score, record.text, record.metadata)


_open_stores: "weakref.WeakSet[LocalStore]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for store in list(_open_stores):
        store.close()
