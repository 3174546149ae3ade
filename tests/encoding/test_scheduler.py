"""The batching law, clause by clause, with an engine that can be stalled, poisoned and counted."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import LIMIT_S, FakeEngine, ids, ids_of_length, in_thread, until
from huiyi.encoding import scheduler as scheduler_module
from huiyi.encoding.scheduler import Scheduler
from huiyi.encoding.waiting import Job, Waiting
from huiyi.errors import InvalidInput, ModelFailed, Overloaded, TooLarge, TooLong, Unavailable
from huiyi.types import Floats, Ids

RAISE, NAN, ZERO = 901, 902, 903


def results(futures: list[Future[Floats]]) -> list[Floats]:
    return [future.result(LIMIT_S) for future in futures]


def plugged(**options) -> tuple[FakeEngine, Scheduler, Future[Floats]]:
    """An engine stalled on a first text of 3 tokens, so that all that follows waits until `engine.gate` is set."""
    in_scheduler = {
        name: options.pop(name) for name in list(options) if name in ("max_batch_tokens", "max_queue_tokens", "max_padding_tokens")
    }
    engine = FakeEngine(gate=threading.Event(), **options)
    scheduler = Scheduler(engine, **in_scheduler)
    plug = scheduler.submit(ids(11, 12, 13))
    assert engine.entered.wait(LIMIT_S)
    return engine, scheduler, plug


def passes_between(scheduler: Scheduler, text: Ids, log: list) -> int:
    """How much `log` grew between the acceptance of `text` and its answer, whatever this thread was doing meanwhile."""
    after: list[int] = []
    with scheduler._lock:
        before = len(log)
        future = scheduler.submit(text)
        future.add_done_callback(lambda _: after.append(len(log)))
    future.result(LIMIT_S)
    until(lambda: bool(after))
    return after[0] - before


# every accepted text gets exactly one answer, its own

texts_of_callers = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 40), st.integers(60, 130)),
        st.sampled_from([0, 0, 0, 0, RAISE, NAN, ZERO]),
        st.sampled_from(["wait", "wait", "wait", "cancel"]),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60)
@given(texts_of_callers, st.integers(1, 4), st.integers(1, 120), st.integers(0, 80))
def test_every_text_gets_exactly_one_answer_and_it_is_its_own(texts, callers, max_batch_tokens, max_padding_tokens):
    engine = FakeEngine(long_tokens=50, step_tokens=20, raise_on=[RAISE], nan_on=[NAN], zero_on=[ZERO])
    scheduler = Scheduler(engine, max_batch_tokens=max_batch_tokens, max_padding_tokens=max_padding_tokens)
    answers: dict[int, int] = {}
    futures: dict[int, Future[Floats]] = {}

    def count(i: int) -> Callable[[Future[Floats]], None]:
        return lambda _: answers.__setitem__(i, answers.get(i, 0) + 1)

    def row_of(i: int) -> Ids:
        length, poison, _ = texts[i]
        row = ids_of_length(length, fill=i + 1)
        row[-1] = poison or i + 1
        return row

    def caller(number: int) -> None:
        for i in range(number, len(texts), callers):
            futures[i] = scheduler.submit(row_of(i))
            futures[i].add_done_callback(count(i))
            if texts[i][2] == "cancel":
                futures[i].cancel()

    for done in [in_thread(lambda number=number: caller(number)) for number in range(callers)]:
        done.result(LIMIT_S)
    assert not wait(futures.values(), timeout=LIMIT_S).not_done
    scheduler.close()

    for i, (_, poison, action) in enumerate(texts):
        future = futures[i]
        if future.cancelled():
            assert action == "cancel"
        elif poison:
            assert isinstance(future.exception(), ModelFailed)
        else:
            np.testing.assert_array_equal(future.result(), engine.vector(row_of(i)))
    assert answers == dict.fromkeys(range(len(texts)), 1)
    stats = scheduler.stats()
    assert stats.texts + stats.failed + stats.cancelled == len(texts)
    assert (stats.waiting_texts, stats.waiting_tokens, stats.running_texts, stats.held_tokens) == (0, 0, 0, 0)
    assert len(engine.threads) <= 1


def test_answers_do_not_share_the_engines_buffer():
    class OneBuffer(FakeEngine):
        buffer = np.zeros((1, 8), dtype=np.float32)

        def forward(self, batch, adapter=None):
            self.buffer[:] = super().forward(batch, adapter)
            return self.buffer

    engine = OneBuffer()
    scheduler = Scheduler(engine)
    first = scheduler.submit(ids(1)).result(LIMIT_S)
    scheduler.submit(ids(2)).result(LIMIT_S)
    np.testing.assert_array_equal(first, engine.vector(ids(1)))


# adapters


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(1, 30), st.integers(60, 130)), st.sampled_from([None, "a", "b", "c"])), min_size=1, max_size=40
    ),
    st.integers(1, 120),
)
def test_a_batch_never_mixes_two_adapters_and_every_text_gets_its_own_vector(texts, max_batch_tokens):
    engine = FakeEngine(long_tokens=50, step_tokens=20, gate=threading.Event())
    scheduler = Scheduler(engine, max_batch_tokens=max_batch_tokens)
    futures = [(scheduler.submit(ids_of_length(length, i), adapter), length, i, adapter) for i, (length, adapter) in enumerate(texts)]
    engine.gate.set()
    for future, length, i, adapter in futures:
        np.testing.assert_array_equal(future.result(LIMIT_S), engine.vector(ids_of_length(length, i), adapter))
    scheduler.close()


def test_texts_of_one_adapter_share_batches_however_others_come_in_between():
    engine, scheduler, plug = plugged()
    futures = [scheduler.submit(ids_of_length(5, i), adapter) for i in range(10) for adapter in ("a", None)]
    engine.gate.set()
    results([plug, *futures])
    assert engine.calls == [[3], [5] * 10, [5] * 10]
    assert engine.adapters == [None, "a", None]


def test_nobody_waits_for_ever_behind_the_texts_of_another_adapter():
    engine, scheduler, plug = plugged(max_batch_tokens=10)
    many = [scheduler.submit(ids_of_length(5), "a") for _ in range(20)]
    one = scheduler.submit(ids_of_length(5), "b")
    late = [scheduler.submit(ids_of_length(5), "a") for _ in range(20)]
    engine.gate.set()
    results([plug, *many, one, *late])
    assert engine.adapters.index("b") == 11


def test_a_failing_batch_is_retried_with_its_adapter():
    engine, scheduler, _ = plugged(raise_on=[RAISE])
    good, bad = scheduler.submit(ids(1, 1), "a"), scheduler.submit(ids(1, RAISE), "a")
    engine.gate.set()
    np.testing.assert_array_equal(good.result(LIMIT_S), engine.vector(ids(1, 1), "a"))
    assert isinstance(bad.exception(LIMIT_S), ModelFailed)
    assert engine.adapters == [None, "a", "a", "a"]


def test_an_adapter_that_nobody_waits_for_is_not_kept_alive():
    class Adapter:
        pass

    engine, adapter = FakeEngine(), Adapter()
    scheduler = Scheduler(engine)
    scheduler.submit(ids(1), adapter).result(LIMIT_S)
    known = weakref.ref(adapter)
    engine.adapters.clear()
    del adapter
    scheduler.submit(ids(1)).result(LIMIT_S)
    scheduler.submit(ids(2)).result(LIMIT_S)
    gc.collect()
    until(lambda: known() is None)


# which texts share a batch


def line(
    lengths: list[int], long_tokens: int = 512, max_batch_tokens: int = 512, max_padding_tokens: int = 64
) -> tuple[Waiting, list[Job]]:
    waiting = Waiting(long_tokens, max_batch_tokens, max_padding_tokens)
    jobs = [Job(ids_of_length(length), 0, float(i), lambda job, _: True) for i, length in enumerate(lengths)]
    for job in jobs:
        waiting.add(job)
    return waiting, jobs


@given(st.lists(st.integers(1, 100), min_size=1, max_size=80), st.integers(1, 400), st.integers(0, 100), st.data())
def test_batches_hold_the_oldest_keep_to_their_budgets_and_forget_nobody(lengths, max_batch_tokens, max_padding_tokens, data):
    waiting, jobs = line(lengths, 512, max_batch_tokens, max_padding_tokens)
    left = dict.fromkeys(jobs)
    for job in data.draw(st.lists(st.sampled_from(jobs), unique=True, max_size=5)):
        waiting.drop(job)
        del left[job]
    while waiting.has_short:
        assert len(waiting) == len(left)
        assert waiting.tokens == sum(job.length for job in left)
        assert waiting.oldest_since == next(iter(left)).since
        batch = waiting.take_batch()
        longest = max(job.length for job in batch)
        assert batch[0] is next(iter(left))
        assert len(batch) == 1 or sum(job.length for job in batch) <= max_batch_tokens
        assert sum(longest - job.length for job in batch) <= max_padding_tokens
        for job in batch:
            del left[job]
    assert not left
    assert waiting.tokens == 0


def test_a_batch_is_filled_with_the_nearest_lengths_first():
    waiting, jobs = line([20, 50, 21, 20, 5, 19, 20], max_batch_tokens=4 * 20)
    assert waiting.take_batch() == [jobs[0], jobs[3], jobs[6], jobs[5]]
    assert waiting.take_batch() == [jobs[1], jobs[2]]
    assert waiting.take_batch() == [jobs[4]]


def test_a_short_text_does_not_ride_with_a_long_one_at_the_price_of_much_padding():
    waiting, jobs = line([200, 10, 11])
    assert waiting.take_batch() == [jobs[0]]
    assert waiting.take_batch() == [jobs[1], jobs[2]]


def test_lists_and_single_callers_share_batches():
    engine, scheduler, _ = plugged()
    rows: list[Floats] = []
    listed = in_thread(lambda: scheduler.run([ids_of_length(9, fill) for fill in range(5)], rows.append))
    until(lambda: scheduler.stats().waiting_texts == 5)
    single = scheduler.submit(ids_of_length(9, 77))
    engine.gate.set()
    single.result(LIMIT_S)
    listed.result(LIMIT_S)
    assert engine.calls == [[3], [9] * 6]


def test_a_question_does_not_wait_for_a_list_of_passages_that_came_just_before_it(monkeypatch):
    monkeypatch.setattr(scheduler_module, "GIVES_WAY_S_PER_TOKEN", 100.0)  # just before: on any machine
    engine, scheduler, plug = plugged(max_batch_tokens=180, long_tokens=512)
    rows: list[Floats] = []
    passages = in_thread(lambda: scheduler.run([ids_of_length(180)] * 3, rows.append))
    until(lambda: scheduler.stats().waiting_texts == 3)
    question = scheduler.submit(ids_of_length(18))
    engine.gate.set()
    results([plug, question])
    passages.result(LIMIT_S)
    assert engine.calls == [[3], [18], [180], [180], [180]]


def test_a_list_gives_way_for_a_while_and_no_longer(monkeypatch):
    monkeypatch.setattr(scheduler_module, "GIVES_WAY_S_PER_TOKEN", 0.0)
    engine, scheduler, plug = plugged(max_batch_tokens=180, long_tokens=512)
    passage = scheduler.submit(ids_of_length(180))
    question = scheduler.submit(ids_of_length(18))
    engine.gate.set()
    results([plug, passage, question])
    assert engine.calls == [[3], [180], [18]]


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 10)), min_size=1, max_size=60))
def test_the_most_urgent_text_is_next_whatever_came_when(texts):
    waiting = Waiting(512, 512, 64)
    left = [Job(ids_of_length(length), 0, float(i), lambda job, _: True, due=due) for i, (length, due) in enumerate(texts)]
    for job in left:
        waiting.add(job)
    while left:
        batch = waiting.take_batch()
        assert batch[0].due == min(job.due for job in left)
        left = [job for job in left if job not in batch]
    assert not waiting.has_short


# cancelling


def test_a_cancelled_text_costs_no_pass_and_frees_its_room_at_once():
    engine, scheduler, plug = plugged(max_queue_tokens=100, max_tokens=100, long_tokens=60)
    gone = [scheduler.submit(ids_of_length(20)), scheduler.submit(ids_of_length(70))]
    with pytest.raises(Overloaded):
        scheduler.submit(ids_of_length(50))
    assert [future.cancel() for future in gone] == [True, True]
    assert gone[0].cancel()
    assert wait(gone, timeout=1).done == set(gone)
    kept = scheduler.submit(ids_of_length(50))
    engine.gate.set()
    results([plug, kept])
    assert engine.order == ["batch", "batch"]
    assert engine.calls == [[3], [50]]
    assert scheduler.stats().cancelled == 2
    assert not kept.cancel()


def test_a_long_text_whose_caller_leaves_stops_at_its_next_step():
    engine = FakeEngine(long_tokens=50, step_tokens=10, sleep_s_per_token=0.001)
    scheduler = Scheduler(engine)
    long = scheduler.submit(ids_of_length(5000))
    until(lambda: len(engine.stepped) >= 3)
    assert long.cancel()
    after = len(engine.stepped)
    scheduler.submit(ids(1)).result(LIMIT_S)
    until(lambda: engine.abandoned == 1)
    assert len(engine.stepped) <= after + 2
    scheduler.submit(ids_of_length(60)).result(LIMIT_S)
    assert scheduler.stats().held_tokens == 0


def test_a_text_cancelled_while_it_runs_is_not_answered_twice():
    engine, scheduler, plug = plugged()
    assert plug.cancel()
    engine.gate.set()
    scheduler.submit(ids(1)).result(LIMIT_S)
    with pytest.raises(CancelledError):
        plug.result()
    assert scheduler.stats().texts == 1


# failing


@pytest.mark.parametrize("fault", [{"raise_on": [RAISE]}, {"nan_on": [RAISE]}, {"zero_on": [RAISE]}], ids=str)
def test_a_poison_text_fails_alone(fault):
    engine, scheduler, _ = plugged(**fault)
    good = [scheduler.submit(ids_of_length(6, fill)) for fill in range(1, 10)]
    bad = scheduler.submit(ids(1, 2, 3, 4, 5, RAISE))
    engine.gate.set()
    for fill, vector in enumerate(results(good), start=1):
        np.testing.assert_array_equal(vector, engine.vector(ids_of_length(6, fill)))
    with pytest.raises(ModelFailed, match="6 tokens") as failed:
        bad.result(LIMIT_S)
    assert isinstance(failed.value.__cause__, RuntimeError) == ("raise_on" in fault)
    assert engine.calls[1] == [6] * 10
    assert scheduler.stats().failed == 1


@pytest.mark.parametrize("rows_off", [-1, 1, -100])
def test_the_wrong_number_of_rows_is_computed_again_one_by_one(rows_off):
    engine, scheduler, _ = plugged(rows_off=rows_off)
    futures = [scheduler.submit(ids_of_length(6, fill)) for fill in range(5)]
    engine.gate.set()
    for fill, vector in enumerate(results(futures)):
        np.testing.assert_array_equal(vector, engine.vector(ids_of_length(6, fill)))
    assert engine.calls == [[3], [6] * 5, *[[6]] * 5]


def test_a_caller_who_leaves_during_the_retry_costs_no_pass_of_its_own():
    engine, scheduler, _ = plugged(raise_on=[RAISE])
    bad = scheduler.submit(ids(1, RAISE))
    leaving, staying = scheduler.submit(ids(2, 2)), scheduler.submit(ids(3, 3))
    forward = engine.forward

    def leave_after_the_batch(batch, adapter):
        try:
            return forward(batch, adapter)
        finally:
            if len(batch) == 3:
                leaving.cancel()

    engine.forward = leave_after_the_batch
    engine.gate.set()
    staying.result(LIMIT_S)
    assert isinstance(bad.exception(LIMIT_S), ModelFailed)
    assert engine.calls == [[3], [2, 2, 2], [2], [2]]


def test_an_engine_that_never_answers_rightly_fails_each_text_and_goes_on():
    engine = FakeEngine(rows_off=1, rows_off_alone=True)
    scheduler = Scheduler(engine)
    for _ in range(3):
        with pytest.raises(ModelFailed, match="1 tokens"):
            scheduler.submit(ids(1)).result(LIMIT_S)
    engine.rows_off = 0
    scheduler.submit(ids(1)).result(LIMIT_S)


@pytest.mark.parametrize(
    "answer", [None, np.zeros((1, 9), np.float32), np.ones((8, 1), np.float32), [[1.0] * 8, [1.0]], "text", {"a": 1}], ids=repr
)
def test_an_answer_of_the_wrong_shape_is_a_failure_and_no_crash(answer, monkeypatch):
    engine = FakeEngine(long_tokens=5)
    scheduler = Scheduler(engine)
    monkeypatch.setattr(engine, "forward", lambda batch: answer)

    def steps(text):
        yield
        return answer

    monkeypatch.setattr(engine, "steps", steps)
    for row in (ids(1), ids_of_length(10)):
        with pytest.raises(ModelFailed):
            scheduler.submit(row).result(LIMIT_S)


def test_running_out_of_memory_is_an_answer_and_not_an_end():
    engine = FakeEngine(raises=MemoryError("no more"))
    scheduler = Scheduler(engine)
    with pytest.raises(ModelFailed) as failed:
        scheduler.submit(ids(1)).result(LIMIT_S)
    assert isinstance(failed.value.__cause__, MemoryError)
    engine.raises = None
    scheduler.submit(ids(1)).result(LIMIT_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("end", [SystemExit(1), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("length", [3, 60])
def test_when_the_worker_dies_nobody_waits_for_ever(end, length):
    engine = FakeEngine(gate=threading.Event(), raises=end, long_tokens=50)
    scheduler = Scheduler(engine)
    futures = [scheduler.submit(ids_of_length(length)) for _ in range(20)] + [scheduler.submit(ids_of_length(5))]
    listed = in_thread(lambda: scheduler.run([ids(1)] * 1000, lambda row: None))
    until(lambda: scheduler.stats().waiting_texts + scheduler.stats().running_texts > 21)
    engine.gate.set()
    for future in futures:
        with pytest.raises(ModelFailed, match="load the model again"):
            future.result(LIMIT_S)
    with pytest.raises((ModelFailed, Unavailable)):
        listed.result(LIMIT_S)
    with pytest.raises(Unavailable, match=type(end).__name__):
        scheduler.submit(ids(1))
    scheduler.close(timeout_s=LIMIT_S)


def test_a_callback_that_raises_harms_nobody_else(caplog):
    engine, scheduler, plug = plugged()
    plug.add_done_callback(lambda future: 1 / 0)
    other = scheduler.submit(ids(1))
    engine.gate.set()
    other.result(LIMIT_S)
    assert "ZeroDivisionError" in caplog.text


# room


def test_what_can_never_fit_is_told_so_at_the_door():
    scheduler = Scheduler(FakeEngine(max_tokens=50), max_queue_tokens=40)
    with pytest.raises(TooLong, match="51 tokens and the model takes 50"):
        scheduler.submit(ids_of_length(51))
    with pytest.raises(TooLarge, match="41 tokens and the queue holds 40"):
        scheduler.submit(ids_of_length(41))
    with pytest.raises(InvalidInput, match="without a single token"):
        scheduler.submit(ids())
    scheduler.submit(ids_of_length(40)).result(LIMIT_S)


def test_one_text_of_the_longest_kind_always_fits_an_empty_queue():
    engine = FakeEngine(max_tokens=100_000, long_tokens=50_000)
    scheduler = Scheduler(engine)
    scheduler.submit(ids_of_length(100_000)).result(LIMIT_S)


def test_a_full_queue_says_when_there_will_be_room():
    engine = FakeEngine(sleep_s_per_token=0.001)
    scheduler = Scheduler(engine, max_queue_tokens=1000, max_batch_tokens=100)
    results([scheduler.submit(ids_of_length(100)) for _ in range(3)])
    futures = [scheduler.submit(ids_of_length(100)) for _ in range(10)]
    with pytest.raises(Overloaded) as full:
        scheduler.submit(ids_of_length(500))
    assert 0.3 < full.value.retry_after_s < 1.5
    time.sleep(full.value.retry_after_s + 0.3)
    results([*futures, scheduler.submit(ids_of_length(500))])
    assert scheduler.stats().refused == 1


# a request of many texts


def test_a_request_larger_than_the_queue_is_fed_in_slices_when_it_is_alone():
    engine = FakeEngine(max_tokens=50)
    scheduler = Scheduler(engine, max_queue_tokens=60, max_batch_tokens=30)
    rows: list[Floats] = []
    most = 0

    def deliver(row: Floats) -> None:
        nonlocal most
        rows.append(row)
        most = max(most, scheduler.stats().waiting_tokens)

    texts = [ids_of_length(1 + i % 50, fill=i) for i in range(500)]
    scheduler.run(iter(texts), deliver)
    np.testing.assert_array_equal(rows, [engine.vector(text) for text in texts])
    assert most <= 60
    assert scheduler.stats().held_tokens == 0


def test_the_batches_of_a_repeatable_request_do_not_depend_on_timing():
    lengths = np.random.default_rng(1).integers(1, 70, 3000)
    texts = [ids_of_length(length, fill=i) for i, length in enumerate(lengths)]
    batches = []
    for pause_s in (0, 0.0002, 0.001):
        engine = FakeEngine(long_tokens=60, step_tokens=20)
        scheduler = Scheduler(engine, max_batch_tokens=200)

        def unsteady(row: Floats, pause_s: float = pause_s) -> None:
            if row[0] > 2.9:
                time.sleep(pause_s)

        scheduler.run(texts, unsteady, repeatable=True)
        batches.append(engine.calls)
    assert batches[0] == batches[1] == batches[2]
    assert len(batches[0]) > 100


def test_texts_are_drawn_only_as_room_appears():
    engine, scheduler, _ = plugged(max_batch_tokens=100)
    drawn = 0

    def texts():
        nonlocal drawn
        for _ in range(1000):
            drawn += 1
            yield ids_of_length(10)

    request = in_thread(lambda: scheduler.run(texts(), lambda row: None))
    until(lambda: scheduler.stats().waiting_texts == 30)
    assert drawn == 31
    engine.gate.set()
    request.result(LIMIT_S)
    assert drawn == 1000


def test_a_request_is_refused_at_its_start_or_carried_to_its_end():
    engine, scheduler, _ = plugged(max_queue_tokens=400, max_batch_tokens=100, max_tokens=400)
    rows: list[Floats] = []
    begun = in_thread(lambda: scheduler.run([ids_of_length(10, 1)] * 2000, rows.append))
    until(lambda: scheduler.stats().waiting_texts == 30)
    with pytest.raises(Overloaded):
        scheduler.run([ids_of_length(10, 2)] * 2000, rows.append)
    stop = threading.Event()
    crowd = [in_thread(lambda: crowding(scheduler, stop)) for _ in range(3)]
    engine.gate.set()
    begun.result(LIMIT_S)
    stop.set()
    assert len(rows) == 2000
    assert sum(future.result(LIMIT_S) for future in crowd) > 0
    assert ids_of_length(10, 2).tobytes() not in engine.seen


def crowding(scheduler: Scheduler, stop: threading.Event) -> int:
    """Keeps the queue as full as it gets; how often it was refused."""
    refused, futures = 0, []
    while not stop.is_set():
        try:
            futures.append(scheduler.submit(ids_of_length(20, 3)))
        except Overloaded:
            refused += 1
            time.sleep(0.001)
    results(futures)
    return refused


@settings(max_examples=30)
@given(st.lists(st.integers(1, 80), max_size=60), st.integers(1, 100), st.data())
def test_when_one_text_fails_the_rest_of_its_request_is_not_computed(lengths, max_batch_tokens, data):
    engine = FakeEngine(long_tokens=50, raise_on=[RAISE])
    scheduler = Scheduler(engine, max_batch_tokens=max_batch_tokens)
    bad = data.draw(st.none() | st.integers(0, len(lengths) - 1)) if lengths else None
    texts = [ids_of_length(length, fill=i) for i, length in enumerate(lengths)]
    if bad is not None:
        texts[bad][0] = RAISE
    rows: list[Floats] = []
    if bad is None:
        scheduler.run(texts, rows.append)
    else:
        with pytest.raises(ModelFailed):
            scheduler.run(texts, rows.append)
    assert len(rows) == (len(texts) if bad is None else bad)
    np.testing.assert_array_equal(rows, [engine.vector(text) for text in texts[: len(rows)]] or rows)
    scheduler.close()
    stats = scheduler.stats()
    assert (stats.held_tokens, stats.waiting_texts, stats.running_texts) == (0, 0, 0)


def test_a_request_whose_caller_leaves_is_dropped():
    engine, scheduler, plug = plugged()
    cancelled = threading.Event()
    request = in_thread(lambda: scheduler.run([ids(5)] * 100_000, lambda row: None, cancelled))
    until(lambda: scheduler.stats().waiting_texts > 100)
    began = time.monotonic()
    cancelled.set()
    with pytest.raises(CancelledError):
        request.result(LIMIT_S)
    assert time.monotonic() - began < 1
    engine.gate.set()
    plug.result(LIMIT_S)
    scheduler.close()
    assert engine.calls == [[3]]


def test_an_exception_of_the_receiver_or_the_source_ends_the_request():
    engine, scheduler = FakeEngine(), Scheduler(FakeEngine())

    def source():
        yield from [ids(1)] * 10
        raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        scheduler.run([ids(1)] * 10_000, lambda row: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(source(), lambda row: None)
    assert scheduler.stats().held_tokens == 0
    assert engine.calls == []
    scheduler.submit(ids(1)).result(LIMIT_S)


def test_a_single_text_beside_a_long_list_waits_for_a_few_batches():
    engine = FakeEngine(sleep_s_per_token=0.00002)
    scheduler = Scheduler(engine, max_batch_tokens=100)
    stop = threading.Event()
    bulk = in_thread(lambda: scheduler.run((ids_of_length(10) for _ in iter(stop.is_set, True)), lambda row: None))
    for fill in range(20):
        assert passes_between(scheduler, ids_of_length(10, fill), engine.calls) <= 4  # three of the list and its own
    stop.set()
    bulk.result(LIMIT_S)


def test_an_asyncio_server_can_wait_for_a_text_and_drop_it():
    engine, scheduler, _ = plugged()

    async def server() -> Floats:
        dropped, kept = (asyncio.wrap_future(scheduler.submit(ids(i))) for i in (1, 2))
        dropped.cancel()
        await asyncio.sleep(0)
        until(lambda: scheduler.stats().waiting_texts == 1)
        engine.gate.set()
        return await asyncio.wait_for(kept, LIMIT_S)

    np.testing.assert_array_equal(asyncio.run(server()), engine.vector(ids(2)))
    assert engine.calls == [[3], [1]]


# long beside short


def test_long_and_short_take_turns_and_both_end():
    engine, scheduler, plug = plugged(long_tokens=50, step_tokens=10, max_batch_tokens=20)
    longs = [scheduler.submit(ids_of_length(100)) for _ in range(2)]
    shorts = [scheduler.submit(ids_of_length(20, fill)) for fill in range(40)]
    engine.gate.set()
    results([plug, *longs, *shorts])
    busy = "".join(kind[0] for kind in engine.order[1:])
    assert busy == "sb" * 20 + "b" * 20
    assert engine.stepped == [100] * 20


def test_a_short_text_waits_for_one_step_of_a_long_one_and_no_more():
    """Steps of 20 ms: 120 of them for two long texts, while a stream of single short ones goes on beside."""
    engine = FakeEngine(max_tokens=10_000, long_tokens=50, step_tokens=100, sleep_s_per_token=0.0002)
    scheduler = Scheduler(engine)
    longs = [scheduler.submit(ids_of_length(6000)) for _ in range(2)]
    waits, steps = [], []
    until(lambda: len(engine.stepped) > 0)
    while not all(future.done() for future in longs) and len(waits) < 500:
        began = time.monotonic()
        steps.append(passes_between(scheduler, ids_of_length(10), engine.stepped))
        waits.append(time.monotonic() - began)
    results(longs)
    assert len(waits) >= 50
    assert max(steps) <= 1
    assert np.quantile(waits, 0.95) < 0.020 * 2 + 0.050


def test_a_stream_of_short_texts_does_not_starve_a_long_one():
    engine = FakeEngine(long_tokens=50, step_tokens=100, sleep_s_per_token=0.00002)
    scheduler = Scheduler(engine, max_batch_tokens=20)
    stop = threading.Event()

    def stream() -> None:
        while not stop.is_set():
            results([scheduler.submit(ids_of_length(20)) for _ in range(50)])

    crowd = [in_thread(stream) for _ in range(3)]
    until(lambda: scheduler.stats().waiting_texts > 50)
    between = passes_between(scheduler, ids_of_length(3000), engine.calls)
    stop.set()
    for future in crowd:
        future.result(LIMIT_S)
    assert between <= 30  # it has 30 steps


# ends


def test_closing_finishes_what_was_accepted_and_takes_no_more():
    engine, scheduler, _ = plugged(long_tokens=50, step_tokens=10, max_batch_tokens=20)
    futures = [scheduler.submit(ids_of_length(length)) for length in (5, 10, 100, 60)]
    rows: list[Floats] = []
    begun = in_thread(lambda: scheduler.run([ids_of_length(10)] * 300, rows.append))
    until(lambda: scheduler.stats().waiting_texts > 4)
    closing = in_thread(scheduler.close)
    until(lambda: raises(Unavailable, lambda: scheduler.submit(ids(1))))
    with pytest.raises(Unavailable, match="load the model again"):
        scheduler.run([ids(1)], rows.append)
    assert not closing.done()
    engine.gate.set()
    closing.result(LIMIT_S)
    assert all(future.done() for future in futures)
    results(futures)
    begun.result(LIMIT_S)
    assert len(rows) == 300
    scheduler.close()


def raises(kind: type[Exception], call: Callable[[], object]) -> bool:
    try:
        call()
    except kind:
        return True
    return False


def test_closing_at_once_fails_what_is_outstanding():
    engine, scheduler, plug = plugged()
    futures = [plug, *[scheduler.submit(ids(1)) for _ in range(50)]]
    closing = in_thread(lambda: scheduler.close(drain=False))
    for future in futures:
        with pytest.raises(Unavailable):
            future.result(LIMIT_S)
    engine.gate.set()
    closing.result(LIMIT_S)
    assert engine.calls == [[3]]


@pytest.mark.parametrize("drain", [True, False])
def test_a_stalled_engine_keeps_nobody_past_the_time_limit(drain):
    engine, scheduler, plug = plugged()
    waiting = scheduler.submit(ids(1))
    with pytest.raises(TimeoutError):
        waiting.result(0.01)
    assert waiting.cancel()
    other = scheduler.submit(ids(2))
    began = time.monotonic()
    scheduler.close(drain, timeout_s=0.1)
    assert time.monotonic() - began < 2
    for future in (plug, other):
        with pytest.raises(Unavailable):
            future.result(LIMIT_S)
    engine.gate.set()


def test_closing_from_a_callback_does_not_hang():
    engine, scheduler, plug = plugged()
    plug.add_done_callback(lambda _: scheduler.close())
    engine.gate.set()
    plug.result(LIMIT_S)
    until(lambda: raises(Unavailable, lambda: scheduler.submit(ids(1))))


def test_closing_what_never_worked_is_nothing():
    scheduler = Scheduler(FakeEngine())
    scheduler.close()
    scheduler.close(drain=False, timeout_s=0)
    with pytest.raises(Unavailable):
        scheduler.submit(ids(1))


def test_an_idle_worker_goes_and_comes_back_and_an_unused_scheduler_is_freed(monkeypatch):
    monkeypatch.setattr(scheduler_module, "IDLE_S", 0.02)
    engine = FakeEngine()
    scheduler = Scheduler(engine)
    for _ in range(3):
        scheduler.submit(ids(1)).result(LIMIT_S)
        time.sleep(0.1)
    assert len(engine.calls) == 3
    model = weakref.ref(engine)
    del engine, scheduler
    until(lambda: gc.collect() >= 0 and model() is None)


def test_texts_that_arrive_just_as_the_worker_goes_are_answered(monkeypatch):
    monkeypatch.setattr(scheduler_module, "IDLE_S", 0.0005)
    engine = FakeEngine()
    scheduler = Scheduler(engine)
    for i in range(300):
        scheduler.submit(ids(1)).result(LIMIT_S)
        time.sleep(0.0003 + 0.000002 * i)
    assert len(engine.calls) == 300


def python(script: str) -> subprocess.CompletedProcess[str]:
    head = """
        import os, sys, threading, time
        from fakes import LIMIT_S, FakeEngine, ids, ids_of_length, in_thread, until
        from huiyi.encoding import scheduler as module
        from huiyi.encoding.scheduler import Scheduler
        from huiyi.errors import Unavailable
    """
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False)


def test_the_interpreter_ends_with_work_outstanding_but_not_in_the_middle_of_a_batch():
    done = python("""
        class Engine(FakeEngine):
            def forward(self, batch, adapter=None):
                rows = super().forward(batch, adapter)
                print("ended", flush=True)
                return rows

        engine = Engine(sleep_s_per_token=0.001, long_tokens=50)
        scheduler = Scheduler(engine)
        [scheduler.submit(ids_of_length(20)) for _ in range(500)]
        engine.entered.wait()
        print("end", flush=True)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\nended\n", "")


