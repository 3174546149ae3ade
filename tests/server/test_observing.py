"""What operators see: request ids, figures, logs without texts or keys; and what clients see of a fault: nothing of its inside."""

import gzip
import logging
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest

from conftest import REPOSITORY
from fakes import FakeEngine, until
from huiyi.server import auth
from huiyi.server.app import ServerSettings, create_app
from huiyi.server.guard import Admission
from live_server import JSON, client, command, fake_served, live, post

SECRET = "the customer's own words"
ADMIN = "admin-key-0123456789"


def test_request_ids_are_taken_over_or_made() -> None:
    with live(fake_served()) as url:
        given = {"X-Request-ID": "trace-1.2:3"}
        assert post(url, input="a", headers=given).headers["x-request-id"] == "trace-1.2:3"
        assert post(url, input=[], headers=given).headers["x-request-id"] == "trace-1.2:3"
        made = {post(url, input="a", headers={"X-Request-ID": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 200, "a\tb")}
        assert len(made) == 4
        assert all(re.fullmatch(r"[0-9a-f]{32}", id_) for id_ in made)


def test_figures_count_what_happened() -> None:
    models = [fake_served(name="one"), fake_served(name="two")]
    with live(models) as url, client(url) as http:
        post(url, input=["ab", "cd"], model="one")
        post(url, input="a" * 5000, model="two")
        post(url, input=[], model="one")
        http.get("/made/up/by/a/client")
        page = http.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        figures = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if not line.startswith("#"))
        assert all(name.startswith("huiyi_") for name in figures)
        assert "made/up" not in page.text
        expected = {
            'huiyi_requests_total{route="/v1/embeddings",status="200"}': 2,
            'huiyi_requests_total{route="/v1/embeddings",status="400"}': 1,
            'huiyi_requests_total{route="other",status="404"}': 1,
            'huiyi_texts_total{model="one"}': 2,
            'huiyi_tokens_total{model="one"}': 6,
            'huiyi_tokens_total{model="two"}': 5001,
            'huiyi_request_seconds_count{route="/v1/embeddings"}': 3,
            'huiyi_engine_texts_total{model="one"}': 2,
            'huiyi_engine_tokens_total{model="two"}': 5001,
            'huiyi_queue_wait_seconds_count{model="one"}': 2,
            'huiyi_queue_texts{model="one"}': 0,
            'huiyi_max_queue_tokens{model="one"}': 32768,
            'huiyi_refused_total{model="one"}': 0,
        }
        assert {name: float(figures[name]) for name in expected} == expected
        assert {"huiyi_batch_texts_sum", "huiyi_padding_tokens_total", "huiyi_engine_seconds_total", "huiyi_oldest_wait_seconds"} <= {
            name.partition("{")[0] for name in figures
        }


@pytest.mark.parametrize("engine", [FakeEngine(dim=64, raises=RuntimeError(SECRET)), FakeEngine(dim=64, nan_on=[ord("w")])])
def test_a_fault_of_the_engine_is_a_500_and_the_server_goes_on(engine, caplog) -> None:
    caplog.set_level(logging.INFO)
    with live(fake_served(engine)) as url:
        answer = post(url, input=SECRET)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "model_failed"
        assert answer.json()["error"]["type"] == "server_error"
        engine.raises = None
        assert post(url, input="a").status_code == 200
    assert "ModelFailed" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text
    assert SECRET not in caplog.text + answer.text


def test_a_server_whose_model_stopped_working_is_not_ready() -> None:
    model = fake_served()
    with live(model) as url, client(url) as http:
        assert http.get("/ready").status_code == 200
        model.close()
        assert http.get("/ready").status_code == 503
        assert "fake" in http.get("/ready").json()["error"]["message"]
        assert post(url, input="a").status_code == 503


def test_a_bug_is_a_500_without_its_inside(caplog, monkeypatch) -> None:
    model = fake_served()

    def broken(*arguments, **options):
        raise KeyError(SECRET)

    monkeypatch.setattr(model, "embed", broken)
    with live(model) as url:
        answer = post(url, input=SECRET)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert "Traceback" not in answer.text
    assert "KeyError" in caplog.text
    assert "test_observing.py" in caplog.text  # where it happened
    assert SECRET not in caplog.text + answer.text


