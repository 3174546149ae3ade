"""Readers together, a writer alone, and who goes first."""

import threading

from fakes import in_thread, until
from huiyi.stores import locking
from huiyi.stores.locking import SharedLock


def test_readers_are_inside_together_and_a_writer_is_alone() -> None:
    lock, inside, most, wrong = SharedLock(), [0, 0], [0], []
    guard = threading.Lock()

    def read() -> None:
        for _ in range(200):
            with lock.shared():
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    if inside[1]:
                        wrong.append("a writer beside a reader")
                with guard:
                    inside[0] -= 1

    def write(patient: bool) -> None:
        for _ in range(100):
            with lock.alone(patient):
                with guard:
                    inside[1] += 1
                    if inside != [0, 1]:
                        wrong.append(f"a writer with {inside}")
                with guard:
                    inside[1] -= 1

    running = [*(in_thread(read) for _ in range(4)), in_thread(write, False), in_thread(write, True)]
    for each in running:
        each.result(20)
    assert wrong == []


def test_two_readers_need_not_wait_for_each_other() -> None:
    lock, both = SharedLock(), threading.Barrier(2, timeout=10)

    def read() -> None:
        with lock.shared():
            both.wait()

    for each in [in_thread(read), in_thread(read)]:
        each.result(10)


def test_a_writer_goes_before_a_reader_that_came_later() -> None:
    lock, order = SharedLock(), []
    with lock.shared():
        writer = in_thread(lambda: _note(lock.alone(), order, "writer"))
        until(lambda: lock._writers_waiting == 1)
        reader = in_thread(lambda: _note(lock.shared(), order, "reader"))
        until(lambda: lock._readers_waiting == 1)
    writer.result(10)
    reader.result(10)
    assert order == ["writer", "reader"]


def test_a_patient_writer_lets_later_readers_by_but_not_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE_S", 0.3)
    lock, order = SharedLock(), []
    with lock.shared():
        writer = in_thread(lambda: _note(lock.alone(patient=True), order, "writer"))
        reader = in_thread(lambda: _note(lock.shared(), order, "reader"))
        reader.result(10)
        assert order == ["reader"]
        until(lambda: lock._writers_waiting == 1)
    writer.result(10)
    assert order == ["reader", "writer"]


def _note(lock, order, name) -> None:
    with lock:
        order.append(name)
