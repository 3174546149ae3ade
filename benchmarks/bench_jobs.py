"""How long one short text waits at /v1/embeddings while a job embeds a file behind it, beside a server with no job, on the 0.6B shape.

    python benchmarks/bench_jobs.py [--rounds 3] [--seconds 12] [--work FOLDER]

Expected before the first run: p50 hardly higher and p95 below twice as long, since the job's process gets what is left over.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checkpoint import checkpoint, workload
from measure import write
from servers import Caller, ServerProcess, free_port

PAUSE_S = 0.2  # of a client between two requests
CLIENTS = (1, 4)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=12)
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--model", type=Path, help="a folder in the place of the 0.6B shape")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    folder = options.model or checkpoint(options.work / "qwen3-0.6b-shape")
    texts = workload(folder, 1024, 18)
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    rows = []
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        command = [sys.executable, "-m", "huiyi", "serve", "--model", str(folder), "--port", str(port), "--threads", "2", "--no-cache"]
        server = ServerProcess("huiyi", command, port, log=options.work / "jobs.log", HUIYI_HOME=home)
        name = folder.resolve().name
        try:
            found: dict[tuple[int, bool], list[float]] = {}
            for turn in range(options.rounds):
                for clients in CLIENTS:
                    found.setdefault((clients, False), []).extend(asked(port, name, texts, clients, options.seconds))
                    job = submitted(port, turn, clients)
                    until_embedding(port, job)
                    found.setdefault((clients, True), []).extend(asked(port, name, texts, clients, options.seconds))
                    cancelled(port, job)
                    print(f"round {turn + 1}, {clients} clients done", file=sys.stderr)
        finally:
            server.close()
    for clients in CLIENTS:
        without, beside = (np.array(found[clients, during]) * 1000 for during in (False, True))
        rows.append(
            {
                "clients": clients,
                "p50 ms": round(float(np.median(without)), 1),
                "p50 ms, job": round(float(np.median(beside)), 1),
                "p95 ms": round(float(np.quantile(without, 0.95)), 1),
                "p95 ms, job": round(float(np.quantile(beside, 0.95)), 1),
                "p95 ratio": round(float(np.quantile(beside, 0.95) / np.quantile(without, 0.95)), 2),
                "requests": len(beside),
            }
        )
    settings = {"model": name, "rounds": options.rounds, "seconds": options.seconds, "pause_s": PAUSE_S}
    note = f"Each client sends one text of 18 tokens (median), waits for the answer, then {PAUSE_S} s. The job indexes short texts."
    write("jobs", "One short text while a job runs", rows, settings, note)


def asked(port: int, model: str, texts: list[str], clients: int, seconds: float) -> list[float]:
    """Seconds of each request."""
    end = time.perf_counter() + seconds
    latencies: list[float] = []

    def work(number: int) -> None:
        caller = Caller(port, model)
        turn = number
        while time.perf_counter() < end:
            began = time.perf_counter()
            caller.embed(texts[turn % len(texts)])
            latencies.append(time.perf_counter() - began)
            turn += clients
            time.sleep(PAUSE_S)
        caller.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


def submitted(port: int, turn: int, clients: int) -> str:
    """A job that embeds for as long as it is let."""
    lines = "".join(
        json.dumps({"id": str(n), "text": f"第 {n} 个问题 {turn}-{clients}: 我买的第 {n} 件东西什么时候发货?"}) + "\n"
        for n in range(40_000)
    )
    path = f"/v1/collections/bench-{turn}-{clients}/index?filename=many.jsonl"
    return str(called(port, "POST", path, lines.encode(), "application/octet-stream")["id"])


def until_embedding(port: int, job: str) -> None:
    while done(port, job) < 1:
        state = called(port, "GET", f"/v1/jobs/{job}")
        if state["status"] not in ("queued", "running"):
            raise RuntimeError(f"the job ended: {state['error']}")
        time.sleep(0.2)


def done(port: int, job: str) -> int:
    progress = called(port, "GET", f"/v1/jobs/{job}")["progress"]
    return int(progress["done"]) if progress else 0


def cancelled(port: int, job: str) -> None:
    called(port, "POST", f"/v1/jobs/{job}/cancel", b"{}")
    while called(port, "GET", f"/v1/jobs/{job}")["status"] == "running":
        time.sleep(0.1)


def called(port: int, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": kind} if body else {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
