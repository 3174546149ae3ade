"""Minutes of a collection in a Milvus server at work: writers, readers, deletes, a reindex with its swap, and a restart of the server.

    python benchmarks/soak_milvus.py [--seconds 90] [--dim 256] [--rate 100] [--kill]

The server is the one of the package `milvus` (2.3.5), in a process of its own. It must hold: what was acknowledged is there, once, with
its last text and the vector of the model that the reindex went to; what was deleted is gone; a reader finds what was acknowledged before
it asked; errors only while the server is away; our memory flat. Ends with status 1 when something does not.

Expected before the first run: searches of 10 ms at p50 and 50 at p95; 100 records/s a writer beside them; 20 s until a server that was
stopped answers again, a minute or more after --kill; memory within 20 MB.
"""

import argparse
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import rss_mb, write

from huiyi.collection import Collection
from huiyi.errors import Conflict, HuiyiError, Unavailable
from huiyi.model import Model
from huiyi.stores.milvus import open_store
from huiyi.types import Embedded

NAME, BATCH, WRITERS, READERS, K = "soak", 50, 2, 2, 10
BACK_S = 300  # until a server that was restarted must answer
GROWTH_MB = 40
SERVER = """
import signal, subprocess, sys
from milvus import MilvusServer, MilvusServerConfig
server = MilvusServer(MilvusServerConfig(data_dir=sys.argv[1], proxy_port=int(sys.argv[2])))
server.start()
print(server.server_proc.pid, flush=True)
sys.stdin.read()
server.server_proc.send_signal(signal.SIGTERM)
try:
    server.server_proc.wait(60)  # stop() alone kills after a second
except subprocess.TimeoutExpired:
    pass
server.stop()
"""


class MadeEncoder:
    """Vectors made of a text's digest and a seed, so that the store is what is measured."""

    max_tokens = 1000

    def __init__(self, dim: int, seed: int) -> None:
        self.dim, self.seed, self.space = dim, seed, f"made-{dim}-{seed}"

    def embed(self, texts, kind="document", instruction=None, dimensions=None) -> Embedded:
        rows = np.stack([self._row(text) for text in texts])[:, :dimensions]
        return Embedded(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.ones(len(texts), np.int64))

    def _row(self, text: str) -> np.ndarray:
        digest = hashlib.blake2b(text.encode(), digest_size=8, salt=bytes([self.seed])).digest()
        return np.random.default_rng(int.from_bytes(digest)).standard_normal(self.dim, np.float32)


