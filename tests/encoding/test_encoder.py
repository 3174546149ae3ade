"""A request from texts to unit vectors: order, counts, cuts, refusals, and what happens when it fails or is given up half-way."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import EOS, LIMIT_S, FakeEngine, FakeTokenizer, ids, in_thread, until
from huiyi.encoding import encoder as encoder_module
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.scheduler import Scheduler
from huiyi.errors import InvalidInput, ModelFailed, Overloaded, TooLong, Unavailable
from huiyi.types import Encoder, Floats


def made(engine: FakeEngine | None = None, max_tokens: int = 8192, dimensions=None, **in_scheduler) -> tuple[LocalEncoder, FakeEngine]:
    engine = engine or FakeEngine()
    scheduler = Scheduler(engine, **in_scheduler)
    return LocalEncoder(FakeTokenizer(max_tokens), engine, space="fake", scheduler=scheduler, dimensions=dimensions), engine


def expected(engine: FakeEngine, text: str, width: int | None = None) -> Floats:
    vector = engine.vector(ids(*map(ord, text), EOS))[:width].astype(np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


# what comes back


@settings(max_examples=50)
@given(st.lists(st.text(max_size=60), max_size=60), st.integers(1, 8), st.integers(1, 20), st.sampled_from(["document", "query"]))
def test_rows_are_the_texts_own_in_input_order_of_unit_length(texts, width, slice_texts, kind):
    encoder, engine = made(max_batch_tokens=100)
    with patch.object(encoder_module, "SLICE_TEXTS", slice_texts):
        embedded = encoder.embed(texts, kind=kind, dimensions=width)
    sent = [f"task:{text}" if kind == "query" else text for text in texts]
    assert embedded.vectors.shape == (len(texts), width)
    assert embedded.vectors.dtype == np.float32
    assert embedded.tokens.dtype == np.int64
    assert embedded.tokens.tolist() == [len(text) + 1 for text in sent]
    for row, text in zip(embedded.vectors, sent, strict=True):
        np.testing.assert_allclose(row, expected(engine, text, width), atol=1e-6)
        assert abs(np.linalg.norm(row) - 1) < 1e-6


def test_an_empty_list_gives_empty_arrays_and_costs_nothing():
    encoder, engine = made()
    assert encoder.embed([]).vectors.shape == (0, 8)
    assert encoder.embed([], dimensions=3).vectors.shape == (0, 3)
    assert encoder.embed_ids([]).tokens.shape == (0,)
    assert engine.calls == []


def test_an_empty_text_is_its_eos():
    encoder, engine = made()
    np.testing.assert_allclose(encoder.embed([""]).vectors[0], expected(engine, ""), atol=1e-6)


def test_it_is_an_encoder():
    encoder: Encoder = made(max_tokens=100)[0]
    assert (encoder.dim, encoder.max_tokens, encoder.space) == (8, 100, "fake")


def test_the_shorter_limit_of_tokenizer_and_engine_holds():
    assert made(FakeEngine(max_tokens=50), max_tokens=100)[0].max_tokens == 50


def test_instruction_and_prompt_reach_the_text():
    encoder, engine = made()
    np.testing.assert_allclose(encoder.embed(["a"], "query", "find").vectors[0], expected(engine, "find:a"), atol=1e-6)
    np.testing.assert_allclose(encoder.embed(["a"], prompt="about ").vectors[0], expected(engine, "about a"), atol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_vectors_whose_squares_leave_float32_are_normalised_too(size, monkeypatch):
    encoder, engine = made()
    rows = engine._rows
    monkeypatch.setattr(engine, "_rows", lambda batch, adapter: (rows(batch, adapter) * size).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(encoder.embed(["a", "b"]).vectors, axis=1), 1, atol=1e-6)


def test_a_cut_that_leaves_only_zeros_is_a_failure(monkeypatch):
    encoder, engine = made()
    monkeypatch.setattr(
        engine, "_rows", lambda batch, adapter: np.array([[0] * 4 + [1] * 4 if text[0] == ord("z") else [1] * 8 for text in batch])
    )
    encoder.embed(["a", "z"])
    with pytest.raises(ModelFailed, match="text 1: its first 4 numbers are all zero"):
        encoder.embed(["a", "z"], dimensions=4)


# what is refused


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a text", "a list of texts, not a str"),
        (b"bytes", "a list of texts, not a bytes"),
        ((text for text in ["a"]), "a list of texts, not a generator"),
        (["a", 3], "text 1 is of type int"),
        (["a", "b", None], "text 2 is of type NoneType"),
    ],
)
def test_what_is_not_a_list_of_texts_is_named(texts, message):
    encoder, engine = made()
    with pytest.raises(InvalidInput, match=message):
        encoder.embed(texts)
    assert engine.calls == []


def test_an_unknown_kind_is_refused():
    with pytest.raises(InvalidInput, match="kind must be document or query, not 'passage'"):
        made()[0].embed([], kind="passage")


@pytest.mark.parametrize(
    ("dim", "declared", "good", "bad", "message"),
    [
        (8, None, [1, 8], [0, 9, -1, True, 2.0], "1 to 8"),
        (64, None, [32, 33, 64], [31, 65, 0], "32 to 64"),
        (64, [16, 64], [16, 64], [32, 65], "one of 16, 64"),
    ],
)
def test_dimensions_are_those_the_model_allows(dim, declared, good, bad, message):
    encoder, _ = made(FakeEngine(dim=dim), dimensions=declared)
    for width in good:
        assert encoder.embed(["a"], dimensions=width).vectors.shape == (1, width)
    for width in bad:
        with pytest.raises(InvalidInput, match=message):
            encoder.embed(["a"], dimensions=width)


@pytest.mark.parametrize("place", [0, 3, 2999])
def test_a_text_that_is_too_long_is_named_and_nothing_is_embedded(place):
    encoder, engine = made(max_tokens=50)
    texts = ["short"] * 3000
    texts[place] = "x" * 60
    with pytest.raises(TooLong, match=rf"text {place} has 61 tokens and this model takes 50"):
        encoder.embed(texts)
    assert engine.calls == []
    assert encoder.scheduler.stats().held_tokens == 0


@pytest.mark.parametrize(("side", "kept"), [("end", "0123456"), ("start", "3456789")])
def test_truncation_cuts_the_side_that_was_named_and_keeps_the_eos(side, kept):
    encoder, engine = made(max_tokens=8)
    embedded = encoder.embed(["0123456789", "ab"], truncate=side)
    assert embedded.tokens.tolist() == [8, 3]
    np.testing.assert_allclose(embedded.vectors[0], expected(engine, kept), atol=1e-6)


def test_what_the_tokenizer_refuses_is_named_by_its_place_in_the_whole_list():
    class Strict(FakeTokenizer):
        def encode(self, texts, **options):
            for number, text in enumerate(texts):
                if "\ud800" in text:
                    raise InvalidInput(f"texts[{number}] is half a pair")
            return super().encode(texts, **options)

    engine = FakeEngine()
    encoder = LocalEncoder(Strict(), engine, space="fake")
    with pytest.raises(InvalidInput, match="text 2500: "):
        encoder.embed(["a"] * 2500 + ["\ud800"] + ["a"] * 10)


# token ids


def test_token_ids_give_what_their_text_gives():
    encoder, _ = made()
    rows = [[ord(letter) for letter in text] + [EOS] for text in ("one", "", "three")]
    by_ids, by_text = encoder.embed_ids(rows, dimensions=4), encoder.embed(["one", "", "three"], dimensions=4)
    np.testing.assert_array_equal(by_ids.vectors, by_text.vectors)
    assert by_ids.tokens.tolist() == [4, 1, 6]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "text 1 is not a list of token ids"),
        ([[1]], "text 1 is not a list"),
        ([1.5], "text 1 is not a list"),
        ("12", "text 1 is not a list"),
        ([-1], "text 1 holds a token id outside 0 to 99"),
        ([100], "outside 0 to 99"),
        ([2**40], "outside 0 to 99"),
        ([2**80], "text 1 is not a list"),
        ([1] * 21, "text 1 has 21 tokens and this model takes 20"),
    ],
)
def test_token_ids_that_cannot_be_are_refused(row, message):
    engine = FakeEngine()
    encoder = LocalEncoder(FakeTokenizer(20, vocab_size=100), engine, space="fake")
    with pytest.raises(InvalidInput, match=message):
        encoder.embed_ids([[1, 2], row])
    assert engine.calls == []


# failing and giving up


def test_a_poison_text_fails_its_own_request_by_its_place_and_no_other():
    engine = FakeEngine(raise_on=[ord("!")], gate=threading.Event())
    encoder, _ = made(engine)
    texts = [f"text {i} {'x' * (i % 7)}" for i in range(3000)]
    texts[1234] += "!"
    bad = in_thread(encoder.embed, texts)
    good = [in_thread(encoder.embed, [f"other {i}"]) for i in range(3)]
    until(lambda: encoder.scheduler.stats().waiting_texts > 3)
    engine.gate.set()
    with pytest.raises(ModelFailed, match="text 1234: "):
        bad.result(LIMIT_S)
    for i, future in enumerate(good):
        np.testing.assert_allclose(future.result(LIMIT_S).vectors[0], expected(engine, f"other {i}"), atol=1e-6)
    encoder.close()
    assert encoder.scheduler.stats().held_tokens == 0
    assert len(set(engine.seen)) < 2500


def test_a_request_that_others_leave_no_room_for_is_refused_at_its_start():
    engine = FakeEngine(gate=threading.Event(), max_tokens=100)
    encoder, _ = made(engine, max_queue_tokens=100, max_batch_tokens=20)
    first = in_thread(encoder.embed, ["x" * 19] * 50)
    until(lambda: encoder.scheduler.stats().held_tokens == 60)
    with pytest.raises(Overloaded):
        encoder.embed(["y" * 19] * 50)
    second = in_thread(encoder.embed, ["z" * 19] * 2)
    engine.gate.set()
    assert len(first.result(LIMIT_S).vectors) == 50
    assert len(second.result(LIMIT_S).vectors) == 2
    assert not [text for text in engine.seen if text.startswith(b"y")]


def test_a_caller_who_leaves_gets_no_more_computed():
    engine = FakeEngine(gate=threading.Event())
    encoder, _ = made(engine)
    cancelled = threading.Event()
    request = in_thread(encoder.embed, ["some text"] * 10_000, cancelled=cancelled)
    assert engine.entered.wait(LIMIT_S)
    cancelled.set()
    with pytest.raises(CancelledError):
        request.result(LIMIT_S)
    engine.gate.set()
    encoder.close()
    assert len(engine.calls) == 1
    with pytest.raises(Unavailable):
        encoder.embed(["a"])


def test_a_caller_who_left_before_the_start_costs_nothing():
    encoder, engine = made()
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(CancelledError):
        encoder.embed(["a"], cancelled=cancelled)
    with pytest.raises(CancelledError):
        encoder.embed_ids([[1]], cancelled=cancelled)
    assert engine.calls == []


def test_ctrl_c_stops_a_long_list():
    """Raised in the caller's thread, as Python does; a real signal could hit any line of this process (tests/cli sends one)."""
    engine = FakeEngine()
    encoder, _ = made(engine)
    done = []

    def interrupted() -> None:
        done.append(1)
        if len(done) == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.embed(["a text of some length"] * 10_000, progress=interrupted)
    passes = len(engine.calls)
    encoder.embed(["next"])
    assert len(engine.calls) <= passes + 2
    assert encoder.scheduler.stats().held_tokens == 0


