"""`Model` in a SentenceTransformer's place: the same calls, the same shapes, the same vectors, and a sentence where that cannot be."""

import copy
import io
import pickle
import warnings
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import huiyi
from conftest import minilm_folder
from fake_encoder import FakeEncoder
from fakes import FakeEngine, FakeTokenizer
from huiyi.encoding.encoder import LocalEncoder
from huiyi.errors import HuiyiError, InvalidInput, Unavailable
from huiyi.model import Model
from tiny import tiny_qwen3

WORDS = ["late", "parcel", "refund", "the", "退款", "快递", "为什么", "?", ""]


@pytest.fixture
def fake() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def model(fake: FakeEncoder) -> Model:
    return Model(fake, "fake")


@pytest.fixture
def local():
    """A Model whose texts go through the real encoder and scheduler, on a counted engine."""
    engine = FakeEngine(dim=64, max_tokens=50)
    with Model(
        LocalEncoder(FakeTokenizer(max_tokens=50), engine, space="fake"), "local", prompts={"query": "ask: ", "topic": "on: "}
    ) as model:
        model.engine = engine
        yield model


def test_one_text_is_one_row_and_a_list_is_a_table(model: Model) -> None:
    one, many = model.encode("a late parcel"), model.encode(["a late parcel", "a refund"])
    assert (one.shape, many.shape) == ((64,), (2, 64))
    assert one.dtype == many.dtype == np.float32
    assert np.linalg.norm(many, axis=1) == pytest.approx(1)
    assert (many[0] == one).all()


def test_every_kind_of_list_will_do(model: Model) -> None:
    import pandas

    texts = ["a", "b c", "d"]
    for given_as in (tuple(texts), np.array(texts), np.array(texts, dtype=object), pandas.Series(texts, index=[7, 7, 9]), iter(texts)):
        assert (model.encode(given_as) == model.encode(texts)).all()


def test_an_empty_list_keeps_its_width(local: Model) -> None:
    assert local.encode([]).shape == (0, 64)
    assert local.encode([], truncate_dim=32).shape == (0, 32)
    assert local.encode([], show_progress_bar=True).shape == (0, 64)


@pytest.mark.parametrize("wrong", [3, None, b"bytes", {"a": "b"}, np.array([["a", "b"]])])
def test_what_is_no_list_of_texts_is_refused(model: Model, wrong: object) -> None:
    with pytest.raises(InvalidInput, match="one string or one list"):
        model.encode(wrong)


def test_a_hole_in_a_column_is_named_by_its_row(local: Model) -> None:
    for bar in (False, True):
        with pytest.raises(InvalidInput, match="text 600 is of type float"):
            local.encode([*["fine"] * 600, float("nan")], show_progress_bar=bar)


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), max_size=8))
def test_a_list_is_its_texts_one_by_one_in_order(texts: list[str]) -> None:
    model = Model(FakeEncoder(), "fake")
    table = model.encode(texts)
    assert table.shape == (len(texts), 64)
    for text, row in zip(texts, table, strict=True):
        assert (model.encode(text) == row).all()


def test_a_prompt_stands_in_front_of_every_text(local: Model) -> None:
    plain = local.encode(["on: parcels", "ask: parcels"])
    assert (local.encode("parcels", prompt="on: ") == plain[0]).all()
    assert (local.encode("parcels", prompt_name="topic") == plain[0]).all()
    assert (local.encode("parcels", "topic") == plain[0]).all()
    assert (local.encode("parcels", prompt_name="topic", prompt="ask: ") == plain[1]).all()
    assert (local.encode_query("parcels", prompt="ask: ") == plain[1]).all()
    assert (local.encode_document("parcels", prompt_name="query") == plain[1]).all()


