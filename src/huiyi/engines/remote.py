"""`RemoteEngine`: several servers with the same weights as one engine, called by many workers at once.

Owns which server gets what: the least loaded by tokens among those that work, with retries elsewhere, a circuit that opens when a server
fails and closes when it has proven itself again, and limits a server. Knows no text: `wire` makes of token ids what a server takes.
"""

import logging
import random
import re
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np

from huiyi.engines.upstream import Cut, Fault, Garbled, Refused, Unreachable, Upstream
from huiyi.errors import InvalidInput, ModelFailed, TooLong, Unavailable
from huiyi.types import Floats, Ids

MAX_INPUTS = 64  # of a request, where a server states no limit of its own
FAILURES = 5  # one after the other open the circuit; a refused connection opens it at once
ATTEMPTS = 2  # at the same inputs, when servers answer and the answers are of no use
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
RETRY_S = 0.05
ROUGHLY = 4  # tokens fewer that a server may make of a text that it did not cut: some take off the blanks around it
log = logging.getLogger("huiyi.upstreams")

Wire = Callable[[Upstream, Ids], str | list[int]]
Admit = Callable[[Upstream], object]


@dataclass
class Lane:
    """One server and what is known of it. requests, tokens: on the way now. sent, texts: tokens and texts it has answered.

    out: why it is not asked now, empty while it is. failures: one after the other.
    """

    upstream: Upstream
    requests: int = 0
    tokens: int = 0
    sent: int = 0
    texts: int = 0
    failures: int = 0
    out: str = ""
    outages: int = 0
    pauses: int = 0
    again_at: float = 0.0
    turn: int = 0


@dataclass(frozen=True)
class UpstreamStats:
    """Of one server. up: whether it is asked now; problem: why not. texts, tokens: answered since the start. outages: times it was out."""

    url: str
    up: bool
    problem: str
    requests: int
    texts: int
    tokens: int
    outages: int


