"""Processes that end in the middle: what was acknowledged is there, nothing is half there, and the store goes on."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from huiyi.stores import following, local
from huiyi.stores.local import LocalStore
from huiyi.stores.store import Record
from stores import workload

WORKLOAD = Path(workload.__file__)
STEPS = [(job, step) for job, steps in workload.STEPS.items() for step in steps]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    from huiyi.stores import textindex, vectorindex

    monkeypatch.setattr(textindex, "SAVE_ROWS", 1)
    monkeypatch.setattr(vectorindex, "BLOCK", 16)
    monkeypatch.setattr(following, "BLOCK", 16)
    monkeypatch.setattr(following, "GRAPH_FROM", 32)
    monkeypatch.setattr(following, "SAVE_AT_END", 1)


def started(folder: Path, job: str, step: str = "", nth: int = 1) -> subprocess.Popen:
    command = [sys.executable, str(WORKLOAD), str(folder), job, step, str(nth)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=workload.ENVIRONMENT)


def killed(folder: Path, job: str, step: str, nth: int = 1) -> list[str]:
    """The lines that the process said before it ended itself."""
    process = started(folder, job, step, nth)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    return out.splitlines()


def prepared(folder: Path, writes: int = workload.WRITES) -> dict[str, Record]:
    store = LocalStore(folder)
    store.create(workload.facts())
    for number in range(writes):
        workload.perform(store, number)
    store.close()
    return workload.after(writes)


def require_state(folder: Path, expected: list[dict[str, Record]], dim: int = workload.DIM) -> dict[str, Record]:
    """All of one of the `expected` states is there and found, and the store is sound and takes writes."""
    store = LocalStore(folder)
    try:
        batches = list(store.scan())
        there = {record.id: record for batch in batches for record in batch.records}
        assert there in expected
        for batch in batches:
            for record, vector in zip(batch.records, batch.vectors, strict=True):
                np.testing.assert_allclose(vector, workload.vector(record.text, dim), atol=2e-3)
                best = store.search(workload.vector(record.text, dim)[None], 1)[0][0]
                assert (best.id, best.text, best.metadata) == (record.id, record.text, record.metadata)
        for record in there.values():
            assert record.text in [hit.text for hit in store.search_keywords([record.text], 3)[0]]
        assert store.count() == len(there)
        store.check()
        store.put([Record("afterwards", "afterwards", {})], workload.vector("afterwards", dim)[None])
        assert store.search(workload.vector("afterwards", dim)[None], 1)[0][0].id == "afterwards"
        store.delete(ids=["afterwards"])
        return there
    finally:
        store.close()


def acknowledged(lines: list[str]) -> int:
    return max([0, *(int(line.split()[1]) for line in lines if line.startswith("acknowledged"))])


def check_step(folder: Path, job: str, step: str, nth: int) -> None:
    if job == "create":
        assert "created" not in killed(folder, job, step)
        assert LocalStore(folder).facts is None
        process = started(folder, "write")
        assert process.wait(60) == 0
        require_state(folder, [workload.after(workload.WRITES)])
        return
    if job == "write":
        done = acknowledged(killed(folder, job, step, nth))
        require_state(folder, [workload.after(done), workload.after(done + 1)])
        return
    before = prepared(folder)
    if job == "restore":
        store = LocalStore(folder)
        store.backup(folder.with_name("backup"))
        store.delete(ids=list(before)[:10])
        store.close()
        less = {id_: record for number, (id_, record) in enumerate(before.items()) if number >= 10}
        killed(folder, job, step)
        require_state(folder, [before, less])
        local.restored(folder, folder.with_name("backup")).close()
        require_state(folder, [before])
    elif job == "reindex":
        assert "reindexed" not in killed(folder, job, step, nth)
        store = LocalStore(folder)
        assert store.facts is not None
        dim = store.facts.dim
        store.close()
        require_state(folder, [before], dim)
        if dim == workload.DIM:
            process = started(folder, job)
            assert process.wait(60) == 0
            require_state(folder, [before], 8)
        assert len({path.name for path in folder.glob("*.sqlite3")}) == 1
    elif job == "migrate":
        killed(folder, job, step)
        assert list(folder.glob("before-format-*.sqlite3"))
        process = started(folder, "migrate")
        assert process.wait(60) == 0, process.stderr.read()
        shutil.copy(next(folder.glob("before-format-*.sqlite3")), folder.with_name("copy"))
        restored = local.restored(folder.with_name("from-backup"), folder.with_name("copy"))
        assert restored.get(list(before)) == before
        restored.close()
    else:
        for path in folder.glob("index*"):
            path.unlink()
        killed(folder, job, step)
        require_state(folder, [before])


@pytest.mark.parametrize(("job", "step"), STEPS, ids=[step for _, step in STEPS])
def test_a_kill_at_a_step_leaves_one_state_or_the_next(tmp_path, job, step) -> None:
    check_step(tmp_path / "faq", job, step, nth=3 if job == "write" else 1)


def test_kills_at_any_moment_leave_one_state_or_the_next(tmp_path) -> None:
    kill_at_random(tmp_path, rounds=6, seed=1)


@pytest.mark.slow
def test_a_hundred_kills_at_any_moment_and_at_every_step(tmp_path) -> None:
    kill_at_random(tmp_path, rounds=60, seed=2)
    for nth in (1, 2, 7, 20, 39):
        for number, (job, step) in enumerate(STEPS):
            if nth == 1 or job == "write" or (step == "reindex: batch" and nth < 5):
                check_step(tmp_path / f"step-{number}-{nth}" / "faq", job, step, nth)


def kill_at_random(tmp_path: Path, rounds: int, seed: int) -> None:
    moments = random.Random(seed)
    for number in range(rounds):
        folder = tmp_path / f"random-{number}" / "faq"
        process = started(folder, "write")
        line = process.stdout.readline()
        time.sleep(moments.random() * 0.15)
        process.kill()
        lines = [line, *process.stdout.read().splitlines()]
        process.wait()
        done = acknowledged(lines)
        require_state(folder, [workload.after(done), workload.after(done + 1)])


def test_a_reindex_that_was_killed_goes_on_where_it_was(tmp_path) -> None:
    folder = tmp_path / "faq"
    prepared(folder)
    killed(folder, "reindex", "reindex: batch", nth=3)
    store = LocalStore(folder)
    assert store.successor(workload.facts("other", 8)).count() == 21
    store.close()


def test_writes_are_synchronous_before_they_are_acknowledged(tmp_path, monkeypatch) -> None:
    from huiyi.errors import HuiyiError
    from huiyi.stores import records

    store = LocalStore(tmp_path / "faq")
    store.create(workload.facts())
    assert store.records._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store.records._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.records._writer.execute("PRAGMA synchronous = NORMAL")
    with pytest.raises(HuiyiError, match="not be durable"):
        store.put([Record("a", "a", {})], workload.vector("a")[None])
    assert store.count() == 0
    assert records.FORMAT == 1
    store.close()
