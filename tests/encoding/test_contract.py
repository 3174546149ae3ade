"""What every encoder of ours promises, whatever it wraps: one suite over all of them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fakes import EOS, FakeEngine, FakeTokenizer, ids
from huiyi.encoding.cache import CachedEncoder
from huiyi.encoding.encoder import LocalEncoder
from huiyi.errors import InvalidInput, ModelFailed, TooLong, Unavailable
from huiyi.types import Encoder

TEXTS = ["Where is my parcel?", "", "包裹到哪儿了？", "Where is my parcel?", "x" * 59]


def local(folder):
    return LocalEncoder(FakeTokenizer(60), FakeEngine(raise_on=[ord("!")]), space="fake")


def cached(folder):
    return CachedEncoder(local(folder), folder, variant="fp32")


def cached_before(folder):
    first = cached(folder)
    for kind in ("document", "query"):
        first.embed(TEXTS[:4], kind)
    first.close()
    return cached(folder)


def cached_in_vain(folder):
    (folder / "a file").write_text("where a folder should be")
    return cached(folder / "a file")


@pytest.fixture(params=[local, cached, cached_before, cached_in_vain], ids=lambda made: made.__name__)
def encoder(request, tmp_path):
    made: Encoder = request.param(tmp_path)
    yield made
    made.close()


def test_it_says_what_it_is(encoder):
    assert (encoder.dim, encoder.max_tokens, encoder.space) == (8, 60, "fake")


@pytest.mark.parametrize("kind", ["document", "query"])
@pytest.mark.parametrize("dimensions", [None, 3, 8])
def test_one_unit_vector_a_text_in_input_order(encoder, kind, dimensions):
    embedded = encoder.embed(TEXTS[:4], kind, dimensions=dimensions)
    assert embedded.vectors.shape == (4, dimensions or 8)
    assert embedded.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-6)
    before = "task:" if kind == "query" else ""
    assert embedded.tokens.dtype == np.int64
    assert embedded.tokens.tolist() == [len(before + text) + 1 for text in TEXTS[:4]]
    for row, text in zip(embedded.vectors, TEXTS, strict=False):
        exact = FakeEngine().vector(ids(*map(ord, before + text), EOS))[:dimensions]
        np.testing.assert_allclose(row, exact / np.linalg.norm(exact), atol=1e-6)


def test_a_text_gets_the_same_vector_in_any_company_and_as_often_as_asked(encoder):
    together = encoder.embed(TEXTS).vectors
    for _ in range(2):
        for row, text in zip(together, TEXTS, strict=True):
            np.testing.assert_array_equal(encoder.embed([text]).vectors[0], row)


def test_a_cut_is_the_full_vector_cut(encoder):
    full = encoder.embed(TEXTS).vectors[:, :5]
    np.testing.assert_allclose(encoder.embed(TEXTS, dimensions=5).vectors, full / np.linalg.norm(full, axis=1)[:, None], atol=1e-6)


def test_answers_are_the_callers_own(encoder):
    before = encoder.embed(TEXTS[:1]).vectors
    before += 1
    np.testing.assert_allclose(np.linalg.norm(encoder.embed(TEXTS[:1]).vectors), 1, atol=1e-6)


def test_queries_documents_and_tasks_are_different_texts(encoder):
    rows = [
        encoder.embed(["a"]).vectors[0],
        encoder.embed(["a"], "query").vectors[0],
        encoder.embed(["a"], "query", "find").vectors[0],
        encoder.embed(["a"], prompt="about ").vectors[0],
    ]
    assert len({row.tobytes() for row in rows}) == 4


def test_token_ids_give_what_their_text_gives(encoder):
    rows = [[*map(ord, text), EOS] for text in TEXTS]
    np.testing.assert_array_equal(encoder.embed_ids(rows).vectors, encoder.embed(TEXTS).vectors)


@pytest.mark.parametrize("dimensions", [None, 3])
def test_no_texts_are_no_rows(encoder, dimensions):
    assert encoder.embed([], dimensions=dimensions).vectors.shape == (0, dimensions or 8)
    assert encoder.embed_ids([], dimensions).tokens.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["a text"], {}, "a list of texts, not a str"),
        ([["a", 3]], {}, "text 1 is of type int"),
        ([["a"]], {"kind": "passage"}, "kind must be document or query"),
        ([["a"]], {"instruction": "find"}, "an instruction belongs to a query"),
        ([["a"]], {"dimensions": 9}, "dimensions must be 1 to 8"),
        ([[]], {"dimensions": 0}, "dimensions must be 1 to 8"),
    ],
)
def test_what_cannot_be_used_is_named(encoder, arguments, options, message):
    with pytest.raises(InvalidInput, match=message):
        encoder.embed(*arguments, **options)


@pytest.mark.parametrize("row", [[], [1.5], "12", [-1], [0x110000]])
def test_token_ids_that_cannot_be_are_named(encoder, row):
    with pytest.raises(InvalidInput, match="text 1 "):
        encoder.embed_ids([[1, 2], row])


def test_a_text_that_is_too_long_is_named_or_cut(encoder):
    with pytest.raises(TooLong, match="text 1 has 61 tokens and this model takes 60"):
        encoder.embed(["a", "x" * 60])
    for side, kept in (("end", "b" + "x" * 58), ("start", "x" * 58 + "e")):
        cut = encoder.embed(["b" + "x" * 58 + "e"], truncate=side)
        assert cut.tokens.tolist() == [60]
        np.testing.assert_array_equal(cut.vectors, encoder.embed([kept]).vectors)


def test_a_text_the_model_cannot_compute_is_named_by_its_place_as_often_as_asked(encoder):
    for _ in range(2):
        with pytest.raises(ModelFailed, match=r"^text 3: "):
            encoder.embed([*TEXTS[:3], "no!", TEXTS[0]])
    assert len(encoder.embed(TEXTS).vectors) == 5


def test_many_callers_get_their_own_answers(encoder):
    with ThreadPoolExecutor(16) as pool:
        texts = [f"caller {i % 40}" for i in range(400)]
        rows = list(pool.map(lambda text: encoder.embed([text, "shared"]).vectors[0], texts))
    np.testing.assert_array_equal(rows, encoder.embed(texts).vectors)


def test_a_closed_encoder_says_so(encoder):
    encoder.embed(TEXTS)
    encoder.close()
    with pytest.raises(Unavailable, match="closed"):
        encoder.embed(TEXTS)
