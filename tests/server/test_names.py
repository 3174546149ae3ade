"""Names in requests are of any script, and what is none is refused in a sentence; the document can be read in one way alone."""

import json
from collections.abc import Iterator

import httpx
import pytest

from fakes import FakeEngine
from live_server import fake_served, live, post


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live([fake_served(FakeEngine(dim=8))]) as url:
        yield url


@pytest.mark.parametrize("name", ["客服", "поддержка", "a" * 64, "_1", "㸥"])
def test_names_of_any_script_are_taken(address: str, name: str) -> None:
    assert post(address, "/v1/collections", name=name, model="fake").status_code == 201
    assert httpx.get(f"{address}/v1/collections/{name}").json()["name"] == name


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "..", "a" * 65])
def test_what_is_no_name_is_refused_in_a_sentence(address: str, name: str) -> None:
    refused = post(address, "/v1/collections", name=name, model="fake")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "name"


def test_no_pattern_of_the_document_depends_on_what_a_letter_is(address: str) -> None:
    document = json.dumps(httpx.get(f"{address}/openapi.json").json())
    assert r"\\w" not in document
    assert r"\\d" not in document
