"""What can be read and written inside one transaction on a collection's file: its tables, and rows that prove themselves.

A record whose text changes gets a new row with a larger number, so that what is known of a row's vector holds for good; `changes`
lists the rows that went or got other metadata, for those who keep a copy in memory. Every row carries digests: what is
read is what was written, or `Damaged`.
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np

from huiyi.errors import NotFound
from huiyi.stores.store import Facts, Fingerprint, Record, digest_bytes, metadata_json
from huiyi.types import Floats

SELECT = 500  # values in one IN (...)
READ_ROWS = 1_000
MOST_TEXTS = 16_384
TEXT_COST = 16  # characters that an empty text counts for
KEEP_CHANGES = 200_000  # a reader that is further behind reads everything anew
SEAL_BYTES = 8
CRC_BYTES = 4

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    text_digest BLOB NOT NULL,
    metadata_digest BLOB NOT NULL,
    seal BLOB NOT NULL
);
CREATE TABLE changes (number INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL);
"""


def step(name: str) -> None:
    """A place where the tests end the process."""


class Damaged(Exception):
    """What was read is not what was written."""


@dataclass(frozen=True)
class State:
    """Which records there are: two equal ones are the same. token: of this file's history; generation: of its vectors;
    row, change: the last numbers that were given out."""

    token: str
    generation: int
    row: int
    change: int


