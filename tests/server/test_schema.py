"""Requests made from the OpenAPI document, good and bad ones: no answer is a server error, and every answer is as the document says."""

import json
import re
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from fakes import FakeEngine
from huiyi.workspace import Jobs
from live_server import fake_served, live, post

# Of schemathesis's checks those that hold answers to the document.
load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
REFUSED = CHECKS.get_by_names(["negative_data_rejection"])


COLLECTIONS = re.compile("/v1/(collections|jobs|cluster|classify|dedup|summarize|recommend)")
RECORDS = [{"id": str(n), "text": f"text {n}", "metadata": {"lang": "en", "price": n}} for n in range(5)]


@schemathesis.serializer("application/x-ndjson")
def as_it_is(context: object, value: object) -> object:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server with a collection `faq`. Jobs are taken and wait."""
    with pytest.MonkeyPatch.context() as patch, live([fake_served(FakeEngine(dim=64)), fake_served(FakeEngine(dim=32), "another")]) as url:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(Jobs, "start", lambda self: None)
        filled(url)
        yield url


def filled(url: str) -> None:
    post(url, "/v1/collections", name="faq", model="fake")
    post(url, "/v1/collections/faq/records", records=RECORDS)


@pytest.mark.parametrize("part", ["collections", "models"])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_as_the_document_says(address: str, mode: GenerationMode, part: str) -> None:
    """Also of requests that break the document: these are refused."""
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert {"/v1/embeddings", "/v1/similarity", "/v1/rerank", "/v1/models", "/metrics", "/ready"} <= {each.path for each in operations}
    about_collections = part == "collections"
    operations = [each for each in operations if bool(COLLECTIONS.match(each.path)) == about_collections]
    statuses: dict[str, set[int]] = {each.path: set() for each in operations}

    @settings(
        max_examples=100 if about_collections else 300,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        derandomize=True,
    )
    @given(st.sampled_from(operations).flatmap(lambda operation: operation.as_strategy(mode)), st.booleans())
    def every(case: schemathesis.Case, of_this_model: bool) -> None:
        if of_this_model and isinstance(case.body, dict):  # what the document cannot tell: a name and a width that are served
            case.body = {field: value for field, value in case.body.items() if field not in ("model", "dimensions")}
            if "/collections/" not in case.operation.path or case.operation.path.endswith("/reindex"):
                case.body["model"] = "fake"
        if of_this_model and "name" in (case.path_parameters or {}) and "/collections/" in case.operation.path:
            case.path_parameters["name"] = "faq"
        answer = case.call_and_validate(checks=[*CHECKED, *(REFUSED if mode.is_negative else [])], timeout=120)
        statuses[case.operation.path].add(answer.status_code)
        if "elete" in (case.operation.label + case.method.lower()):
            filled(address)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    every()
    if about_collections:
        met = set().union(*statuses.values())
        assert ({200, 202, 404} if mode.is_positive else {400}) <= met
    elif mode.is_positive:
        assert {200, 404} <= statuses["/v1/embeddings"]
        assert {200, 404} <= statuses["/v1/rerank"]
    else:
        assert 400 in statuses["/v1/embeddings"]
