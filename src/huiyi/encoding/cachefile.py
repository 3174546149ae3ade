"""Vectors by key in a SQLite file: bounded in bytes, for its owner only, shared by threads and processes.

A cache and no store: whatever happens to the file costs time and never an answer. A row proves itself by a checksum over key and
vector. A damaged file is thrown away and begun anew under the next number, since other processes may hold the old one open.
Rows are written in batches by a thread of its own; the oldest leave first, except those that were asked for lately.
"""

import hashlib
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import numpy as np

from huiyi.errors import InvalidInput
from huiyi.types import Floats

log = logging.getLogger(__name__)

FORMAT = 1
CHECK_BYTES = 8
SELECT_KEYS = 100
GATHER_S = 0.1  # a commit takes a millisecond or two, of a core that the engine wants
IDLE_S = 2.0  # an idle writer ends, so that a cache that nobody uses any more can be freed
LOCKED_S = 5.0
LEAST_BYTES = 4 << 20
JOURNAL_BYTES = 16 << 20
MOST_PENDING_BYTES = 64 << 20
MOST_TOUCHED = 10_000
MOVES_PER_ROW = 2  # bounds what hits cost in writing
# What SQLite says of a file that is not what it was; ERROR and MISMATCH since all statements are ours.
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT}
NAME = re.compile(r"vectors\.(\d{1,9})\.sqlite3")


class Damaged(Exception):
    pass


