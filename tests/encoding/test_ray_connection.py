"""What is said when there is no Ray, or no cluster where one was looked for: in seconds, before any model is loaded."""

import socket
import sys

import pytest

from fakes import in_thread
from huiyi.encoding.machines import RayEncoder
from huiyi.errors import InvalidInput, MissingExtra, Unavailable


def refused(address: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        RayEncoder(pytest.fail, address)


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    refused("local", MissingExtra, r"--ray needs an optional part: pip install 'huiyi\[ray\]'")


@pytest.mark.parametrize("address", ["", "cluster", "10.0.0.1", "10.0.0.1:port", "ray://"])
def test_an_address_that_is_none_is_told_what_one_is(address) -> None:
    refused(address, InvalidInput, "HOST:PORT, auto for the one this machine is in, local for this machine")


def test_an_address_where_nothing_answers_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        refused(f"127.0.0.1:{taken.getsockname()[1]}", Unavailable, "nothing answers at 127.0.0.1:.*is the cluster up")
    refused("127.0.0.1:99999", Unavailable, "nothing answers at 127.0.0.1:99999")


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_an_address_where_something_else_answers_is_told_at_once(says) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            line, _ = server.accept()
            with line:
                line.recv(100)
                line.sendall(says)

        answered = in_thread(answer)
        refused(f"127.0.0.1:{server.getsockname()[1]}", Unavailable, "what answers at 127.0.0.1:.* is no Ray cluster")
        answered.result(60)
