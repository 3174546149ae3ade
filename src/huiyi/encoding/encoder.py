"""`LocalEncoder`: a tokenizer and an engine as one `Encoder`; the plain one that other encoders wrap.

Owns the way of a request: checks, token ids slice by slice, order by length, the cut to `dimensions`, then unit length.
It knows neither batches nor threads (the scheduler's) nor HTTP. Rows come back in input order, or the request fails as a whole.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding.scheduler import CLOSED, Scheduler
from huiyi.errors import InvalidInput, ModelFailed, TooLong, Unavailable
from huiyi.types import Embedded, Engine, Floats, Ids, Kind

# A slice is tokenised, sorted by length and fed at a time: enough for neighbours of like length, little enough for memory and for
# the worker never to wait for it.
SLICE_TEXTS = 1024
SLICE_CHARACTERS = 1_000_000
SMALLEST_CUT = 32

Side = Literal["start", "end"]
MOST_CHARACTERS = 500_000
Encode = Callable[[Sequence[int]], list[Ids]]  # places of texts, to the token ids of each


class TextTokenizer(Protocol):
    """What this needs of `encoding.tokenizer.Tokenizer`."""

    max_tokens: int
    vocab_size: int
    eos_id: int | None

    def encode(self, texts: Sequence[str], kind: Kind = ..., instruction: str | None = ..., prompt: str | None = ...) -> list[Ids]: ...
    def truncate(self, ids: Ids, side: Side = ...) -> Ids: ...


class LocalEncoder:
    """Safe to call from many threads; all of them and every list share the scheduler's one queue.

    space: which vectors may be compared. scheduler: one of your own, closed with this encoder. dimensions: the widths that a vector
    may be cut to; default every one from 32, or from 1 where the full width is less. adapter: what the engine made of an adapter, with
    which every text of this encoder is run. base: an encoder of the same engine, whose scheduler is shared, and left open by `close`
    unless `owns_scheduler` is set.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        engine: Engine,
        *,
        space: str,
        scheduler: Scheduler | None = None,
        dimensions: Sequence[int] | None = None,
        adapter: Any = None,
        base: "LocalEncoder | None" = None,
    ) -> None:
        self.scheduler: Scheduler = base.scheduler if base else scheduler or Scheduler(engine)
        self.engine, self.adapter = engine, adapter
        self.owns_scheduler, self._closed = base is None, False
        self.dim = engine.dim
        self.max_tokens = min(tokenizer.max_tokens, engine.max_tokens)
        self.space = space
        self.precision = str(getattr(engine, "precision", ""))  # of the numbers it computes with, "" where that is not known
        self.dimensions = dimensions if dimensions is not None else range(SMALLEST_CUT if self.dim >= SMALLEST_CUT else 1, self.dim + 1)
        self.tokenizer = tokenizer

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
        progress: Callable[[], object] | None = None,
        repeatable: bool = False,
    ) -> Embedded:
        """As `Encoder.embed`.

        truncate: the side where a text that is too long is cut; without it such a text raises TooLong and nothing is embedded.
        prompt: a prefix in the place of what `kind` and `instruction` put in front. cancelled: set it, from any thread, to make the
        call raise concurrent.futures.CancelledError within 50 ms; what has not begun then costs no pass of the engine.
        progress: called in the calling thread after each text. repeatable: where nobody else calls, the same texts get the same
        bytes every time (rounding depends on the batch, and batches otherwise on timing).
        """
        check_texts(texts, kind)
        width = self.width(dimensions)
        parts = list(slices(texts))
        encode = self._encoding(texts, kind, instruction, truncate, prompt)
        if truncate is None and len(parts) > 1:
            # Hours of computing are not thrown away for a text at the end. No tokenizer of ours makes over 4 tokens of a character.
            suspects = [i for i, text in enumerate(texts) if 8 * len(text) > self.max_tokens]
            for start in range(0, len(suspects), SLICE_TEXTS):
                self._encode(suspects[start : start + SLICE_TEXTS], encode)
        return self._run(parts, encode, width, cancelled, progress and (lambda i, vector: progress()), repeatable)

    def embed_ids(
        self,
        ids: Sequence[Ids],
        dimensions: int | None = None,
        *,
        cancelled: threading.Event | None = None,
        ready: Callable[[int, Floats], object] | None = None,
    ) -> Embedded:
        """The same for token ids, special tokens included. ready: called in the calling thread with each row's place and vector,
        as it comes. Raises what `embed` raises."""
        width = self.width(dimensions)
        rows = self.checked(ids)
        parts = [range(start, min(start + SLICE_TEXTS, len(rows))) for start in range(0, len(rows), SLICE_TEXTS)]
        return self._run(parts, lambda part: [rows[i] for i in part], width, cancelled, ready)

    def token_ids(
        self,
        texts: Sequence[str],
        kind: Kind = "document",
        instruction: str | None = None,
        *,
        truncate: Side | None = None,
        prompt: str | None = None,
        cancelled: threading.Event | None = None,
    ) -> list[Ids]:
        """What the engine would read for each text, as `embed_ids` takes it. Raises what `embed` raises before anything is computed."""
        check_texts(texts, kind)
        encode = self._encoding(texts, kind, instruction, truncate, prompt)
        rows: list[Ids] = []
        for part in slices(texts):
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            rows += self._encode(part, encode)
        return rows

    def checked(self, ids: Sequence[Ids]) -> list[Ids]:
        """Rows of token ids as int32. Raises InvalidInput and TooLong, which name the row."""
        rows = [checked_ids(row, i, self.tokenizer.vocab_size) for i, row in enumerate(ids)]
        self._refuse_long(range(len(rows)), rows)
        return rows

    def width(self, dimensions: int | None) -> int:
        """The width that `dimensions` means. Raises InvalidInput."""
        if dimensions is None or dimensions == self.dim:
            return self.dim
        if isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions not in self.dimensions:
            widths = self.dimensions
            known = f"{widths[0]} to {widths[-1]}" if isinstance(widths, range) else "one of " + ", ".join(map(str, widths))
            raise InvalidInput(f"dimensions must be {known} for this model, not {dimensions!r}")
        return dimensions

    @property
    def closed(self) -> bool:
        """Whether it takes no more texts: closed, or its worker has died."""
        return self._closed or self.scheduler.closed

    def close(self, drain: bool = True, timeout_s: float | None = None) -> None:
        """As `Scheduler.close`; one that shares the scheduler of another takes no more, and what was accepted is answered."""
        self._closed = True
        if self.owns_scheduler:
            self.scheduler.close(drain, timeout_s)

    def _encoding(self, texts: Sequence[str], kind: Kind, instruction: str | None, truncate: Side | None, prompt: str | None) -> Encode:
        def encode(part: Sequence[int]) -> list[Ids]:
            rows = self.tokenizer.encode([texts[i] for i in part], kind=kind, instruction=instruction, prompt=prompt)
            return rows if truncate is None else [self.tokenizer.truncate(row, truncate) for row in rows]

        return encode

    def _run(
        self,
        parts: list[range],
        encode: Encode,
        width: int,
        cancelled: threading.Event | None,
        ready: Callable[[int, Floats], object] | None = None,
        repeatable: bool = False,
    ) -> Embedded:
        texts = parts[-1].stop if parts else 0
        vectors = np.empty((texts, width), np.float32)

        def deliver(i: int, row: Floats) -> None:
            vector = unit_length(row[:width])
            vectors[i] = vector
            if ready:
                ready(i, vector)

        return Embedded(vectors, self._pooled(parts, encode, deliver, cancelled, repeatable))

    def _pooled(
        self,
        parts: list[range],
        encode: Encode,
        take: Callable[[int, Floats], object],
        cancelled: threading.Event | None,
        repeatable: bool = False,
    ) -> NDArray[np.int64]:
        """Has `take` called, in this thread, with each text's place and pooled row as it left the engine; the tokens of all of them."""
        if self._closed:
            raise Unavailable(CLOSED)
        texts = parts[-1].stop if parts else 0
        tokens = np.empty(texts, np.int64)
        on_the_way: deque[int] = deque()

        def feed() -> Iterator[Ids]:
            for number, part in enumerate(parts):
                rows = self._encode(part, encode)
                # Every other slice the other way round: where two slices meet, lengths meet too.
                for row, i in sorted(zip(rows, part, strict=True), key=lambda pair: len(pair[0]), reverse=number % 2 == 0):
                    on_the_way.append(i)
                    tokens[i] = len(row)
                    yield row

        def deliver(row: Floats) -> None:
            take(on_the_way[0], row)
            on_the_way.popleft()

        try:
            self.scheduler.run(feed(), deliver, cancelled, repeatable, self.adapter)
        except ModelFailed as error:
            raise ModelFailed(f"text {on_the_way[0]}: {error}") from error
        return tokens

    def _encode(self, part: Sequence[int], encode: Encode) -> list[Ids]:
        try:
            rows = encode(part)
        except InvalidInput:
            for i in part:
                try:
                    encode([i])
                except InvalidInput as error:
                    raise type(error)(f"text {i}: {error}") from error
            raise
        self._refuse_long(part, rows)
        return rows

    def _refuse_long(self, part: Sequence[int], rows: list[Ids]) -> None:
        for i, row in zip(part, rows, strict=True):
            if len(row) > self.max_tokens:
                raise TooLong(f"text {i} has {len(row)} tokens and this model takes {self.max_tokens}; split it or let it be truncated")