def test_logs_hold_no_texts_keys_or_made_up_addresses(own_home, caplog, tmp_path) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "keys").write_text(ADMIN)
    settings = ServerSettings(Admission(auth.keys(tmp_path / "keys", "0.0.0.0", no_auth=False)), log_requests=True)
    with live(fake_served(), settings) as url, client(url) as http:
        key = {"Authorization": f"Bearer {ADMIN}"}
        assert post(url, input=SECRET, headers=key).status_code == 200
        assert post(url, input=[SECRET, 5], headers=key).status_code == 400
        assert post(url, input=SECRET, headers={"Authorization": f"Bearer {SECRET}"}).status_code == 401
        assert http.get(f"/{SECRET}%0Aforged line?key={ADMIN}", headers=key).status_code == 404
        assert httpx.post(url + "/v1/embeddings", content=SECRET.encode(), headers=JSON | key, trust_env=False).status_code == 400
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert len([line for line in ours if line.startswith(("POST ", "GET "))]) == 5
    assert not [line for line in ours if SECRET in line or ADMIN in line or "forged" in line]


def test_documentation_needs_no_internet() -> None:
    with live(fake_served()) as url, client(url) as http:
        page = http.get("/docs")
        assert page.status_code == 200
        assert not re.findall(r"""(?:https?:)?//[^\s"'<>]+""", re.sub(r"(?m)^\s*// .*$|<!--.*?-->", "", page.text))
        assert "default-src 'self'" in page.headers["content-security-policy"]
        named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(named) == 3
        for path in [*named, "openapi.json"]:
            assert http.get(f"/{path}").status_code == 200


def test_the_openapi_document_names_every_route_and_every_failure() -> None:
    document = create_app([fake_served()]).openapi()
    assert set(document["paths"]) == {
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/similarity",
        "/v1/rerank",
        "/v1/adapters",
        "/v1/adapters/{name}",
        "/v1/collections",
        "/v1/collections/{name}",
        *(f"/v1/collections/{{name}}/{each}" for each in ("records", "records/jsonl", "records/{id}", "get", "scroll", "search", "delete")),
        *(f"/v1/collections/{{name}}/{each}" for each in ("index", "reindex", "export", "cluster", "dedup", "summarize", "recommend")),
        *(f"/v1/collections/{{name}}/{each}" for each in ("classify", "classify/fit", "classify/suggest", "search/compare", "answer")),
        *(f"/v1/{each}" for each in ("cluster", "dedup", "summarize", "recommend", "classify")),
        *(f"/v1/jobs{each}" for each in ("", "/{id}", "/{id}/cancel", "/{id}/files/{name}")),
        "/health",
        "/ready",
        "/metrics",
    }
    posted = document["paths"]["/v1/embeddings"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "408", "413", "415", "429", "500", "503"} <= set(posted)
    assert "422" not in posted
    assert posted["429"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
    assert "securitySchemes" not in document["components"]
    schema = document["components"]["schemas"]["EmbeddingRequest"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["input"]


class Collector(BaseHTTPRequestHandler):
    """Takes what an exporter of OpenTelemetry posts."""

    received: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append((self.path, gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def test_requests_are_exported_where_opentelemetry_is_set_up(tmp_path) -> None:
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_SERVICE_NAME": "our-embeddings",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    program = REPOSITORY / "tests" / "slow_server.py"
    with command(tmp_path / "home", log=tmp_path, program=program, **environment) as (process, url):
        assert post(url, input=SECRET).status_code == 200
        until(lambda: any(path == "/v1/traces" for path, _ in Collector.received))
        process.send_signal(signal.SIGINT)
        process.wait(20)
    collector.shutdown()
    exported = b"".join(body for _, body in Collector.received)
    assert b"our-embeddings" in exported
    assert b"/v1/embeddings" in exported
    assert SECRET.encode() not in exported
