"""Connections that cannot be held open for nothing, and a server that ends well, on top of uvicorn.

Owns what happens below the application: slow headers, readers that stall, too many connections, signals. Failures there are answered in
the same JSON form as all others, as far as there is anybody to answer.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from huiyi.errors import Conflict, InvalidInput
from huiyi.server.desk import Desk

HEADER_S = 10.0  # for the headers of a request to arrive
WRITE_S = 60.0  # for a client to take some of what waits for it
KEEP_ALIVE_S = 75
MAX_HEADER_BYTES = 65_536
MAX_CONNECTIONS = 2048
MAX_MESSAGE_BYTES = 4 * 2**20  # of a WebSocket
DRAIN_S = 120  # for requests in flight, after SIGTERM
log = logging.getLogger("huiyi.server")


class GuardedConnection(HttpToolsProtocol):
    """uvicorn waits for ever for headers and for readers; this does not."""

    header_s, write_s, max_connections = HEADER_S, WRITE_S, MAX_CONNECTIONS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop("_deadline")
        self._stop("_write_deadline")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._await_headers()  # the next request on this connection begins
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response(f"the headers of a request may have {MAX_HEADER_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        self._in_headers, self._header_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop("_deadline")
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.call_later(self.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("_write_deadline")

    def send_400_response(self, msg: str) -> None:
        error = {"message": msg, "type": "invalid_request_error", "param": None, "code": "invalid_http"}
        body = orjson.dumps({"error": error})
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(self.header_s, self._headers_late)

    def _headers_late(self) -> None:
        self._deadline = None
        self.transport.abort()

    def _stop(self, timer: str) -> None:
        handle = getattr(self, timer)
        if handle is not None:
            handle.cancel()
            setattr(self, timer, None)


class EndingServer(uvicorn.Server):
    """SIGTERM: /ready says 503 at once, `notice_s` later nothing new is taken, and what is in flight is answered. SIGINT: the same without
    notice. A second signal ends the process where it stands. Ends with code 0 after a signal."""

    def __init__(self, config: uvicorn.Config, desk: Desk, notice_s: float, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._desk, self._notice_s, self._announce = desk, notice_s, started
        self._stop_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is not None and asyncio.get_running_loop().time() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: FrameType | None) -> None:
            if self._desk.draining:
                os._exit(128 + number)
            self._desk.draining = True
            self._stop_at = loop.time() + (self._notice_s if number == signal.SIGTERM else 0)
            log.info("stopping: requests in flight are answered first; a second signal stops at once")

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bound(host: str, port: int) -> socket.socket:
    """A socket on this address, which takes no connection yet: whoever binds first need not load a model in vain.

    port 0: any free one. Raises InvalidInput for an address that is not this machine's, Conflict for a port in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise InvalidInput(f"{host} is no address of this machine ({error.strerror}); try --host 127.0.0.1") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise Conflict(f"port {port} of {host} cannot be had ({error.strerror}); choose another with --port") from error
    return bound


def server(app: FastAPI, started: Callable[[], None], notice_s: float = 1.0, sockets: bool = False) -> EndingServer:
    """`.run([bound])` serves until a signal. started: called once requests are taken. sockets: WebSockets, too, which the console needs."""
    config = uvicorn.Config(
        app,
        http=GuardedConnection,
        loop="asyncio",
        ws="websockets-sansio" if sockets else "none",
        ws_max_size=MAX_MESSAGE_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    return EndingServer(config, app.state.desk, notice_s, started)
