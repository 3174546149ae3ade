"""The texts that wait for the engine and the choice of the next batch: a plain data structure without threads or locks.

Invariants: the most urgent short text is in the next batch; all texts of a batch are of one adapter; a batch of two or more keeps to
the token budget and to the padding budget; adding and dropping a text cost the same however many wait.
"""

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from heapq import heappop, heappush
from itertools import count
from typing import Any

from huiyi.types import Floats, Ids


class Job(Future[Floats]):
    """One accepted text and the promise of its vector. Whoever claims it, and no other, settles it.

    held: tokens of room that it keeps in the queue until then. since: when it was accepted, in seconds of a monotonic clock.
    adapter: what the engine has to run it with, None for nothing. due: short texts are taken in the order of these, seconds as `since`.
    """

    def __init__(
        self, ids: Ids, held: int, since: float, claim: "Callable[[Job, str], bool]", adapter: Any = None, due: float | None = None
    ) -> None:
        super().__init__()
        self.adapter, self.due = adapter, since if due is None else due
        self.ids, self.length, self.held, self.since = ids, len(ids), held, since
        self._claim = claim

    def cancel(self) -> bool:
        """Unlike other futures also while it runs: the answer is then thrown away. False once there is an answer."""
        if not self._claim(self, "cancelled"):
            return self.cancelled()
        super().cancel()
        return not self.set_running_or_notify_cancel()


class Waiting:
    """Short texts by urgency and by length, long ones (over `long_tokens`) by age alone."""

    def __init__(self, long_tokens: int, max_batch_tokens: int, max_padding_tokens: int) -> None:
        self.tokens = 0
        self._long_tokens, self._max_batch_tokens, self._max_padding_tokens = long_tokens, max_batch_tokens, max_padding_tokens
        # Ordered dicts serve as ordered sets: taking from the front or the middle is O(1), which neither a list nor a dict offers.
        self._short: OrderedDict[Job, None] = OrderedDict()
        self._long: OrderedDict[Job, None] = OrderedDict()
        self._urgent: list[tuple[float, int, Job]] = []  # a heap, with short texts that have left meanwhile
        self._numbers = count()
        self._lines: dict[Any, _Line] = {}  # by adapter

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    @property
    def has_short(self) -> bool:
        return bool(self._short)

    @property
    def has_long(self) -> bool:
        return bool(self._long)

    @property
    def oldest_since(self) -> float:
        """Infinite when nothing waits."""
        return min((next(iter(line)).since for line in (self._short, self._long) if line), default=math.inf)

    def add(self, job: Job) -> None:
        self.tokens += job.length
        if job.length > self._long_tokens:
            self._long[job] = None
            return
        self._short[job] = None
        heappush(self._urgent, (job.due, next(self._numbers), job))
        self._lines.setdefault(job.adapter, _Line()).add(job)

    def drop(self, job: Job) -> None:
        """Nothing happens when it has left already."""
        if job in self._long:
            del self._long[job]
        elif job in self._short:
            del self._short[job]
            while self._urgent and self._urgent[0][2] not in self._short:
                heappop(self._urgent)
            self._lines[job.adapter].drop(job)
            if not self._lines[job.adapter].lengths:
                del self._lines[job.adapter]  # an adapter that nobody waits for is not kept alive here
        else:
            return
        self.tokens -= job.length

    def take_long(self) -> Job:
        """The oldest long text."""
        job = next(iter(self._long))
        self.drop(job)
        return job

    def take_batch(self) -> list[Job]:
        """The most urgent short text and those that fit beside it, always the one that costs the least padding next."""
        batch = self._beside(self._urgent[0][2])
        for job in batch:
            self.drop(job)
        return batch

    def _beside(self, first: Job) -> list[Job]:
        batch, tokens, longest, padding = [first], first.length, first.length, 0
        downwards, upwards = self._lines[first.adapter].around(first)
        shorter, longer = next(downwards, None), next(upwards, None)
        while shorter or longer:
            below = longest - shorter.length if shorter else math.inf
            above = (longer.length - longest) * len(batch) if longer else math.inf
            if padding + min(below, above) > self._max_padding_tokens:
                break
            if shorter and below <= above:
                if tokens + shorter.length > self._max_batch_tokens:
                    break
                batch.append(shorter)
                tokens += shorter.length
                padding += longest - shorter.length
                shorter = next(downwards, None)
            elif longer:
                if tokens + longer.length > self._max_batch_tokens:
                    longer = None
                    continue
                tokens += longer.length
                padding += (longer.length - longest) * len(batch)
                batch.append(longer)
                longest = longer.length
                longer = next(upwards, None)
        return batch


class _Line:
    """The short texts of one adapter, by length."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._of_length: dict[int, OrderedDict[Job, None]] = {}

    def add(self, job: Job) -> None:
        if job.length not in self._of_length:
            self._of_length[job.length] = OrderedDict()
            insort(self.lengths, job.length)
        self._of_length[job.length][job] = None

    def drop(self, job: Job) -> None:
        same = self._of_length[job.length]
        del same[job]
        if not same:
            del self._of_length[job.length]
            del self.lengths[bisect_left(self.lengths, job.length)]

    def around(self, job: Job) -> tuple[Iterator[Job], Iterator[Job]]:
        """The others: from its own length down to the shortest, and from the next longer one up."""
        at = bisect_left(self.lengths, job.length)
        return self._of(self.lengths[at::-1], job), self._of(self.lengths[at + 1 :], job)

    def _of(self, lengths: list[int], without: Job) -> Iterator[Job]:
        return (job for length in lengths for job in self._of_length[length] if job is not without)
