"""A scheduler with several workers over an engine that many may call at once, as engines on other machines are."""

import threading

import numpy as np
import pytest

from fakes import FakeEngine, ids, in_thread, until
from huiyi.encoding.scheduler import Scheduler
from huiyi.errors import TooLong, Unavailable
from huiyi.types import Floats


class ManyEngine(FakeEngine):
    """May be entered by many, and counts them. gate: holds all of them. refuses: a text with this id is too long there."""

    def __init__(self, gate: threading.Event | None = None, refuses: int | None = None, down: bool = False) -> None:
        super().__init__()
        self.hold, self.refuses, self.down = gate, refuses, down
        self.inside = self.most = self.passes = 0
        self.lock = threading.Lock()

    def forward(self, batch, adapter=None) -> Floats:
        with self.lock:
            self.inside += 1
            self.passes += 1
            self.most = max(self.most, self.inside)
        try:
            if self.hold is not None:
                self.hold.wait()
            if self.down:
                raise Unavailable("no server is there")
            if self.refuses is not None and any(self.refuses in row for row in batch):
                if len(batch) == 1:
                    raise TooLong("a text is too long there")
                raise RuntimeError("one of them")
            return self._rows(batch, adapter)
        finally:
            with self.lock:
                self.inside -= 1


def scheduler(engine: ManyEngine, workers: int = 4, **options) -> Scheduler:
    return Scheduler(engine, workers=workers, max_batch_tokens=8, max_padding_tokens=8, **options)


def rows(count: int) -> list:
    return [ids(number + 2, 1) for number in range(count)]


def test_every_text_gets_its_own_vector_in_order() -> None:
    engine = ManyEngine()
    queue = scheduler(engine)
    got: list[Floats] = []
    queue.run(rows(200), got.append)
    np.testing.assert_array_equal(np.stack(got), np.stack([engine.vector(row) for row in rows(200)]))
    assert queue.stats().texts == 200
    assert queue.stats().held_tokens == 0
    queue.close()


def test_as_many_are_in_the_engine_as_there_are_workers_and_no_more() -> None:
    gate = threading.Event()
    engine = ManyEngine(gate)
    queue = scheduler(engine, workers=3)
    waiting = [queue.submit(row) for row in rows(40)]
    until(lambda: engine.inside == 3)
    gate.set()
    vectors = [each.result(60) for each in waiting]
    np.testing.assert_array_equal(np.stack(vectors), np.stack([engine.vector(row) for row in rows(40)]))
    assert engine.most == 3
    queue.close()


def test_one_list_keeps_all_workers_busy() -> None:
    gate = threading.Event()
    engine = ManyEngine(gate)
    queue = scheduler(engine)
    running = in_thread(queue.run, rows(100), lambda row: None)
    until(lambda: engine.inside == 4)
    gate.set()
    running.result(60)
    queue.close()


def test_a_text_that_the_engine_refuses_fails_with_the_engines_words_and_alone() -> None:
    queue = scheduler(ManyEngine(refuses=5))
    futures = [queue.submit(row) for row in rows(12)]
    for number, each in enumerate(futures):
        if number + 2 == 5:
            with pytest.raises(TooLong, match="too long there"):
                each.result(60)
        else:
            assert each.result(60).shape == (8,)
    queue.close()


def test_nobody_is_there_is_said_once_and_not_asked_text_by_text() -> None:
    engine = ManyEngine(down=True)
    queue = scheduler(engine, workers=1)
    with pytest.raises(Unavailable, match="no server is there"):
        queue.run(rows(4), lambda row: None)
    assert engine.passes <= 4
    queue.close()


def test_closing_ends_all_workers() -> None:
    engine = ManyEngine()
    queue = scheduler(engine)
    queue.run(rows(100), lambda row: None)
    queue.close()
    until(lambda: not any(thread.name == "huiyi-engine" and thread.is_alive() for thread in queue._workers))
    with pytest.raises(Unavailable):
        queue.submit(ids(1))


def test_what_waits_is_answered_before_it_closes() -> None:
    gate = threading.Event()
    queue = scheduler(ManyEngine(gate))
    waiting = [queue.submit(row) for row in rows(30)]
    closing = in_thread(queue.close)
    gate.set()
    closing.result(60)
    assert all(each.done() and each.exception() is None for each in waiting)
