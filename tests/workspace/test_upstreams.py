"""A model behind servers of others: what they get wrong is put right or refused with the reason, and nothing above them notices."""

import re
from contextlib import ExitStack

import numpy as np
import pytest

import huiyi
from huiyi import workspace
from huiyi.encoding.probes import TEXTS
from huiyi.engines.hub import locate
from huiyi.errors import InvalidInput, ModelFailed, TooLong, Unavailable
from huiyi.workspace.upstreams import Upstreams, connect
from live_server import command, post
from standin_upstream import StandIn, running
from tiny import tiny_qwen3

KEY = "a-key-of-the-upstream"
SENT = [*TEXTS[:60], "", "   ", "x" * 3000]


@pytest.fixture(scope="module")
def starter():
    with huiyi.load("starter", threads=1) as model:
        yield model


@pytest.fixture
def upstream(starter, own_home):
    """Starts stand-ins over the real starter."""
    with ExitStack() as stack:

        def start(**defects) -> StandIn:
            return stack.enter_context(running(StandIn(starter.encoder, **defects)))

        yield start


@pytest.fixture
def connected(own_home):
    with ExitStack() as stack:
        said: list[str] = []

        def join(*standins: StandIn, model: str | None = "starter", **options):
            urls = tuple(standin.url for standin in standins)
            found = connect(Upstreams(urls, **options), model, say=said.append).model
            stack.callback(found.close)
            return found

        join.said = said
        yield join


def no_weights(tmp_path) -> str:
    """The starter's folder without its weights: what a gateway has of a large model."""
    folder = tmp_path / "small-files"
    folder.mkdir()
    for file in locate("starter").rglob("*"):
        if file.is_file() and file.suffix != ".safetensors":
            (folder / file.relative_to(locate("starter"))).parent.mkdir(exist_ok=True)
            (folder / file.relative_to(locate("starter"))).symlink_to(file)
    return str(folder)


def same(model, starter, texts=SENT, least=0.9999) -> None:
    for kind in ("document", "query"):
        got, due = (each.encoder.embed(texts, kind, dimensions=96, truncate="end") for each in (model, starter))
        np.testing.assert_allclose(np.linalg.norm(got.vectors, axis=1), 1, atol=1e-5)
        assert np.einsum("nd,nd->n", got.vectors, due.vectors).min() > least
        assert got.tokens.tolist() == due.tokens.tolist()


def test_a_remote_model_is_the_model(upstream, connected, starter) -> None:
    model = connected(upstream())
    assert model.encoder.space == starter.encoder.space
    same(model, starter)
    with pytest.raises(InvalidInput, match="dimensions"):
        model.encoder.embed(["a"], dimensions=10_000)
    with pytest.raises(TooLong, match="text 1 has"):
        model.encoder.embed(["a", "word " * 20_000])


