"""/v1/rerank with rerankers: whose scores they are, who answers when nobody is named, and what a reranker does not do."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tiny
import tiny_rerankers
from huiyi import workspace
from huiyi.errors import InvalidInput, NotFound
from live_server import client, command, fake_served, live, post

QUERY, TEXTS = tiny.SENTENCES[0], list(tiny.SENTENCES[1:7])


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HUIYI_HOME", str(home))
        patch.delenv("HUIYI_MODEL", raising=False)
        yield home


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Path:
    return tiny_rerankers.qwen3(tmp_path_factory.mktemp("models") / "tiny-Reranker")


@pytest.fixture(scope="module")
def cross(tmp_path_factory) -> Path:
    return tiny_rerankers.xlm_roberta(tmp_path_factory.mktemp("models") / "cross")


@pytest.fixture(scope="module")
def url(home, judge) -> Iterator[str]:
    with live([fake_served(max_tokens=400), *workspace.serve([], "fp32", rerankers=[str(judge)])]) as url:
        yield url


@pytest.fixture(scope="module")
def expected(judge) -> np.ndarray:
    return 1 / (1 + np.exp(-tiny_rerankers.Reference(judge, 4096).scores(QUERY, TEXTS)))


def relevance(answer) -> np.ndarray:
    """In the order of the documents."""
    assert answer.status_code == 200, answer.text
    scores = {each["index"]: each["relevance_score"] for each in answer.json()["results"]}
    return np.array([scores[at] for at in sorted(scores)])


def test_the_reranker_answers_with_the_probability_of_yes_best_first(url, expected) -> None:
    answer = post(url, "/v1/rerank", model="tiny-Reranker", query=QUERY, documents=TEXTS, return_documents=True)
    assert relevance(answer) == pytest.approx(expected, abs=1e-3)
    body = answer.json()
    assert body["model"] == "tiny-Reranker"
    given = [each["relevance_score"] for each in body["results"]]
    assert given == sorted(given, reverse=True)
    assert [each["document"]["text"] for each in body["results"]] == [TEXTS[each["index"]] for each in body["results"]]
    assert body["usage"]["total_tokens"] > 6 * 30  # the prompt is counted


def test_the_only_reranker_answers_where_nobody_is_named_and_a_named_model_with_cosines(url, expected) -> None:
    assert relevance(post(url, "/v1/rerank", query=QUERY, documents=TEXTS)) == pytest.approx(expected, abs=1e-3)
    answer = post(url, "/v1/rerank", model="fake", query=QUERY, documents=TEXTS)
    assert answer.json()["model"] == "fake"
    assert np.abs(relevance(answer) - expected).max() > 0.01


def test_vectors_and_similarity_come_from_the_other_model(url) -> None:
    assert post(url, input="a").json()["model"] == "fake"
    assert post(url, "/v1/similarity", text="a", others=["b"]).json()["model"] == "fake"
    for path, body in {"/v1/embeddings": {"input": "a"}, "/v1/similarity": {"text": "a", "others": ["b"]}}.items():
        answer = post(url, path, model="tiny-Reranker", **body)
        assert answer.status_code == 400
        assert "/v1/rerank" in answer.json()["error"]["message"]


def test_it_is_listed_with_its_task(url) -> None:
    with client(url) as http:
        cards = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
    assert (cards["tiny-Reranker"]["task"], cards["tiny-Reranker"]["dimensions"]) == ("reranker", None)
    assert cards["fake"]["task"] == "embedding"


def test_an_instruction_is_read(url, judge) -> None:
    task = "Find the passage that names the place"
    wanted = 1 / (1 + np.exp(-tiny_rerankers.Reference(judge, 4096).scores(QUERY, TEXTS, task)))
    assert relevance(post(url, "/v1/rerank", query=QUERY, documents=TEXTS, instruction=task)) == pytest.approx(wanted, abs=1e-3)


def test_a_document_that_is_too_long_is_named_or_cut(url) -> None:
    long = "word " * 5000
    answer = post(url, "/v1/rerank", query=QUERY, documents=["short", long])
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("document 1")
    assert len(relevance(post(url, "/v1/rerank", query=QUERY, documents=["short", long], truncate="end"))) == 2


def test_of_several_rerankers_one_is_named(home, judge, cross) -> None:
    with live(workspace.serve([], "fp32", rerankers=[str(judge), str(cross)], served_names=["judge", "cross"])) as url:
        answer = post(url, "/v1/rerank", query=QUERY, documents=TEXTS)
        assert answer.status_code == 400
        assert "judge, cross" in answer.json()["error"]["message"]
        scores = tiny_rerankers.Reference(cross, 128).scores(QUERY, TEXTS)
        answer = post(url, "/v1/rerank", model="cross", query=QUERY, documents=TEXTS)
        assert relevance(answer) == pytest.approx(1 / (1 + np.exp(-scores)), abs=1e-3)
        refused = post(url, "/v1/rerank", model="cross", query=QUERY, documents=TEXTS, instruction="find")
        assert refused.status_code == 400
        nothing = post(url, input="a")
        assert nothing.status_code == 404
        assert "/v1/rerank" in nothing.json()["error"]["message"]


def test_what_is_no_reranker_ends_the_start(home, judge, tmp_path) -> None:
    with pytest.raises(InvalidInput, match="embedding model"):
        workspace.serve([], "fp32", rerankers=["starter"])
    with pytest.raises(NotFound):
        workspace.serve([], "fp32", rerankers=[str(tmp_path / "nothing here")])
    with pytest.raises(InvalidInput, match="two models"):
        workspace.serve([], "fp32", rerankers=[str(judge), str(judge)])


def test_the_command_serves_it_beside_a_model(home, cross, tmp_path) -> None:
    with command(home, "--model", "starter", "--rerank-model", cross, log=tmp_path) as (_, url):
        assert post(url, "/v1/rerank", query=QUERY, documents=TEXTS).json()["model"] == "cross"
        assert len(post(url, input="a").json()["data"][0]["embedding"]) > 0
    assert "cross: scores for /v1/rerank" in (tmp_path / "out").read_text()
