"""The cache changes nothing but time: any requests in any order, many callers, several processes, damage, kills, a bound."""

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import REPOSITORY
from fakes import LIMIT_S, FakeEngine, FakeTokenizer, in_thread, until
from huiyi.encoding import cache
from huiyi.encoding.cache import CachedEncoder
from huiyi.encoding.cachefile import LEAST_BYTES, CacheFile
from huiyi.encoding.encoder import LocalEncoder
from huiyi.errors import HuiyiError, InvalidInput, ModelFailed, Overloaded, Unavailable

TEXTS = [f"order {i} has not arrived" for i in range(50)]


def plain(engine: FakeEngine | None = None, max_tokens: int = 8192) -> LocalEncoder:
    return LocalEncoder(FakeTokenizer(max_tokens), engine or FakeEngine(), space="fake")


def made(folder: Path, engine: FakeEngine | None = None, variant: str = "fp32", **options) -> tuple[CachedEncoder, FakeEngine]:
    engine = engine or FakeEngine()
    return CachedEncoder(plain(engine, options.pop("max_tokens", 8192)), folder, variant=variant, **options), engine


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


# what comes back

TEXT = st.one_of(st.text("ab!", max_size=6), st.sampled_from(["long " * 10, "另一个", "x" * 30]))
REQUEST = st.fixed_dictionaries(
    {"texts": st.lists(TEXT, max_size=6), "kind": st.sampled_from(["document", "query"])},
    optional={
        "dimensions": st.sampled_from([None, 1, 3, 8, 9]),
        "instruction": st.sampled_from([None, "find"]),
        "truncate": st.sampled_from([None, "start", "end"]),
        "prompt": st.sampled_from([None, "a", "task:"]),
    },
)


def outcome(encoder, request):
    try:
        return encoder.embed(**request)
    except HuiyiError as error:
        return error


@settings(max_examples=100)
@given(st.lists(REQUEST, max_size=8), st.sets(st.integers(0, 7)))
def test_any_sequence_of_requests_is_answered_as_without_a_cache(requests, reopened):
    without = plain(FakeEngine(raise_on=[ord("!")]), max_tokens=20)
    engine = FakeEngine(raise_on=[ord("!")])
    with tempfile.TemporaryDirectory() as folder:
        encoder, _ = made(Path(folder), engine, max_tokens=20)
        for number, request in enumerate(requests):
            if number in reopened:
                encoder.close()
                encoder, _ = made(Path(folder), engine, max_tokens=20)
            got, due = outcome(encoder, request), outcome(without, request)
            if isinstance(due, HuiyiError):
                assert type(got) is type(due)
                if not isinstance(due, ModelFailed):  # of several such texts any may be named
                    assert str(got) == str(due)
            else:
                np.testing.assert_array_equal(got.tokens, due.tokens)
                np.testing.assert_allclose(got.vectors, due.vectors, atol=1e-6)
                if request.get("dimensions") in (None, 8):
                    np.testing.assert_array_equal(got.vectors, due.vectors)
        encoder.close()
    if not any("!" in text for request in requests for text in request["texts"]):  # a batch with one is tried again in parts
        assert len(engine.seen) == len(set(engine.seen))


def test_a_text_is_computed_once_however_it_is_asked_for(tmp_path):
    encoder, engine = made(tmp_path, max_tokens=7)
    encoder.embed(["a"], "query")
    encoder.embed(["task:a"], dimensions=2)
    encoder.embed(["a", "a"], prompt="task:")
    encoder.embed_ids([[*map(ord, "task:a"), 1]])
    encoder.embed(["any task:a", "task:ask:a"], truncate="start")
    encoder.embed(["task:b", "task:a and more"], "document", truncate="end")
    assert [len(call) for call in engine.calls] == [1, 1, 1]
    assert (encoder.stats().hits, encoder.stats().misses) == (6, 3)


def test_what_was_embedded_before_a_restart_is_not_embedded_again(tmp_path):
    first, engine = made(tmp_path)
    before = first.embed(TEXTS)
    first.close()
    second, engine = made(tmp_path)
    after = second.embed(TEXTS)
    np.testing.assert_array_equal(after.vectors, before.vectors)
    np.testing.assert_array_equal(after.tokens, before.tokens)
    assert engine.calls == []
    assert (second.stats().hits, second.stats().misses) == (50, 0)


