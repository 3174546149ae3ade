"""A collection's one SQLite file: records, metadata, vectors (float16), and what the collection is. The truth; all else is derived.

Owns connections, transactions, formats, copies, and SQLite's errors in words. A write is acknowledged after `synchronous=FULL`. Many
threads and processes read, each one state; one writes at a time. It knows no index and no search.
"""

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from huiyi.errors import Conflict, HuiyiError, NotFound
from huiyi.stores.store import Facts
from huiyi.stores.transactions import READ_ROWS, SCHEMA, Damaged, Snapshot, Writing, step

FORMAT = 1
APPLICATION_ID = 0x68757969  # "huyi", in the file's header
PAGE_BYTES = 32_768  # of 4,096 a page holds one vector of 1,024 numbers and a page's half of nothing
MAP_BYTES = 1 << 31
CACHE_KIB = 32_768
LOCKED_S = 30.0
CHECK_WHOLE_BYTES = 32 << 20  # a file up to this size is checked when it is opened: 0.1 s

MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}  # from a format to the next one, inside a transaction

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR}
UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


class Records:
    """The file at `path`. Safe to call from many threads and processes; not across a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.RLock()
        self._within: Writing | None = None
        self._owner = 0
        self._closed = False
        with self.errors():
            if self.path.exists():
                self._open()

    def exists(self) -> bool:
        with self.errors():
            return self._writer is not None and _pragma(self._writer, "user_version") > 0

    def create(self, facts: Facts) -> None:
        """The file, with this in it; Conflict when there is one."""
        with self.errors():
            made = not self.path.parent.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._writing:
                db = self._writer = self._writer or self._connection(create=True)
                db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                _require(db, "journal_mode = WAL", "wal")
                db.execute("BEGIN IMMEDIATE")
                try:
                    if _pragma(db, "user_version"):
                        raise Conflict(f"the collection {self.path.parent.name} exists already")
                    step("create: begun")
                    for statement in SCHEMA.split(";"):
                        db.execute(statement)
                    writing = Writing(db, 1)
                    writing.set("live", 1)
                    writing.set("token", secrets.token_hex(8))
                    writing.begin(1, facts)
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {FORMAT}")
                    step("create: before commit")
                    db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            if made:
                _sync_folder(self.path.parent.parent)
            _sync_folder(self.path.parent)

    @contextmanager
    def reading(self, generation: int | None = None, within: bool = True) -> Iterator[Snapshot]:
        """One state, to the end. Inside a writing of the same thread it is that one's, unless not to be `within`."""
        with self.errors():
            if within and self.is_within:
                yield Snapshot(self._within.db, generation)  # type: ignore[union-attr]
                return
            db = self._take()
            try:
                db.execute("BEGIN")
                yield Snapshot(db, generation)
            finally:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                self._give(db)

    @contextmanager
    def writing(self, generation: int | None = None) -> Iterator[Writing]:
        """One transaction; inside another of the same thread, a part of it."""
        with self.errors(), self._writing:
            if self._within:
                yield Writing(self._within.db, generation)
                return
            db = self._writer = self._writer or self._connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                self._within, self._owner = Writing(db, generation), threading.get_ident()
                yield self._within
                if _pragma(db, "synchronous") != 2:
                    raise HuiyiError("writes would not be durable: PRAGMA synchronous is not FULL")
                step("write: before commit")
                db.execute("COMMIT")
            finally:
                self._within = None
                if db.in_transaction:
                    with suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
        step("write: committed")

    @property
    def is_within(self) -> bool:
        """Whether this thread is writing just now."""
        return self._within is not None and self._owner == threading.get_ident()

    def backup(self, target: Path) -> None:
        """All of it as it is now, as one file that needs nothing else. Writes go on meanwhile."""
        with self.reading() as snapshot:
            snapshot.state()  # from here on the transaction sees one state
            copy_file(snapshot.db, target)

    def restore(self, source: Path) -> None:
        """What is in the file `source` takes the place of everything here, at once. Readers that are open go on."""
        with self.errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"restoring-{os.getpid()}.sqlite3")
        try:
            with (
                errors_of(source, f"the backup {source.name}", "take another one"),
                closing(sqlite3.connect(source, isolation_level=None)) as db,
            ):
                require_sound(db, whole=True)
                _require_known(source, _pragma(db, "user_version"))
                copy_file(db, fresh)
            with self.errors(), self._writing:
                with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
                    db.execute(
                        "UPDATE facts SET value = ? WHERE name = 'token'", [secrets.token_hex(8)]
                    )  # not the history that readers know
                    step("restore: copied")
                    if self.path.exists():
                        self._writer = self._writer or self._connection()
                        db.backup(self._writer)
                if not self.path.exists():
                    fresh.replace(self.path)
                    _sync_folder(self.path.parent)
            step("restore: done")
        finally:
            fresh.unlink(missing_ok=True)

    def check(self) -> None:
        """Read all of it; raises when anything is not what was written."""
        with self.reading() as snapshot:
            require_sound(snapshot.db, whole=True)
            row = 0
            while found := snapshot.scan(row, READ_ROWS):
                row = found[-1][0]
                snapshot.vectors([number for number, _ in found])

    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files() if file.exists())

    def files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm")]

    def close(self) -> None:
        with self._writing:
            self._closed = True
            for db in [*self._idle, *([self._writer] if self._writer else [])]:
                with suppress(sqlite3.Error):
                    db.close()
            self._idle.clear()
            self._writer = None

    def errors(self) -> "errors_of":
        return errors_of(self.path, f"the collection {self.path.parent.name}")

    def _open(self) -> None:
        db = self._connection()
        try:
            _require_known(self.path, _pragma(db, "user_version"))
            require_sound(db, whole=self.size_bytes() <= CHECK_WHOLE_BYTES, empty=True)
            if _pragma(db, "user_version"):
                _require(db, "journal_mode = WAL", "wal")  # a backup that was put here has another
            while 0 < _pragma(db, "user_version") < FORMAT:
                self._migrate(db)
        except BaseException:
            db.close()
            raise
        self._writer = db

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = _pragma(db, "user_version")
        copy_file(db, self.path.with_name(f"before-format-{version + 1}.sqlite3"))
        step("migration: backed up")
        db.execute("BEGIN IMMEDIATE")
        try:
            if _pragma(db, "user_version") == version:  # else another process was faster
                MIGRATIONS[version](db)
                step("migration: before commit")
                db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        step("migration: done")

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connection()

    def _give(self, db: sqlite3.Connection) -> None:
        if self._closed:
            db.close()
        else:
            self._idle.append(db)

    def _connection(self, create: bool = False) -> sqlite3.Connection:
        if self._closed:
            raise Conflict(f"the collection {self.path.parent.name} was closed; open it again")
        if not create and not self.path.exists():
            raise NotFound(f"there is no collection {self.path.parent.name}; make it with huiyi index, or huiyi.open(..., model=...)")
        db = sqlite3.connect(self.path, timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
        for pragma in (f"mmap_size = {MAP_BYTES}", f"cache_size = -{CACHE_KIB}", "secure_delete = OFF", "foreign_keys = OFF"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        return db


class errors_of:
    """SQLite's errors in words that say what to do. remedy: where the file is damaged."""

    def __init__(self, path: Path, name: str, remedy: str = "restore a backup (huiyi collections restore)") -> None:
        self._path, self._name, self._remedy = path, name, remedy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Damaged | sqlite3.Error | OSError | UnicodeDecodeError):
            raise self._said(error) from error

    def _said(self, error: Damaged | sqlite3.Error | OSError | UnicodeDecodeError) -> HuiyiError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if isinstance(error, OSError) or code in UNWRITABLE:
            return HuiyiError(
                f"{self._name} cannot be opened or written ({error}): is {self._path.parent} there, and may it be written to?"
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Conflict(f"another process has been writing to {self._name} for over {LOCKED_S:.0f} s; try again when it is done")
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return HuiyiError(f"{self._name} could not be written ({error}); is the disk full? What was acknowledged before is there")
        if isinstance(error, Damaged | UnicodeDecodeError) or code in DAMAGED or "UTF-8" in str(error):
            return HuiyiError(f"{self._name} is damaged ({error}): {self._remedy}, or delete it and index its sources again")
        return HuiyiError(f"{self._name}: {error}")


def require_sound(db: sqlite3.Connection, whole: bool, empty: bool = False) -> None:
    """Raises Damaged. whole: look at every page. empty: a file in which nothing was written yet is sound as well."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if empty and not tables:
        return
    if _pragma(db, "application_id") != APPLICATION_ID or not tables >= {"facts", "records", "changes"}:
        raise Damaged("it is not a file of a collection")
    if whole:
        found = [word for (word,) in db.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise Damaged(" ".join("; ".join(found).split()))


def _require_known(path: Path, version: int) -> None:
    if version > FORMAT:
        raise Conflict(f"{path} has format {version}, and this huiyi knows up to {FORMAT}; use the newer huiyi that made it")


def copy_file(db: sqlite3.Connection, target: Path) -> None:
    """Everything `db` sees, in a file that is there whole or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        copy = sqlite3.connect(partial, isolation_level=None)
        try:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            copy.close()
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        _sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # where a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _require(db: sqlite3.Connection, pragma: str, expected: str) -> None:
    found = db.execute(f"PRAGMA {pragma}").fetchone()[0]
    if found != expected:
        raise HuiyiError(f"this folder's file system does not do PRAGMA {pragma} (it stays {found}); put HUIYI_HOME on a local disk")
