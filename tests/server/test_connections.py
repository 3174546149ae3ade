"""What clients do to connections: slow headers, stalled reading, leaving, many at once; and how a server ends."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from conftest import REPOSITORY
from fakes import FakeEngine, in_thread, until
from huiyi.errors import Conflict, InvalidInput
from huiyi.server import connections
from huiyi.server.app import Limits, ServerSettings
from huiyi.server.connections import GuardedConnection
from live_server import client, command, fake_served, live, post, raw, read_all, request_bytes


@pytest.fixture
def impatient(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(GuardedConnection, "header_s", 0.4)
    monkeypatch.setattr(GuardedConnection, "write_s", 0.6)
    return


def embedding_request(text: str = "a", *headers: bytes) -> bytes:
    body = b'{"input": "%b"}' % text.encode()
    return request_bytes(body, b"Content-Length: %d" % len(body), *headers)


def read_answer(connection: socket.socket) -> bytes:
    """One answer of /v1/embeddings on a connection that stays open."""
    read = b""
    while not read.endswith(b"}}"):
        read += connection.recv(65536)
    return read


@pytest.mark.parametrize("sent", [b"", b"POST /v1/emb", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_headers_that_do_not_come_end_the_connection(impatient, sent) -> None:
    with live(fake_served()) as url:
        began = time.monotonic()
        assert read_all(raw(url, sent)) == b""
        assert time.monotonic() - began < 5


def test_a_drop_now_and_then_does_not_keep_a_connection(impatient) -> None:
    with live(fake_served()) as url:
        slow = raw(url, b"GET /health HTTP/1.1\r\n")
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 10:
                slow.sendall(b"X-More: 1\r\n")
                time.sleep(0.1)
        assert time.monotonic() - began < 5


def test_the_next_request_on_a_connection_has_its_own_time(impatient) -> None:
    with live(fake_served()) as url:
        connection = raw(url, embedding_request())
        assert b" 200 " in read_answer(connection)
        time.sleep(0.8)  # resting between requests is allowed, for a longer time
        connection.sendall(embedding_request())
        assert b" 200 " in read_answer(connection)
        connection.sendall(b"POST /v1/em")
        assert read_all(connection) == b""


def test_endless_headers_are_refused() -> None:
    with live(fake_served()) as url:
        answer = read_all(raw(url, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 100_000))
        assert answer == b"" or b"invalid_http" in answer


def test_what_is_not_http_is_told_so_in_the_same_form() -> None:
    with live(fake_served()) as url:
        answer = read_all(raw(url, b"\x16\x03\x01 hello\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'{"error":{"message":' in answer


def test_a_reader_that_stalls_is_dropped_and_others_are_served(impatient) -> None:
    with live(fake_served(FakeEngine(dim=1024))) as url:
        body = b'{"input": [' + b",".join(b'"%d"' % n for n in range(4000)) + b"]}"
        stalled = raw(url, b"")
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(request_bytes(body, b"Content-Length: %d" % len(body)))
        with client(url) as http:
            until(lambda: 'huiyi_requests_total{route="/v1/embeddings",status="200"}' in http.get("/metrics").text)
            assert post(url, input="a").status_code == 200
            until(lambda: "huiyi_requests_in_flight 1.0" in http.get("/metrics").text)  # the asking one alone
        stalled.close()


def test_too_many_connections_are_dropped(monkeypatch) -> None:
    monkeypatch.setattr(GuardedConnection, "max_connections", 3)
    with live(fake_served()) as url:
        held = [raw(url, b"GET /health HTTP/1.1\r\n") for _ in range(3)]
        time.sleep(0.1)
        assert read_all(raw(url, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")) == b""
        held.pop().close()
        until(lambda: b" 200 " in read_all(raw(url, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")))


def test_a_client_who_leaves_costs_no_pass() -> None:
    gate = threading.Event()
    engine = FakeEngine(dim=64, gate=gate)
    model = fake_served(engine)
    with live(model) as url:
        first = in_thread(post, url, input="first")
        until(engine.entered.is_set)
        leaving = raw(url, embedding_request("the one who leaves"))
        until(lambda: model.stats().waiting_texts == 1)
        leaving.close()
        until(lambda: model.stats().cancelled == 1)
        gate.set()
        assert first.result(20).status_code == 200
        assert post(url, input="last").status_code == 200
        assert sorted(map(len, engine.calls)) == [1, 1]
        with client(url) as http:
            assert 'status="499"' in http.get("/metrics").text


def test_others_who_fill_the_queue_mean_429_with_a_time() -> None:
    gate = threading.Event()
    engine = FakeEngine(dim=64, gate=gate)
    with live(fake_served(engine, max_queue_tokens=50)) as url:
        first = in_thread(post, url, input="x" * 40)
        until(engine.entered.is_set)
        refused = post(url, input="y" * 40)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        gate.set()
        assert first.result(20).status_code == 200
        assert post(url, input="y" * 40).status_code == 200


def test_more_requests_at_once_than_may_be() -> None:
    gate = threading.Event()
    engine = FakeEngine(dim=64, gate=gate)
    with live(fake_served(engine), ServerSettings(limits=Limits(max_requests=2))) as url:
        held = [in_thread(post, url, input=str(n)) for n in range(2)]
        until(lambda: "huiyi_requests_in_flight 3.0" in httpx.get(url + "/metrics", trust_env=False).text)
        refused = post(url, input="c")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        gate.set()
        assert [answer.result(20).status_code for answer in held] == [200, 200]


def test_waiting_has_an_end() -> None:
    gate = threading.Event()
    engine = FakeEngine(dim=64, gate=gate)
    model = fake_served(engine)
    with live(model, ServerSettings(limits=Limits(max_wait_s=0.3))) as url:
        late = post(url, input="a")
        assert late.status_code == 503
        assert "0.3 s" in late.json()["error"]["message"]
        until(lambda: model.stats().cancelled == 1)
        gate.set()
        assert post(url, input="b").status_code == 200


def test_an_address_that_cannot_be_had_is_told_before_a_model_is_loaded() -> None:
    taken = connections.bound("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(Conflict, match="--port"):
        connections.bound("127.0.0.1", taken.getsockname()[1])
    for host in ("203.0.113.7", "no such name"):
        with pytest.raises((InvalidInput, Conflict)):
            connections.bound(host, 0)


def process_with_slow_model(tmp_path, *options, **environment):
    """The command, with a fake engine that takes a moment a token."""
    program = REPOSITORY / "tests" / "slow_server.py"
    return command(tmp_path / "home", *options, log=tmp_path, program=program, **environment)


def test_sigterm_answers_what_is_in_flight_and_turns_others_away_first(tmp_path) -> None:
    with process_with_slow_model(tmp_path) as (process, url):
        answer = in_thread(post, url, input="x" * 200)  # 2 s
        with client(url) as http:
            until(lambda: "huiyi_requests_in_flight 2.0" in http.get("/metrics").text)
            assert http.get("/ready").status_code == 200
            process.send_signal(signal.SIGTERM)
            until(lambda: http.get("/ready").status_code == 503)
            assert not answer.done()
            assert http.get("/health").status_code == 200
        assert answer.result(20).status_code == 200
        assert process.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            post(url, input="a")


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(tmp_path, first) -> None:
    with process_with_slow_model(tmp_path) as (process, url):
        in_thread(post, url, input="x" * 3000)  # 30 s
        with client(url) as http:
            until(lambda: "huiyi_requests_in_flight 2.0" in http.get("/metrics").text)
        process.send_signal(first)
        until(lambda: "stopping" in (tmp_path / "err").read_text())
        process.send_signal(first)
        assert process.wait(3) == 128 + first


def test_ctrl_c_ends_an_idle_server_soon(tmp_path) -> None:
    with process_with_slow_model(tmp_path) as (process, url):
        assert post(url, input="a").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert "Traceback" not in (tmp_path / "err").read_text()