class RemoteEngine:
    """An `Engine` for a scheduler with many workers; `forward` is safe to call from all of them.

    upstreams: those that were admitted; `out`: those that were not there at the start, with the reason, asked when they have come.
    admit: raises a Fault unless a server (again) gives the vectors it should. max_requests: on the way to one server.
    max_wait_s: for any server to have room, or to come back.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        wire: Wire,
        admit: Admit,
        *,
        dim: int,
        max_tokens: int,
        out: Sequence[tuple[Upstream, str]] = (),
        max_requests: int = 16,
        max_wait_s: float = 60.0,
    ) -> None:
        self.dim = dim
        self.max_tokens = self.long_tokens = max_tokens
        self.max_requests, self.max_wait_s = max_requests, max_wait_s
        self._wire, self._admit = wire, admit
        self._lanes = [Lane(upstream) for upstream in upstreams]
        self._changed = threading.Condition()
        self._turns, self._closed = 0, False
        self._watcher: threading.Thread | None = None
        for upstream, reason in out:
            lane = Lane(upstream)
            self._lanes.append(lane)
            with self._changed:
                self._take_out(lane, reason)

    @property
    def workers(self) -> int:
        """How many may usefully call `forward` at once."""
        return min(64, self.max_requests * len(self._lanes))

    def forward(self, batch: Sequence[Ids], adapter: Any = None) -> Floats:
        """As `Engine.forward`; a row of NaN for a text that failed in company. Raises Unavailable, and for a single text its own error."""
        rows = np.empty((len(batch), self.dim), np.float32)
        start = 0
        while start < len(batch):
            limits = [lane.upstream.max_inputs or MAX_INPUTS for lane in self._lanes]
            end = min(len(batch), start + max(limits))
            rows[start:end] = self._rows(list(batch[start:end]), alone=len(batch) == 1)
            start = end
        return rows

    def steps(self, ids: Ids, adapter: Any = None) -> Generator[None, None, Floats]:
        """A server of its own mixes long texts with short ones: one step."""
        yield from ()
        row: Floats = self.forward([ids])[0]
        return row

    def stats(self) -> list[UpstreamStats]:
        with self._changed:
            return [
                UpstreamStats(lane.upstream.url, not lane.out, lane.out, lane.requests, lane.texts, lane.sent, lane.outages)
                for lane in self._lanes
            ]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.upstream.close()

    def _rows(self, part: list[Ids], alone: bool) -> Floats:
        """Rows of some texts; in halves where a server does not take or answer them together."""
        tokens, deadline = sum(map(len, part)), monotonic() + self.max_wait_s
        tried: list[Lane] = []
        useless = 0
        while True:
            lane = self._borrow(len(part), tokens, tried, deadline)
            most = lane.upstream.max_inputs or MAX_INPUTS
            if len(part) > most:
                self._give_back(lane, tokens)
                return np.concatenate([self._rows(part[i : i + most], False) for i in range(0, len(part), most)])
            answered = False
            try:
                rows = self._asked(lane.upstream, part)
                if rows.shape[1] != self.dim:
                    raise Garbled(f"answered vectors of {rows.shape[1]} numbers, not of {self.dim}")
                answered = bool(np.isfinite(rows).all())
                if answered or useless:
                    return rows
                fault: Fault = Garbled("answered NaN, infinite numbers or null")
            except Fault as error:
                fault = error
            finally:
                self._give_back(lane, tokens, len(part) if answered else 0)
            tried.append(lane)
            if isinstance(fault, Unreachable):
                self._note(lane, fault)
                if not fault.connected or fault.after_s is not None:
                    continue
            useless += 1
            if isinstance(fault, Refused) and len(part) > 1:
                return self._halved(part, lane, None if isinstance(fault, Cut) else fault)
            if isinstance(fault, Refused) or useless >= ATTEMPTS:
                if len(part) > 1:
                    return self._halved(part, lane, None)
                if alone:
                    raise _error_of(fault, lane, tokens)
                return np.full((1, self.dim), np.nan, np.float32)

    def _asked(self, upstream: Upstream, part: list[Ids]) -> Floats:
        """Rows from one server. Raises Fault; Cut where it read less than there is, or would."""
        if upstream.max_tokens is not None and max(map(len, part)) > upstream.max_tokens:
            raise Cut(upstream.max_tokens)
        answer = upstream.embed([self._wire(upstream, ids) for ids in part])  # type: ignore[arg-type]  # all alike
        if upstream.uncounted is not None and answer.tokens is not None:
            read = answer.tokens + upstream.uncounted * len(part)
            alone = len(part) == 1
            if read < sum(map(len, part)) - ROUGHLY * (alone and not upstream.takes_ids):
                if alone:
                    upstream.max_tokens = read
                raise Cut(read)
        return answer.rows

    def _halved(self, part: list[Ids], lane: Lane, refusal: Refused | None) -> Floats:
        """refusal: where both halves are taken then, it was their number that the server refused."""
        half = (len(part) + 1) // 2
        if stated := stated_limit(str(refusal or ""), len(part)):
            lane.upstream.max_inputs = half = stated
            return np.concatenate([self._rows(part[i : i + half], False) for i in range(0, len(part), half)])
        rows = np.concatenate([self._rows(part[:half], False), self._rows(part[half:], False)])
        if refusal is not None and np.isfinite(rows).all():
            lane.upstream.max_inputs = min(half, lane.upstream.max_inputs or half)
        return rows

    def _borrow(self, texts: int, tokens: int, tried: Sequence[Lane], deadline: float) -> Lane:
        """The lane with the fewest tokens on the way, the one that waited longest among equals; one that has not failed here yet."""
        with self._changed:
            while True:
                now = monotonic()
                if self._closed:
                    raise Unavailable("this encoder is closed; load the model again")
                open_ = [lane for lane in self._lanes if not lane.out and lane.again_at <= now and lane.requests < self.max_requests]
                fresh = [lane for lane in open_ if lane not in tried]
                if open_:
                    lane = min(fresh or open_, key=lambda lane: (lane.tokens, lane.turn))
                    self._turns += 1
                    lane.turn = self._turns
                    lane.requests += 1
                    lane.tokens += tokens
                    return lane
                if now >= deadline:
                    raise Unavailable(f"no server took these {texts} texts within {self.max_wait_s:g} s: {self._problems()}")
                waits = [lane.again_at - now for lane in self._lanes if not lane.out and lane.again_at > now]
                self._changed.wait(max(0.001, min([deadline - now, 1.0, *waits])))

    def _give_back(self, lane: Lane, tokens: int, texts: int = 0) -> None:
        with self._changed:
            lane.requests -= 1
            lane.tokens -= tokens
            if texts:
                lane.texts += texts
                lane.sent += tokens
                lane.failures = 0
            self._changed.notify_all()

    def _note(self, lane: Lane, fault: Unreachable) -> None:
        with self._changed:
            if fault.after_s is not None:
                lane.again_at = monotonic() + max(RETRY_S, fault.after_s) * random.uniform(0.75, 1.25)
                return
            lane.failures += 1
            lane.again_at = monotonic() + random.uniform(0.5, 1.5) * RETRY_S * lane.failures
            if not lane.out and (not fault.connected or lane.failures >= FAILURES):
                self._take_out(lane, str(fault))

    def _take_out(self, lane: Lane, reason: str) -> None:
        """Under the lock."""
        log.warning("%s %s; it is asked again when it gives the right vectors", lane.upstream.url, reason)
        lane.out, lane.pauses = reason, 0
        lane.outages += 1
        lane.again_at = monotonic() + random.uniform(0.5, 1.0) * FIRST_PAUSE_S
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="huiyi-upstreams", daemon=True)
            self._watcher.start()
        self._changed.notify_all()

    def _watch(self) -> None:
        """Lets servers in again; ends when all are."""
        while True:
            with self._changed:
                waiting = [lane for lane in self._lanes if lane.out]
                if self._closed or not waiting:
                    self._watcher = None
                    return
                lane = min(waiting, key=lambda lane: lane.again_at)
                left = lane.again_at - monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
            try:
                self._admit(lane.upstream)
                problem = ""
            except Fault as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001  a watcher that dies would keep every server out
                problem = f"could not be tried ({type(error).__name__}: {error})"
            with self._changed:
                if problem and problem != lane.out:
                    log.warning("%s %s", lane.upstream.url, problem)
                lane.out, lane.failures = problem, 0
                lane.pauses += 1
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**lane.pauses)
                lane.again_at = monotonic() + random.uniform(0.5, 1.0) * pause if problem else 0.0
                if not problem:
                    log.warning("%s is back", lane.upstream.url)
                self._changed.notify_all()

    def _problems(self) -> str:
        busy = "is busy with others"
        return "; ".join(f"{lane.upstream.url} {lane.out or busy}" for lane in self._lanes)


def stated_limit(reason: str, inputs: int) -> int:
    """How many inputs a server takes at once, where its refusal of more of them says so; else 0."""
    if not re.search(r"batch|inputs\b|array|items", reason, re.IGNORECASE):
        return 0
    return max((n for n in map(int, re.findall(r"\d{1,6}", reason)) if 0 < n < inputs), default=0)


def _error_of(fault: Fault, lane: Lane, tokens: int) -> Exception:
    """Of one text that no server could be made to answer."""
    if isinstance(fault, Cut):
        return TooLong(f"a text has {tokens:,} tokens, and {lane.upstream.url} {fault}")
    said = f"{lane.upstream.url} {'refused it: ' if isinstance(fault, Refused) else ''}{fault}"
    if isinstance(fault, Refused):
        long = re.search(r"too (large|long)|maximum|at most|exceed|context|physical batch", str(fault), re.IGNORECASE)
        return TooLong(f"a text has {tokens} tokens, and {said}") if long else InvalidInput(f"a text cannot be embedded: {said}")
    return ModelFailed(f"{said}, for this text of {tokens} tokens; other texts are not affected")