def test_the_default_prompt_is_of_encode_alone() -> None:
    model = Model(FakeEncoder(), "fake", prompts={"topic": "on: "}, default_prompt_name="topic")
    assert (model.encode("parcels") == model.encode("parcels", prompt="on: ")).all()
    assert (model.encode_document("parcels") == model.encode("parcels", prompt="")).all()


def test_an_unknown_prompt_names_those_there_are(local: Model) -> None:
    with pytest.raises(InvalidInput, match="document, query, topic"):
        local.encode("parcels", prompt_name="summary")
    assert local.encode("parcels", prompt_name="document").shape == (64,)  # every model has these two names, as theirs does


def test_a_query_carries_the_instruction_and_a_document_does_not(local: Model) -> None:
    query = local.encode_query("parcels", instruction="Find the help page")
    assert (query == local.encode("Find the help page:parcels")).all()
    assert (local.encode_query("parcels") != query).any()
    assert (local.encode_document("parcels") == local.encode("parcels")).all()
    with pytest.raises(InvalidInput, match="not both"):
        local.encode_query("parcels", prompt="ask: ", instruction="Find the help page")


def test_a_shorter_vector_is_cut_before_unit_length(local: Model) -> None:
    full, cut = local.encode("parcels"), local.encode("parcels", truncate_dim=40)
    assert cut.shape == (40,)
    assert cut == pytest.approx(full[:40] / np.linalg.norm(full[:40]), abs=1e-6)
    with pytest.raises(InvalidInput, match="32 to 64"):
        local.encode("parcels", truncate_dim=65)


def test_a_batch_size_changes_nothing(local: Model) -> None:
    texts = [f"parcel {i}" for i in range(40)]
    assert (local.encode(texts, batch_size=1) == local.encode(texts, batch_size=1000)).all()


@pytest.mark.parametrize(
    ("option", "way_out"),
    [
        ({"convert_to_tensor": True}, "torch.from_numpy"),
        ({"convert_to_numpy": False}, "torch.from_numpy"),
        ({"output_value": "token_embeddings"}, "one vector a text"),
        ({"precision": "binary"}, "float32"),
        ({"device": "cuda"}, "CPU"),
        ({"batch_size": 0}, "left out"),
        ({"normalize_embeddings": False, "truncate_dim": 32}, "leave out"),
    ],
)
def test_an_option_that_cannot_be_honoured_says_what_to_do(local: Model, option: dict[str, object], way_out: str) -> None:
    for encode in (local.encode, local.encode_query, local.encode_document):
        with pytest.raises(InvalidInput, match=way_out):
            encode(["parcels"], **option)
    assert not local.engine.calls


def test_an_option_that_nobody_knows_is_not_swallowed(model: Model) -> None:
    with pytest.raises(TypeError, match="normalise"):
        model.encode("parcels", normalise=True)


def test_options_that_ask_for_what_is_done_anyway_pass(local: Model) -> None:
    asked = local.encode(
        ["a"], convert_to_numpy=True, convert_to_tensor=False, precision="float32", device="cpu", normalize_embeddings=True
    )
    assert (asked == local.encode(["a"])).all()


def test_vectors_of_another_length_than_one_cannot_be_had(fake: FakeEncoder) -> None:
    """normalize_embeddings=False changes nothing for a checkpoint that ends in Normalize, there as here; for others it would."""
    model = Model(fake, "with Normalize")
    assert (model.encode("a", normalize_embeddings=False) == model.encode("a")).all()
    with pytest.raises(InvalidInput, match="leave out"):
        Model(fake, "without", normalizes=False).encode("a", normalize_embeddings=False)


