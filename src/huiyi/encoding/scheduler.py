"""One queue and its worker thread between everybody who has token ids and the engine that takes batches; several for a remote engine.

Every accepted text gets exactly one answer: its vector, its own error, or its caller's cancellation. The queue is bounded in
tokens; a request is refused at its start or carried to its end. Long texts and batches of short ones take turns.
It knows nothing of text, HTTP or normalising.
"""

import atexit
import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any

from huiyi.encoding.passes import Batch, LongRun, Outcome
from huiyi.encoding.waiting import Job, Waiting
from huiyi.errors import HuiyiError, InvalidInput, ModelFailed, Overloaded, TooLarge, TooLong, Unavailable
from huiyi.types import Batches, Engine, Floats, Ids

CANCEL_POLL_S = 0.05
# A text may be overtaken for so long by each token of its request up to its own last: a question of 20 tokens passes a list of passages
# that came two seconds before it, and no list waits for ever behind questions.
GIVES_WAY_S_PER_TOKEN = 0.01
IDLE_S = 2.0  # an idle worker ends: a scheduler that nobody uses any more can then be freed, and the model with it
EXIT_S = 5.0
CLOSED = "this encoder is closed; load the model again"


@dataclass(frozen=True)
class Stats:
    """The queue at one moment, and counts since the start.

    waiting: accepted and not begun. running: begun and not answered. held_tokens: room taken, of max_queue_tokens.
    texts, failed, cancelled: how accepted texts ended; refused: requests turned away. batches, long_steps: passes of the engine.
    tokens: computed. padding_tokens: places beside them that attention fills for nothing. busy_s: in the engine. wait_s: from accepted
    to begun, summed over the `begun` texts.
    """

    waiting_texts: int
    waiting_tokens: int
    running_texts: int
    held_tokens: int
    max_queue_tokens: int
    oldest_wait_s: float
    wait_s: float
    busy_s: float
    begun: int = 0
    texts: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    batches: int = 0
    long_steps: int = 0
    tokens: int = 0
    padding_tokens: int = 0


