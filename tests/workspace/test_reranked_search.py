"""Candidates of a search in a reranker's order: its probabilities, the scores before, how deep it reads, what it cannot be asked."""

import json
from pathlib import Path

import numpy as np
import pytest

import huiyi
import shop
import tiny_rerankers
from huiyi.cli.app import main
from huiyi.encoding.reranker import Reranker
from huiyi.errors import InvalidInput
from huiyi.workspace.reranking import load_reranker
from huiyi.workspace.searching import search

QUERY = "退款多久到账"


@pytest.fixture(scope="module")
def model():
    with huiyi.load("starter") as model:
        yield model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_rerankers.qwen3(tmp_path_factory.mktemp("models") / "tiny-reranker")


@pytest.fixture(scope="module")
def reranker(folder):
    made = load_reranker(str(folder), "fp32")
    yield made
    made.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def faq(home, model):
    with huiyi.open("faq", model=model, home=home) as made:
        made.add({"id": id_, "text": question} for id_, (question, _) in shop.FAQ.items())
        yield made


@pytest.mark.parametrize("mode", ["hybrid", "semantic"])
def test_the_order_and_the_scores_are_the_rerankers_and_those_before_are_kept(faq, reranker, folder, mode):
    before = faq.search(QUERY, len(shop.FAQ), mode)
    hits = faq.search(QUERY, len(shop.FAQ), mode, rerank=reranker)
    assert {hit.id for hit in hits} == {hit.id for hit in before}
    odds = tiny_rerankers.Reference(folder, 4096).scores(QUERY, [hit.text for hit in hits])
    assert [hit.score for hit in hits] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.id: hit.retrieved for hit in hits} == pytest.approx({hit.id: hit.score for hit in before}, abs=1e-6)
    assert {hit.retrieved for hit in before} == {None}


def test_candidates_beyond_k_are_read_as_deep_as_asked(faq, reranker):
    all_of_them = faq.search(QUERY, len(shop.FAQ), rerank=reranker)
    assert [hit.id for hit in faq.search(QUERY, 2, rerank=reranker)] == [hit.id for hit in all_of_them[:2]]
    nearest = [hit.id for hit in faq.search(QUERY, 3)]
    assert {hit.id for hit in faq.search(QUERY, 3, rerank=reranker, rerank_depth=1)} == set(nearest)  # k at least
    assert {hit.id for hit in faq.search(QUERY, 2, rerank=reranker, rerank_depth=3)} <= set(nearest)


def test_a_least_score_is_one_of_the_reranker(faq, reranker):
    middle = faq.search(QUERY, rerank=reranker)[4].score
    assert all(hit.score >= middle for hit in faq.search(QUERY, rerank=reranker, min_score=middle))
    assert faq.search(QUERY, rerank=reranker, min_score=1.0) == []


def test_a_batch_has_each_querys_own(home, faq, reranker, model):
    queries = [QUERY, "怎么退货"]
    found = search("faq", queries, k=3, rerank=reranker, load=lambda _: model, home=home)
    assert [[hit.id for hit in hits] for hits in found.hits] == [[hit.id for hit in faq.search(q, 3, rerank=reranker)] for q in queries]


def test_what_a_reranker_cannot_be_asked(faq, reranker, model):
    vector = model.encode_query(QUERY)
    with pytest.raises(InvalidInput, match="give its text"):
        faq.search(vector, mode="semantic", rerank=reranker)
    with pytest.raises(InvalidInput, match="without a reranker"):
        faq.search(QUERY, min_score="tuned", rerank=reranker)
    with pytest.raises(InvalidInput, match="rerank_depth"):
        faq.search(QUERY, rerank=reranker, rerank_depth=0)


def test_the_command_shows_both_scores(home, faq, folder, model, monkeypatch, capsys):
    monkeypatch.setenv("HUIYI_HOME", str(home))

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["search", "faq", QUERY, "-k", "2", "--rerank", *args], load=lambda *_: model)
        return ended.value.code, *capsys.readouterr()

    code, out, _ = run(str(folder), "--precision", "fp32")
    assert code == 0
    assert "retrieved" in out
    code, out, _ = run(str(folder), "--rerank-depth", "3", "--json")
    hits = json.loads(out)["hits"]
    assert len(hits) == 2
    assert all(0 < hit["score"] < 1 and hit["retrieved"] is not None for hit in hits)
    code, _, err = run("starter")
    assert code == 1
    assert "is an embedding model" in err


def test_a_command_that_fails_lets_go_of_its_reranker(home, faq, folder, model, monkeypatch, capsys):
    monkeypatch.setenv("HUIYI_HOME", str(home))
    closed = []
    close = Reranker.close
    monkeypatch.setattr(Reranker, "close", lambda self: (closed.append(self.name), close(self)))
    for wrong in (["nowhere"], ["faq", "--min-score", "tuned"], ["faq", "--filter", '{"price": {"$about": 1}}']):
        with pytest.raises(SystemExit) as ended:
            main(["search", *wrong, "--rerank", str(folder), "--precision", "fp32", "--", QUERY], load=lambda *_: model)
        assert ended.value.code == 1
        assert closed == [str(folder)]
        closed.clear()
    assert "Traceback" not in capsys.readouterr().err