def test_long_texts_lose_their_end_with_one_warning(local: Model) -> None:
    long = "x" * 48 + "yyyy"
    with pytest.warns(UserWarning, match="2 of 3 texts fill all 50 tokens") as told:
        vectors = local.encode([long, "short", long + "z"])
    assert len(told) == 1
    assert told[0].filename == __file__
    assert (vectors[0] == vectors[2]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        local.encode("short")


def test_ten_megabytes_in_one_cell_are_one_long_text(local: Model) -> None:
    with pytest.warns(UserWarning, match="1 of 1"):
        assert local.encode("x" * 10_000_000).shape == (64,)


def test_the_bar_counts_texts_and_is_there_only_when_asked_for(local: Model) -> None:
    told = io.StringIO()
    with redirect_stderr(told):
        silent = local.encode(["parcel"] * 70)
        assert not told.getvalue()
        shown = local.encode(["parcel"] * 70, show_progress_bar=True)
    assert "70/70" in told.getvalue()
    assert (shown == silent).all()


def test_similarity_has_a_row_for_each_of_one_and_a_column_for_each_of_the_other(model: Model) -> None:
    a, b = model.encode(["parcel late", "refund"]), model.encode(["late parcel", "refund now", "weather"])
    scores = model.similarity(a, b)
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float32
    assert scores.argmax(axis=1).tolist() == [0, 1]
    assert model.similarity(a[0], b).shape == (1, 3)
    assert model.similarity(list(a), b.tolist()) == pytest.approx(scores, abs=1e-6)
    assert model.similarity(a * 7, b) == pytest.approx(scores, abs=1e-6)  # vectors from elsewhere need not be of unit length


def test_similarity_of_pairs(model: Model) -> None:
    a, b = model.encode(["parcel late", "refund"]), model.encode(["late parcel", "a refund please"])
    assert model.similarity_pairwise(a, b) == pytest.approx(np.diag(model.similarity(a, b)), abs=1e-6)
    with pytest.raises(InvalidInput, match="2 and 1"):
        model.similarity_pairwise(a, b[:1])


def test_similarity_of_two_widths_or_of_texts_is_refused(model: Model) -> None:
    with pytest.raises(InvalidInput, match="one width"):
        model.similarity(np.ones((2, 64)), np.ones((2, 32)))
    with pytest.raises(InvalidInput, match="encode"):
        model.similarity("parcel", "refund")


def test_what_other_libraries_ask_a_model(model: Model) -> None:
    assert model.get_embedding_dimension() == model.get_sentence_embedding_dimension() == 64
    assert model.max_seq_length == 1000
    assert model.prompts == {"query": "", "document": ""}
    assert "fake" in repr(model)


def test_a_closed_model_says_so(local: Model) -> None:
    local.encode("parcel")
    local.close()
    local.close()
    with pytest.raises(Unavailable):
        local.encode("parcel")


def open_fake(name: str) -> Model:
    return Model(FakeEncoder(), name, reopen=partial(open_fake, name))


def test_a_pickle_holds_how_to_load_the_model_and_not_the_model() -> None:
    model = open_fake("fake")
    assert len(pickle.dumps(model)) < 1000
    assert (pickle.loads(pickle.dumps(model)).encode("parcel") == model.encode("parcel")).all()
    assert copy.deepcopy(model) is model


def test_a_model_from_parts_cannot_be_pickled(model: Model) -> None:
    with pytest.raises(HuiyiError, match="name or folder"):
        pickle.dumps(model)


TEXTS = [
    "The parcel was left in the rain.",
    "Why was I charged twice for one ticket?",
    "",
    "   two   blanks  ",
    "ÜBER naïve café 😀 http://example.org/?q=1",
    "退款什么时候到账？",
    "one",
    "the parcel and the refund " * 20,
    "a review that nobody reads to its end " * 200,
    "x" * 3000,
]


@pytest.fixture(scope="module")
def real():
    with huiyi.load(str(minilm_folder()), precision="fp32") as model:
        yield model


@pytest.fixture(scope="module")
def theirs():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm_folder()), device="cpu")


@pytest.fixture(scope="module")
def their_vectors(theirs):
    return theirs.encode(TEXTS)