class CacheFile:
    """`vectors.N.sqlite3` in `folder`, made when missing. Safe to call from many threads; not across a fork."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """max_bytes: of all its files on disk."""
        if max_bytes < LEAST_BYTES:
            raise InvalidInput(f"a vector cache needs {LEAST_BYTES:,} bytes or more, not {max_bytes:,}")
        self._folder, self._max_bytes = folder, max_bytes
        self._journal_bytes = min(JOURNAL_BYTES, max_bytes // 4)
        self._changed = threading.Condition()
        self._pending: dict[bytes, Floats] = {}  # on their way to the file
        self._touched: dict[bytes, int] = {}  # the ids of rows that were asked for and are among the older half
        self._middle = 0  # rows with smaller ids are the older half; 0 while there is room for all
        self._damage: str | None = None
        self._of_use = True
        self._closed = False
        self._writer: threading.Thread | None = None
        self._number = 0
        self._reading = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._db: sqlite3.Connection | None = None
        self.evictions = 0
        self._open()

    def get(self, keys: Collection[bytes]) -> dict[bytes, Floats]:
        """Those of `keys` that are there, with their vectors."""
        with self._changed:
            found = {key: self._pending[key] for key in keys if key in self._pending}
            if self._damage or self._closed:
                return found
        rest = [key for key in keys if key not in found]
        try:
            for start in range(0, len(rest), SELECT_KEYS):
                found.update(self._select(rest[start : start + SELECT_KEYS]))
        except (sqlite3.Error, Damaged) as error:
            self._trouble(error)
        return found

    def put(self, key: bytes, vector: Floats) -> None:
        """Keeps it, soon; not while writing is far behind."""
        with self._changed:
            if not self._closed and len(self._pending) * vector.nbytes < MOST_PENDING_BYTES:
                self._pending[key] = vector
                if len(self._pending) == 1:
                    self._wake()

    @property
    def size_bytes(self) -> int:
        size = 0
        for file in self._files():
            with suppress(OSError):
                size += file.stat().st_size
        return size

    def flush(self) -> None:
        """Returns when what is pending has been written, or after LOCKED_S."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, LOCKED_S)

    def close(self) -> None:
        """Writes what is pending."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            writer = self._writer
        if writer:
            writer.join(LOCKED_S)
        self._disconnect()

    def _select(self, keys: list[bytes]) -> dict[bytes, Floats]:
        with self._reading:
            if self._reader is None:
                return {}
            rows = self._reader.execute(f"SELECT id, key, vector FROM vectors WHERE key IN ({','.join('?' * len(keys))})", keys).fetchall()
        for id_, key, sealed in rows:
            if not isinstance(sealed, bytes) or sealed[:CHECK_BYTES] != checksum(key, sealed[CHECK_BYTES:]):
                raise Damaged("a vector is not what was written")
            if id_ < self._middle and len(self._touched) < MOST_TOUCHED:
                with self._changed:
                    self._touched[key] = id_
        return {key: np.frombuffer(sealed, "<f4", offset=CHECK_BYTES) for _, key, sealed in rows}

    # the writer

    def _wake(self) -> None:
        """Under the lock."""
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="huiyi-cache", daemon=True)
            self._writer.start()
        self._changed.notify_all()

    def _write(self) -> None:
        while True:
            with self._changed:
                if not (self._pending or self._damage):
                    self._changed.wait(0 if self._closed else IDLE_S)
                if not (self._pending or self._damage):
                    self._writer = None
                    return
                batch = self._batch()
                if len(batch) == len(self._pending) and not self._closed:
                    self._changed.wait(GATHER_S)
                    batch = self._batch()
                touched, self._touched = self._touched, {}
            try:
                if self._damage or not self._path().exists():
                    self._begin_anew()
                elif self._db is None:
                    self._connect()
                self._store(batch, sorted(touched, key=touched.__getitem__))
            except Exception as error:  # noqa: BLE001  whatever it is, only the cache suffers
                self._trouble(error)
            with self._changed:
                for key in batch:
                    del self._pending[key]
                self._changed.notify_all()

    def _batch(self) -> dict[bytes, Floats]:
        """The first of what is pending, an eighth of the journal at most."""
        batch: dict[bytes, Floats] = {}
        room = self._journal_bytes // 8
        for key, vector in self._pending.items():
            room -= vector.nbytes
            if room < 0 and batch:
                break
            batch[key] = vector
        return batch

    def _store(self, batch: dict[bytes, Floats], touched: list[bytes]) -> None:
        db = self._db
        assert db
        rows = [(key, checksum(key, row := vector.astype("<f4").tobytes()) + row) for key, vector in batch.items()]
        db.execute("BEGIN IMMEDIATE")
        try:
            moving = touched[: MOVES_PER_ROW * len(rows)]
            db.executemany("UPDATE vectors SET id = (SELECT max(id) + 1 FROM vectors) WHERE key = ?", [(key,) for key in moving])
            self._make_room(db, sum(len(row) for _, row in rows))
            db.executemany("INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)", rows)
            db.execute("COMMIT")
            self._of_use = True
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def _make_room(self, db: sqlite3.Connection, coming: int) -> None:
        room = self._max_bytes - self._journal_bytes - coming * 5 // 4  # rows do not fill their pages
        while self._used(db) > room:
            gone = db.execute("DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY id LIMIT 64)").rowcount
            if not gone:
                break
            self.evictions += gone
        if self._used(db) > room // 2:
            low, high = db.execute("SELECT (SELECT min(id) FROM vectors), (SELECT max(id) FROM vectors)").fetchone()
            self._middle = ((low or 0) + (high or 0)) // 2

    def _used(self, db: sqlite3.Connection) -> int:
        return self._pragma(db, "page_size") * (self._pragma(db, "page_count") - self._pragma(db, "freelist_count"))

    # the file

    def _open(self) -> None:
        """Leaves the cache without connections, and says so, when that is not possible."""
        try:
            try:
                self._connect()
            except (sqlite3.Error, Damaged) as error:
                if not is_damage(error):
                    raise
                self._damage = str(error)
                self._begin_anew()
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            self._trouble(error)

    def _connect(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number = max([self._number, *(int(found[1]) for file in self._folder.iterdir() if (found := NAME.fullmatch(file.name)))])
        os.close(os.open(self._path(), os.O_RDWR | os.O_CREAT, 0o600))
        os.chmod(self._path(), 0o600)  # the journal's files get the same
        if self.size_bytes > self._max_bytes:
            raise Damaged(f"it is larger than {self._max_bytes:,} bytes, the limit now")
        db = self._db = self._connection()
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        page = self._pragma(db, "page_size")
        db.execute(f"PRAGMA wal_autocheckpoint = {self._journal_bytes // 4 // page}")
        db.execute(f"PRAGMA journal_size_limit = {self._journal_bytes // 2}")
        db.execute("BEGIN IMMEDIATE")
        if self._pragma(db, "user_version") == 0:
            db.execute("CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL)")
            db.execute(f"PRAGMA user_version = {FORMAT}")
        version = self._pragma(db, "user_version")
        db.execute("COMMIT")
        if version != FORMAT:
            raise Damaged(f"its format is {version}, and {FORMAT} is known here")
        reader = self._connection()
        reader.execute("SELECT id FROM vectors LIMIT 1").fetchall()
        with self._reading:
            self._reader = reader

    def _connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path(), timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
        connection.text_factory = bytes
        return connection

    def _disconnect(self) -> None:
        with self._reading:
            for connection in (self._reader, self._db):
                if connection:
                    with suppress(sqlite3.Error):
                        connection.close()
            self._reader = self._db = None

    def _begin_anew(self) -> None:
        if self._damage:
            log.warning("the vector cache %s begins anew: %s; texts are computed again", self._path(), self._damage)
        self._disconnect()
        for file in self._files():
            file.unlink(missing_ok=True)
        self._number += 1
        self._middle, self._damage = 0, None
        self._connect()

    def _trouble(self, error: Exception) -> None:
        if is_damage(error):
            with self._changed:
                self._damage = str(error)
                self._wake()
        elif self._of_use:
            self._of_use = False
            log.warning("the vector cache in %s is of no use (%s); texts are computed each time", self._folder, error)

    def _path(self) -> Path:
        return self._folder / f"vectors.{self._number}.sqlite3"

    def _files(self) -> list[Path]:
        return [self._path().with_name(self._path().name + end) for end in ("", "-wal", "-shm")]

    @staticmethod
    def _pragma(db: sqlite3.Connection, name: str) -> int:
        return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def checksum(key: bytes, row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=CHECK_BYTES, key=key).digest()


def is_damage(error: Exception) -> bool:
    return isinstance(error, Damaged) or (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in DAMAGE