def test_other_weights_and_other_precisions_have_vectors_of_their_own(tmp_path):
    made(tmp_path)[0].embed(["a"])
    other, engine = made(tmp_path, variant="int8")
    other.embed(["a"])
    assert len(engine.calls) == 1
    engine = FakeEngine()
    another = CachedEncoder(LocalEncoder(FakeTokenizer(), engine, space="other"), tmp_path, variant="fp32")
    another.embed(["a"])
    assert len(engine.calls) == 1


def test_a_text_that_failed_is_tried_again(tmp_path):
    encoder, engine = made(tmp_path, FakeEngine(nan_on=[ord("!")]))
    with pytest.raises(ModelFailed, match="text 2: "):
        encoder.embed(["a", "b", "c!", "d"])
    engine.nan_on.clear()
    assert np.isfinite(encoder.embed(["c!"]).vectors).all()


def test_a_cut_that_leaves_only_zeros_is_a_failure_each_time(tmp_path, monkeypatch):
    encoder, engine = made(tmp_path)
    monkeypatch.setattr(engine, "_rows", lambda batch, adapter: np.array([[0] * 4 + [1] * 4] * len(batch)))
    encoder.embed(["z"])
    for _ in range(2):
        with pytest.raises(ModelFailed, match="text 0: its first 4 numbers are all zero"):
            encoder.embed(["z"], dimensions=4)


# many callers


def test_texts_that_are_being_computed_are_not_computed_for_others_too(tmp_path):
    encoder, engine = made(tmp_path, FakeEngine(gate=threading.Event()))
    callers = [in_thread(encoder.embed, random.Random(i).sample(TEXTS, 30)) for i in range(8)]
    assert engine.entered.wait(LIMIT_S)
    time.sleep(0.2)
    engine.gate.set()
    for i, caller in enumerate(callers):
        np.testing.assert_array_equal(caller.result(LIMIT_S).vectors, plain().embed(random.Random(i).sample(TEXTS, 30)).vectors)
    assert len(engine.seen) == len(set(engine.seen)) <= 50
    assert encoder.stats().hits + encoder.stats().misses == 240


def test_a_failing_caller_leaves_the_others_their_own_answers(tmp_path):
    encoder, engine = made(tmp_path, FakeEngine(gate=threading.Event(), raise_on=[ord("!")]))
    failing = in_thread(encoder.embed, ["!", "good"])
    assert engine.entered.wait(LIMIT_S)
    waiting = [in_thread(encoder.embed, texts) for texts in (["good"], ["!"], ["good", "!"])]
    engine.gate.set()
    for caller in (failing, *waiting[1:]):
        with pytest.raises(ModelFailed):
            caller.result(LIMIT_S)
    assert waiting[0].result(LIMIT_S).vectors.shape == (1, 8)


@pytest.mark.parametrize("leaving", ["first", "second"])
def test_who_leaves_takes_nothing_from_who_stays(tmp_path, leaving):
    encoder, engine = made(tmp_path, FakeEngine(gate=threading.Event()))
    gone = {"first": threading.Event(), "second": threading.Event()}
    callers = {"first": in_thread(encoder.embed, ["a", "b"], cancelled=gone["first"])}
    assert engine.entered.wait(LIMIT_S)
    callers["second"] = in_thread(encoder.embed, ["b", "c"], cancelled=gone["second"])
    time.sleep(0.1)
    gone[leaving].set()
    with pytest.raises(CancelledError):
        callers.pop(leaving).result(LIMIT_S)
    engine.gate.set()
    (staying,) = callers.values()
    assert staying.result(LIMIT_S).vectors.shape == (2, 8)


def test_who_left_before_the_start_costs_nothing(tmp_path):
    encoder, engine = made(tmp_path)
    left = threading.Event()
    left.set()
    with pytest.raises(CancelledError):
        encoder.embed(["a"], cancelled=left)
    with pytest.raises(CancelledError):
        encoder.embed_ids([[1]], cancelled=left)
    assert engine.calls == []


def test_a_short_text_does_not_wait_for_the_end_of_a_long_list_that_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PATIENCE_S", 0.1)
    encoder, engine = made(tmp_path, FakeEngine(sleep_s_per_token=0.0001))
    listed = in_thread(encoder.embed, ["a", *(f"{'x' * 200} {i}" for i in range(150))])  # the shortest comes last
    assert engine.entered.wait(LIMIT_S)
    began = time.monotonic()
    encoder.embed(["a"])
    assert time.monotonic() - began < 1.5
    assert not listed.done()
    assert len(listed.result(LIMIT_S).vectors) == 151


