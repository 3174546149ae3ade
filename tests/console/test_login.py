"""The console of a server with a key, in a browser and past one."""

import httpx
from playwright.sync_api import expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from live_server import client
from looks import KEY, assert_accessible, log_in, reloaded, settled

SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


def test_somebody_logs_in_once_and_out_again(visit, locked: str) -> None:
    page = visit("/similarity", at=locked)
    expect(page.locator("h1")).to_have_text("huiyi: log in")
    assert_accessible(page)
    expect(page.get_by_label("API key")).to_be_focused()
    log_in(page)
    expect(page.locator("h1")).to_have_text("Similarity")
    reloaded(page)
    expect(page.locator("h1")).to_have_text("Similarity")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login**")
    page.goto(locked + "/data")
    settled(page)
    expect(page.get_by_label("API key")).to_be_visible()


def opened(address: str, origin: str | None, cookie: str = "") -> bool:
    try:
        with connect(address.replace("http", "ws") + SOCKET, origin=origin, additional_headers={"Cookie": cookie}) as socket:
            return str(socket.recv()).startswith("0{")  # Engine.IO's own greeting
    except InvalidStatus as error:
        return error.response.status_code != 403


def test_the_socket_asks_for_the_own_origin(address: str) -> None:
    assert opened(address, address)
    assert not opened(address, "http://evil.example")
    assert not opened(address, "null")


def test_the_socket_asks_for_a_session_where_there_is_a_key(locked: str) -> None:
    assert not opened(locked, locked)
    with client(locked) as http:
        cookie = http.post("/login", data={"key": KEY}).headers["set-cookie"].partition(";")[0]
    assert opened(locked, locked, cookie)
    assert not opened(locked, "http://evil.example", cookie)


def test_nothing_of_the_console_answers_without_a_session(locked: str) -> None:
    for path in ("/_nicegui_ws/socket.io/?EIO=4&transport=polling", "/_nicegui/x"):
        assert httpx.get(locked + path, trust_env=False).status_code == 401
    assert httpx.get(locked + "/data", trust_env=False).status_code == 303