class Server:
    """Milvus in a process of its own, below `folder`."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", SERVER, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        said = self.process.stdout.readline()
        if not said:
            raise RuntimeError("the server did not start; is the package milvus installed?")
        self.pid = int(said)

    def stop(self, kill: bool = False) -> None:
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        self.process.communicate("", timeout=120)

    def rss_mb(self) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


class Soak:
    """One instance, one run. Each record belongs to one writer, which alone knows what it must be: its version, 0 when it was deleted."""

    def __init__(self, server: Server, folder: Path, seconds: float, dim: int, rate: float, kill: bool) -> None:
        self.server, self.folder, self.seconds, self.rate, self.kill = server, folder, seconds, rate, kill
        self.models = {model.encoder.space: model for model in (Model(MadeEncoder(dim, seed), f"made-{seed}") for seed in (1, 2))}
        self.first, self.second = self.models.values()
        self.records: list[dict[int, int]] = [{} for _ in range(WRITERS)]
        self.settled: list[dict[int, int]] = [{} for _ in range(WRITERS)]  # what readers may count on, swapped whole
        self.wrong: list[str] = []
        self.refused: Counter = Counter()
        self.times: dict[str, list[tuple[float, float]]] = {}
        self.found = Counter()
        self.memory: list[tuple[float, int]] = []
        self.away = (0.0, 0.0)
        self.reindex_s = 0.0
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.restarting = threading.Event()
        self.began = time.perf_counter()

    def run(self) -> None:
        with self.opened(self.first):
            pass
        self.began = time.perf_counter()
        work: list[Callable[[], None]] = [
            *(lambda number=number: self.write(number) for number in range(WRITERS)),
            *(lambda number=number: self.read(number) for number in range(READERS)),
        ]
        threads = [threading.Thread(target=self.guarded, args=[each], daemon=True) for each in [*work, self.events]]
        for thread in threads:
            thread.start()
        while threads[-1].is_alive():
            self.memory.append((self.now(), rss_mb()))
            time.sleep(0.5)
        self.stop.set()
        for thread in threads:
            thread.join(BACK_S)
            if thread.is_alive():
                self.object("a client hangs")
        self.judge()

    def guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  what ends a client is what we look for
            self.object(f"{type(error).__name__}: {error}")

    def object(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)

    def now(self) -> float:
        return time.perf_counter() - self.began

    def opened(self, model: Model | None = None) -> Collection:
        """A connection of its own, as another process would have."""
        store = open_store(NAME, self.server.address, self.folder)
        collection = Collection(NAME, store, lambda: model or self.models[store.facts.space])
        if store.facts is None:
            from huiyi.spaces import facts_of

            store.create(facts_of(model, None, None))
        return collection

    def done(self, ask: Callable[[Collection], object], kind: str, own: list[Collection | None]) -> object:
        """`ask` of a collection, again after what a client has to expect: it was reindexed, or the server is away."""
        while True:
            try:
                own[0] = own[0] or self.opened()
                began = time.perf_counter()
                answer = ask(own[0])
                self.times.setdefault(kind, []).append((self.now(), time.perf_counter() - began))
                return answer
            except (Conflict, Unavailable, HuiyiError) as error:
                if isinstance(error, Conflict):
                    self.refused["reindexed, opened again"] += 1
                elif self.restarting.is_set():
                    self.refused["while the server was away"] += 1
                    time.sleep(0.5)
                else:
                    raise
                if own[0] is not None:
                    with suppress(HuiyiError):
                        own[0].close()
                own[0] = None

    # clients

    def write(self, number: int) -> None:
        """New records, some with another text, some deleted; BATCH records every BATCH / rate seconds."""
        chance, mine, own, made = random.Random(number), self.records[number], [None], 0
        while not self.stop.is_set():
            turn = time.perf_counter()
            fresh = range(made, made + BATCH * 4 // 5)
            made += len(fresh)
            living = [i for i in chance.sample(sorted(mine), min(len(mine), BATCH)) if mine[i]]
            changed, gone = living[: BATCH // 5], living[BATCH // 5 : BATCH // 5 + BATCH // 10]
            versions = {i: 1 for i in fresh} | {i: mine[i] + 1 for i in changed}
            self.settled[number] = {i: v for i, v in mine.items() if i not in versions and i not in gone and v}
            batch = [{"id": f"{number}-{i}", "text": text(number, i, v), "metadata": {"w": number, "v": v}} for i, v in versions.items()]
            self.done(lambda found, batch=batch: found.add(batch), "add", own)
            mine |= versions
            if gone:
                ids = [f"{number}-{i}" for i in gone]
                self.done(lambda found, ids=ids: found.delete(ids=ids), "delete", own)
                mine |= dict.fromkeys(gone, 0)
            self.settled[number] = {i: v for i, v in mine.items() if v}
            self.stop.wait(max(0.0, BATCH / self.rate - (time.perf_counter() - turn)))
        if own[0] is not None:
            own[0].close()

    def read(self, number: int) -> None:
        """Searches for records by their own text; now and then one by its id, or with a filter."""
        chance, own = random.Random(100 + number), [None]
        while not self.stop.is_set():
            writer = chance.randrange(WRITERS)
            there = self.settled[writer]
            if not there:
                time.sleep(0.05)
                continue
            i = chance.choice(list(there)) if len(there) < 2000 else chance.randrange(max(there))
            if i not in there:
                continue
            id_, said = f"{writer}-{i}", text(writer, i, there[i])
            filter = {"w": writer} if chance.random() < 0.3 else None
            hits = self.done(
                lambda found, said=said, filter=filter: found.search(said, K, "semantic", filter), "filtered" if filter else "search", own
            )
            record = self.done(lambda found, id_=id_: found.get(id_), "get", own)
            if self.settled[writer].get(i) != there[i]:
                continue  # it was changed meanwhile
            self.found["asked"] += 1
            self.found["first"] += bool(hits) and hits[0].id == id_ and hits[0].score > 0.999
            if len({hit.id for hit in hits}) != len(hits):
                self.object(f"a search for {id_} found a record twice")
            if record is None or record.text != said:
                self.object(f"{id_} was acknowledged with {said!r}, and is {record}")
            time.sleep(0.01)
        if own[0] is not None:
            own[0].close()

    def events(self) -> None:
        """A reindex after a quarter of the time, a restart after half of it."""
        self.stop.wait(self.seconds / 4)
        began, own = time.perf_counter(), self.opened()
        own.reindex(lambda: self.second)
        own.close()
        self.reindex_s = time.perf_counter() - began
        self.stop.wait(max(0.0, self.seconds / 2 - self.now()))
        left = self.now()
        self.restarting.set()
        self.server.stop(self.kill)
        self.server.start()
        end = time.perf_counter() + BACK_S
        while True:
            try:
                with self.opened() as found:
                    found.search("any", 1, "semantic")
                    found.count()
                break
            except HuiyiError:
                if time.perf_counter() > end:
                    raise
                time.sleep(0.5)
        self.away = (left, self.now())
        time.sleep(5)  # calls that were begun meanwhile end as they may
        self.restarting.clear()
        self.stop.wait(max(self.seconds - self.now(), self.seconds / 4))

    # what must hold

    def judge(self) -> None:
        right = {f"{n}-{i}": text(n, i, v) for n, mine in enumerate(self.records) for i, v in mine.items() if v}
        with self.opened() as found:
            ids = list(found.store.ids())
            held = found.contents()
        for what, some in (("lost", right.keys() - set(ids)), ("there though deleted", set(ids) - right.keys())):
            if some:
                self.object(f"{len(some)} records are {what}, such as {min(some)}")
        if len(ids) != len(set(ids)) or len(held.ids) != len(set(held.ids)):
            self.object("a record is there twice")
        stale = [id_ for id_, said in zip(held.ids, held.texts, strict=True) if right.get(id_) != said]
        if stale:
            self.object(f"{len(stale)} records have an old text, such as {stale[0]}")
        made = self.second.encoder.embed(held.texts).vectors
        if (least := float(np.einsum("nd,nd->n", made, held.vectors).min())) < 0.999:
            self.object(f"a vector is not its text's: cosine {least:.3f}")
        if self.found["first"] < 0.99 * self.found["asked"]:
            self.object(f"only {self.found['first']} of {self.found['asked']} searches found the record first")
        if self.seconds >= 60 and self.growth_mb() > GROWTH_MB:
            self.object(f"our memory grew by {self.growth_mb():.0f} MB from the second to the last quarter")
        self.kept = len(ids)

    def growth_mb(self) -> float:
        end = self.memory[-1][0]
        of = np.array([(at / end, mb) for at, mb in self.memory])
        return float(np.median(of[of[:, 0] > 0.75, 1]) - np.median(of[(of[:, 0] > 0.25) & (of[:, 0] < 0.5), 1]))

    def rows(self) -> list[dict]:
        made = []
        for kind, times in sorted(self.times.items()):
            at, took = np.array(times).T
            usual = took[(at < self.away[0]) | (at > self.away[1] + 5)]
            made.append(
                {
                    "call": kind,
                    "calls": len(took),
                    "p50 ms": ms(usual, 50),
                    "p95 ms": ms(usual, 95),
                    "longest s": round(float(took.max()), 1),
                }
            )
        return made


def text(writer: int, i: int, version: int) -> str:
    return f"writer {writer}, record {i}, version {version}"


def ms(seconds: np.ndarray, percent: float) -> float | None:
    return round(1000 * float(np.percentile(seconds, percent)), 1) if len(seconds) else None


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=90)
    arguments.add_argument("--dim", type=int, default=256)
    arguments.add_argument("--rate", type=float, default=100, help="records a second of each writer")
    arguments.add_argument("--kill", action="store_true", help="end the server with SIGKILL; it needs a minute or more to come back")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "milvus")
        try:
            soak = Soak(server, Path(folder) / "home", options.seconds, options.dim, options.rate, options.kill)
            soak.run()
            served_mb = server.rss_mb()
        finally:
            server.stop()
    away = soak.away[1] - soak.away[0]
    seen = ", ".join(f"{count} calls refused {what}" for what, count in soak.refused.items()) or "no call was refused"
    note = (
        f"{soak.kept:,} records at the end; {soak.found['first']:,} of {soak.found['asked']:,} searches by a record's own text found it "
        f"first. The reindex took {soak.reindex_s:.0f} s beside the others; the server was {'killed' if options.kill else 'stopped'} and "
        f"away for {away:.0f} s; {seen}. Our memory: {soak.growth_mb():+.0f} MB from the second to the last quarter, "
        f"{soak.memory[-1][1]:,} MB at the end; the server's {served_mb:,} MB. "
        + ("; ".join(dict.fromkeys(soak.wrong)) or "Nothing was lost, nothing is there twice.")
    )
    settings = {
        "seconds": options.seconds,
        "numbers a vector": options.dim,
        "writers": WRITERS,
        "readers": READERS,
        "server": "Milvus 2.3.5",
    }
    write("soak_milvus", "A collection in a Milvus server at work", soak.rows(), settings, note)
    print(note, *soak.rows(), sep="\n", file=sys.stderr)
    return int(bool(soak.wrong))


if __name__ == "__main__":
    sys.exit(main())
