"""Minutes of everything at once against one server: mixed lengths, clients that leave, bad requests, readers that stall, engine faults.

    python benchmarks/soak.py [--seconds 300] [--work FOLDER]

It must hold: every request one answer and the intended one; vectors right all the time; memory flat; short texts quick beside texts of
8,000 tokens; an empty queue and a good answer at the end; exit status 0 on SIGTERM. Ends with status 1 when something does not.

Expected before the first run: short p95 of 1.5 to 2.5 s beside the long texts; memory within 2 % after the first minute.
"""

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checkpoint import checkpoint, workload
from servers import Caller, ServerProcess, free_port

FAULT_ID, NAN_ID = 7, 8  # token ids, rare ones, at which the engine of this server fails, as faulty_server() says
SHORT_P95_S = 3.0
WARM_S = 120  # a shorter run says nothing of memory: buffers grow with the first batches of each size
BAD = [
    (400, b'{"input": []}'),
    (400, b'{"input": "a", "dimensions": 0}'),
    (400, b'{"input": [[1, 2, 3]]}'),
    (400, b'{"input": "a", "surprise": 1}'),
    (400, b'{"input": "a", "model"'),
    (400, b""),
    (404, b'{"input": "a", "model": "no such model"}'),
    (413, b'{"input": "' + b"a" * (17 << 20) + b'"}'),
]


@dataclass
class Record:
    """What clients saw. kinds: of requests, each with its answers by status."""

    kinds: dict[str, Counter] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    asked: Counter = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, kind: str) -> None:
        with self.lock:
            self.asked[kind] += 1

    def add(self, kind: str, status: object, seconds: float | None = None) -> None:
        with self.lock:
            self.kinds.setdefault(kind, Counter())[str(status)] += 1
            if seconds is not None:
                self.latencies.setdefault(kind, []).append(seconds)

    def object(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)


