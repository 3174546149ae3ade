"""The libraries that people call a server with, against `huiyi serve` as a process of its own with real weights.

Failures that need an engine in trouble come from a server in this process.
"""

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import openai
import pytest
import tiktoken
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding

import tiny
from fakes import LIMIT_S, FakeEngine, in_thread
from live_server import command, fake_served, live

TEXTS = [
    "Where is my parcel?",
    "My order has not arrived yet.",
    "包裹到哪儿了？",
    "The zip of this jacket is broken.",
    "x " * 100,
    "",
]


@pytest.fixture(scope="module", autouse=True)
def no_proxy() -> Iterator[None]:
    """A proxy of the environment is for other machines than this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="module")
def served(tmp_path_factory, minilm) -> Iterator[str]:
    """Base URL of a server with MiniLM as `model` and a tiny Qwen3 as `Qwen3-tiny`."""
    home = tmp_path_factory.mktemp("home")
    qwen = tiny.tiny_qwen3(tmp_path_factory.mktemp("models") / "Qwen3-tiny")
    with command(home, "--model", minilm, "--model", qwen, log=home) as (_, url):
        yield f"{url}/v1"


@pytest.fixture(params=["model", "Qwen3-tiny"])
def model(request) -> str:
    return request.param


def client(url: str, **options) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=options.pop("api_key", "None"), max_retries=0, timeout=30, **options)


def vectors(answer) -> np.ndarray:
    return np.array([row.embedding for row in answer.data], np.float64)


def cosines(a, b) -> np.ndarray:
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


# openai


def test_a_clients_first_lines_work_as_they_are_published(served):
    from openai import OpenAI

    client = OpenAI(base_url=served, api_key="None")
    response = client.embeddings.create(model="Qwen3-tiny", input="花呗可以提前还款吗？")
    assert len(response.data[0].embedding) == 64
    assert response.model == "Qwen3-tiny"
    assert response.usage.prompt_tokens == response.usage.total_tokens > 1


def test_floats_and_base64_are_the_same_numbers(served, model):
    as_floats = client(served).embeddings.create(model=model, input=TEXTS, encoding_format="float")
    by_default = client(served).embeddings.create(model=model, input=TEXTS)  # the library asks for base64 and decodes it
    np.testing.assert_array_equal(vectors(as_floats).astype(np.float32), vectors(by_default).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(vectors(as_floats), axis=1), 1, atol=1e-5)
    assert [row.index for row in as_floats.data] == list(range(6))


def test_a_batch_gives_what_its_texts_give_alone(served, model):
    create = client(served).embeddings.create
    together = vectors(create(model=model, input=[f"{text} again" for text in TEXTS]))
    for row, text in zip(together, TEXTS, strict=True):
        alone = vectors(create(model=model, input=f"{text} again"))
        assert cosines(row, alone) >= 0.9999


def test_the_asynchronous_client_gets_the_same_and_many_calls_at_once(served, model):
    async def call() -> list[np.ndarray]:
        async with openai.AsyncOpenAI(base_url=served, api_key="None", max_retries=0, timeout=30) as client:
            answers = await asyncio.gather(*(client.embeddings.create(model=model, input=f"call {i}") for i in range(64)))
        return [vectors(answer)[0] for answer in answers]

    due = vectors(client(served).embeddings.create(model=model, input=[f"call {i}" for i in range(64)]))
    assert cosines(asyncio.run(call()), due).min() >= 0.9999


def test_dimensions_cut_and_keep_unit_length(served):
    full = vectors(client(served).embeddings.create(model="Qwen3-tiny", input=TEXTS))
    cut = vectors(client(served).embeddings.create(model="Qwen3-tiny", input=TEXTS, dimensions=40))
    assert cut.shape == (6, 40)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-5)
    assert cosines(cut, full[:, :40]).min() > 0.99999


def test_our_own_fields_go_through_extra_body(served):
    create = client(served).embeddings.create
    plain = create(model="Qwen3-tiny", input="parcel")
    query = create(model="Qwen3-tiny", input="parcel", extra_body={"input_type": "query"})
    task = create(model="Qwen3-tiny", input="parcel", extra_body={"input_type": "query", "instruction": "find the invoice"})
    small = create(model="Qwen3-tiny", input="parcel", encoding_format="float", extra_body={"output_type": "int8"})
    assert query.usage.prompt_tokens > plain.usage.prompt_tokens
    assert len({tuple(answer.data[0].embedding) for answer in (plain, query, task)}) == 3
    assert all(number == int(number) and -127 <= number <= 127 for number in small.data[0].embedding)
    assert cosines(small.data[0].embedding, plain.data[0].embedding) > 0.99


def test_the_models_are_listed(served):
    assert {model.id for model in client(served).models.list()} == {"model", "Qwen3-tiny"}
    assert client(served).models.retrieve("Qwen3-tiny").id == "Qwen3-tiny"


def test_failures_come_as_the_librarys_own_exceptions(served):
    create = client(served).embeddings.create
    with pytest.raises(openai.NotFoundError, match="served here: model, Qwen3-tiny"):
        create(model="text-embedding-3-small", input="a")
    for wrong in ({"input": []}, {"input": "a", "dimensions": 10_000}, {"input": "word " * 2000}, {"input": [[1, 2, 3]]}):
        with pytest.raises(openai.BadRequestError) as caught:
            create(model="model", **wrong)
        assert caught.value.body["message"]
        assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match='"truncate": "end"'):
        create(model="model", input=["short", "word " * 2000])
    assert create(model="model", input="word " * 2000, extra_body={"truncate": "end"}).usage.prompt_tokens == 256


def test_an_address_that_others_can_reach_asks_for_a_key_and_says_where_it_is(tmp_path, minilm):
    with command(tmp_path, "--model", minilm, "--host", "0.0.0.0", log=tmp_path) as (_, url):
        with pytest.raises(openai.AuthenticationError, match=r"api_key on the server's machine"):
            client(f"{url}/v1").embeddings.create(model="model", input="a")
        key = (tmp_path / "api_key").read_text().strip()
        assert len(client(f"{url}/v1", api_key=key).embeddings.create(model="model", input="a").data[0].embedding) == 384
        assert key not in (tmp_path / "out").read_text() + (tmp_path / "err").read_text()


def test_a_full_queue_is_a_rate_limit_error_and_the_library_tries_again(tmp_path):
    engine = FakeEngine(dim=64, max_tokens=100, gate=threading.Event())
    with live(fake_served(engine, max_tokens=100, max_queue_tokens=100)) as url:
        first = in_thread(client(f"{url}/v1").embeddings.create, model="fake", input=["x" * 90])
        assert engine.entered.wait(LIMIT_S)
        with pytest.raises(openai.RateLimitError) as caught:
            client(f"{url}/v1").embeddings.create(model="fake", input="y" * 90)
        assert int(caught.value.response.headers["Retry-After"]) >= 1
        again = in_thread(
            openai.OpenAI(base_url=f"{url}/v1", api_key="None", max_retries=5).embeddings.create, model="fake", input="y" * 90
        )
        engine.gate.set()
        assert len(again.result(LIMIT_S).data) == len(first.result(LIMIT_S).data) == 1


def test_a_text_the_model_cannot_compute_is_a_server_error_without_a_trace():
    with live(fake_served(FakeEngine(dim=64, raise_on=[ord("!")]))) as url:
        with pytest.raises(openai.InternalServerError) as caught:
            client(f"{url}/v1").embeddings.create(model="fake", input=["fine", "not this one!"])
        assert "Traceback" not in caught.value.response.text
        assert "not this one" not in caught.value.response.text
        assert len(client(f"{url}/v1").embeddings.create(model="fake", input="fine").data) == 1


# langchain, llama-index


def test_langchain_embeds_when_told_to_send_texts(served, model):
    embeddings = OpenAIEmbeddings(model=model, base_url=served, api_key="None", check_embedding_ctx_length=False)
    documents = embeddings.embed_documents(TEXTS[:4])
    due = vectors(client(served).embeddings.create(model=model, input=TEXTS[:4]))
    assert cosines(documents, due).min() >= 0.9999
    assert cosines(embeddings.embed_query(TEXTS[0]), due[0]) >= 0.9999


def test_langchain_by_default_sends_another_tokenizers_ids_and_hears_how_to_stop_that(served, model, monkeypatch):
    bytes_only = tiktoken.Encoding("bytes", pat_str=r"[\s\S]", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={})
    for name in ("encoding_for_model", "get_encoding"):  # the real one is downloaded
        monkeypatch.setattr(tiktoken, name, lambda _: bytes_only)
    embeddings = OpenAIEmbeddings(model=model, base_url=served, api_key="None", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        embeddings.embed_documents(TEXTS[:2])


def test_llama_index_embeds(served, model):
    embedding = OpenAIEmbedding(model_name=model, api_base=served, api_key="None", max_retries=0)
    due = vectors(client(served).embeddings.create(model=model, input=TEXTS[:4]))
    assert cosines(embedding.get_text_embedding_batch(TEXTS[:4]), due).min() >= 0.9999
    assert cosines(embedding.get_query_embedding(TEXTS[0]), due[0]) >= 0.9999
    assert cosines(asyncio.run(embedding.aget_text_embedding(TEXTS[2])), due[2]) >= 0.9999
