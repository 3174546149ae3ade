"""What a task over texts works on: files and collections alike, each distinct text embedded once, in an order that is the texts' own."""

import numpy as np
import pytest

import huiyi
from fake_model import fake_model
from fakes import FakeEngine
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.workspace.records import embed_texts, is_collection, read_records, require_one_space, vectors_of


@pytest.mark.parametrize(
    ("source", "named"),
    [("tickets", True), ("工单", True), ("tickets.csv", False), ("./tickets", False), ("-", False), ("C:\\tickets", False)],
)
def test_a_path_has_a_suffix_or_a_slash(source, named) -> None:
    assert is_collection(source) is named


def test_equal_texts_are_embedded_once_and_in_an_order_of_their_own() -> None:
    engine = FakeEngine()
    texts = ["b", "a", "b", "", "c", "a"]
    vectors = embed_texts(texts, fake_model(engine))
    assert len(engine.seen) == 4
    assert np.array_equal(vectors, fake_model().encode(texts))
    other = FakeEngine()
    embed_texts(texts[::-1], fake_model(other))
    assert other.seen == engine.seen


def test_many_texts_are_remembered_for_the_next_run(own_home) -> None:
    texts = [f"text {i}" for i in range(2_500)]
    first = embed_texts(texts, fake_model())
    engine = FakeEngine()
    again = embed_texts(texts, fake_model(engine))
    assert np.array_equal(first, again)
    assert len(engine.seen) == 1  # the text that tells this engine's precision


def test_an_error_shows_the_text() -> None:
    with pytest.raises(InvalidInput, match="the text 'xxx"):
        embed_texts(["short", "x" * 100], fake_model(max_tokens=50), truncate="none")


def test_a_collection_brings_its_vectors_and_what_they_are(own_home) -> None:
    model = fake_model()
    with huiyi.open("tickets", model=model) as collection:
        collection.add([{"id": "1", "text": "one", "metadata": {"kind": "a"}}, {"id": "2", "text": "two"}])
    records = read_records("tickets")
    assert (records.columns, records.texts) == (("id", "text", "kind"), ("one", "two"))

    def never() -> None:
        raise AssertionError("a model was loaded")

    vectors, facts = vectors_of(records, never)
    np.testing.assert_allclose(vectors, model.encode(["one", "two"]), atol=1e-3)  # kept in float16
    with pytest.raises(NotFound, match="no collection 'nothing'"):
        read_records("nothing")
    with pytest.raises(InvalidInput, match="--text"):
        read_records("tickets", text="kind")
    other = vectors_of(read_records("tickets"), never)[1]
    require_one_space("tickets", facts, "others", other, "reindex")
    from dataclasses import replace

    with pytest.raises(Conflict, match="reindex"):
        require_one_space("tickets", facts, "others", replace(other, space="x", probes=other.probes[::-1]), "reindex")
