"""An engine and a tokenizer that need no model: deterministic, counted, and able to fail in every way a real one can. And two ways to wait.

`FakeEngine` is not thread-safe on purpose: two threads inside it at once fail the test that did it.
"""

import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Literal

import numpy as np

from huiyi.errors import InvalidInput
from huiyi.types import Floats, Ids, Kind

EOS = 1
LIMIT_S = 60.0  # no test waits longer for one thing


def until(condition: Callable[[], bool], limit_s: float = LIMIT_S, pause_s: float = 0.002) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(pause_s)


def in_thread(work: Callable[..., object], *arguments: Any, **options: Any) -> Future[Any]:
    """Like a caller of its own; daemon, so that a hanging one fails a test and not the run."""
    outcome: Future[Any] = Future()

    def call() -> None:
        try:
            outcome.set_result(work(*arguments, **options))
        except BaseException as error:  # noqa: BLE001
            outcome.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return outcome


def ids(*values: int) -> Ids:
    return np.array(values, dtype=np.int32)


def ids_of_length(length: int, fill: int = 7) -> Ids:
    return np.full(length, fill, dtype=np.int32)


class FakeEngine:
    """The vector of a text depends on its ids and adapter alone; `vector(ids, adapter)` tells it beforehand.

    calls: the lengths in each forward; adapters: what each of them ran with. stepped: the length of the text behind each long step.
    order: "batch" or "step" for each of both, as they came. seen: the bytes of every text that was computed. tokens: all tokens
    computed, padding included. abandoned: long texts given up between steps.
    raise_on, nan_on, zero_on: a text that holds one of these ids makes the whole batch raise, or gives its own row NaN or zeros.
    rows_off: rows too many (or too few, when negative) in every batch of two or more; `rows_off_alone` also in batches of one.
    gate: when given, every forward and step waits for it: a stalled engine. raises: raised by every forward and step while set.
    """

    def __init__(
        self,
        dim: int = 8,
        max_tokens: int = 8192,
        long_tokens: int = 512,
        step_tokens: int = 512,
        sleep_s_per_token: float = 0.0,
        raise_on: Iterable[int] = (),
        nan_on: Iterable[int] = (),
        zero_on: Iterable[int] = (),
        rows_off: int = 0,
        rows_off_alone: bool = False,
        gate: threading.Event | None = None,
        raises: BaseException | None = None,
    ) -> None:
        self.dim, self.max_tokens, self.long_tokens, self.step_tokens = dim, max_tokens, long_tokens, step_tokens
        self.sleep_s_per_token = sleep_s_per_token
        self.raise_on, self.nan_on, self.zero_on = list(raise_on), list(nan_on), list(zero_on)
        self.rows_off, self.rows_off_alone = rows_off, rows_off_alone
        self.gate, self.raises = gate, raises
        self.calls: list[list[int]] = []
        self.adapters: list[Any] = []
        self.seen: list[bytes] = []
        self.stepped: list[int] = []
        self.order: list[str] = []
        self.abandoned = 0
        self.tokens = 0
        self.entered = threading.Event()
        self.threads: set[int] = set()
        self._alone = threading.Lock()

    def vector(self, text: Ids, adapter: Any = None) -> Floats:
        return self._rows([text], adapter)[0]

    def forward(self, batch: Sequence[Ids], adapter: Any = None) -> Floats:
        self.calls.append([len(text) for text in batch])
        self.adapters.append(adapter)
        self.order.append("batch")
        self.seen += [text.tobytes() for text in batch]
        self._spend(len(batch) * max(map(len, batch)))
        if self.raise_on and any(np.isin(text, self.raise_on).any() for text in batch):
            raise RuntimeError("the kernel refused a token")
        rows = self._rows(batch, adapter)
        for row, text in zip(rows, batch, strict=True):
            if self.nan_on and np.isin(text, self.nan_on).any():
                row[0] = np.nan
            if self.zero_on and np.isin(text, self.zero_on).any():
                row[:] = 0
        if self.rows_off and (len(batch) > 1 or self.rows_off_alone):
            return np.resize(rows, (max(0, len(batch) + self.rows_off), self.dim))
        return rows

    def steps(self, text: Ids, adapter: Any = None) -> Generator[None, None, Floats]:
        try:
            for start in range(0, len(text), self.step_tokens):
                if start:
                    yield
                self.stepped.append(len(text))
                self.order.append("step")
                self._spend(len(text[start : start + self.step_tokens]))
                if self.raise_on and np.isin(text, self.raise_on).any():
                    raise RuntimeError("the kernel refused a token")
        except GeneratorExit:
            self.abandoned += 1
            raise
        self.seen.append(text.tobytes())
        row = self.vector(text, adapter)
        if self.nan_on and np.isin(text, self.nan_on).any():
            row[0] = np.nan
        if self.zero_on and np.isin(text, self.zero_on).any():
            row[:] = 0
        return row

    def _spend(self, tokens: int) -> None:
        assert self._alone.acquire(blocking=False), "two threads are in the engine at once"
        try:
            self.threads.add(threading.get_ident())
            self.entered.set()
            self.tokens += tokens
            if self.gate is not None:
                self.gate.wait()
            if self.sleep_s_per_token:
                time.sleep(tokens * self.sleep_s_per_token)
            if self.raises is not None:
                raise self.raises
        finally:
            self._alone.release()

    def _rows(self, batch: Sequence[Ids], adapter: Any) -> Floats:
        start = 0 if adapter is None else zlib.crc32(str(adapter).encode())
        seeds = np.array([zlib.crc32(np.asarray(text, dtype=np.int32).tobytes(), start) for text in batch], dtype=np.float64)
        return (2 + np.sin(seeds[:, None] * np.arange(1, self.dim + 1))).astype(np.float32)


class FakeTokenizer:
    """One id a character (its code point) and one EOS; a query is the instruction, a colon and the text."""

    def __init__(self, max_tokens: int = 8192, vocab_size: int = 0x110000) -> None:
        self.max_tokens, self.vocab_size = max_tokens, vocab_size
        self.encoded = 0

    def encode(self, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None, prompt: str | None = None) -> list[Ids]:
        if kind == "document" and instruction is not None:
            raise InvalidInput("an instruction belongs to a query")
        self.encoded += len(texts)
        before = prompt if prompt is not None else f"{instruction or 'task'}:" if kind == "query" else ""
        return [np.array([*map(ord, before + text), EOS], dtype=np.int32) for text in texts]

    def truncate(self, text: Ids, side: Literal["start", "end"] = "end") -> Ids:
        """`side` is the side that is cut; the EOS stays."""
        if len(text) <= self.max_tokens:
            return text
        kept = text[:-1][: self.max_tokens - 1] if side == "end" else text[:-1][-(self.max_tokens - 1) :]
        return np.append(kept, text[-1]).astype(np.int32)
