"""Servers that listen on a free port of this machine: `live(models, settings)` in a thread, `command(...)` as the process a user starts.

`fake_served` is a model that needs no weights.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from fakes import EOS, FakeEngine, FakeTokenizer, until
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.scheduler import Scheduler
from huiyi.server import connections
from huiyi.server.app import ServerSettings, create_app
from huiyi.serving import Served

JSON = {"Content-Type": "application/json"}
START_S = 240  # of a process, however busy the machine is


def fake_served(
    engine: FakeEngine | None = None,
    name: str = "fake",
    *,
    aliases: tuple[str, ...] = (),
    max_tokens: int = 8192,
    max_queue_tokens: int | None = None,
    max_request_tokens: int = 300_000,
) -> Served:
    engine = engine or FakeEngine(dim=64)
    tokenizer = FakeTokenizer(max_tokens)
    tokenizer.eos_id = EOS
    scheduler = Scheduler(engine, max_queue_tokens=max_queue_tokens)
    local = LocalEncoder(tokenizer, engine, space=f"space of {name}", scheduler=scheduler)
    return Served(name, local, aliases=aliases, max_request_tokens=max_request_tokens)


@contextmanager
def live(
    models: Served | list[Served], settings: ServerSettings | None = None, notice_s: float = 0.0, home: Path | None = None
) -> Iterator[str]:
    """The address of a server with these models. home: of its collections and jobs; by default one that is gone afterwards."""
    if home is None:
        with tempfile.TemporaryDirectory() as folder, live(models, settings, notice_s, Path(folder)) as address:
            yield address
        return
    app = create_app(models if isinstance(models, list) else [models], settings, home=home)
    bound = connections.bound("127.0.0.1", 0)
    ready = threading.Event()
    server = connections.server(app, ready.set, notice_s)
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    until(ready.is_set)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def client(url: str, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)


def post(url: str, path: str = "/v1/embeddings", headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
    return httpx.post(url + path, content=json.dumps(body), headers=JSON | (headers or {}), timeout=30, trust_env=False)


def get(url: str, path: str) -> httpx.Response:
    return httpx.get(url + path, timeout=30, trust_env=False)


def raw(url: str, sent: bytes) -> socket.socket:
    """A connection with some bytes sent; nothing is read."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(sent)
    return connection


def request_bytes(body: bytes, *headers: bytes, path: bytes = b"/v1/embeddings") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"", body])


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes; what came before a reset counts, too. TimeoutError when it does not close."""
    read = b""
    try:
        while piece := connection.recv(65536):
            read += piece
    except ConnectionResetError:
        pass
    return read


@contextmanager
def command(
    home: Path, *options: object, log: Path, program: Path | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`huiyi serve` with these options: the process and its address, once it is ready.

    log: a folder for what it prints. program: in the place of `huiyi`.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("HUIYI_")} | {"HUIYI_HOME": str(home)} | environment
    words = [sys.executable, *([str(program)] if program else ["-m", "huiyi"]), "serve", "--port", "0", *map(str, options)]
    with (log / "out").open("w") as out, (log / "err").open("w") as err:
        process = subprocess.Popen(words, env=env, stdout=out, stderr=err, text=True)
    try:

        def ready() -> bool:
            assert process.poll() is None, (log / "err").read_text()
            return "ready: " in (log / "out").read_text()

        until(ready, START_S)
        address = next(line for line in (log / "out").read_text().splitlines() if line.startswith("ready: "))
        yield process, address.removeprefix("ready: ").removesuffix("/v1")
    finally:
        process.kill()
        process.wait()