@settings(max_examples=25)
@given(order=st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, max_size=12))
def test_in_any_company_a_text_has_the_vector_that_sentence_transformers_gives(real: Model, their_vectors, order: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ours = real.encode([TEXTS[i] for i in order])
    cosines = (ours * their_vectors[order]).sum(axis=1)
    assert cosines.min() >= 0.99999


def test_the_calls_of_a_script_give_the_shapes_and_numbers_of_sentence_transformers(real: Model, theirs) -> None:
    for ask in (
        lambda model: model.encode("a parcel"),
        lambda model: model.encode(["a parcel", "a refund"], batch_size=1, show_progress_bar=False),
        lambda model: model.encode(["a parcel"], prompt="topic: "),
        lambda model: model.encode(np.array(["a parcel", "a refund"]), normalize_embeddings=True),
        lambda model: model.encode_query("a parcel"),
        lambda model: model.encode_document(["a parcel"], prompt_name="query"),
        lambda model: np.asarray(model.similarity(model.encode(["a parcel", "a refund"]), model.encode(["post"]))),
        lambda model: np.asarray(model.similarity_pairwise(model.encode(["a parcel"]), model.encode(["post"]))),
        lambda model: np.array([model.max_seq_length, model.get_embedding_dimension()]),
    ):
        ours, expected = ask(real), ask(theirs)
        assert ours.shape == expected.shape
        assert ours.dtype == expected.dtype
        assert ours == pytest.approx(expected, abs=1e-4)


def test_where_it_differs_from_sentence_transformers(real: Model, theirs) -> None:
    """A table keeps its width without rows, and what is wrong raises InvalidInput where theirs raises ValueError."""
    assert (real.encode([]).shape, theirs.encode([]).shape) == ((0, 384), (0,))
    with pytest.raises(ValueError, match="summary"):
        theirs.encode("a", prompt_name="summary")
    with pytest.raises(InvalidInput, match="summary"):
        real.encode("a", prompt_name="summary")


def test_each_side_carries_the_prompt_that_the_checkpoint_declares(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = str(tiny_qwen3(tmp_path, prompts={"query": "Instruct: find\nQuery:", "document": "doc: ", "topic": "on: "}, dtype="float32"))
    theirs, texts = SentenceTransformer(folder, device="cpu"), ["包裹还没有到", "a jacket that is too small"]
    with huiyi.load(folder, precision="fp32") as ours:
        for ask in (
            lambda model: model.encode(texts),
            lambda model: model.encode_query(texts),
            lambda model: model.encode_document(texts),
            lambda model: model.encode(texts, prompt_name="query"),
            lambda model: model.encode_document(texts, prompt_name="topic"),
            lambda model: model.encode_query(texts, prompt="other: "),
            lambda model: model.encode(texts, truncate_dim=32, normalize_embeddings=True),
        ):
            assert ask(ours) == pytest.approx(ask(theirs), abs=1e-4)
        instructed = "Instruct: Match complaints\nQuery:"
        assert ours.encode_query(texts, instruction="Match complaints") == pytest.approx(theirs.encode(texts, prompt=instructed), abs=1e-4)


def test_a_passage_prompt_is_the_document_prompt_where_there_is_no_other(tmp_path: Path) -> None:
    """As encode_document of sentence-transformers is documented; release 6.2 finds its own empty "document" prompt first."""
    folder = str(tiny_qwen3(tmp_path, prompts={"query": "query: ", "passage": "passage: "}, dtype="float32"))
    with huiyi.load(folder, precision="fp32") as model:
        assert (model.encode_document("parcel") == model.encode("parcel", prompt="passage: ")).all()
        assert (model.encode("parcel") == model.encode("parcel", prompt="")).all()


def test_a_loaded_model_is_pickled_by_name(real: Model) -> None:
    pickled = pickle.dumps(real)
    assert len(pickled) < 10_000
    with pickle.loads(pickled) as again:
        assert (again.encode("a parcel") == real.encode("a parcel")).all()
