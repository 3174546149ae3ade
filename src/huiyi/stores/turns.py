"""Writers of one collection on this machine take turns, in one process or several: for backends that have no lock of their own."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from huiyi.errors import Conflict, HuiyiError

WAIT_S = 60.0


class Turns:
    """path: a file that SQLite locks and the system lets go of when a process ends, however it ends. One thread may take it repeatedly."""

    def __init__(self, path: Path, wait_s: float = WAIT_S) -> None:
        self.path, self._wait_s = path, wait_s
        self._thread = threading.RLock()
        self._depth = 0

    @contextmanager
    def taken(self, what: str) -> Iterator[None]:
        """Conflict when another writer keeps `what` for longer than one waits."""
        if not self._thread.acquire(timeout=self._wait_s):
            raise _busy(what)
        try:
            if self._depth:
                yield
                return
            self._depth = 1
            try:
                with self._locked(what):
                    yield
            finally:
                self._depth = 0
        finally:
            self._thread.release()

    @property
    def is_taken(self) -> bool:
        """By a thread of this process that has this object."""
        return self._depth > 0

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=self._wait_s, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise HuiyiError(f"{self.path.parent} cannot be written to ({error}); {what} is locked by a file there") from error
        with closing(connection):
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    raise _busy(what) from error
                raise HuiyiError(f"{self.path} cannot be locked ({error}); {what} needs it while it is written") from error
            yield

    def kept(self, name: str) -> str | None:
        """What `keep` wrote beside the file, on this machine."""
        path = self._beside(name)
        return path.read_text("utf-8") if path.is_file() else None

    def keep(self, name: str, text: str | None) -> None:
        """While the turn is taken."""
        path = self._beside(name)
        if text is None:
            path.unlink(missing_ok=True)
            return
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, "utf-8")
        partial.replace(path)

    def forget(self) -> None:
        """Take the file away, and what is kept beside it, when there is nothing more to take turns over."""
        self.path.unlink(missing_ok=True)
        for path in self.path.parent.glob("kept-*.json"):
            path.unlink(missing_ok=True)

    def _beside(self, name: str) -> Path:
        return self.path.with_name(f"kept-{name}.json")


def _busy(what: str) -> Conflict:
    return Conflict(f"another writer holds {what} for too long; wait until it is done, or end it")
