"""Several servers as one engine: who gets what, what happens when one fails, and that nobody waits for ever."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from fakes import ids, in_thread, until
from huiyi.engines.remote import RemoteEngine, stated_limit
from huiyi.engines.upstream import Answer, Fault, Refused, Unreachable
from huiyi.errors import InvalidInput, ModelFailed, TooLong, Unavailable

DIM = 4


class FakeUpstream:
    """rows: of an id list, (id, n, 1, 1). reads: tokens of a text. fails: raised if it gives something. gate: closed while cleared."""

    def __init__(self, name: str) -> None:
        self.url, self.model = name, "m"
        self.takes_ids, self.ending, self.max_inputs = True, "", None
        self.uncounted, self.max_tokens, self.reads = 0, None, 1_000
        self.fails: Callable[[list[list[int]]], Fault | None] = lambda inputs: None
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[int] = []

    def embed(self, inputs: list[list[int]], timeout_s: float | None = None) -> Answer:
        self.asked.append(len(inputs))
        self.gate.wait()
        if fault := self.fails(inputs):
            raise fault
        rows = [row[: self.reads] for row in inputs]
        return Answer(np.array([[row[0], len(row), 1, 1] for row in rows], np.float32), sum(map(len, rows)))

    def close(self) -> None:
        pass


def engine(*upstreams: FakeUpstream, admit: Callable[[FakeUpstream], object] = lambda upstream: None, **options) -> RemoteEngine:
    return RemoteEngine(upstreams, lambda upstream, row: row.tolist(), admit, dim=DIM, max_tokens=100, **options)


def down(inputs: list[list[int]]) -> Fault:
    return Unreachable("cannot be reached", connected=False)


def test_the_least_loaded_by_tokens_is_asked() -> None:
    busy, free = FakeUpstream("busy"), FakeUpstream("free")
    both = engine(busy, free)
    busy.gate.clear()
    free.gate.clear()
    long = in_thread(both.forward, [ids(*range(1, 50))])
    until(lambda: len(busy.asked) + len(free.asked) == 1)
    loaded, other = (busy, free) if busy.asked else (free, busy)
    other.gate.set()
    for number in range(5):
        assert both.forward([ids(number + 1)])[0, 0] == number + 1
    assert len(other.asked) == 5
    loaded.gate.set()
    assert long.result(20)[0, 1] == 49


def test_equal_ones_take_turns() -> None:
    first, second = FakeUpstream("first"), FakeUpstream("second")
    both = engine(first, second)
    for number in range(10):
        both.forward([ids(number + 1)])
    assert (len(first.asked), len(second.asked)) == (5, 5)
    assert [stats.tokens for stats in both.stats()] == [5, 5]


def test_what_fails_at_one_is_answered_by_another_and_it_comes_back_when_it_proves_itself() -> None:
    first, second = FakeUpstream("first"), FakeUpstream("second")
    right = threading.Event()

    def admit(upstream: FakeUpstream) -> None:
        if not right.is_set():
            raise Unreachable("gives other vectors")

    both = engine(first, second, admit=admit)
    first.fails = down
    for number in range(6):
        assert both.forward([ids(number + 1)])[0, 0] == number + 1
    stats = {each.url: each for each in both.stats()}
    assert not stats["first"].up
    assert len(first.asked) <= 2
    first.fails = lambda inputs: None
    until(lambda: {each.url: each for each in both.stats()}["first"].problem == "gives other vectors")
    right.set()
    until(lambda: all(each.up for each in both.stats()))
    before = len(first.asked)
    both.forward([ids(1)])
    both.forward([ids(1)])
    assert len(first.asked) > before
    both.close()


def test_a_text_waits_for_a_server_that_comes_back() -> None:
    only = FakeUpstream("only")
    only.fails = down
    one = engine(only, max_wait_s=60)
    waiting = in_thread(one.forward, [ids(5)])
    until(lambda: not one.stats()[0].up)
    only.fails = lambda inputs: None
    assert waiting.result(60)[0, 0] == 5


def test_nobody_waits_for_ever() -> None:
    only = FakeUpstream("gpu1")

    def admit(upstream: FakeUpstream) -> None:
        raise Unreachable("cannot be reached", connected=False)

    one = engine(only, admit=admit, max_wait_s=0.2)
    only.fails = down
    with pytest.raises(Unavailable, match="gpu1 cannot be reached"):
        one.forward([ids(5)])
    one.close()
    with pytest.raises(Unavailable, match="closed"):
        one.forward([ids(5)])


def test_no_server_gets_more_requests_than_it_may() -> None:
    only = FakeUpstream("only")
    one = engine(only, max_requests=2)
    only.gate.clear()
    running = [in_thread(one.forward, [ids(number)]) for number in range(1, 6)]
    until(lambda: len(only.asked) == 2)
    assert one.stats()[0].requests == 2
    only.gate.set()
    assert [each.result(20)[0, 0] for each in running] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("text exceeds the maximum context", TooLong),
        ("String should have at most 122880 characters", TooLong),
        ("not allowed", InvalidInput),
    ],
    ids=["too long", "too long for infinity", "refused"],
)
def test_a_refused_text_says_why_and_the_others_are_answered(reason: str, error: type[Exception]) -> None:
    only = FakeUpstream("gpu1")
    only.fails = lambda inputs: Refused(reason) if any(row[0] == 13 for row in inputs) else None
    one = engine(only)
    rows = one.forward([ids(number) for number in (1, 13, 3, 4, 5)])
    assert np.isnan(rows[1]).all()
    assert rows[[0, 2, 3, 4], 0].tolist() == [1, 3, 4, 5]
    with pytest.raises(error, match=f"gpu1 refused it: {reason}"):
        one.forward([ids(13)])
    assert only.max_inputs is None


def test_a_text_that_is_cut_in_silence_is_too_long_and_the_others_are_answered() -> None:
    only = FakeUpstream("gpu1")
    only.reads = 8
    one = engine(only)
    texts = [ids(*[number] * length) for number, length in ((1, 8), (2, 3), (3, 9), (4, 1))]
    assert np.isnan(one.forward(texts)).any(axis=1).tolist() == [False, False, True, False]
    for _ in range(2):
        with pytest.raises(TooLong, match=r"has 9 tokens, and gpu1 reads 8 of them .* --max-tokens 8"):
            one.forward(texts[2:3])
    before = len(only.asked)
    assert np.isnan(one.forward(texts)).any(axis=1).tolist() == [False, False, True, False]
    assert sum(only.asked[before:]) == 3  # what is known to be cut is not sent again
    assert only.max_inputs is None


def test_a_server_that_counts_otherwise_is_believed() -> None:
    only = FakeUpstream("gpu1")
    only.reads, only.uncounted = 2, None
    assert engine(only).forward([ids(1, 2, 3)])[0, 1] == 2


def test_a_text_that_servers_fail_on_fails() -> None:
    first, second = FakeUpstream("first"), FakeUpstream("second")
    for each in (first, second):
        each.fails = lambda inputs: Unreachable("failed (500)") if any(row[0] == 13 for row in inputs) else None
    both = engine(first, second)
    rows = both.forward([ids(number) for number in (1, 13, 3)])
    assert np.isnan(rows).any(axis=1).tolist() == [False, True, False]
    with pytest.raises(ModelFailed, match="500"):
        both.forward([ids(13)])
    both.close()


def test_a_limit_that_nobody_stated_is_found() -> None:
    only = FakeUpstream("only")
    only.fails = lambda inputs: Refused("no") if len(inputs) > 6 else None
    one = engine(only)
    rows = one.forward([ids(number) for number in range(1, 41)])
    assert rows[:, 0].tolist() == list(range(1, 41))
    assert only.max_inputs in range(3, 7)


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        ("batch size 64 > maximum allowed batch size 32", 32),
        ("Value error, batch size is invalid, it should not be larger than 10.: input.contents", 10),
        ("List should have at most 32 items after validation, not 64", 32),
        ("input 3 has 9000 tokens and this model takes 8192", 0),
        ("too long", 0),
    ],
)
def test_limits_as_servers_put_them(reason: str, limit: int) -> None:
    assert stated_limit(reason, 64) == limit