def test_progress_is_told_of_every_text_in_the_callers_thread():
    encoder, _ = made()
    threads = []
    assert len(encoder.embed(["a"] * 100, progress=lambda: threads.append(threading.get_ident())).vectors) == 100
    assert threads == [threading.get_ident()] * 100


def test_a_repeatable_request_gives_the_same_as_any_other():
    encoder, _ = made()
    texts = ["x" * (i % 50) for i in range(2000)]
    np.testing.assert_array_equal(encoder.embed(texts, repeatable=True).vectors, encoder.embed(texts).vectors)


# large and many


def test_texts_are_tokenised_as_they_are_needed():
    engine = FakeEngine(gate=threading.Event())
    encoder, _ = made(engine)
    request = in_thread(encoder.embed, ["some text"] * 20_000)
    assert engine.entered.wait(LIMIT_S)
    assert encoder.tokenizer.encoded == encoder_module.SLICE_TEXTS
    engine.gate.set()
    request.result(LIMIT_S)
    assert encoder.tokenizer.encoded == 20_000


def test_a_few_huge_texts_are_not_tokenised_at_once():
    assert list(encoder_module.slices(["x" * 600_000] * 3 + ["y"] * 3)) == [range(0, 1), range(1, 2), range(2, 6)]
    assert list(encoder_module.slices([])) == []


