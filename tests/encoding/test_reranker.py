"""A reranker in OpenVINO gives the log odds that transformers gives, for every kind, any mix of lengths and every precision."""

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
import tiny_rerankers
from huiyi.errors import InvalidInput, TooLong
from huiyi.workspace.reranking import load_reranker

TEXTS = [*tiny.SENTENCES, "", "花呗", "a", "yes or no? " * 12]
LONGEST = 160


@pytest.fixture(scope="module", params=tiny_rerankers.KINDS)
def folder(request, tmp_path_factory) -> Path:
    return tiny_rerankers.KINDS[request.param](tmp_path_factory.mktemp("reranker") / f"tiny-{request.param}-reranker", positions=1024)


@pytest.fixture(scope="module")
def reference(folder) -> tiny_rerankers.Reference:
    return tiny_rerankers.Reference(folder, 1024 if "qwen3" in folder.name else LONGEST)


@pytest.fixture(scope="module")
def reranker(folder):
    made = load_reranker(str(folder), "fp32", max_tokens=1024 if "qwen3" in folder.name else LONGEST)
    yield made
    made.close()


@settings(max_examples=10)
@given(st.sampled_from(TEXTS), st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8))
def test_scores_are_those_of_transformers_for_any_query_and_texts(reranker, reference, query, texts):
    np.testing.assert_allclose(reranker.relevance(query, texts), reference.scores(query, texts), atol=2e-3)


def test_a_text_that_is_too_long_is_cut_as_published_or_refused(reranker, reference):
    query, texts = TEXTS[0], ["word " * 1500, "short", TEXTS[3] * 40]
    np.testing.assert_allclose(reranker.relevance(query, texts), reference.scores(query, texts), atol=2e-3)
    with pytest.raises(TooLong, match="text 0"):
        reranker.relevance(query, texts, truncate=None)


def test_an_instruction_is_read_or_refused(reranker, reference):
    task = "Find the passage that names the place"
    if not reranker.takes_instruction:
        with pytest.raises(InvalidInput, match="leave it out"):
            reranker.relevance(TEXTS[0], TEXTS[:2], task)
        return
    scores = reranker.relevance(TEXTS[0], TEXTS[:4], task)
    np.testing.assert_allclose(scores, reference.scores(TEXTS[0], TEXTS[:4], task), atol=2e-3)
    assert np.abs(scores - reranker.relevance(TEXTS[0], TEXTS[:4])).max() > 1e-3


def test_the_probability_is_that_of_yes(reranker):
    scores = reranker.relevance(TEXTS[0], TEXTS)
    chance = reranker.probability(scores)
    np.testing.assert_allclose(chance, 1 / (1 + np.exp(-scores)))
    assert np.argsort(chance, kind="stable").tolist() == np.argsort(scores, kind="stable").tolist()


def test_no_texts_are_no_scores_and_a_caller_may_leave(reranker):
    assert reranker.relevance("a", []).shape == (0,)
    left = threading.Event()
    left.set()
    with pytest.raises(CancelledError):
        reranker.relevance("a", ["b"], cancelled=left)


def test_it_has_no_vectors_and_says_what_it_has(reranker):
    for ask in (lambda: reranker.embed(["a"]), lambda: reranker.token_ids(["a"]), lambda: reranker.width(None)):
        with pytest.raises(InvalidInput, match="/v1/rerank"):
            ask()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precisions_stay_near(folder, reference, precision):
    try:
        made = load_reranker(str(folder), precision)
    except InvalidInput as error:
        pytest.skip(str(error))
    wanted = reference.scores(TEXTS[0], TEXTS[:8])
    try:
        assert np.abs(made.relevance(TEXTS[0], TEXTS[:8]) - wanted).max() < 0.1 * np.abs(wanted).max() + 0.3
    finally:
        made.close()
