"""Servers that take part in measurements, each a process of its own, and their clients: threads with a connection each."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_S = 240


class ServerProcess:
    """`command` until it answers 200 at `ready`, a path below 127.0.0.1:port."""

    def __init__(
        self, name: str, command: list[str], port: int, ready: str = "/ready", log: Path | None = None, **environment: str
    ) -> None:
        self.name, self.port = name, port
        out = log.open("w") if log else sys.stderr
        self.process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | environment)
        started = time.perf_counter()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                with opener.open(f"http://127.0.0.1:{port}{ready}", timeout=5):
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.perf_counter() - started > START_S:
                self.close()
                raise RuntimeError(f"{name} did not start: {' '.join(command)}")
            time.sleep(0.1)
        self.start_s = time.perf_counter() - started

    def rss_mb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024

    def close(self) -> int:
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Caller:
    """One connection, kept open."""

    def __init__(self, port: int, model: str, timeout_s: float = 300) -> None:
        self._model = model
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def post(self, input: object, **fields: object) -> tuple[int, bytes]:
        body = json.dumps({"model": self._model, "input": input, **fields})
        self._connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def embed(self, input: object, **fields: object) -> bytes:
        status, body = self.post(input, **fields)
        if status != 200:
            raise RuntimeError(f"{status}: {body[:300]!r}")
        return body

    def close(self) -> None:
        self._connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def huiyi_server(folder: Path, *options: str, home: Path, name: str = "huiyi", **environment: str) -> ServerProcess:
    port = free_port()
    command = [sys.executable, "-m", "huiyi", "serve", "--model", str(folder), "--port", str(port), *options]
    return ServerProcess(name, command, port, log=home / "server.log", HUIYI_HOME=str(home), **environment)


def pressed(calls: list, texts: list[str], seconds: float) -> dict:
    """`calls`: one function of a text for each client; they take turns through `texts` for some seconds. Texts a second, latencies."""
    latencies: list[float] = []
    lock, number = threading.Lock(), iter(range(10**9))
    ends = time.perf_counter() + seconds

    def client(call) -> None:
        while time.perf_counter() < ends:
            with lock:
                text = texts[next(number) % len(texts)]
            began = time.perf_counter()
            call(text)
            with lock:
                latencies.append(time.perf_counter() - began)

    threads = [threading.Thread(target=client, args=(call,)) for call in calls]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    if not latencies:
        raise RuntimeError("nothing was answered")
    return {"texts_per_s": len(latencies) / taken, "latencies": sorted(latencies)}