class Scheduler:
    """`submit` for one text, `run` for a request of many; both share one queue.

    max_batch_tokens: tokens in a batch; a single row may exceed it. max_padding_tokens: by how many, in sum, the rows of a batch may fall
    short of the longest: engines pack their tokens, so padding costs time in attention alone. max_queue_tokens: room of the queue,
    running texts included; default 32,768, the longest text or 16 batches, whichever is most. workers: threads that may be in the engine
    at once; more than one for an engine that is safe to call so and has no `long_tokens` below its longest text. What is not given
    is as the engine wants it, see `types.Batches`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_batch_tokens: int | None = None,
        max_padding_tokens: int | None = None,
        max_queue_tokens: int | None = None,
        workers: int | None = None,
    ) -> None:
        wanted: Batches = getattr(engine, "batches", Batches())
        self._engine, self._max_workers = engine, workers or wanted.workers
        self._max_batch_tokens = max_batch_tokens or wanted.tokens
        padding = wanted.padding if max_padding_tokens is None else max_padding_tokens
        most = max(32_768, engine.max_tokens, 16 * self._max_batch_tokens)
        self._max_queue_tokens = most if max_queue_tokens is None else max_queue_tokens
        self._lock = threading.RLock()
        self._arrived, self._left = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting = Waiting(engine.long_tokens, self._max_batch_tokens, padding)
        self._open: set[Job] = set()  # accepted, not settled
        self._held_tokens = 0
        self._long: LongRun | None = None
        self._turn_of_long = False
        self._draining = False
        self._end: HuiyiError | None = None
        self._workers: set[threading.Thread] = set()
        self._free = 0  # workers that are not in the engine
        self._pid: int | None = None
        self._counts: Counter[str] = Counter()
        self._wait_s = self._busy_s = 0.0
        self._recent_tokens = self._recent_s = 0.0
        atexit.register(close_at_exit, weakref.ref(self))

    def submit(self, ids: Ids, adapter: Any = None) -> Future[Floats]:
        """The promise of one text's vector: float32 [dim], pooled, not normalised. Cancelled before it runs, it costs no pass.

        adapter: what the engine is to run it with; no batch mixes two.
        Raises TooLong, InvalidInput (no tokens), TooLarge, Overloaded, Unavailable; the future ModelFailed or Unavailable.
        """
        self._refuse_fork()
        with self._lock:
            self._admit([ids])
            return self._add([ids], adapter, held=len(ids))[0]

    def run(
        self,
        texts: Iterable[Ids],
        deliver: Callable[[Floats], None],
        cancelled: threading.Event | None = None,
        repeatable: bool = False,
        adapter: Any = None,
    ) -> None:
        """One request: `deliver` gets the vector of each text in order, in this thread; blocks until the last.

        Texts are drawn from the iterable in slices as room appears; neighbours of like length save padding. The request is refused
        at its start or carried to its end; the first failure, an exception in `deliver` or `cancelled` being set (CancelledError,
        within 50 ms) cancels what is left of it. repeatable: larger slices, each begun when the last one has ended, so that the batches
        of a caller who is alone do not depend on timing; others wait the longer. Raises what `submit` and its futures raise.
        """
        self._refuse_fork()
        slice_tokens = min((16 if repeatable else 2 + self._max_workers) * self._max_batch_tokens, self._max_queue_tokens)
        source = iter(texts)
        coming = next(source, None)
        ahead: deque[Job] = deque()
        held = tokens = 0
        try:
            while ahead or coming is not None:
                if cancelled is not None and cancelled.is_set():
                    raise CancelledError
                fresh: list[Ids] = []
                # With one worker three batches a slice: one runs, one is next, and others wait for no more than these.
                while coming is not None and (not tokens or (tokens + len(coming) <= slice_tokens and not (repeatable and ahead))):
                    fresh.append(coming)
                    tokens += len(coming)
                    coming = next(source, None)
                if fresh:
                    with self._lock:
                        self._admit(fresh, begun=held > 0)
                        ahead.extend(self._add(fresh, adapter, before=tokens - sum(map(len, fresh)), after=ahead[-1].due if ahead else 0.0))
                        if not held:
                            held = tokens
                            self._held_tokens += held
                deliver(answer(ahead[0], cancelled))
                tokens -= ahead.popleft().length
        finally:
            for job in ahead:
                job.cancel()
            self._release(held)

    @property
    def closed(self) -> bool:
        """Whether it takes no more: closed, or its worker has died."""
        return self._draining or self._end is not None

    def stats(self) -> Stats:
        with self._lock:
            return Stats(
                waiting_texts=len(self._waiting),
                waiting_tokens=self._waiting.tokens,
                running_texts=len(self._open) - len(self._waiting),
                held_tokens=self._held_tokens,
                max_queue_tokens=self._max_queue_tokens,
                oldest_wait_s=max(0.0, monotonic() - self._waiting.oldest_since),
                wait_s=self._wait_s,
                busy_s=self._busy_s,
                **self._counts,
            )

    def close(self, drain: bool = True, timeout_s: float | None = None) -> None:
        """Takes no more. drain: finishes what was accepted. What is left then, or after `timeout_s`, fails as Unavailable.

        A stalled engine cannot be interrupted: without `timeout_s` this waits for it.
        """
        if self._forked():
            return
        deadline = None if timeout_s is None else monotonic() + timeout_s
        with self._lock:
            self._draining = True
            workers = self._workers - {threading.current_thread()}
            if drain and workers:
                self._left.wait_for(lambda: self._end or not (self._open or self._held_tokens), timeout_s)
        self._fail_all(Unavailable(CLOSED))
        for worker in workers:
            worker.join(None if deadline is None else max(0.0, deadline - monotonic()))

    # the worker

    def _work(self) -> None:
        try:
            while work := self._schedule():
                began = monotonic()
                outcomes = work.run(self._engine)
                self._settle(work, outcomes, monotonic() - began)
        except BaseException as error:
            end = ModelFailed(f"the worker stopped ({type(error).__name__}); load the model again")
            end.__cause__ = error
            self._fail_all(end)
            raise

    def _schedule(self) -> Batch | LongRun | None:
        """What runs next, waiting for it when there is nothing; None when the worker may go."""
        with self._lock:
            while not (self._end or self._long or self._waiting) and self._arrived.wait(IDLE_S):
                pass
            if self._end or not (self._long or self._waiting):
                self._workers.discard(threading.current_thread())
                self._free -= 1
                self._long = None
                return None
            self._free -= 1
            if (self._long or self._waiting.has_long) and (self._turn_of_long or not self._waiting.has_short):
                self._turn_of_long = False
                if self._long is None:
                    self._long = LongRun(self._waiting.take_long())
                    self._begin(self._long.jobs)
                return self._long
            self._turn_of_long = True
            batch = Batch(self._waiting.take_batch())
            self._begin(batch.jobs)
            return batch

    def _begin(self, jobs: list[Job]) -> None:
        now = monotonic()
        self._wait_s += sum(now - job.since for job in jobs)
        self._counts["begun"] += len(jobs)

    def _settle(self, work: Batch | LongRun, outcomes: list[tuple[Job, Outcome]], seconds: float) -> None:
        with self._lock:
            self._free += 1
            self._busy_s += seconds
            self._counts[work.counter] += work.passes
            work.seconds += seconds
            if outcomes:
                self._counts["tokens"] += work.tokens
                self._counts["padding_tokens"] += work.padding_tokens
                self._recent_tokens = 0.95 * self._recent_tokens + work.tokens
                self._recent_s = 0.95 * self._recent_s + work.seconds / self._max_workers
                if work is self._long:
                    self._long = None
        for job, outcome in outcomes:
            if isinstance(outcome, HuiyiError):
                self._fail(job, outcome)
            elif self._claim(job, "texts"):
                job.set_result(outcome)

    # the queue

    def _fail(self, job: Job, error: HuiyiError) -> None:
        if self._claim(job, "failed"):
            job.set_exception(error)

    def _fail_all(self, end: HuiyiError) -> None:
        with self._lock:
            self._end = self._end or end
            jobs = list(self._open)
            self._arrived.notify_all()
            self._left.notify_all()
        with ExitStack() as every:  # an exception out of one future's callback does not keep the others waiting
            for job in jobs:
                error = type(end)(*end.args)
                error.__cause__ = end.__cause__
                every.callback(self._fail, job, error)

    def _refuse_fork(self) -> None:
        if self._forked():
            raise Unavailable("this process was forked after the model had begun to work; load the model in the new process")

    def _forked(self) -> bool:
        return self._pid not in (None, os.getpid())

    def _claim(self, job: Job, outcome: str) -> bool:
        with self._lock:
            if job not in self._open:
                return False
            self._open.remove(job)
            self._waiting.drop(job)
            self._counts[outcome] += 1
            self._release(job.held)
            return True

    def _release(self, tokens: int) -> None:
        with self._lock:
            self._held_tokens -= tokens
            if not self._held_tokens and not self._open:
                self._left.notify_all()

    def _admit(self, texts: list[Ids], begun: bool = False) -> None:
        """Under the lock. begun: the request holds its room already."""
        for ids in texts:
            if not len(ids):
                raise InvalidInput("a text without a single token cannot be embedded")
            if len(ids) > self._engine.max_tokens:
                raise TooLong(f"a text has {len(ids)} tokens and the model takes {self._engine.max_tokens}; shorten or truncate it")
            if len(ids) > self._max_queue_tokens:
                raise TooLarge(
                    f"a text has {len(ids)} tokens and the queue holds {self._max_queue_tokens}; shorten it or raise max_queue_tokens"
                )
        if self._end or (self._draining and not begun):
            raise Unavailable(str(self._end or CLOSED)) from self._end
        tokens = sum(map(len, texts))
        lacking = self._held_tokens + tokens - self._max_queue_tokens
        if lacking > 0 and not begun:
            self._counts["refused"] += 1
            after_s = min(60.0, max(0.1, lacking * self._recent_s / self._recent_tokens)) if self._recent_tokens else 1.0
            raise Overloaded(
                f"others fill the queue ({self._held_tokens} of {self._max_queue_tokens} tokens); try again in {after_s:.1f} s", after_s
            )

    def _add(self, texts: list[Ids], adapter: Any, held: int = 0, before: int = 0, after: float = 0.0) -> list[Job]:
        """Under the lock, as `_begin`. held: by each text for itself. before: tokens of the same request that are not delivered, the
        last of them due at `after`.
        """
        now = monotonic()
        last, end = after, before
        jobs = []
        for ids in texts:
            end += len(ids)
            last = max(last, now + GIVES_WAY_S_PER_TOKEN * end)  # a request keeps its own order
            jobs.append(Job(ids, held, now, self._claim, adapter, last))
        for job in jobs:
            self._open.add(job)
            self._waiting.add(job)
            self._held_tokens += held
        self._wake()
        return jobs

    def _wake(self) -> None:
        """Under the lock: as many workers as there are batches to be made, one at least, as far as they are allowed."""
        batches = min(self._max_workers, -(-self._waiting.tokens // self._max_batch_tokens))
        while len(self._workers) < self._max_workers and self._free < max(1, batches):
            worker = threading.Thread(target=self._work, name="huiyi-engine", daemon=True)
            self._workers.add(worker)
            self._free += 1
            self._pid = os.getpid()
            worker.start()
        self._arrived.notify(max(1, batches))


def answer(job: Job, cancelled: threading.Event | None) -> Floats:
    while True:
        try:
            return job.result(timeout=None if cancelled is None else CANCEL_POLL_S)
        except TimeoutError:
            if cancelled is not None and cancelled.is_set():
                raise CancelledError from None


def close_at_exit(scheduler: "weakref.ref[Scheduler]") -> None:
    """Lets the running batch end before the interpreter does: a thread inside native code then is a crash on some systems."""
    if alive := scheduler():
        alive.close(drain=False, timeout_s=EXIT_S)
