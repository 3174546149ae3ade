"""The door of the console: who and what gets in, whatever is behind it; here a page that says hello and a socket that echoes."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from huiyi.server.app import Limits, ServerSettings, create_app
from huiyi.server.auth import Keys, keys
from huiyi.server.guard import Admission
from live_server import fake_served

KEY, READER = "correct-horse-battery", "only-for-reading"
SOCKET = "ws://localhost:30000/_nicegui_ws/socket"


def furnish(shell: FastAPI, secret: str, **services: object) -> frozenset[str]:
    assert len(secret) >= 32
    assert services["models"]

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"hello {request.scope['state']['console']['may_change']}")

    async def upload(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{len(await request.body())}")

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    shell.add_route("/hello", hello)
    shell.add_route("/_nicegui/upload", upload, methods=["POST"])
    shell.add_api_websocket_route("/_nicegui_ws/socket", echo)
    return frozenset({"/hello"})


@pytest.fixture
def visitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HUIYI_HOME", str(tmp_path))
    monkeypatch.delenv("HUIYI_API_KEY", raising=False)

    def visit(with_keys: bool = True, hosts: frozenset[str] = frozenset(), max_upload_bytes: int = 1000) -> TestClient:
        (tmp_path / "keys").write_text(f"admin:{KEY}\nread:{READER}\n")
        known: Keys | None = keys(tmp_path / "keys", "127.0.0.1", False) if with_keys else None
        settings = ServerSettings(Admission(known, hosts), Limits(max_upload_bytes=max_upload_bytes))
        return TestClient(create_app([fake_served()], settings, furnish), base_url="http://localhost:30000", follow_redirects=False)

    return visit


def log_in(client: TestClient, key: str = KEY):
    return client.post("/login", params={"next": "/hello?q=1"}, data={"key": key})


def test_without_keys_there_is_no_login(visitor) -> None:
    with visitor(with_keys=False) as client:
        assert client.get("/hello").text == "hello True"
        assert client.get("/login").headers["location"] == "/"


def test_a_login_leads_to_the_page_that_was_asked_for(visitor) -> None:
    with visitor() as client:
        asked = client.get("/hello?q=1")
        assert asked.status_code == 303
        assert asked.headers["location"] == "/login?next=%2Fhello%3Fq%3D1"
        form = client.get(asked.headers["location"])
        assert 'type="password"' in form.text
        assert "<script" not in form.text
        done = log_in(client)
        assert (done.status_code, done.headers["location"]) == (303, "/hello?q=1")
        cookie = done.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert KEY not in cookie
        assert client.get("/hello").text == "hello True"
        client.get("/logout")
        assert client.get("/hello").status_code == 303


def test_a_cookie_is_marked_secure_behind_tls(visitor) -> None:
    with visitor() as client:
        done = client.post("/login", data={"key": KEY}, headers={"X-Forwarded-Proto": "https"})
        assert "secure" in done.headers["set-cookie"].lower()


def test_the_login_is_in_the_language_of_the_browser(visitor) -> None:
    with visitor() as client:
        assert "API 密钥" in client.get("/login", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}).text
        assert "API key" in client.get("/login", headers={"Accept-Language": "en-US,en;q=0.9,zh;q=0.1"}).text


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "/login", "\\\\evil", "evil", "/a\nb"])
def test_a_login_leads_to_no_other_site(visitor, elsewhere: str) -> None:
    with visitor() as client:
        assert client.post("/login", params={"next": elsewhere}, data={"key": KEY}).headers["location"] == "/"


def test_keys_cannot_be_guessed_quickly(visitor) -> None:
    with visitor() as client:
        for _ in range(5):
            wrong = log_in(client, "wrong-key-wrong-key")
            assert wrong.status_code == 401
            assert "not known" in wrong.text
        refused = log_in(client, KEY)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 61
        assert "set-cookie" not in refused.headers


def test_a_forged_cookie_opens_nothing(visitor) -> None:
    with visitor() as client:
        good = log_in(client).cookies["huiyi_session"]
        bearer, _, signature = good.rpartition(".")
        fingerprint, _, until = bearer.partition(".")
        for forged in ("", "x", f"{bearer}.{'0' * 64}", f"{fingerprint}.{int(until) + 1}.{signature}", f"..{signature}", "é.1.é"):
            client.cookies.clear()
            answer = client.get("/hello", headers={"Cookie": f"huiyi_session={forged}".encode()})
            assert answer.status_code == 303, forged


def test_a_key_that_was_taken_away_ends_its_sessions(visitor, tmp_path: Path) -> None:
    with visitor() as client:
        cookie = log_in(client).cookies["huiyi_session"]
    (tmp_path / "keys").write_text("another-key-altogether\n")
    settings = ServerSettings(Admission(keys(tmp_path / "keys", "127.0.0.1", False)))
    with TestClient(create_app([fake_served()], settings, furnish), base_url="http://localhost", follow_redirects=False) as client:
        client.cookies.set("huiyi_session", cookie)
        assert client.get("/hello").status_code == 303


def test_a_key_that_may_read_looks_and_does_not_upload(visitor) -> None:
    with visitor() as client:
        log_in(client, READER)
        assert client.get("/hello").text == "hello False"
        refused = client.post("/_nicegui/upload", content=b"x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")


def test_uploads_are_bounded_by_what_they_declare_and_by_what_comes(visitor) -> None:
    with visitor(with_keys=False, max_upload_bytes=1000) as client:
        assert client.post("/_nicegui/upload", content=b"x" * 1000).text == "1000"
        assert client.post("/_nicegui/upload", content=b"x" * 1001).json()["error"]["code"] == "too_large"
        assert client.post("/_nicegui/upload", content=(b"x" * 400 for _ in range(3))).status_code == 413
        assert client.post("/login", content=b"x" * 5000).status_code == 413


@pytest.mark.parametrize("with_keys", [False, True])
def test_a_socket_opens_for_the_own_origin_and_for_no_other(visitor, with_keys: bool) -> None:
    with visitor(with_keys) as client:
        if with_keys:
            with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET):
                pass
            log_in(client)
        for origin in (None, "http://localhost:30000"):
            with client.websocket_connect(SOCKET, headers={"Origin": origin} if origin else {}) as socket:
                socket.send_text("hello")
                assert socket.receive_text() == "hello"
        for origin in ("http://evil.example", "null", "http://localhost:30001", "http://localhost:30000.evil.example"):
            with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET, headers={"Origin": origin}):
                pass


def test_pages_of_other_sites_reach_nothing(visitor) -> None:
    with visitor(with_keys=False) as client:
        assert client.post("/_nicegui/upload", content=b"x", headers={"Origin": "https://evil.example"}).status_code == 403
        assert client.get("/_nicegui/upload", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.get("/hello", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link is followed
        assert client.get("/hello", headers={"Host": "evil.example"}).json()["error"]["code"] == "host_not_allowed"


def test_a_page_cannot_be_framed_and_loads_from_nowhere_else(visitor) -> None:
    with visitor() as client:
        for path in ("/login", "/favicon.svg", "/hello"):
            headers = client.get(path).headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert "http" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"


def test_the_api_stays_as_it_is_beside_a_console(visitor) -> None:
    with visitor() as client:
        log_in(client)
        assert client.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        for accept in ("*/*", "text/html"):
            unknown = client.get("/v1/nothing", headers={"Accept": accept, "Authorization": f"Bearer {KEY}"})
            assert unknown.json()["error"]["code"] == "unknown_route"
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/v1/embeddings", headers={"Authorization": f"Bearer {KEY}"}).status_code == 405


def test_without_a_console_the_front_page_says_how_to_get_one(tmp_path: Path) -> None:
    with TestClient(create_app([fake_served()]), base_url="http://localhost") as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "huiyi[console]" in page.text
        assert client.get("/_nicegui_ws/socket").status_code == 404
