"""What every engine owes, held against transformers: every family, pooling and precision, any mix of lengths, short and long."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

import tiny
from engine_kinds import cosines, texts
from huiyi.engines.checkpoint import open_checkpoint

FAMILIES = {"qwen3": tiny.tiny_qwen3, "bert": tiny.tiny_bert, "roberta": tiny.tiny_roberta, "xlm-roberta": tiny.tiny_xlm_roberta}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def engine(folder, kind):
    return kind.start(open_checkpoint(folder))


@pytest.fixture(scope="module")
def reference(folder):
    """Pooled vectors of transformers, one text at a time, in fp32."""
    checkpoint = open_checkpoint(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def vectors(batch) -> np.ndarray:
        rows = []
        for ids in batch:
            with torch.no_grad():
                hidden = model(torch.tensor(np.asarray(ids, np.int64)[None])).last_hidden_state[0].numpy()
            rows.append({"last": hidden[-1], "cls": hidden[0], "mean": hidden.mean(axis=0)}[checkpoint.pooling])
        return np.stack(rows)

    return vectors


def run_steps(engine, ids) -> tuple[np.ndarray, int]:
    pauses, steps = 0, engine.steps(ids)
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration as end:
            return end.value, pauses


@settings(max_examples=12)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=20), seed=st.integers(0, 5))
def test_every_text_in_any_mix_of_lengths_gets_the_vector_that_transformers_gives_it(engine, reference, lengths, seed):
    batch = texts(*lengths, seed=seed)
    assert cosines(engine.forward(batch), reference(batch)).min() >= 0.99999


def test_values_and_not_only_directions_are_those_of_transformers(engine, reference):
    batch = texts(7, 31, 2)
    np.testing.assert_allclose(engine.forward(batch), reference(batch), rtol=2e-3, atol=2e-4)


def test_a_text_does_not_notice_its_neighbours(engine):
    batch = texts(3, 50, 17, 1)
    alone = np.concatenate([engine.forward([ids]) for ids in batch])
    assert cosines(engine.forward(batch), alone).min() >= 0.99999


def test_the_longest_text_in_steps_is_the_same_as_in_one_go(engine, kind, reference, monkeypatch):
    monkeypatch.setattr(kind.module, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(engine, "_slice_tokens", 16)
    monkeypatch.setattr(kind.module, "ATTENDING_TOKENS", 40)
    ids = texts(engine.max_tokens)[0]
    steps, pauses = run_steps(engine, ids)
    assert cosines(steps, reference([ids])[0]) >= 0.99999
    assert pauses == 0 or pauses > engine.max_tokens // 40


def test_others_may_run_between_the_steps_of_a_long_text(engine, kind, reference, monkeypatch):
    monkeypatch.setattr(kind.module, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(kind.module, "ATTENDING_TOKENS", 16)
    long, short = texts(100, 9)
    steps = engine.steps(long)
    while True:
        try:
            next(steps)
            assert cosines(engine.forward([short]), reference([short])).min() >= 0.99999
        except StopIteration as end:
            vector = end.value
            break
    assert cosines(vector, reference([long])[0]) >= 0.99999


def test_lower_precisions_stay_near(folder, kind, reference):
    batch = texts(4, 40, 11, 25)
    for precision in kind.precisions:
        vectors = kind.start(open_checkpoint(folder), precision).forward(batch)
        assert cosines(vectors, reference(batch)).min() >= (0.999 if precision == "bf16" else 0.99)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_of_every_stored_type_are_read_right(tmp_path, kind, dtype):
    folder = tiny.tiny_qwen3(tmp_path / dtype, dtype=dtype)
    engine = kind.start(open_checkpoint(folder))
    ids = texts(12)[0]
    with torch.no_grad():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        expected = model(torch.tensor(ids.astype(np.int64)[None])).last_hidden_state[0, -1].numpy()
    assert cosines(engine.forward([ids])[0], expected) >= 0.99999


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
@pytest.mark.parametrize("make", [tiny.tiny_qwen3, tiny.tiny_bert], ids=["qwen3", "bert"])
def test_every_pooling_in_a_batch_and_in_steps(tmp_path, kind, monkeypatch, make, pooling):
    folder = make(tmp_path / "model", pooling=pooling)
    engine, batch = kind.start(open_checkpoint(folder)), texts(9, 30, 1)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden = [model(torch.tensor(ids.astype(np.int64)[None])).last_hidden_state[0].numpy() for ids in batch]
    expected = np.stack([{"cls": each[0], "lasttoken": each[-1], "mean": each.mean(axis=0)}[pooling] for each in hidden])
    assert cosines(engine.forward(batch), expected).min() >= 0.99999
    monkeypatch.setattr(kind.module, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(kind.module, "ATTENDING_TOKENS", 7)
    assert cosines(run_steps(engine, batch[1])[0], expected[1]) >= 0.99999


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
@pytest.mark.parametrize("make", [tiny.tiny_qwen3, tiny.tiny_bert], ids=["qwen3", "bert"])
def test_vectors_stay_what_they_are_while_other_texts_come(tmp_path, kind, make, pooling):
    engine = kind.start(open_checkpoint(make(tmp_path / "model", pooling=pooling)))
    vectors = engine.forward(texts(7, 3, seed=1))
    before = vectors.copy()
    for lengths in ((5, 9), (40, 50, 60)):
        engine.forward(texts(*lengths, seed=2))
    assert np.array_equal(vectors, before)


def test_an_id_past_the_vocabulary_is_the_same_word_in_a_second_text(tmp_path, kind):
    folder = tiny.tiny_bert(tmp_path / "model")
    checkpoint = open_checkpoint(folder)
    words, types = texts(12)[0], np.repeat([0, 1], 6)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden = model(torch.tensor(words.astype(np.int64)[None]), token_type_ids=torch.tensor(types[None])).last_hidden_state[0].numpy()
    expected = {"last": hidden[-1], "cls": hidden[0], "mean": hidden.mean(axis=0)}[checkpoint.pooling]
    ids = (words + types * checkpoint.config.vocab_size).astype(np.int32)
    assert cosines(kind.start(checkpoint).forward([ids])[0], expected) >= 0.99999