def test_the_interpreter_ends_with_a_stalled_engine():
    done = python("""
        module.EXIT_S = 0.2
        engine = FakeEngine(gate=threading.Event())
        scheduler = Scheduler(engine)
        scheduler.submit(ids(1))
        engine.entered.wait()
        threading.Thread(target=lambda: scheduler.submit(ids(1)).exception(), daemon=True).start()
        print("end")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a POSIX matter")
def test_a_fork_before_the_first_text_works_and_a_later_one_is_told():
    done = python("""
        def child(work):
            pid = os.fork()
            if not pid:
                try:
                    work()
                    sys.stdout.flush()
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)

        scheduler = Scheduler(FakeEngine(sleep_s_per_token=0.01))
        child(lambda: print(len(scheduler.submit(ids(1)).result(5))))
        running = scheduler.submit(ids_of_length(100))

        def late():
            try:
                scheduler.submit(ids(1))
            except Unavailable as error:
                print(error)
            scheduler.close()

        child(late)
        print(len(running.result(5)))
    """)
    first, told, last = done.stdout.splitlines()
    assert (first, last) == ("8", "8")
    assert "load the model in the new process" in told


# speed


def test_a_hundred_thousand_waiting_texts_cost_seconds_and_little_padding():
    lengths = np.clip(np.random.default_rng(0).lognormal(3, 0.8, 100_000).astype(int), 1, 500)
    texts = [ids_of_length(length) for length in lengths]
    engine, scheduler, plug = plugged(max_queue_tokens=10**9)
    began = time.process_time()
    futures = [scheduler.submit(text) for text in texts]
    engine.gate.set()
    results([plug, *futures])
    assert time.process_time() - began < 12
    stats = scheduler.stats()
    assert stats.texts == 100_001
    assert stats.padding_tokens < 0.15 * (stats.tokens + stats.padding_tokens)
    assert stats.tokens / stats.batches > 0.8 * 512