def test_two_callers_with_the_same_long_list_compute_it_once(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PATIENCE_S", 0.2)
    encoder, engine = made(tmp_path, FakeEngine(sleep_s_per_token=0.0001))
    texts = [f"{'x' * (i % 50)} {i}" for i in range(500)]
    both = [in_thread(encoder.embed, order) for order in (texts, texts[::-1])]
    np.testing.assert_array_equal(both[0].result(LIMIT_S).vectors, both[1].result(LIMIT_S).vectors[::-1])
    assert len(engine.seen) == 500


def test_a_full_queue_is_the_callers_to_hear_of_but_not_when_all_is_known(tmp_path):
    engine = FakeEngine(max_tokens=100, gate=threading.Event())
    from huiyi.encoding.scheduler import Scheduler

    scheduler = Scheduler(engine, max_queue_tokens=100, max_batch_tokens=20)
    encoder = CachedEncoder(LocalEncoder(FakeTokenizer(), engine, space="fake", scheduler=scheduler), tmp_path, variant="fp32")
    engine.gate.set()
    encoder.embed(["known"])
    engine.gate.clear()
    first = in_thread(encoder.embed, [f"{i} {'x' * 17}" for i in range(10)])
    until(lambda: scheduler.stats().held_tokens == 60)
    with pytest.raises(Overloaded):
        encoder.embed([f"{i} {'y' * 17}" for i in range(10)])
    assert encoder.embed(["known"]).vectors.shape == (1, 8)
    engine.gate.set()
    assert len(first.result(LIMIT_S).vectors) == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a POSIX matter")
def test_a_forked_process_is_told_to_load_its_own(tmp_path):
    encoder, _ = made(tmp_path)
    encoder.embed(["a"])
    child = os.fork()
    if not child:
        try:
            encoder.embed(["a"])
        except Unavailable:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# several processes, kills

WORKER = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from fakes import FakeEngine, FakeTokenizer
from huiyi.encoding.cache import CachedEncoder
from huiyi.encoding.encoder import LocalEncoder
engine = FakeEngine(dim=256)
encoder = CachedEncoder(LocalEncoder(FakeTokenizer(), engine, space="fake"), Path(sys.argv[1]), variant="fp32")
first, last = int(sys.argv[2]), int(sys.argv[3])
print("begins", flush=True)
for i in range(first, last, 20):
    encoder.embed([f"text {{n}}" for n in range(i, min(i + 20, last))])
    print(i, flush=True)
encoder.close()
"""


def worker(folder: Path, first: int, last: int) -> subprocess.Popen:
    script = WORKER.format(tests=str(REPOSITORY / "tests"))
    return subprocess.Popen([sys.executable, "-c", script, str(folder), str(first), str(last)], stdout=subprocess.PIPE, text=True)


def test_processes_share_what_they_computed(tmp_path, caplog):
    workers = [worker(tmp_path, 400 * i, 400 * i + 600) for i in range(4)]
    for each in workers:
        each.communicate(timeout=60)
        assert each.returncode == 0
    encoder, engine = made(tmp_path, FakeEngine(dim=256))
    texts = [f"text {i}" for i in range(1800)]
    np.testing.assert_array_equal(encoder.embed(texts).vectors, plain(FakeEngine(dim=256)).embed(texts).vectors)
    assert engine.calls == []
    assert not caplog.records


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX matter")
def test_a_killed_process_leaves_a_cache_that_can_be_used(tmp_path, caplog):
    texts = [f"text {i}" for i in range(100_000)]
    for seconds in (0.2, 0.35, 0.5):
        process = worker(tmp_path, 0, len(texts))
        process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_S)
        encoder, _ = made(tmp_path, FakeEngine(dim=256))
        np.testing.assert_array_equal(encoder.embed(texts[:500]).vectors, plain(FakeEngine(dim=256)).embed(texts[:500]).vectors)
        encoder.close()
    assert encoder.stats().hits == 500
    assert not caplog.records


# the file


def test_its_files_are_for_their_owner_only_and_hold_no_text(tmp_path):
    before = os.umask(0)
    try:
        encoder, _ = made(tmp_path / "new" / "cache")
        encoder.embed(["my secret pin is 4711"])
        until(lambda: on_disk(tmp_path / "new" / "cache") > 20_000)
        files = list((tmp_path / "new" / "cache").iterdir())
    finally:
        os.umask(before)
    assert len(files) == 3
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"secret" not in file.read_bytes()
        assert b"s\0\0\0e\0\0\0c\0\0\0r" not in file.read_bytes()
    encoder.close()


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path):
    made(tmp_path)[0].close()
    (file,) = tmp_path.glob("*.sqlite3")
    file.chmod(0o644)
    made(tmp_path)[0].close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_it_never_takes_more_bytes_than_it_may_and_keeps_what_is_asked_for(tmp_path):
    encoder, engine = made(tmp_path, FakeEngine(dim=1024), max_bytes=LEAST_BYTES)
    most = 0
    for round_ in range(20):
        encoder.embed(["asked for all the time", *(f"text {round_} {i}" for i in range(100))])
        time.sleep(0.06)
        most = max(most, on_disk(tmp_path))
    until(lambda: not encoder._file._pending)
    assert max(most, on_disk(tmp_path)) <= LEAST_BYTES
    stats = encoder.stats()
    assert stats.evictions > 1200
    assert stats.bytes == on_disk(tmp_path)
    assert stats.misses == 2001
    encoder.close()
    again, engine = made(tmp_path, FakeEngine(dim=1024), max_bytes=LEAST_BYTES)
    again.embed(["asked for all the time", *(f"text 19 {i}" for i in range(100))])
    assert engine.calls == []
    again.embed(["text 0 0"])
    assert len(engine.calls) == 1


def test_a_smaller_bound_holds_from_the_start(tmp_path, caplog):
    encoder, _ = made(tmp_path, FakeEngine(dim=1024))
    encoder.embed([f"text {i}" for i in range(2000)])
    encoder.close()
    assert on_disk(tmp_path) > LEAST_BYTES
    encoder, _ = made(tmp_path, FakeEngine(dim=1024), max_bytes=LEAST_BYTES)
    assert on_disk(tmp_path) < LEAST_BYTES
    assert "the limit now" in caplog.text
    encoder.embed(["text 1"])
    with pytest.raises(InvalidInput, match="needs 4,194,304 bytes or more, not 1,000"):
        made(tmp_path, max_bytes=1000)


def damaged(kind: str, content: bytearray, at: int) -> bytes:
    if kind == "flipped":
        content[at] ^= 0x40
    elif kind == "zeros":
        content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    elif kind == "short":
        del content[at:]
    else:
        return b"no database at all, but quite some bytes of something else" * 100
    return bytes(content)


@settings(max_examples=40)
@given(st.sampled_from(["flipped", "zeros", "short", "other"]), st.floats(0, 1, exclude_max=True), st.booleans())
def test_whatever_is_damaged_no_answer_is_wrong(kind, where, while_open):
    without = plain(FakeEngine(dim=64)).embed(TEXTS)
    with tempfile.TemporaryDirectory() as folder:
        encoder, engine = made(Path(folder), FakeEngine(dim=64))
        encoder.embed(TEXTS)
        encoder.close()
        (file,) = Path(folder).glob("*.sqlite3")
        encoder, engine = made(Path(folder), FakeEngine(dim=64)) if while_open else (None, None)
        content = bytearray(file.read_bytes())
        file.write_bytes(damaged(kind, content, int(where * len(content))))
        encoder, engine = (encoder, engine) if while_open else made(Path(folder), FakeEngine(dim=64))
        for _ in range(2):
            got = encoder.embed(TEXTS)
            np.testing.assert_array_equal(got.vectors, without.vectors)
            encoder.embed([f"new {random.random()}"])
            until(lambda: not encoder._file._pending)
        encoder.close()
        encoder, engine = made(Path(folder), FakeEngine(dim=64))
        np.testing.assert_array_equal(encoder.embed(TEXTS).vectors, without.vectors)
        encoder.close()


def test_a_flipped_bit_in_a_vector_is_noticed_and_said(tmp_path, caplog):
    encoder, _ = made(tmp_path)
    due = encoder.embed(TEXTS).vectors
    encoder.close()
    with sqlite3.connect(next(tmp_path.glob("*.sqlite3"))) as db:
        db.create_function("flipped", 1, lambda row: row[:-1] + bytes([row[-1] ^ 1]))
        db.execute("UPDATE vectors SET vector = flipped(vector) WHERE id = 7")
    db.close()
    encoder, engine = made(tmp_path)
    np.testing.assert_array_equal(encoder.embed(TEXTS).vectors, due)
    until(lambda: (tmp_path / "vectors.1.sqlite3").exists() and not encoder._file._pending)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "begins anew: a vector is not what was written; texts are computed again" in caplog.text
    computed = len(engine.seen)
    encoder.close()
    encoder, engine = made(tmp_path)
    np.testing.assert_array_equal(encoder.embed(TEXTS).vectors, due)
    assert len(engine.seen) + computed == 50


def test_rows_that_changed_places_are_noticed(tmp_path):
    encoder, _ = made(tmp_path)
    due = encoder.embed(["a", "b"]).vectors
    encoder.close()
    with sqlite3.connect(next(tmp_path.glob("*.sqlite3"))) as db:
        rows = db.execute("SELECT id, vector FROM vectors").fetchall()
        db.executemany("UPDATE vectors SET vector = ? WHERE id = ?", [(rows[1][1], rows[0][0]), (rows[0][1], rows[1][0])])
    db.close()
    np.testing.assert_array_equal(made(tmp_path)[0].embed(["a", "b"]).vectors, due)


def test_files_that_vanish_are_made_again(tmp_path):
    encoder, engine = made(tmp_path)
    encoder.embed(TEXTS)
    until(lambda: not encoder._file._pending)
    for file in tmp_path.iterdir():
        file.unlink()
    encoder.embed(["one more"])
    until(lambda: list(tmp_path.glob("*.sqlite3")) and not encoder._file._pending)
    encoder.close()
    encoder, engine = made(tmp_path)
    encoder.embed(["one more"])
    assert engine.calls == []


def test_a_format_of_another_release_is_begun_anew(tmp_path, caplog):
    made(tmp_path)[0].close()
    with sqlite3.connect(next(tmp_path.glob("*.sqlite3"))) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    encoder, _ = made(tmp_path)
    encoder.embed(["a"])
    encoder.close()
    assert "its format is 99" in caplog.text
    assert made(tmp_path)[0]._file.get([b"unknown"]) == {}
    assert [file.name for file in tmp_path.glob("*.sqlite3")] == ["vectors.1.sqlite3"]


def test_a_folder_that_cannot_be_is_said_once_and_harms_nobody(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    encoder, engine = made(tmp_path / "file")
    for _ in range(3):
        assert encoder.embed(["a"]).vectors.shape == (1, 8)
        until(lambda: not encoder._file._pending)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "texts are computed each time" in caplog.text
    assert (encoder.stats().bytes, encoder.stats().misses) == (0, len(engine.seen))
    encoder.close()


def test_a_locked_file_is_waited_for_in_the_background_only(tmp_path):
    encoder, _ = made(tmp_path)
    encoder.embed(["before"])
    until(lambda: not encoder._file._pending)
    other = sqlite3.connect(next(tmp_path.glob("*.sqlite3")), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    encoder.embed(["before"])
    encoder.embed(["after"])
    encoder.embed(["after"])
    assert time.monotonic() - began < 1
    other.execute("ROLLBACK")
    other.close()
    encoder.close()
    assert list(made(tmp_path)[0]._file.get([b"x"])) == []
    assert encoder.stats().misses == 2


def test_an_idle_cache_has_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("huiyi.encoding.cachefile.IDLE_S", 0.05)
    file = CacheFile(tmp_path, LEAST_BYTES)
    for i in range(3):
        file.put(bytes([i]) * 16, np.ones(4, np.float32))
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "huiyi-cache"])
    assert len(file.get([bytes([i]) * 16 for i in range(5)])) == 3
    file.close()


def test_known_texts_come_by_the_thousand_a_second(tmp_path):
    """Processor time of the best of three, on vectors of full width; the tokenizer of a real model takes its own."""
    texts = [f"How do I return order {i}, please?" for i in range(2000)]
    encoder, engine = made(tmp_path, FakeEngine(dim=1024))
    encoder.embed(texts)
    encoder.close()
    encoder, engine = made(tmp_path, FakeEngine(dim=1024))
    lists, singles = [], []
    for _ in range(3):
        began = time.process_time()
        encoder.embed(texts)
        lists.append(time.process_time() - began)
        began = time.process_time()
        for text in texts[:200]:
            encoder.embed([text])
        singles.append(time.process_time() - began)
    assert engine.calls == []
    assert len(texts) / min(lists) > 5000
    assert min(singles) / 200 < 0.001