class Snapshot:
    """The records as they are inside one transaction."""

    def __init__(self, db: sqlite3.Connection, generation: int | None = None) -> None:
        """generation: of the vectors to read; default the live one."""
        self.db = db
        self.generation = generation if generation is not None else self.live

    def fact(self, name: str) -> str | int | bytes | None:
        found = self.db.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return found[0] if found else None

    @property
    def live(self) -> int:
        return _integer(self.fact("live"))

    @property
    def successor(self) -> int | None:
        found = self.fact("successor")
        return None if found is None else _integer(found)

    def facts(self, generation: int | None = None) -> Facts:
        generation = generation or self.generation
        facts = json.loads(_opened(self.fact(f"facts {generation}"), generation))
        probes = np.frombuffer(_opened(self.fact(f"probes {generation}"), generation), "<f4").reshape(-1, facts["dim"])
        return Facts(**facts, probes=probes)

    def state(self) -> State:
        last = dict(self.db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        return State(str(self.fact("token")), self.live, last.get("records", 0), last.get("changes", 0))

    def count(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM records").fetchone()[0])

    def fingerprints(self, ids: Sequence[str]) -> dict[str, Fingerprint]:
        rows = self._select("SELECT id, text_digest, metadata_digest FROM records WHERE id IN ({})", ids)
        return {id_: Fingerprint(text.hex(), metadata.hex()) for id_, text, metadata in rows}

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        return dict(self._select("SELECT id, row FROM records WHERE id IN ({})", ids))

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        rows = self._select(f"{RECORD} WHERE id IN ({{}})", ids)
        return {record.id: record for _, record in map(_checked, rows)}

    def records(self, rows: Sequence[int]) -> dict[int, Record]:
        """By row; Damaged when one is not there."""
        found = dict(map(_checked, self._select(f"{RECORD} WHERE row IN ({{}})", rows)))
        if len(found) != len(rows):
            raise Damaged("a record is not where it was written")
        return found

    def vectors(self, rows: Sequence[int]) -> Floats:
        """float32 [n, dim], in the order of `rows`; Damaged when one is not there."""
        found = dict(self._select(f"SELECT row, vector FROM vectors_{self.generation} WHERE row IN ({{}})", rows))
        if len(found) != len(rows):
            raise Damaged("a vector is not where it was written")
        whole = b"".join(_opened(found[row], row) for row in rows)
        return floats(whole, len(rows))

    def after(self, row: int) -> Iterator[tuple[list[int], list[str], bytes]]:
        """Rows with larger numbers, in order, some at a time: numbers, metadata as JSON, and their float16 vectors end to end."""
        while True:
            found = self.db.execute(
                f"SELECT row, id, metadata, text_digest, metadata_digest, seal, vector FROM records LEFT JOIN vectors_{self.generation}"
                f" USING (row) WHERE row > ? ORDER BY row LIMIT {READ_ROWS}",
                [row],
            ).fetchall()
            if not found:
                return
            for number, id_, metadata, text_digest, metadata_digest, seal, _ in found:
                if _seal(number, id_, text_digest, metadata_digest) != seal or digest_bytes(metadata) != metadata_digest:
                    raise Damaged("a record is not what was written")
            row = found[-1][0]
            yield [each[0] for each in found], [each[2] for each in found], b"".join(_opened(each[6], each[0]) for each in found)

    def changed(self, since: int) -> dict[int, str | None] | None:
        """Rows that went (None) or got other metadata (as JSON) after change `since`; None when that is not known any more."""
        first = self.db.execute("SELECT min(number) FROM changes").fetchone()[0]
        if first is not None and first > since + 1:
            return None
        rows = [row for (row,) in self.db.execute("SELECT DISTINCT row FROM changes WHERE number > ?", [since])]
        there = {row: metadata_json(record.metadata) for row, record in map(_checked, self._select(f"{RECORD} WHERE row IN ({{}})", rows))}
        return {row: there.get(row) for row in rows}

    def scan(self, after: int, limit: int) -> list[tuple[int, Record]]:
        return list(map(_checked, self.db.execute(f"{RECORD} WHERE row > ? ORDER BY row LIMIT ?", [after, limit])))

    def texts(self, after: int, characters: int) -> tuple[list[int], list[str]]:
        """Rows with larger numbers, in order, until their texts have about so many characters; empty when there are none."""
        rows: list[int] = []
        texts: list[str] = []
        for row, text, text_digest in self.db.execute("SELECT row, text, text_digest FROM records WHERE row > ? ORDER BY row", [after]):
            if not isinstance(text, str) or digest_bytes(text) != text_digest:
                raise Damaged("a text is not what was written")
            rows.append(row)
            texts.append(text)
            characters -= len(text) + TEXT_COST
            if characters < 0 or len(rows) == MOST_TEXTS:
                break
        return rows, texts

    def ids(self) -> Iterator[str]:
        last = ""
        found = self.db.execute("SELECT id FROM records ORDER BY id LIMIT ?", [READ_ROWS]).fetchall()
        while found:
            for (last,) in found:
                yield last
            found = self.db.execute("SELECT id FROM records WHERE id > ? ORDER BY id LIMIT ?", [last, READ_ROWS]).fetchall()

    def missing(self, after: int, limit: int) -> list[tuple[int, Record]]:
        """Records with larger row numbers and without a vector of this generation."""
        without = f"NOT EXISTS (SELECT 1 FROM vectors_{self.generation} AS made WHERE made.row = records.row)"
        return list(map(_checked, self.db.execute(f"{RECORD} WHERE row > ? AND {without} ORDER BY row LIMIT ?", [after, limit])))

    def there(self, rows: Sequence[int]) -> set[int]:
        return {row for (row,) in self._select("SELECT row FROM records WHERE row IN ({})", rows)}

    def vector_count(self) -> int:
        return int(self.db.execute(f"SELECT count(*) FROM vectors_{self.generation}").fetchone()[0])

    def _select(self, statement: str, values: Sequence[str] | Sequence[int]) -> Iterator[tuple]:  # type: ignore[type-arg]
        for start in range(0, len(values), SELECT):
            some = values[start : start + SELECT]
            yield from self.db.execute(statement.format(",".join("?" * len(some))), some)


RECORD = "SELECT row, id, text, metadata, text_digest, metadata_digest, seal FROM records"


class Writing(Snapshot):
    """The same, to write to. Nothing is there for others before the transaction ends."""

    def set(self, name: str, value: str | int | bytes | None) -> None:
        if value is None:
            self.db.execute("DELETE FROM facts WHERE name = ?", [name])
        else:
            self.db.execute("INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", [name, value])

    def begin(self, generation: int, facts: Facts) -> None:
        """Room for the vectors of a generation."""
        words = {name: value for name, value in asdict(facts).items() if name != "probes"}
        self.set(f"facts {generation}", _sealed(json.dumps(words).encode(), generation))
        self.set(f"probes {generation}", _sealed(facts.probes.astype("<f4").tobytes(), generation))
        self.db.execute(f"CREATE TABLE vectors_{generation} (row INTEGER PRIMARY KEY, vector BLOB NOT NULL)")

    def end(self, generation: int) -> None:
        self.set(f"facts {generation}", None)
        self.set(f"probes {generation}", None)
        self.db.execute(f"DROP TABLE IF EXISTS vectors_{generation}")

    def generations(self) -> list[int]:
        names = self.db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'vectors_*'")
        return [int(name.removeprefix("vectors_")) for (name,) in names]

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        self.delete(list(self.rows_of([record.id for record in records]).values()))
        step("write: old rows gone")
        first = self.state().row + 1
        rows = []
        for row, record in enumerate(records, first):
            metadata = metadata_json(record.metadata)
            text_digest, metadata_digest = digest_bytes(record.text), digest_bytes(metadata)
            seal = _seal(row, record.id, text_digest, metadata_digest)
            rows.append((row, record.id, record.text, metadata, text_digest, metadata_digest, seal))
        self.db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        step("write: records in")
        self.put_vectors(range(first, first + len(records)), vectors)

    def put_vectors(self, rows: Iterable[int], vectors: Floats) -> None:
        halves = vectors.astype("<f2")
        sealed = [(row, _sealed(half.tobytes(), row)) for row, half in zip(rows, halves, strict=True)]
        self.db.executemany(f"INSERT OR REPLACE INTO vectors_{self.generation} VALUES (?, ?)", sealed)
        step("write: vectors in")

    def revise(self, records: Sequence[Record]) -> None:
        rows = dict(self._select("SELECT id, row FROM records WHERE id IN ({})", [record.id for record in records]))
        texts = {id_: print_.text for id_, print_ in self.fingerprints(list(rows)).items()}
        made = []
        for record in records:
            if record.id not in rows:
                raise NotFound(f"there is no record {record.id!r} to revise")
            metadata, row, text_digest = metadata_json(record.metadata), rows[record.id], bytes.fromhex(texts[record.id])
            made.append((metadata, digest_bytes(metadata), _seal(row, record.id, text_digest, digest_bytes(metadata)), row))
        self.db.executemany("UPDATE records SET metadata = ?, metadata_digest = ?, seal = ? WHERE row = ?", made)
        self.note(row for *_, row in made)

    def delete(self, rows: Sequence[int]) -> None:
        numbers = [(row,) for row in rows]
        if not numbers:
            return
        self.db.executemany("DELETE FROM records WHERE row = ?", numbers)
        for generation in self.generations():
            self.db.executemany(f"DELETE FROM vectors_{generation} WHERE row = ?", numbers)
        self.note(rows)

    def note(self, rows: Iterable[int]) -> None:
        """These went, or got other metadata."""
        self.db.executemany("INSERT INTO changes (row) VALUES (?)", [(row,) for row in rows])
        self.db.execute("DELETE FROM changes WHERE number <= ?", [self.state().change - KEEP_CHANGES])


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise Damaged("a number that belongs to the collection is missing")
    return value


def _seal(row: int, id_: str, text_digest: bytes, metadata_digest: bytes) -> bytes:
    return hashlib.blake2b(b"%d %b %b" % (row, text_digest, metadata_digest), digest_size=SEAL_BYTES, key=digest_bytes(id_)).digest()


def _checked(found: tuple[int, str, str, str, bytes, bytes, bytes]) -> tuple[int, Record]:
    row, id_, text, metadata, text_digest, metadata_digest, seal = found
    with suppress(TypeError, ValueError, AttributeError):  # of a value that has become one of another type
        if _seal(row, id_, text_digest, metadata_digest) == seal and (digest_bytes(text), digest_bytes(metadata)) == (
            text_digest,
            metadata_digest,
        ):
            return row, Record(id_, text, json.loads(metadata))
    raise Damaged(f"record {id_!r} is not what was written")


def _sealed(data: bytes, row: int) -> bytes:
    return data + _crc(data, row)


def _opened(sealed: object, row: int) -> bytes:
    if isinstance(sealed, bytes) and _crc(data := sealed[:-CRC_BYTES], row) == sealed[-CRC_BYTES:]:
        return data
    raise Damaged("a vector is not what was written")


def _crc(data: bytes, row: int) -> bytes:
    return zlib.crc32(data, row & 0xFFFFFFFF).to_bytes(CRC_BYTES, "little")


def floats(halves: bytes, rows: int) -> Floats:
    """Stored vectors end to end as float32 [rows, dim] of unit length, which rounding to float16 took away."""
    vectors = np.frombuffer(halves, "<f2").reshape(rows, -1).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors
