"""/v1/similarity and /v1/rerank: the cosines of the vectors that /v1/embeddings gives."""

import base64
from collections.abc import Iterator

import numpy as np
import pytest

from live_server import fake_served, live, post

ONE, MANY = "Where is my parcel?", ["The parcel is late.", "I want my money back.", "Where is my parcel?"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with live(fake_served(max_tokens=400)) as url:
        yield url


def vectors(url, texts, **fields) -> np.ndarray:
    rows = post(url, input=texts, encoding_format="base64", **fields).json()["data"]
    return np.array([np.frombuffer(base64.b64decode(row["embedding"]), np.float32) for row in rows])


def test_one_text_with_many(url) -> None:
    answer = post(url, "/v1/similarity", text=ONE, others=MANY)
    assert answer.status_code == 200
    body = answer.json()
    assert body["scores"] == pytest.approx((vectors(url, MANY) @ vectors(url, ONE)[0]).tolist(), abs=1e-5)
    assert body["scores"][2] == pytest.approx(1)
    assert body["model"] == "fake"
    assert body["usage"]["total_tokens"] == sum(len(text) + 1 for text in [ONE, *MANY])


def test_pairs(url) -> None:
    body = post(url, "/v1/similarity", pairs=[[ONE, MANY[0]], [MANY[0], MANY[1]]], dimensions=32).json()
    a, b, c = vectors(url, [ONE, MANY[0], MANY[1]], dimensions=32)
    assert body["scores"] == pytest.approx([float(a @ b), float(b @ c)], abs=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pairs": []},
        {"pairs": [["a"]]},
        {"pairs": [["a", "b", "c"]]},
        {"pairs": [["a", "b"]], "text": "a", "others": ["b"]},
        {"text": "a"},
        {"text": "a", "others": []},
        {"others": ["a"]},
        {"text": "a", "others": ["b"], "colour": 1},
        {"text": "a", "others": ["b" * 500]},
    ],
)
def test_what_is_no_comparison_is_a_400(url, body) -> None:
    answer = post(url, "/v1/similarity", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_reranked_documents_come_best_first(url) -> None:
    answer = post(url, "/v1/rerank", query=ONE, documents=[MANY[0], {"text": MANY[1]}, MANY[2]], return_documents=True)
    assert answer.status_code == 200
    body = answer.json()
    scores = vectors(url, MANY) @ vectors(url, ONE, input_type="query")[0]
    order = np.argsort(-scores, kind="stable").tolist()
    assert [result["index"] for result in body["results"]] == order
    assert [result["document"]["text"] for result in body["results"]] == [MANY[at] for at in order]
    assert [result["relevance_score"] for result in body["results"]] == pytest.approx([float(scores[at]) for at in order], abs=1e-5)


def test_the_best_few_without_their_texts(url) -> None:
    all_of_them = post(url, "/v1/rerank", query=ONE, documents=MANY).json()["results"]
    best = post(url, "/v1/rerank", query=ONE, documents=MANY, top_n=2).json()["results"]
    assert best == all_of_them[:2]
    assert {result["document"] for result in best} == {None}
    assert len(post(url, "/v1/rerank", query=ONE, documents=MANY, top_n=50).json()["results"]) == 3


def test_equal_documents_keep_their_order(url) -> None:
    results = post(url, "/v1/rerank", query=ONE, documents=["same"] * 5).json()["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("body", [{"query": ONE}, {"query": ONE, "documents": []}, {"query": ONE, "documents": [5]}, {"documents": ["a"]}])
def test_what_cannot_be_reranked_is_a_400(url, body) -> None:
    assert post(url, "/v1/rerank", **body).status_code == 400
