"""The successor of a store whose backend knows no transactions: a second side, compared with the live one before it takes over.

A store calls `remove` on the other side before it changes or deletes a record on the live one: a kill in between leaves a record to embed
again, never a vector of another text. `swap` compares both sides whole while no other writer of this machine is let in.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from huiyi.errors import InvalidInput
from huiyi.stores.store import Facts, Record, Store
from huiyi.types import Floats

PASSES = 3
FEW = 512  # records that others can wait for


@dataclass(frozen=True)
class Digests:
    """A record's key in the backend and the digests of its text and of its metadata."""

    key: str
    text: str
    metadata: str


class Side(Protocol):
    @property
    def facts(self) -> Facts: ...


S = TypeVar("S", bound=Side)
Taken = TypeVar("Taken", bound=Side, contravariant=True)


class Backend(Protocol[Taken]):
    """What a store of two sides can do on each of them."""

    def writing(self) -> AbstractContextManager[None]: ...
    def require_live(self, side: Taken) -> None: ...
    def key(self, id: str) -> str: ...
    def digest_pages(self, side: Taken) -> Iterator[list[Digests]]: ...
    def digests(self, side: Taken, keys: Sequence[str]) -> dict[str, Digests]: ...
    def records(self, side: Taken, keys: Sequence[str]) -> list[Record]: ...
    def write(self, side: Taken, records: Sequence[Record], vectors: Floats) -> None: ...
    def rewrite(self, side: Taken, records: Sequence[Record]) -> None: ...
    def remove(self, side: Taken, keys: Sequence[str]) -> None: ...
    def size(self, side: Taken) -> int: ...
    def promote(self, live: Taken, following: Taken) -> Store: ...
    def abandon(self, following: Taken) -> None: ...


class BesideSuccessor(Generic[S]):
    """See `Successor`."""

    def __init__(self, backend: Backend[S], live: S, following: S) -> None:
        self._backend, self._live, self._following = backend, live, following
        self._pass: Iterator[str] | None = None
        self._given = self._before = self._passes = 0  # by this pass, by the one before; how many found something
        self._turn = ExitStack()
        self.holds = False  # the turn to write

    def missing(self, limit: int) -> list[Record]:
        """Goes on behind what it gave last; empty only after a pass over all records that found nothing.

        Beside writers that do not rest every pass would find some more: after PASSES, one that finds few holds the turn to write until
        `swap` or `close`.
        """
        found: list[str] = []
        while len(found) < limit:
            if self._pass is None:
                if not self.holds and self._passes >= PASSES and self._before <= FEW:
                    self._turn.enter_context(self._backend.writing())
                    self.holds = True
                self._pass = self._missing_keys()
            key = next(self._pass, None)
            if key is not None:
                found.append(key)
                self._given += 1
                continue
            self._before, self._given, self._pass = self._given, 0, None
            self._passes += self._before > 0
            if found or not self._before:
                break
        return self._backend.records(self._live, found)

    def _missing_keys(self) -> Iterator[str]:
        for page in self._backend.digest_pages(self._live):
            there = self._backend.digests(self._following, [each.key for each in page])
            yield from (each.key for each in page if each.key not in there or there[each.key].text != each.text)

    def put(self, records: Sequence[Record], vectors: Floats) -> None:
        vectors = checked(vectors, self._following.facts.dim, len(records))
        backend = self._backend
        with backend.writing():
            backend.require_live(self._live)
            now = {record.id: record for record in backend.records(self._live, [backend.key(record.id) for record in records])}
            rows = [row for row, record in enumerate(records) if record.id in now and now[record.id].text == record.text]
            backend.write(self._following, [now[records[row].id] for row in rows], vectors[rows])

    def count(self) -> int:
        return self._backend.size(self._following)

    def swap(self) -> Store | None:
        with self._backend.writing():
            self._backend.require_live(self._live)
            settled = self._settled()
            swapped = self._backend.promote(self._live, self._following) if settled else None
        self.close()
        return swapped

    def _settled(self) -> bool:
        """Whether nothing is missing. What an interrupted write left behind is put right: old metadata, records that were deleted."""
        backend = self._backend
        records = 0
        for page in backend.digest_pages(self._live):
            records += len(page)
            there = backend.digests(self._following, [each.key for each in page])
            if any(each.key not in there or there[each.key].text != each.text for each in page):
                return False
            stale = [each.key for each in page if there[each.key].metadata != each.metadata]
            if stale:
                backend.rewrite(self._following, backend.records(self._live, stale))
        if backend.size(self._following) > records:
            for page in list(backend.digest_pages(self._following)):
                there = backend.digests(self._live, [each.key for each in page])
                backend.remove(self._following, [each.key for each in page if each.key not in there])
        return True

    def discard(self) -> None:
        with self._backend.writing():
            self._backend.abandon(self._following)
        self.close()

    def close(self) -> None:
        self.holds, self._passes = False, 0
        self._turn.close()


def checked(vectors: Floats, dim: int, rows: int | None = None) -> Floats:
    """float32 [rows, dim], finite; InvalidInput otherwise."""
    if vectors.ndim != 2 or vectors.shape[1] != dim or (rows is not None and len(vectors) != rows):
        raise InvalidInput(f"vectors of shape {vectors.shape} do not fit a collection of {dim} dimensions")
    if not np.isfinite(vectors).all():
        raise InvalidInput("a vector holds a number that is not finite")
    return np.ascontiguousarray(vectors, dtype=np.float32)