class Soak:
    """long_tokens: length of the long texts. One instance, one run."""

    def __init__(self, server: ServerProcess, folder: Path, seconds: float, long_tokens: int) -> None:
        self.server, self.name, self.seconds, self.long_tokens = server, folder.name, seconds, long_tokens
        self.record = Record()
        self.texts = workload(folder, 400, 18)
        self.passages = workload(folder, 40, 180, seed=1)
        self.eos = self._eos(folder)
        self.known = self._vectors(Caller(server.port, self.name).embed(self.texts[:20], encoding_format="float"))
        self.ends = time.perf_counter() + seconds
        self.resident: list[tuple[float, int]] = []

    def run(self) -> Record:
        clients: list[Callable[[random.Random], None]] = [
            *[self.short] * 4,
            self.known_text,
            self.passage_list,
            self.long,
            self.leaving,
            self.bad,
            self.stalled,
            self.fault,
        ]
        threads = [threading.Thread(target=self._loop, args=(client, i)) for i, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.resident.append((time.perf_counter(), self.server.rss_mb()))
            time.sleep(min(1.0, self.seconds / 20))
        return self.record

    def _loop(self, client: Callable[[random.Random], None], seed: int) -> None:
        chance = random.Random(seed)
        while time.perf_counter() < self.ends:
            try:
                client(chance)
            except Exception as error:  # noqa: BLE001  no answer at all is the worst answer
                self.record.object(f"{client.__name__}: {type(error).__name__}: {error}")
                time.sleep(0.5)

    # clients, one request a call

    def short(self, chance: random.Random) -> None:
        text = chance.choice(self.texts) + f" {chance.random()}"  # new each time
        self._ask("short", text, {200, 429}, chance)
        self._pause(2)

    def known_text(self, chance: random.Random) -> None:
        i = chance.randrange(20)
        body = self._ask("known", self.texts[i], {200}, chance)
        if body and self._vectors(body)[0] @ self.known[i] < 0.9999:
            self.record.object(f"known text {i} has another vector than before")
        time.sleep(0.05)

    def passage_list(self, chance: random.Random) -> None:
        texts = [text + f" {chance.random()}" for text in chance.sample(self.passages, 5)]
        texts.insert(3, self.texts[3])
        body = self._ask("list", texts, {200, 429}, chance)
        if body and (rows := self._vectors(body)) is not None and (len(rows) != 6 or rows[3] @ self.known[3] < 0.9999):
            self.record.object("a list came back in another order or incomplete")
        self._pause(10)

    def long(self, chance: random.Random) -> None:
        ids = [chance.randrange(300, 480) for _ in range(self.long_tokens - 1)]
        self._ask("long", [*ids, self.eos], {200, 429}, chance)

    def leaving(self, chance: random.Random) -> None:
        text: object = chance.choice([[chance.choice(self.passages) + str(chance.random()) for _ in range(4)], str(chance.random())])
        with self._sent(json.dumps({"input": text, "model": self.name}).encode()):
            time.sleep(chance.random() * 0.3)
        self.record.ask("leaving")
        self.record.add("leaving", "left")
        self._pause(2)

    def bad(self, chance: random.Random) -> None:
        status, body = chance.choice(BAD)
        self.record.ask("bad")
        with self._sent(body) as connection:
            answered = b""
            while not answered.endswith(b"}}") and (piece := connection.recv(65536)):
                answered += piece
        got = int(answered.split()[1])
        self.record.add("bad", got)
        if got != status or b'"error"' not in answered:
            self.record.object(f"{body[:40]!r} was answered {answered[:200]!r} and not {status}")
        time.sleep(0.1)

    def stalled(self, chance: random.Random) -> None:
        """Asks for more than fits the sockets' buffers, from the cache after the first time, and takes nothing of it for a while."""
        body = json.dumps({"input": self.texts[:20] * 100, "model": self.name}).encode()
        self.record.ask("stalled")
        with self._sent(body, buffer=4096) as connection:
            time.sleep(min(10.0, self.seconds / 4))
            answered, began = b"", time.perf_counter()
            while time.perf_counter() - began < 60 and not answered.endswith(b"0\r\n\r\n"):
                piece = connection.recv(1 << 20)
                if not piece:
                    break
                answered = (answered + piece) if not answered else answered[:20] + piece[-100:]
        self.record.add("stalled", int(answered.split()[1]))

    def fault(self, chance: random.Random) -> None:
        bad = [[chance.randrange(300, 480), chance.choice([FAULT_ID, NAN_ID]), self.eos]]
        self._ask("fault", bad, {500, 429}, chance)
        self._pause(5)  # a batch with a fault in it is computed again text by text

    def _pause(self, seconds: float) -> None:
        """What is asked stays below what two cores can do beside a long text, about 300 tokens a second; shorter in a short run."""
        time.sleep(seconds * min(1.0, self.seconds / 100))

    def _ask(self, kind: str, input: object, due: set[int], chance: random.Random) -> bytes | None:
        caller = Caller(self.server.port, self.name)
        began = time.perf_counter()
        self.record.ask(kind)
        try:
            status, body = caller.post(input, encoding_format="float")
        finally:
            caller.close()
        self.record.add(kind, status, time.perf_counter() - began)
        if status not in due:
            self.record.object(f"{kind}: {status} {body[:200]!r}")
        if status == 429:
            time.sleep(1)
        return body if status == 200 else None

    def _sent(self, body: bytes, buffer: int | None = None) -> socket.socket:
        connection = socket.socket()
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", self.server.port))
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with suppress(BrokenPipeError, ConnectionResetError):  # an answer to a body that is too large may come before its end
            connection.sendall(head.encode() + body)
        return connection

    @staticmethod
    def _vectors(body: bytes) -> np.ndarray:
        return np.array([row["embedding"] for row in json.loads(body)["data"]])

    @staticmethod
    def _eos(folder: Path) -> int:
        import tokenizers

        return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a").ids[-1]

    # what must hold

    def judged(self) -> list[str]:
        """What does not hold, a sentence each."""
        wrong = list(dict.fromkeys(self.record.wrong))
        for kind, asked in self.record.asked.items():
            answered = sum(self.record.kinds.get(kind, {}).values())
            if answered != asked:
                wrong.append(f"{asked} requests of the kind {kind} and {answered} answers")
        p95 = self.percentile("short", 95)
        if p95 > SHORT_P95_S:
            wrong.append(f"short texts took {p95:.1f} s at p95, and {SHORT_P95_S} s is the limit")
        growth = self.growth_mb()
        if self.seconds >= WARM_S and growth > max(30, 0.05 * self.resident[-1][1]):
            wrong.append(f"memory grew by {growth:.0f} MB between the second and the last quarter")
        wrong += self._afterwards()
        return wrong

    def _afterwards(self) -> list[str]:
        """The server at rest: nothing waits, and it still gives the vectors of the beginning."""
        deadline, wrong = time.perf_counter() + 60, []
        while (waiting := self._waiting()) and time.perf_counter() < deadline:
            time.sleep(0.5)
        if waiting:
            wrong.append(f"{waiting:.0f} tokens are held in the queue though nobody asks")
        rows = self._vectors(Caller(self.server.port, self.name).embed(self.texts[:20], encoding_format="float"))
        if (rows * self.known).sum(1).min() < 0.9999:
            wrong.append("vectors at the end differ from those at the start")
        status = self.server.close()
        if status:
            wrong.append(f"the server ended with status {status}")
        return wrong

    def _waiting(self) -> float:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.server.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("huiyi_queue_tokens"))

    def percentile(self, kind: str, percent: float) -> float:
        return float(np.percentile(self.record.latencies.get(kind) or [0.0], percent))

    def growth_mb(self) -> float:
        start, end = self.resident[0][0], self.resident[-1][0]
        of = np.array([((at - start) / (end - start), mb) for at, mb in self.resident])
        return float(np.median(of[of[:, 0] > 0.75, 1]) - np.median(of[(of[:, 0] > 0.25) & (of[:, 0] < 0.5), 1]))