def test_a_long_list_of_mixed_lengths_carries_little_padding():
    lengths = np.clip(np.random.default_rng(0).lognormal(3, 0.8, 5_000).astype(int), 1, 500)
    encoder, _ = made(FakeEngine(sleep_s_per_token=0.00001))
    encoder.embed(["x" * length for length in lengths])
    stats = encoder.scheduler.stats()
    assert stats.padding_tokens < 0.15 * (stats.tokens + stats.padding_tokens)
    assert stats.tokens / stats.batches > 0.8 * 512


def test_sixty_four_clients_get_their_own_answers_and_share_batches():
    engine = FakeEngine(sleep_s_per_token=0.00001)
    encoder, _ = made(engine)
    with ThreadPoolExecutor(64) as pool:
        began = time.process_time()
        texts = [f"client {i % 64} call {i}" for i in range(3200)]
        rows = list(pool.map(lambda text: encoder.embed([text]).vectors[0], texts))
        per_call_s = (time.process_time() - began) / len(texts)
    np.testing.assert_allclose(rows, [expected(engine, text) for text in texts], atol=1e-6)
    assert len(engine.calls) < len(texts) / 2
    assert per_call_s < 0.002


class TestAdapters:
    def test_an_encoder_with_an_adapter_shares_the_queue_and_not_the_vectors(self):
        engine = FakeEngine()
        base = LocalEncoder(FakeTokenizer(), engine, space="base")
        adapted = LocalEncoder(FakeTokenizer(), engine, space="adapted", adapter="a", base=base)
        row = engine.vector(FakeTokenizer().encode(["x"])[0], "a")
        np.testing.assert_allclose(adapted.embed(["x"]).vectors[0], row / np.linalg.norm(row), rtol=1e-6)
        assert adapted.scheduler is base.scheduler
        assert not np.allclose(base.embed(["x"]).vectors, adapted.embed(["x"]).vectors)

    def test_closing_it_leaves_the_base_at_work_and_answers_what_was_accepted(self):
        engine = FakeEngine(gate=threading.Event())
        base = LocalEncoder(FakeTokenizer(), engine, space="base")
        adapted = LocalEncoder(FakeTokenizer(), engine, space="adapted", adapter="a", base=base)
        asked = in_thread(adapted.embed, ["x"])
        assert engine.entered.wait(LIMIT_S)
        adapted.close()
        assert adapted.closed
        with pytest.raises(Unavailable):
            adapted.embed(["y"])
        engine.gate.set()
        assert asked.result(LIMIT_S).vectors.shape == (1, 8)
        assert len(base.embed(["z"]).vectors) == 1
        assert not base.closed
