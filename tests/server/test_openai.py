"""/v1/embeddings and /v1/models as a client sees them: fields, formats, names, and what is refused."""

import base64
from collections.abc import Iterator

import numpy as np
import pytest

from fakes import EOS, FakeEngine
from huiyi.server.openai import ROWS_AT_ONCE
from huiyi.serving import quantized
from live_server import client, fake_served, live, post

TEXTS = ["Where is my parcel?", "", "我的包裹在哪里?", "x" * 300]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with live([fake_served(max_tokens=400, aliases=("owner/fake",))]) as url:
        yield url


def vectors(answer, dtype=np.float32) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    rows = answer.json()["data"]
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return np.array([np.frombuffer(base64.b64decode(e), dtype) if isinstance(e, str) else e for e in (row["embedding"] for row in rows)])


def refused(answer, status: int, code: str, says: str, param: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert says in error["message"]


def test_one_text_as_openai_answers(url) -> None:
    answer = post(url, input="hello", model="fake")
    body = answer.json()
    assert body["object"] == "list"
    assert body["model"] == "fake"
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert [set(row) for row in body["data"]] == [{"object", "index", "embedding"}]
    assert answer.headers["content-type"] == "application/json"
    assert np.linalg.norm(vectors(answer)) == pytest.approx(1)


def test_base64_is_float_is_one_by_one(url) -> None:
    together = vectors(post(url, input=TEXTS))
    assert np.array_equal(together.astype(np.float32), vectors(post(url, input=TEXTS, encoding_format="base64")))
    alone = np.concatenate([vectors(post(url, input=text)) for text in TEXTS])
    assert np.einsum("nd,nd->n", together, alone).min() > 0.9999


def test_token_ids_give_the_vectors_of_their_text(url) -> None:
    ids = [[*map(ord, text), EOS] for text in TEXTS]
    assert np.array_equal(vectors(post(url, input=ids)), vectors(post(url, input=TEXTS)))
    assert np.array_equal(vectors(post(url, input=ids[0])), vectors(post(url, input=TEXTS[0])))


@pytest.mark.parametrize("count", [ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE, 2500])
def test_any_number_of_inputs_comes_back_in_order(url, count) -> None:
    texts = [f"text {n}" for n in range(count)]
    answer = post(url, input=texts, encoding_format="base64")
    assert answer.json()["usage"]["prompt_tokens"] == sum(len(text) + 1 for text in texts)
    some = range(0, count, max(1, count // 7))
    expected = vectors(post(url, input=[texts[n] for n in some]))
    assert np.allclose(vectors(answer)[list(some)], expected, atol=1e-6)


def test_dimensions_are_cut_before_unit_length(url) -> None:
    full, cut = vectors(post(url, input=TEXTS)), vectors(post(url, input=TEXTS, dimensions=40))
    assert cut.shape == (len(TEXTS), 40)
    assert np.allclose(cut, full[:, :40] / np.linalg.norm(full[:, :40], axis=1, keepdims=True), atol=1e-6)
    refused(post(url, input="a", dimensions=65), 400, "invalid_input", "dimensions must be 32 to 64")
    refused(post(url, input="a", dimensions="64"), 400, "invalid_input", "dimensions", "dimensions")


def test_a_query_is_read_with_the_instruction(url) -> None:
    as_query = vectors(post(url, input="a", input_type="query"))
    assert np.array_equal(as_query, vectors(post(url, input="task:a")))
    assert np.array_equal(vectors(post(url, input="a", input_type="query", instruction="mine")), vectors(post(url, input="mine:a")))
    assert np.array_equal(vectors(post(url, input="a", input_type="document")), vectors(post(url, input="a")))
    refused(post(url, input="a", instruction="mine"), 400, "invalid_input", '"input_type": "query"', "instruction")


@pytest.mark.parametrize("output", ["int8", "uint8", "binary", "ubinary"])
def test_small_integers_are_those_of_the_floats(url, output) -> None:
    expected = quantized(vectors(post(url, input=TEXTS)).astype(np.float32), output)
    assert np.array_equal(vectors(post(url, input=TEXTS, output_type=output)), expected)
    coded = post(url, input=TEXTS, output_type=output, encoding_format="base64")
    assert np.array_equal(vectors(coded, expected.dtype), expected)


def test_a_long_text_is_refused_unless_it_may_be_cut(url) -> None:
    long = "a" * 500
    refused(post(url, input=["b", long]), 400, "text_too_long", "input 1 has 501 tokens and this model takes 400")
    assert np.array_equal(vectors(post(url, input=long, truncate="end")), vectors(post(url, input="a" * 399)))
    assert post(url, input="b" * 500 + "a" * 399, truncate="start").json()["usage"]["total_tokens"] == 400


@pytest.mark.parametrize(
    ("body", "says", "param"),
    [
        ({"input": []}, "at least one", "input"),
        ({}, "input: Field required", "input"),
        ({"input": None}, "at least one", "input"),
        ({"input": {"text": "a"}}, "at least one", "input"),
        ({"input": ["a", 5]}, "element 1 is not a text", "input"),
        ({"input": [5, "a"]}, "not a list of token ids", None),
        ({"input": [[]]}, "not a list of token ids", None),
        ({"input": [104, 105]}, "check_embedding_ctx_length=False", None),
        ({"input": "a", "colour": "red"}, "no such field", "colour"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "encoding_format"),
        ({"input": "a", "output_type": "int4"}, "output_type", "output_type"),
        ({"input": "a", "truncate": "middle"}, "truncate", "truncate"),
        ({"input": "a", "dimensions": True}, "dimensions", "dimensions"),
        ({"input": "\ud800"}, "surrogate", None),
    ],
)
def test_what_cannot_be_used_is_a_400_that_names_the_field(url, body, says, param) -> None:
    refused(post(url, **body), 400, "invalid_input", says, param)


def test_what_a_client_leaves_null_is_left_out(url) -> None:
    fields = ("dimensions", "encoding_format", "user", "input_type", "instruction", "output_type", "model")
    assert vectors(post(url, input="a", **dict.fromkeys(fields))).shape == (1, 64)


def test_no_answer_repeats_the_text(url) -> None:
    for body in ({"input": ["secret words", 5]}, {"input": "secret words", "dimensions": "secret words"}, {"secret": "secret words"}):
        assert "secret words" not in post(url, **body).text


def test_models_are_listed_and_found_under_every_name() -> None:
    models = [fake_served(name="one/small", aliases=("small",)), fake_served(FakeEngine(dim=32), name="big")]
    with live(models) as url, client(url) as http:
        listed = http.get("/v1/models").json()
        assert [model["id"] for model in listed["data"]] == ["one/small", "big"]
        assert http.get("/v1/models/one/small").json() == http.get("/v1/models/small").json() == listed["data"][0]
        assert listed["data"][0] | {"aliases": ["small"], "dimensions": 64, "object": "model", "owned_by": "huiyi"} == listed["data"][0]
        refused(http.get("/v1/models/none"), 404, "model_not_found", "one/small, big", "model")
        assert [post(url, input="a", model=name).json()["model"] for name in ("small", "one/small", "big")] == ["one/small"] * 2 + ["big"]
        assert vectors(post(url, input="a", model="big")).shape == (1, 32)
        refused(post(url, input="a", model="none"), 404, "model_not_found", "one/small, big", "model")
        refused(post(url, input="a"), 400, "invalid_input", "say which one", "model")