def check_texts(texts: Any, kind: Any) -> None:
    if kind not in get_args(Kind):
        raise InvalidInput(f"kind must be document or query, not {kind!r}")
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise InvalidInput(f"give a list of texts, not a {type(texts).__name__}")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"text {i} is of type {type(text).__name__}; every text must be a string")


def checked_ids(row: Any, i: int, vocab_size: int) -> Ids:
    """int32 ids; beyond the vocabulary an engine would read memory that is no embedding."""
    ids = np.asarray(row)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids):
        raise InvalidInput(f"text {i} is not a list of token ids")
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise InvalidInput(f"text {i} holds a token id outside 0 to {vocab_size - 1}")
    return ids.astype(np.int32)


def slices(texts: Sequence[str]) -> Iterator[range]:
    """Consecutive ranges over `texts`, bounded in texts and in characters."""
    start = characters = 0
    for i, text in enumerate(texts):
        if i > start and (i - start == SLICE_TEXTS or characters + len(text) > SLICE_CHARACTERS):
            yield range(start, i)
            start, characters = i, 0
        characters += len(text)
    if start < len(texts):
        yield range(start, len(texts))


def clip(text: str, side: Side | None) -> str:
    """What the tokenizer need see of a text whose tokens are cut at `side`: no model reads 32,768 tokens of 15 characters each."""
    if side is None or len(text) <= MOST_CHARACTERS:
        return text
    return text[:MOST_CHARACTERS] if side == "end" else text[-MOST_CHARACTERS:]


def unit_length(vector: Floats) -> Floats:
    """ModelFailed when it has no direction."""
    exact: NDArray[np.float64] = vector.astype(np.float64)  # squares of float32 overflow and vanish
    norm = math.sqrt(exact @ exact)
    if not norm:
        raise ModelFailed(f"its first {len(vector)} numbers are all zero; take more dimensions")
    return (exact / norm).astype(np.float32)