def faulty_server(folder: Path, home: Path, *options: str) -> ServerProcess:
    """`huiyi serve` in a process whose engine raises at FAULT_ID and gives NaN at NAN_ID: this file run with --serve."""
    port = free_port()
    command = [sys.executable, __file__, "--serve", "serve", "--model", str(folder), "--port", str(port), *options]
    return ServerProcess("huiyi", command, port, log=home / "server.log", HUIYI_HOME=str(home))


def serve_with_faults() -> None:
    from huiyi.cli.app import main
    from huiyi.engines.openvino import OpenVINOEngine

    forward = OpenVINOEngine.forward

    def faulty(self, batch, *adapter):
        if any((ids == FAULT_ID).any() for ids in batch):
            raise RuntimeError("a fault on purpose")
        rows = forward(self, batch, *adapter)
        for row, ids in zip(rows, batch, strict=True):
            if (ids == NAN_ID).any():
                row[:] = np.nan
        return rows

    OpenVINOEngine.forward = faulty
    del sys.argv[1]
    main()


def soaked(folder: Path, home: Path, seconds: float, long_tokens: int) -> tuple[Soak, list[str]]:
    """A run, and what did not hold."""
    server = faulty_server(folder, home)
    try:
        soak = Soak(server, folder, seconds, long_tokens)
        soak.run()
        return soak, soak.judged()
    finally:
        server.close()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=300)
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--long-tokens", type=int, default=8000)
    options = arguments.parse_args()
    folder = checkpoint(options.work / "qwen3-0.6b-shape")
    with tempfile.TemporaryDirectory() as home:
        soak, wrong = soaked(folder, Path(home), options.seconds, options.long_tokens)
    rows = [
        {
            "requests": kind,
            "asked": soak.record.asked[kind],
            "answers": ", ".join(f"{count} × {status}" for status, count in sorted(answers.items())),
            "p50, s": round(soak.percentile(kind, 50), 2) if kind in soak.record.latencies else None,
            "p95, s": round(soak.percentile(kind, 95), 2) if kind in soak.record.latencies else None,
        }
        for kind, answers in soak.record.kinds.items()
    ]
    from measure import write

    note = f"Memory: {soak.growth_mb():+.0f} MB from the second to the last quarter, {soak.resident[-1][1]:,} MB at the end. "
    settings = {"seconds": options.seconds, "long texts, tokens": options.long_tokens, "model": folder.name}
    write("soak", "Everything at once for some minutes, 0.6B shape", rows, settings, note + ("; ".join(wrong) or "All of it holds."))
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    if "--serve" in sys.argv[1:2]:
        serve_with_faults()
    else:
        sys.exit(main())
