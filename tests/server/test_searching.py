"""What a collection is asked over HTTP: searches in a reranker's order, words beside meaning, answers, and replies of a language model."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import httpx
import numpy as np
import pytest

import huiyi
import shop
import tiny_rerankers
from chat_server import Server
from huiyi import workspace
from huiyi.server.app import ServerSettings
from live_server import client, command, live

REFUND, NOTHING = "退款多久到账", "哪支球队赢了昨晚的比赛"
RECORDS = [{"id": id_, "text": question, "metadata": {"answer": reply, "lang": "zh"}} for id_, (question, reply) in shop.FAQ.items()]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUIYI_HOME", str(home))
        patch.delenv("HUIYI_MODEL", raising=False)
        patch.delenv("HUIYI_LLM_KEY", raising=False)
        yield home


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Path:
    return tiny_rerankers.qwen3(tmp_path_factory.mktemp("models") / "judge")


@pytest.fixture(scope="module")
def url(home, judge) -> Iterator[str]:
    with live(workspace.serve(["starter"], "fp32", rerankers=[str(judge)]), home=home) as url:
        filled(url)
        yield url


@pytest.fixture
def http(url) -> Iterator[httpx.Client]:
    with client(url) as made:
        yield made


def filled(url: str) -> None:
    with client(url) as http:
        assert http.post("/v1/collections", json={"name": "faq", "model": "starter"}).status_code == 201
        assert http.post("/v1/collections/faq/records", json={"records": RECORDS}).status_code == 200


def asked(http: httpx.Client, path: str, **body: object) -> dict:
    answer = http.post(f"/v1/collections/faq/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_served_reranker_puts_hits_in_its_order(http, judge) -> None:
    before = asked(http, "search", query=REFUND, k=len(RECORDS))["results"][0]["hits"]
    hits = asked(http, "search", query=REFUND, k=len(RECORDS), rerank="judge")["results"][0]["hits"]
    odds = tiny_rerankers.Reference(judge, 4096).scores(REFUND, [hit["text"] for hit in hits])
    assert [hit["score"] for hit in hits] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-3)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert {hit["id"]: hit["retrieved"] for hit in hits} == pytest.approx({hit["id"]: hit["score"] for hit in before}, abs=1e-6)
    few = asked(http, "search", query=[REFUND, NOTHING], k=2, rerank="judge", rerank_depth=3)["results"]
    assert [len(each["hits"]) for each in few] == [2, 2]
    assert {hit["id"] for hit in few[0]["hits"]} <= {hit["id"] for hit in before[:3]}


@pytest.mark.parametrize(
    ("body", "status", "says", "param"),
    [
        ({"rerank": "starter"}, 400, "starter is no reranker; served here: judge", "rerank"),
        ({"rerank": "nobody"}, 404, "judge", "model"),
        ({"rerank_depth": 5}, 400, "without rerank", "rerank_depth"),
        ({"rerank": "judge", "rerank_depth": 0}, 400, "rerank_depth", "rerank_depth"),
        ({"rerank": "judge", "query": ["a"] * 400, "k": 1}, 413, "inputs", None),
    ],
)
def test_what_cannot_be_reranked_is_said(http, body, status, says, param) -> None:
    answer = http.post("/v1/collections/faq/search", json={"query": "a"} | body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert says in error["message"]


def test_a_vector_has_no_words_that_a_reranker_could_read(http) -> None:
    vector = http.post("/v1/embeddings", json={"model": "starter", "input": "a"}).json()["data"][0]["embedding"]
    answer = http.post("/v1/collections/faq/search", json={"vector": vector, "rerank": "judge"})
    assert answer.status_code == 400
    assert "reads the query itself" in answer.json()["error"]["message"]


def test_words_beside_meaning_for_one_query_and_for_several(http) -> None:
    found = asked(http, "search/compare", query=[REFUND, "invoice"], k=2, highlight=True)
    first, second = found["results"]
    assert first["keyword"] == asked(http, "search", query=REFUND, k=2, mode="keyword", highlight=True)["results"][0]["hits"]
    assert [hit["id"] for hit in first["semantic"]] == [
        hit["id"] for hit in asked(http, "search", query=REFUND, k=2, mode="semantic")["results"][0]["hits"]
    ]
    assert first["keyword"][0]["spans"]
    assert (second["keyword"], len(second["semantic"])) == ([], 2)
    assert len(asked(http, "search/compare", query=REFUND)["results"]) == 1
    assert http.post("/v1/collections/faq/search/compare", json={"query": ["a"] * 600, "k": 10}).status_code == 413
    assert http.post("/v1/collections/faq/search/compare", json={"query": " "}).status_code == 400


def test_the_tuned_threshold_is_asked_for_by_name(http, home, tmp_path) -> None:
    untuned = http.post("/v1/collections/faq/search", json={"query": REFUND, "min_score": "tuned"})
    assert untuned.status_code == 400
    assert "huiyi search --tune" in untuned.json()["error"]["message"]
    assert http.post("/v1/collections/faq/search", json={"query": REFUND, "min_score": "high"}).status_code == 400
    http.post("/v1/collections", json={"name": "tuned", "model": "starter"})
    http.post("/v1/collections/tuned/records", json={"records": RECORDS})
    _, queries = shop.write(tmp_path)
    learned = workspace.search_tune("tuned", queries, precision=0.8, home=home).tuning
    asked_for = {"query": [REFUND, NOTHING], "k": 10, "min_score": "tuned"}
    found = http.post("/v1/collections/tuned/search", json=asked_for).json()["results"]
    assert found[0]["hits"][0]["id"] == "refund"
    assert all(hit["score"] >= learned.min_score for each in found for hit in each["hits"])


def test_a_filter_on_a_field_that_no_record_has_is_told_with_the_fields_there_are(http) -> None:
    for path, body in (("search", {"query": "a"}), ("search/compare", {"query": "a"}), ("answer", {"question": "a"})):
        assert "'colour'" in (hint := asked(http, path, filter={"colour": "red"}, **body)["hint"])
        assert hint.endswith("it has: answer, lang")
        assert asked(http, path, filter={"lang": "en"}, **body)["hint"] is None
        assert asked(http, path, filter={"lang": "zh"}, **body)["hint"] is None


def test_an_untaught_collection_answers_by_a_default_and_says_so(http) -> None:
    found = asked(http, "answer", question=REFUND, k=2)
    assert (found["object"], found["collection"], found["question"], found["taught"]) == ("answer", "faq", REFUND, False)
    assert (found["answer"], found["hit"]["id"]) == (shop.FAQ["refund"][1], "refund")
    assert found["confidence"] >= found["least"]
    assert len(found["suggestions"]) == 2
    assert found["passages"][0] == "\n".join(shop.FAQ["refund"])
    assert found["reply"] is None
    nothing = asked(http, "answer", question=NOTHING)
    assert (nothing["answer"], nothing["passages"]) == (None, [])
    assert nothing["confidence"] < nothing["least"]
    assert nothing["suggestions"][0] == nothing["hit"]


def test_a_collection_that_was_taught_answers_by_what_it_learned(home, http, tmp_path) -> None:
    http.post("/v1/collections", json={"name": "taught", "model": "starter"})
    http.post("/v1/collections/taught/records", json={"records": RECORDS})
    _, queries = shop.write(tmp_path)
    learned = workspace.answer_learn("taught", queries, home=home)
    found = http.post("/v1/collections/taught/answer", json={"question": REFUND}).json()
    assert (found["taught"], found["least"]) == (True, pytest.approx(learned.least))
    with huiyi.open("taught", model="starter", home=home) as faq:
        told = faq.answer(REFUND)
    assert {"collection" if name == "name" else name for name in asdict(told)} == found.keys() - {"object"}
    assert (told.answer, told.hit.id, list(told.passages)) == (found["answer"], found["hit"]["id"], found["passages"])
    assert [hit.id for hit in told.suggestions] == [hit["id"] for hit in found["suggestions"]]
    assert (told.taught, told.least) == (True, pytest.approx(learned.least))


@pytest.mark.parametrize(
    ("body", "says", "param"),
    [
        ({}, "question", "question"),
        ({"question": " "}, "not empty", None),
        ({"question": "a", "k": 0}, "k", "k"),
        ({"question": "a", "column": "price"}, "no 'price'", None),
        ({"question": "a", "filter": {"lang": {"$near": 1}}}, "$near", None),
        ({"question": "a", "llm": "http://10.0.0.1"}, "llm", "llm"),
        ({"question": "a", "reply": True}, "has no language model", "reply"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(http, body, says, param) -> None:
    answer = http.post("/v1/collections/faq/answer", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert says in error["message"]


def test_the_servers_own_language_model_writes_and_a_client_may_do_without(tmp_path) -> None:
    chat = Server()
    try:
        settings = ServerSettings(writer=workspace.writer(chat.url, "m"))
        with live(workspace.serve(["starter"]), settings, home=tmp_path / "home") as url, client(url) as http:
            filled(url)
            chat.says = "三到五个工作日 [1]，另见 [9]。"
            found = asked(http, "answer", question=REFUND)
            assert found["reply"] == {"text": chat.says, "cited": [1], "unknown": [9]}
            assert found["answer"] == shop.FAQ["refund"][1]
            assert "[1] " + " ".join(shop.FAQ["refund"]) in chat.asked[0]["messages"][0]["content"]
            assert asked(http, "answer", question=REFUND, reply=False)["reply"] is None
            assert asked(http, "answer", question=NOTHING)["reply"] is None
            assert len(chat.asked) == 1
            chat.says = None
            failed = http.post("/v1/collections/faq/answer", json={"question": REFUND})
            assert failed.status_code == 503
            assert '"reply": false' in failed.json()["error"]["message"]
            assert chat.url not in failed.text
    finally:
        chat.shutdown()
        chat.server_close()


def test_the_command_takes_the_language_model(tmp_path) -> None:
    chat = Server()
    try:
        with command(tmp_path / "home", "--model", "starter", "--llm", chat.url, "--llm-model", "m", log=tmp_path) as (_, url):
            filled(url)
            with client(url) as http:
                assert asked(http, "answer", question=REFUND)["reply"]["text"] == chat.says
    finally:
        chat.shutdown()
        chat.server_close()