DEFECTS = {
    "base64 is ignored": {"form": "float"},
    "encoding_format is refused": {"form": "refused"},
    "vectors are not of unit length": {"scale": 123.0},
    "32 inputs, as TEI": {"max_inputs": 32},
    "5 inputs": {"max_inputs": 5},
    "texts only": {"takes_ids": False},
    "texts only, in lists of 3": {"takes_ids": False, "max_inputs": 3, "form": "float"},
    "no end-of-text token": {"endings": 0},
    "two end-of-text tokens": {"endings": 2},
    "no end-of-text token, texts only": {"endings": 0, "takes_ids": False},
    "answers in another order": {"order": "shuffled"},
    "answers in another order, without numbers": {"order": "unnumbered"},
    "answers in another order, with wrong numbers": {"order": "misnumbered"},
    "every answer is number 0": {"order": "all zero"},
    "a vector too few": {"missing": 1},
    "busy at first": {"busy": 2},
    "nothing below /v1, as infinity": {"root": ""},
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_a_server_gets_wrong_is_put_right(defect, upstream, connected, starter) -> None:
    texts = [text for text in SENT if text] if not DEFECTS[defect].get("takes_ids", True) else SENT
    same(connected(upstream(**DEFECTS[defect])), starter, texts)


@pytest.mark.parametrize("defect", ["no end-of-text token", "two end-of-text tokens"])
def test_the_end_of_text_is_right_without_weights_to_compare_with(defect, upstream, connected, starter, tmp_path) -> None:
    model = connected(upstream(**DEFECTS[defect]), model=no_weights(tmp_path))
    same(model, starter)


def test_limits_are_learned_once(upstream, connected) -> None:
    standin = upstream(max_inputs=32)
    model = connected(standin)
    model.encode(TEXTS)
    before = len(standin.requests)
    model.encode(TEXTS)
    asked = [len(request["input"]) for request in standin.requests[before:]]
    assert sum(asked) == len(TEXTS)
    assert max(asked) <= 32


def test_what_tei_says_of_itself_is_heeded(upstream, connected, starter) -> None:
    info = {"model_id": "starter", "max_client_batch_size": 4, "max_input_length": 256, "max_batch_tokens": 64}
    standin = upstream(info=info, max_inputs=4)
    model = connected(standin)
    assert model.max_seq_length == 64
    model.encode(TEXTS[:20])
    assert max(len(request["input"]) for request in standin.requests[-5:]) <= 4


@pytest.mark.parametrize("stated", ["max_model_len", "n_ctx"], ids=["vllm", "llama.cpp"])
def test_the_longest_text_is_one_token_below_the_room_that_a_server_states(stated, upstream, connected) -> None:
    assert connected(upstream(**{stated: 100})).max_seq_length == 99


@pytest.mark.parametrize("bad", ["null", "nulls", "nan", "zeros"])
def test_a_text_without_numbers_fails_alone(bad, upstream, connected) -> None:
    model = connected(upstream(bad=bad, takes_ids=False))
    with pytest.raises(ModelFailed, match="text 1"):
        model.encoder.embed(["one", "there is nothing here", "two"])
    assert model.encode(["one", "two"]).shape == (2, model.encoder.dim)


def test_a_text_that_a_server_fails_on_fails_alone(upstream, connected) -> None:
    model = connected(upstream(takes_ids=False), upstream(takes_ids=False))
    with pytest.raises(ModelFailed, match="kernel failed"):
        model.encoder.embed(["one", "poison", *TEXTS[:20]])
    assert model.encode(TEXTS[:20]).shape == (20, model.encoder.dim)


def test_a_text_that_is_too_long_for_the_server_says_so(upstream, connected) -> None:
    model = connected(upstream(takes_ids=False))
    with pytest.raises(TooLong, match="physical batch size"):
        model.encoder.embed(["an endless text"])


@pytest.mark.parametrize("takes_ids", [True, False], ids=["token ids", "texts"])
def test_a_text_that_a_server_cuts_in_silence_is_too_long(takes_ids, upstream, connected) -> None:
    model = connected(upstream(reads=40, takes_ids=takes_ids))
    with pytest.raises(TooLong, match=r"reads 40 of them and leaves the rest out.*--max-tokens 40"):
        model.encoder.embed(["one", "word " * 60, "two"])
    assert model.encode(["one", "two"]).shape == (2, model.encoder.dim)


def test_wrong_pooling_is_refused_with_the_reason(upstream, connected) -> None:
    with pytest.raises(ModelFailed, match="pooling"):
        connected(upstream(pooling="mean"))


def test_other_weights_are_refused(upstream, connected, tmp_path, starter) -> None:
    qwen = tiny_qwen3(tmp_path / "tiny")
    with huiyi.load(str(qwen), threads=1) as other, running(StandIn(other.encoder)) as standin, pytest.raises(ModelFailed, match="model"):
        connected(standin)


def test_servers_that_disagree_are_refused(upstream, connected, tmp_path) -> None:
    right, wrong = upstream(), upstream(pooling="mean")
    with pytest.raises(ModelFailed, match=wrong.url):
        connected(right, wrong, model=no_weights(tmp_path))


def test_a_name_without_a_tokenizer_names_the_ways_out(upstream, connected) -> None:
    with pytest.raises(InvalidInput, match="--model none"):
        connected(upstream(name="text-embedding-v4"), model=None)


def test_without_a_tokenizer_texts_go_as_they_are(upstream, connected, starter) -> None:
    standin = upstream(name="text-embedding-v4", takes_ids=False)
    model = connected(standin, model="none")
    got = model.encode(["买家秀 🙂", "b"])
    assert np.einsum("nd,nd->n", got, starter.encode(["买家秀 🙂", "b"])).min() > 0.9999
    assert standin.requests[-1]["input"] == ["买家秀 🙂", "b"] or standin.requests[-1]["input"] == ["b", "买家秀 🙂"]
    with pytest.raises(InvalidInput, match="template"):
        model.encode_query("a", instruction="find it")


def test_the_server_that_nobody_can_reach_is_named(own_home) -> None:
    with pytest.raises(Unavailable, match=re.escape("http://127.0.0.1:9 cannot be reached")):
        connect(Upstreams(("http://127.0.0.1:9",)), "starter")
    for url, reason in {"gpu1:30000": "http://", "http://key:word@gpu1": "HUIYI_UPSTREAM_KEY"}.items():
        with pytest.raises(InvalidInput, match=reason):
            connect(Upstreams((url,)), "starter")


def test_keys_come_from_a_file_or_the_environment_and_are_not_shown(upstream, connected, tmp_path, monkeypatch) -> None:
    first, second = upstream(key="secret-1"), upstream(key="secret-2")
    with pytest.raises(Unavailable, match="HUIYI_UPSTREAM_KEY") as refused:
        connected(first)
    assert "secret" not in str(refused.value)
    (tmp_path / "keys").write_text(f"# ours\nsecret-1\n{second.url} secret-2\n")
    assert connected(first, second, key_file=tmp_path / "keys").encode("a").shape
    monkeypatch.setenv("HUIYI_UPSTREAM_KEY", "secret-1")
    assert connected(first).encode("a").shape


def test_an_address_is_a_models_name_everywhere(upstream, own_home, starter) -> None:
    standin = upstream()
    with huiyi.load(standin.url) as model, huiyi.open("faq", model=model) as faq:
        faq.add([{"id": "1", "text": "退款什么时候到账"}, {"id": "2", "text": "Where is my parcel?"}])
    with huiyi.open("faq", model="starter") as faq:  # of the same weights, on this machine
        assert faq.search("Where is my parcel", k=1)[0].id == "2"
    with pytest.raises(InvalidInput, match="precision"):
        huiyi.load(standin.url, precision="int8")


def test_one_space_however_often_it_is_connected(upstream, connected, tmp_path) -> None:
    folder = no_weights(tmp_path)
    first, second = (connected(upstream(scale=scale), model=folder).encoder.space for scale in (1.0, 3.0))
    assert first == second


def test_the_cache_works_over_upstreams(upstream, own_home) -> None:
    standin = upstream()
    (served,) = workspace.serve(["starter"], upstreams=Upstreams((standin.url,)))
    rows = served.token_ids(["Where is my parcel?", "你好"], "query", "find it")
    first = served.embed(rows)
    before = len(standin.requests)
    again = served.embed(rows)
    assert len(standin.requests) == before
    assert (first.vectors == again.vectors).all()
    served.close()


def test_a_real_server_in_front_of_a_real_server(tmp_path, starter) -> None:
    logs = [tmp_path / name for name in ("upstream", "gateway")]
    for log in logs:
        log.mkdir()
    with (
        command(tmp_path / "a", "--model", "starter", "--no-console", log=logs[0], HUIYI_API_KEY=KEY) as (_, url),
        command(tmp_path / "b", "--upstream", url, "--no-console", log=logs[1], HUIYI_UPSTREAM_KEY=KEY) as (_, gateway),
    ):
        body = {"input": SENT[:60], "input_type": "query", "instruction": "find it", "dimensions": 64}
        answer = post(gateway, **body)
        assert answer.status_code == 200, answer.text
        rows = np.array([row["embedding"] for row in answer.json()["data"]])
        due = starter.encoder.embed(SENT[:60], "query", "find it", 64)
        assert np.einsum("nd,nd->n", rows, due.vectors).min() > 0.9999
        assert answer.json()["usage"]["prompt_tokens"] == due.tokens.sum()
        assert answer.json()["model"] == "starter"
        assert post(gateway, input="word " * 20_000).json()["error"]["code"] == "text_too_long"


def test_what_cannot_go_together_is_refused(own_home) -> None:
    with pytest.raises(InvalidInput, match="once"):
        workspace.serve(["a", "b"], upstreams=Upstreams(("http://127.0.0.1:9",)))
    with pytest.raises(InvalidInput, match="adapters"):
        workspace.serve([], upstreams=Upstreams(("http://127.0.0.1:9",)), adapters=["a=b"])
