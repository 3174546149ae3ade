"""A sequence of writes that a process is killed in, and what must be there afterwards: `python workload.py FOLDER JOB STEP NTH`.

Run as a program it does JOB, says on standard output what was acknowledged, and ends itself by SIGKILL at the NTH time that it
comes to STEP ("" for never). Imported, it tells what the records are after n acknowledged writes.
"""

import os
import signal
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from huiyi.stores import following, image, keywords, local, records, textindex, transactions, vectorindex
from huiyi.stores.local import LocalStore
from huiyi.stores.store import Facts, Record

# For processes that work on a store beside: the tests, and the code that this process has.
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[1], Path(local.__file__).parents[2])))}
DIM = 16
WRITES = 40
STEPS = {
    "write": ("write: old rows gone", "write: records in", "write: vectors in", "write: before commit", "write: committed"),
    "create": ("create: begun", "create: before commit"),
    "index": ("keywords: written", "keywords: replaced", "index: graph written", "index: written", "index: replaced"),
    "reindex": ("reindex: begun", "reindex: batch", "reindex: swapped", "reindex: done"),
    "migrate": ("migration: backed up", "migration: before commit", "migration: done"),
    "restore": ("restore: copied", "restore: done"),
}


def vector(text: str, dim: int = DIM) -> np.ndarray:
    made = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(dim).astype(np.float32)
    return made / np.linalg.norm(made)


def facts(model: str = "fake", dim: int = DIM) -> Facts:
    return Facts(model, model, "fp32", dim, None, np.eye(8, dim, dtype=np.float32))


def write(number: int) -> tuple[list[Record], list[str], list[str]]:
    """Write `number`: records to put, ids to give new metadata, ids to delete."""
    random = np.random.default_rng(number)
    put = [Record(f"r{i}", f"text {i} of write {number}", {"write": number}) for i in random.choice(60, 6, replace=False)]
    return put, [f"r{i}" for i in random.choice(60, 3)], [f"r{i}" for i in random.choice(60, 2)]


def after(writes: int) -> dict[str, Record]:
    there: dict[str, Record] = {}
    for number in range(writes):
        put, revised, deleted = write(number)
        there |= {record.id: record for record in put}
        for id_ in revised:
            if id_ in there:
                there[id_] = Record(id_, there[id_].text, {"revised": number})
        for id_ in deleted:
            there.pop(id_, None)
    return there


def perform(store: LocalStore, number: int) -> None:
    put, revised, deleted = write(number)
    with store.writing():
        store.put(put, np.stack([vector(record.text) for record in put]))
        known = store.get(list(dict.fromkeys(revised)))
        store.revise([Record(id_, record.text, {"revised": number}) for id_, record in known.items()])
        store.delete(ids=deleted)


def small() -> None:
    """Graphs of few vectors."""
    vectorindex.BLOCK = following.BLOCK = 16
    following.GRAPH_FROM, following.SAVE_AT_END = 32, 1
    textindex.SAVE_ROWS = 1


def migrate() -> None:
    """A format that is one further."""
    records.MIGRATIONS[records.FORMAT] = lambda db: db.execute("CREATE TABLE added (row INTEGER PRIMARY KEY)")
    records.FORMAT += 1


def run(folder: Path, job: str) -> None:
    small()
    if job == "migrate":
        migrate()
    if job == "restore":
        local.restored(folder, folder.with_name("backup")).close()
        return
    store = LocalStore(folder)
    if store.facts is None:
        store.create(facts())
        print("created", flush=True)
    if job == "reindex":
        successor = store.successor(facts("other", 8))
        while True:
            while batch := successor.missing(7):
                successor.put(batch, np.stack([vector(record.text, 8) for record in batch]))
            if successor.swap():
                break
        print("reindexed", flush=True)
    elif job == "index":
        while not (folder / "index.bin").exists():
            store.status()
            time.sleep(0.01)
        store.close()
    elif job in ("write", "create"):
        for number in range(WRITES):
            perform(store, number)
            print("acknowledged", number + 1, flush=True)


def main(folder: str, job: str, step: str, nth: str) -> None:
    left = int(nth)

    def kill(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    for module in (transactions, records, image, keywords, local):
        module.step = kill
    run(Path(folder), job)


if __name__ == "__main__":
    main(*sys.argv[1:])
