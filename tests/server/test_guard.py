"""Who gets in: keys and scopes, hosts, origins, content types, sizes. Every refusal has OpenAI's form."""

import stat
from pathlib import Path

import httpx
import pytest

from fakes import FakeEngine
from huiyi.errors import InvalidInput
from huiyi.server import auth
from huiyi.server.app import Limits, ServerSettings
from huiyi.server.guard import Admission
from live_server import JSON, client, fake_served, live, post, raw, read_all, request_bytes

READ, ADMIN = "read-key-0123456789", "admin-key-0123456789"


def code(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert answer.headers["x-request-id"]
    return answer.json()["error"]["code"]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\nread:{READ}\nadmin:{ADMIN}\n")
    return file


def test_keys_and_scopes(key_file, own_home) -> None:
    settings = ServerSettings(Admission(auth.keys(key_file, "0.0.0.0", no_auth=False)))
    with live(fake_served(), settings) as url, client(url) as http:
        assert [http.get(path).status_code for path in ("/health", "/ready", "/docs", "/openapi.json")] == [200] * 4
        for headers in (
            {},
            bearer("wrong"),
            bearer(READ[:-1]),
            bearer(READ + "x"),
            {"Authorization": "Bearer"},
            {"Authorization": f"Basic {READ}"},
        ):
            answer = post(url, input="a", headers=headers)
            assert code(answer, 401) == "invalid_api_key"
            assert "key file keys" in answer.json()["error"]["message"]
            assert answer.headers["www-authenticate"] == "Bearer"
            assert READ not in answer.text
        assert code(http.get("/nowhere"), 401) == "invalid_api_key"
        assert post(url, input="a", headers=bearer(READ)).status_code == 200
        assert post(url, input="a", headers={"authorization": f"bearer {ADMIN}"}).status_code == 200
        assert code(http.get("/metrics"), 401) == "invalid_api_key"
        assert code(http.get("/metrics", headers=bearer(READ)), 403) == "forbidden"
        assert http.get("/metrics", headers=bearer(ADMIN)).status_code == 200
        assert http.get("/openapi.json").json()["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_metrics_can_be_opened(key_file) -> None:
    settings = ServerSettings(Admission(auth.keys(key_file, "127.0.0.1", no_auth=False)), open_metrics=True)
    with live(fake_served(), settings) as url, client(url) as http:
        assert http.get("/metrics").status_code == 200
        assert http.get("/v1/models").status_code == 401


def test_where_keys_come_from(own_home, monkeypatch, key_file) -> None:
    assert auth.keys(None, "127.0.0.1", no_auth=False) is None
    assert auth.keys(None, "::1", no_auth=False) is None
    assert auth.keys(None, "0.0.0.0", no_auth=True) is None
    monkeypatch.setenv("HUIYI_API_KEY", f"{ADMIN},read:{READ}")
    for host in ("127.0.0.1", "0.0.0.0"):
        found = auth.keys(None, host, no_auth=False)
        found.check(f"Bearer {ADMIN}", "admin")
        found.check(f"Bearer {READ}", "read")
        assert "HUIYI_API_KEY" in found.source
    with pytest.raises(InvalidInput, match="contradict"):
        auth.keys(None, "0.0.0.0", no_auth=True)
    assert "key file" in auth.keys(key_file, "127.0.0.1", no_auth=False).source
    assert not (own_home / "api_key").exists()


def test_a_key_is_made_once_for_a_server_that_others_can_reach(own_home) -> None:
    made = auth.keys(None, "0.0.0.0", no_auth=False)
    file = own_home / "api_key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    assert len(key) > 30
    made.check(f"Bearer {key}", "admin")
    assert str(file) in made.source
    assert auth.keys(None, "192.168.1.5", no_auth=False) == made
    assert file.read_text().strip() == key
    assert [path.name for path in own_home.iterdir()] == ["api_key"]


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", "has a blank in it\n", "schlüssel-schlüssel\n", "read:\n"])
def test_a_key_file_without_a_good_key_is_refused(tmp_path, content) -> None:
    file = tmp_path / "keys"
    file.write_text(content, "utf-8")
    with pytest.raises(InvalidInput):
        auth.keys(file, "127.0.0.1", no_auth=False)
    with pytest.raises(InvalidInput, match="cannot be read"):
        auth.keys(tmp_path / "gone", "127.0.0.1", no_auth=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1234", "127.9.9.9", "[::1]:80", "LocalHost:8000", "mine.example:5"])
def test_a_known_host_may(host) -> None:
    with live(fake_served(), ServerSettings(Admission(hosts=frozenset({"mine.example"})))) as url:
        assert post(url, input="a", headers={"Host": host}).status_code == 200


def test_another_host_may_not() -> None:
    with live(fake_served()) as url:
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "x@localhost", "localhost/x", "["):
            assert code(post(url, input="a", headers={"Host": host}), 403) == "host_not_allowed"
            assert httpx.get(url + "/health", headers={"Host": host}, trust_env=False).status_code == 403
    with live(fake_served(), ServerSettings(Admission(hosts=None))) as url:
        assert post(url, input="a", headers={"Host": "any.example"}).status_code == 200


def test_pages_of_other_sites_may_not_call() -> None:
    with live(fake_served()) as url, client(url) as http:
        for origin in ("https://evil.example", "null", "http://localhost:1", "http://[bad"):
            assert code(post(url, input="a", headers={"Origin": origin}), 403) == "origin_not_allowed"
        assert post(url, input="a", headers={"Origin": url}).status_code == 200
        answer = http.options("/v1/embeddings", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
        assert code(answer, 403) == "origin_not_allowed"
        assert "access-control-allow-origin" not in answer.headers


def test_an_origin_that_was_let_in_may(key_file) -> None:
    ours = "https://shop.example"
    keys = auth.keys(key_file, "127.0.0.1", no_auth=False)
    with live(fake_served(), ServerSettings(Admission(keys, origins=frozenset({ours})))) as url, client(url) as http:
        asked = {"Origin": ours, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        preflight = http.options("/v1/embeddings", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == ours
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
        for key, status in ((READ, 200), ("wrong-key", 401)):  # a page must be able to read its errors
            answer = post(url, input="a", headers={"Origin": ours} | bearer(key))
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == ours
        assert post(url, input="a", headers={"Origin": "https://other.example"} | bearer(READ)).status_code == 403


@pytest.mark.parametrize(
    "type_", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx"]
)
def test_only_json_is_taken(type_) -> None:
    with live(fake_served()) as url:
        answer = httpx.post(url + "/v1/embeddings", content=b'{"input": "a"}', headers={"Content-Type": type_}, trust_env=False)
        assert code(answer, 415) == "unsupported_media_type"
        charset = {"Content-Type": "application/json; charset=utf-8"}
        assert httpx.post(url + "/v1/embeddings", content=b'{"input": "a"}', headers=charset, trust_env=False).status_code == 200


SMALL = ServerSettings(limits=Limits(max_body_bytes=1000, max_inputs=10, body_timeout_s=0.5))


def test_a_large_body_is_refused_by_what_it_declares_and_by_what_it_is() -> None:
    with live(fake_served(), SMALL) as url:
        declared = raw(url, request_bytes(b"", b"Content-Length: 1000000", b"Connection: close"))
        assert b" 413 " in read_all(declared).splitlines()[0]  # not one byte of it was sent

        def stream():
            for _ in range(50):
                yield b" " * 100

        answer = httpx.post(url + "/v1/embeddings", content=stream(), headers=JSON, trust_env=False)
        assert code(answer, 413) == "too_large"
        assert post(url, input="a" * 900).status_code == 200


def test_too_many_inputs_or_tokens_can_never_fit() -> None:
    engine = FakeEngine(dim=64)
    with live(fake_served(engine, max_request_tokens=50), SMALL) as url:
        assert code(post(url, input=["a"] * 11), 413) == "too_large"
        assert code(post(url, input=["abcdefghi"] * 6), 413) == "too_large"
        assert engine.calls == []
        assert post(url, input=["abcdefghi"] * 5).status_code == 200


def test_a_body_that_does_not_come_is_given_up() -> None:
    with live(fake_served(), SMALL) as url:
        answer = read_all(raw(url, request_bytes(b'{"input"', b"Content-Length: 100", b"Connection: close")))
        assert b" 408 " in answer.splitlines()[0]
        assert b"request_timeout" in answer


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 900, b'{"input": NaN}', b"\xff\xfe", b'"text"', b"[1]", b"null", b"7"])
def test_what_is_no_json_object_is_a_400(body) -> None:
    with live(fake_served(), SMALL) as url:
        assert code(httpx.post(url + "/v1/embeddings", content=body, headers=JSON, trust_env=False), 400) == "invalid_input"


def test_deep_nesting_is_a_400() -> None:
    with live(fake_served()) as url:
        for body in (b"[" * 1_000_000, b'{"input":' + b"[" * 900 + b"]" * 900 + b"}", b'{"a":' * 100_000):
            assert httpx.post(url + "/v1/embeddings", content=body, headers=JSON, timeout=20, trust_env=False).status_code == 400


def test_unknown_addresses_and_methods() -> None:
    with live(fake_served()) as url, client(url) as http:
        for path in ("/v1", "/v1/embeddings/", "/v1/../etc/passwd", "/docs/../../app.py", "/docs/swagger-ui.html"):
            assert code(http.get(path), 404) == "unknown_route"
        answer = http.get("/v1/embeddings")
        assert code(answer, 405) == "method_not_allowed"
        assert answer.headers["allow"] == "POST"
        assert code(http.delete("/v1/models"), 405) == "method_not_allowed"
        assert code(http.put("/health"), 405) == "method_not_allowed"
