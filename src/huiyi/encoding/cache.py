"""`CachedEncoder`: the encoder that remembers; texts that were embedded before, or are being embedded now, are not computed again.

A key is a digest of space, variant and of the final token ids, so that template, truncation and EOS are in it and texts
are not. Vectors are kept whole, in float32: a cached answer is, bit for bit, what was computed first; `dimensions` are cut afterwards.
The number of tokens is that of the ids, which are at hand at every look-up.
"""

import hashlib
import os
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np

from huiyi.encoding.cachefile import CacheFile
from huiyi.encoding.encoder import Side, unit_length
from huiyi.encoding.scheduler import CANCEL_POLL_S, CLOSED
from huiyi.errors import ModelFailed, Unavailable
from huiyi.types import Embedded, Floats, Ids, Kind

MAX_BYTES = 1 << 30  # 250,000 vectors of 1,024 numbers
# Who waits for a text that another caller has begun does so while any of that caller's texts arrive, and this long between two:
# a short text may stand last in a list of ten thousand.
PATIENCE_S = 1.0
PATIENCE_S_PER_TOKEN = 0.01

Take = Callable[[bytes, Floats], None]
Claims = dict[bytes, "Future[Floats]"]


class IdsEncoder(Protocol):
    """What this wraps: an `Encoder` that tells token ids from computing, as `LocalEncoder` does."""

    @property
    def dim(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def space(self) -> str: ...

    def token_ids(
        self,
        texts: Sequence[str],
        kind: Kind = ...,
        instruction: str | None = ...,
        *,
        truncate: Side | None = ...,
        prompt: str | None = ...,
        cancelled: threading.Event | None = ...,
    ) -> list[Ids]: ...
    def checked(self, ids: Sequence[Ids]) -> list[Ids]: ...
    def width(self, dimensions: int | None) -> int: ...
    def embed_ids(
        self,
        ids: Sequence[Ids],
        dimensions: int | None = ...,
        *,
        cancelled: threading.Event | None = ...,
        ready: Callable[[int, Floats], object] | None = ...,
    ) -> Embedded: ...
    def close(self, drain: bool = ..., timeout_s: float | None = ...) -> None: ...


@dataclass(frozen=True)
class CacheStats:
    """Counts since the start. hits: texts answered without computing them; misses: texts given to the encoder. bytes: on disk now."""

    hits: int
    misses: int
    evictions: int
    bytes: int


class CachedEncoder:
    """Safe to call from many threads; several processes may share one folder.

    folder: of the cache's file, which holds any number of encoders' vectors. variant: what decides a vector's digits beside its space,
    such as the engine's precision and the release: vectors of two variants are near one another but not equal. max_bytes: of the file.
    A file that cannot be used is a warning in the log.
    """

    def __init__(self, encoder: IdsEncoder, folder: Path, *, variant: str, max_bytes: int = MAX_BYTES) -> None:
        self.dim, self.max_tokens, self.space = encoder.dim, encoder.max_tokens, encoder.space
        self._encoder = encoder
        self._file = CacheFile(folder, max_bytes)
        self._salt = hashlib.blake2b(f"{encoder.space} {variant}".encode(), digest_size=32).digest()
        self._lock = threading.Lock()
        self._claims: Claims = {}  # keys that somebody is computing
        self._hits = self._misses = 0
        self._pid, self._closed = os.getpid(), False

    def embed(
        self,
        texts: Sequence[str],
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        *,
        truncate: Side | None = None,
        prompt: str | None = None,
        cancelled: threading.Event | None = None,
    ) -> Embedded:
        """As `LocalEncoder.embed`."""
        width = self._encoder.width(dimensions)
        rows = self._encoder.token_ids(texts, kind, instruction, truncate=truncate, prompt=prompt, cancelled=cancelled)
        return self._answer(rows, width, cancelled)

    def embed_ids(self, ids: Sequence[Ids], dimensions: int | None = None, *, cancelled: threading.Event | None = None) -> Embedded:
        """As `LocalEncoder.embed_ids`."""
        width = self._encoder.width(dimensions)
        return self._answer(self._encoder.checked(ids), width, cancelled)

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(self._hits, self._misses, self._file.evictions, self._file.size_bytes)

    def flush(self) -> None:
        """Returns when what was computed is kept."""
        self._file.flush()

    def close(self, drain: bool = True, timeout_s: float | None = None) -> None:
        """As `Scheduler.close`; what was computed is kept."""
        self._encoder.close(drain, timeout_s)
        self._closed = True
        self._file.close()

    def _answer(self, rows: list[Ids], width: int, cancelled: threading.Event | None) -> Embedded:
        if self._closed:
            raise Unavailable(CLOSED)
        if os.getpid() != self._pid:
            raise Unavailable("this process was forked after the vector cache was opened; load the model in the new process")
        vectors = np.empty((len(rows), width), np.float32)
        wanted: dict[bytes, Ids] = {}
        places: dict[bytes, list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            key = hashlib.blake2b(row.tobytes(), digest_size=16, key=self._salt).digest()
            wanted[key] = row
            places[key].append(i)

        def take(key: bytes, vector: Floats) -> None:
            try:
                vectors[places[key]] = vector if width == self.dim else unit_length(vector[:width])
            except ModelFailed as error:
                raise ModelFailed(f"text {places[key][0]}: {error}") from error

        misses = self._collect(wanted, take, lambda key: places[key][0], cancelled)
        with self._lock:
            self._hits += len(rows) - misses
        return Embedded(vectors, np.array([len(row) for row in rows], np.int64))

    def _collect(self, wanted: dict[bytes, Ids], take: Take, place: Callable[[bytes], int], cancelled: threading.Event | None) -> int:
        """Has `take` called once a key; the number of those that were computed for it."""
        due, misses = dict(wanted), 0

        def arrived(key: bytes, vector: Floats) -> None:
            del due[key]
            take(key, vector)

        def look_up(keys: Iterable[bytes]) -> None:
            for key, vector in self._file.get(list(keys)).items():
                arrived(key, vector)

        refuse_cancelled(cancelled)
        look_up(due)
        impatient: set[bytes] = set()
        while due:
            mine, theirs = self._claim(due, impatient)
            try:
                look_up(mine)  # once more: another may have been done in between
                missing = [key for key in mine if key in due]
                misses += len(missing)
                self._compute(missing, wanted, mine, arrived, place, cancelled)
            finally:
                self._release(mine)
            impatient = wait_for(theirs, max((len(wanted[key]) for key in theirs), default=0), arrived, cancelled)
        return misses

    def _compute(
        self,
        keys: list[bytes],
        wanted: dict[bytes, Ids],
        claims: Claims,
        arrived: Take,
        place: Callable[[bytes], int],
        cancelled: threading.Event | None,
    ) -> None:
        if not keys:
            return
        with self._lock:
            self._misses += len(keys)

        def ready(i: int, vector: Floats) -> None:
            self._file.put(keys[i], vector)
            claims[keys[i]].set_result(vector)
            arrived(keys[i], vector)

        try:
            self._encoder.embed_ids([wanted[key] for key in keys], cancelled=cancelled, ready=ready)
        except ModelFailed as error:
            named = re.match(r"text (\d+)", str(error))  # counted among the missing ones
            if named is None:
                raise
            raise ModelFailed(f"text {place(keys[int(named[1])])}{str(error)[named.end() :]}") from error

    def _claim(self, keys: Iterable[bytes], impatient: set[bytes]) -> tuple[Claims, Claims]:
        """Which of `keys` are for the caller to compute, and which another one is computing already."""
        mine: Claims = {}
        theirs: Claims = {}
        with self._lock:
            for key in keys:
                if key in self._claims and key not in impatient:
                    theirs[key] = self._claims[key]
                else:
                    mine[key] = self._claims[key] = Future()
        return mine, theirs

    def _release(self, claims: Claims) -> None:
        """Who waits for one that has no result computes it for himself."""
        with self._lock:
            for key, claim in claims.items():
                if self._claims.get(key) is claim:
                    del self._claims[key]
        for claim in claims.values():
            claim.cancel()


def wait_for(claims: Claims, tokens: int, arrived: Take, cancelled: threading.Event | None) -> set[bytes]:
    """Until all have a result or were given up; the keys for which that takes too long."""
    queue, done, since = deque(claims.items()), 0, monotonic()
    while queue:
        key, claim = queue[0]
        if claim.done() or wait([claim], CANCEL_POLL_S).done:
            queue.popleft()
            since = monotonic()
            if not claim.cancelled():
                arrived(key, claim.result())
        elif monotonic() - since > PATIENCE_S + PATIENCE_S_PER_TOKEN * tokens:
            before, done, since = done, sum(other.done() for _, other in queue), monotonic()
            if done == before:
                return {key for key, _ in queue}
        refuse_cancelled(cancelled)
    return set()


def refuse_cancelled(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise CancelledError
