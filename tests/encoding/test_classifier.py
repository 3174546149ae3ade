"""A pair classifier in OpenVINO gives the logits that torch gives, and nothing else."""

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from huiyi import workspace
from huiyi.errors import InvalidInput, TooLong
from lora import Classifier

TEXTS = [*tiny.SENTENCES, "", "花呗", "a", "How long? " * 30]
FAMILIES = {"qwen3": tiny.tiny_qwen3, "bert": tiny.tiny_bert}


@pytest.fixture(scope="module", params=FAMILIES)
def base(request, tmp_path_factory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> Classifier:
    return Classifier(base, tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def classifier(base, trained):
    with workspace.load(str(base), "fp32", adapter=trained.folder) as model:
        yield model.encoder


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)), min_size=1, max_size=12))
def test_logits_are_torchs_for_any_mix_of_pairs(classifier, trained, pairs):
    first, second = map(list, zip(*pairs, strict=True))
    np.testing.assert_allclose(classifier.logits(first, second), trained.logits(first, second), atol=1e-3)


def test_scores_are_log_odds_and_probabilities_their_sigmoid(classifier, trained):
    logits = trained.logits(TEXTS[:3], TEXTS[1:4])
    odds = logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(classifier.scores(TEXTS[:3], TEXTS[1:4]), odds, atol=2e-3)
    np.testing.assert_allclose(classifier.probabilities(TEXTS[:3], TEXTS[1:4]), 1 / (1 + np.exp(-odds)), atol=1e-3)
    assert classifier.same(odds).tolist() == (odds >= 0).astype(int).tolist()


def test_pairs_that_are_too_long_are_cut_as_in_training_or_refused(classifier):
    long = "word " * 200
    assert len(classifier.pair_ids([long], ["short"])[0]) == 64
    with pytest.raises(TooLong, match="text 1"):
        classifier.logits(["a", long], ["b", "c"], truncate=None)
    with pytest.raises(InvalidInput, match="end, or none"):
        classifier.logits(["a"], ["b"], truncate="start")


def test_it_has_no_vectors_and_says_what_it_has(classifier):
    for ask in (lambda: classifier.embed(["a"]), lambda: classifier.embed_ids([np.array([5])]), lambda: classifier.width(None)):
        with pytest.raises(InvalidInput, match="huiyi similarity"):
            ask()


def test_uneven_sides_are_refused(classifier):
    with pytest.raises(InvalidInput, match="as many"):
        classifier.logits(["a", "b"], ["c"])


def test_no_pairs_are_no_rows(classifier):
    assert classifier.logits([], []).shape == (0, 2)


def test_a_caller_may_leave(classifier):
    left = threading.Event()
    left.set()
    with pytest.raises(CancelledError):
        classifier.logits(["a"], ["b"], cancelled=left)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precisions_stay_near(base, trained, precision):
    try:
        model = workspace.load(str(base), precision, adapter=trained.folder)
    except InvalidInput as error:
        pytest.skip(str(error))
    with model:
        wanted = trained.logits(TEXTS[:6], TEXTS[6:12])
        assert np.abs(model.encoder.logits(TEXTS[:6], TEXTS[6:12]) - wanted).max() < 0.1 * np.abs(wanted).max() + 0.3
