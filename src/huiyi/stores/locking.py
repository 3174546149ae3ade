"""A lock that many readers share and a writer has alone. A writer goes before later readers; a patient one lets all of them by."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 0.05


class SharedLock:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._readers_waiting = 0
        self._writing = False
        self._writers_waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._readers_waiting += 1
            try:
                while self._writing or self._writers_waiting:
                    self._changed.wait()
            finally:
                self._readers_waiting -= 1
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, patient: bool = False) -> Iterator[None]:
        """patient: for work that is never urgent. It waits while anybody else waits, but not for ever."""
        with self._changed:
            if patient:
                end = time.monotonic() + PATIENCE_S
                while (self._writing or self._readers or self._readers_waiting or self._writers_waiting) and time.monotonic() < end:
                    self._changed.wait(PATIENCE_S)
            self._writers_waiting += 1
            try:
                while self._writing or self._readers:
                    self._changed.wait()
            finally:
                self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
