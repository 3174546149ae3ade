"""What a served model refuses before it computes, and vectors as small integers."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sentence_transformers.util.quantization import quantize_embeddings

from fakes import EOS, FakeEngine
from huiyi.errors import InvalidInput, TooLarge, TooLong
from huiyi.serving import TOKENISE_CHARACTERS, TOKENISE_TEXTS, int8_range, quantized
from live_server import fake_served


@st.composite
def unit_vectors(draw):
    rows = draw(arrays(np.float32, (draw(st.integers(1, 4)), draw(st.sampled_from([8, 64, 384]))), elements=st.floats(-1, 1, width=32)))
    rows[:, 0] += 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_texts_and_their_token_ids_are_the_same_request() -> None:
    model = fake_served()
    texts = ["a", "", "bc"]
    as_ids = [[*map(ord, text), EOS] for text in texts]
    assert [row.tolist() for row in model.token_ids(texts)] == as_ids
    assert [row.tolist() for row in model.token_ids(as_ids)] == as_ids


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ([[5, 6]], InvalidInput, "input 0 .* does not end in 1, .*check_embedding_ctx_length=False"),
        ([[5, EOS], [7, True]], InvalidInput, "input 1 is not a list of token ids"),
        ([[]], InvalidInput, "input 0 is not a list of token ids"),
        ([[5, EOS], "text"], InvalidInput, "input 1 is not a list of token ids"),
        ([[-1, EOS]], InvalidInput, "outside 0 to"),
        ([[0x110000, EOS]], InvalidInput, "outside 0 to"),
        ([[10**40, EOS]], InvalidInput, "input|text 0 is not a list of token ids"),
        (["x" * 100], TooLong, "input 0 has 101 tokens and this model takes 20"),
        ([[7] * 30 + [EOS]], TooLong, "input 0 has 31 tokens"),
        (["x" * 10] * 10, TooLarge, "more than 100 tokens together"),
    ],
)
def test_what_cannot_be_served_is_refused_before_it_is_computed(inputs, error, says) -> None:
    engine = FakeEngine()
    model = fake_served(engine, max_tokens=20, max_request_tokens=100)
    with pytest.raises(error, match=says):
        model.token_ids(inputs)
    assert engine.calls == []


def test_a_text_of_a_later_slice_is_named_by_its_own_number() -> None:
    with pytest.raises(TooLong, match=f"input {TOKENISE_TEXTS + 3} has"):
        fake_served(max_tokens=20).token_ids(["a"] * (TOKENISE_TEXTS + 3) + ["x" * 50])


@pytest.mark.parametrize(("side", "kept"), [("end", "abc"), ("start", "xyz")])
def test_a_long_text_is_cut_where_asked_and_keeps_its_end_of_text(side, kept) -> None:
    model = fake_served(max_tokens=4)
    long = "abc" + "-" * 50 + "xyz"
    assert [row.tolist() for row in model.token_ids([long], truncate=side)] == [[*map(ord, kept), EOS]]
    assert model.token_ids([[*map(ord, long), EOS]], truncate=side)[0].tolist() == [*map(ord, kept), EOS]


def test_too_many_tokens_are_noticed_before_all_are_tokenised() -> None:
    model = fake_served(FakeEngine(max_tokens=500_000), max_tokens=500_000, max_request_tokens=1000)
    with pytest.raises(TooLarge):
        model.token_ids(["x" * TOKENISE_CHARACTERS] * 50)
    assert model._local.tokenizer.encoded <= 3


def test_token_ids_take_no_instruction() -> None:
    for options in ({"kind": "query"}, {"kind": "query", "instruction": "x"}):
        with pytest.raises(InvalidInput, match="need texts"):
            fake_served().token_ids([[5, EOS]], **options)


def test_nothing_is_tokenised_for_a_caller_who_has_left() -> None:
    left = threading.Event()
    left.set()
    with pytest.raises(CancelledError):
        fake_served().token_ids(["a"], cancelled=left)


@given(unit_vectors())
def test_binary_is_that_of_sentence_transformers(vectors) -> None:
    for output in ("binary", "ubinary"):
        ours, theirs = quantized(vectors, output), quantize_embeddings(vectors, output)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@given(unit_vectors())
def test_int8_is_that_of_sentence_transformers_but_for_rounding(vectors) -> None:
    """Theirs rounds down and puts zero half a step beside an integer; ours rounds to the nearest and keeps zero."""
    reach = int8_range(vectors.shape[1])
    inside = np.clip(vectors, -reach, reach * 0.999)  # theirs overflows at the ends, ours is cut off
    ranges = np.array([[-reach] * vectors.shape[1], [reach] * vectors.shape[1]], np.float32)
    for output in ("int8", "uint8"):
        ours, theirs = quantized(inside, output), quantize_embeddings(inside, output, ranges=ranges)
        assert ours.dtype == theirs.dtype
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2


def test_integers_rank_as_the_floats_do() -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 1024)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    small = quantized(vectors, "int8").astype(np.float32)
    cosines = np.einsum("nd,nd->n", vectors, small) / np.linalg.norm(small, axis=1)
    assert cosines.min() > 0.999
    assert np.abs((small @ small.T) * (int8_range(1024) / 127) ** 2 - vectors @ vectors.T).max() < 0.005
    assert quantized(np.array([[1.0, 0, 0, 0]], np.float32), "int8").tolist() == [[127, 0, 0, 0]]
    assert quantized(np.array([[1.0, 0, 0, 0]], np.float32), "uint8").tolist() == [[255, 128, 128, 128]]
