"""Collections in Python: what changed is embedded and nothing else, the model must be the one, and a reindex goes on beside searches."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import huiyi
from fake_encoder import FakeEncoder
from fake_model import fake_model
from fakes import FakeEngine, in_thread, until
from huiyi import understanding, workspace
from huiyi.collection import Added, Tuning
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.retrieval import MODES
from huiyi.stores.store import Record
from huiyi.stores.terms import asked, terms_of

FAQ = [
    {"id": "1", "text": "how do I get an invoice", "metadata": {"lang": "en", "price": 3}},
    {"id": "2", "text": "where is my parcel", "metadata": {"lang": "en", "price": 12.5}},
    {"id": "3", "text": "包裹 到 哪儿 了", "metadata": {"lang": "zh"}},
]


def words(dim: int = 64, name: str = "fake", space: str | None = None) -> Model:
    """A model for which texts that share words are alike."""
    encoder = FakeEncoder(dim)
    encoder.space = space or encoder.space
    return Model(encoder, name)


def texts(model: Model) -> list[str]:
    """Documents that were embedded, the probes left out."""
    from huiyi.encoding.probes import FEW

    return [text for call in model.encoder.calls for text in call if text not in FEW]


@pytest.fixture
def model():
    return words()


@pytest.fixture
def faq(tmp_path, model):
    with huiyi.open("faq", model=model, home=tmp_path) as opened:
        opened.add(FAQ)
        yield opened


def test_what_was_added_is_found_by_meaning(faq) -> None:
    hits = faq.search("my parcel is where", k=2)
    assert hits[0].id == "2"
    assert hits[0].text == "where is my parcel"
    assert hits[0].metadata == {"lang": "en", "price": 12.5}
    assert 1 >= hits[0].score > hits[1].score
    assert [hit.id for hit in faq.search("my parcel is where", k=10, filter={"lang": "zh"})] == ["3"]
    assert [hit.id for hit in faq.search("invoice", filter={"price": {"$lt": 10}})] == ["1"]


def test_a_vector_is_a_query_too(faq, model) -> None:
    vector = 7 * model.encode("where is my parcel")
    assert faq.search(vector, k=1, mode="semantic")[0].id == "2"
    assert faq.search(vector, k=1, mode="semantic")[0].score == pytest.approx(1, abs=1e-3)
    assert [hits[0].id for hits in faq.search_all(model.encode([record["text"] for record in FAQ]), k=1, mode="semantic")] == [
        "1",
        "2",
        "3",
    ]


def test_counts_are_of_what_was_done(faq) -> None:
    assert faq.add(FAQ) == Added(unchanged=3)
    changed = [{**FAQ[0], "text": "another text"}, {**FAQ[1], "metadata": {}}, FAQ[2], {"id": "4", "text": "new"}]
    done = faq.add(changed)
    assert (done.added, done.changed, done.unchanged, done.embedded) == (1, 2, 1, 2)
    assert faq.count() == len(faq) == 4


def test_only_new_texts_are_embedded(faq, model) -> None:
    assert texts(model) == [record["text"] for record in FAQ]
    faq.add([{**FAQ[0], "metadata": {"lang": "de"}}, FAQ[1]])
    faq.add([{**FAQ[2], "text": "a new text"}, {"id": "5", "text": "a new text"}])
    assert texts(model)[3:] == ["a new text"]


def test_a_record_is_had_by_its_id(faq) -> None:
    assert faq.get("3") == Record("3", "包裹 到 哪儿 了", {"lang": "zh"})
    assert faq.get("nothing") is None


def test_of_two_records_with_one_id_the_later_counts(faq) -> None:
    assert faq.add([{"id": "x", "text": "first"}, {"id": "x", "text": "second"}]).added == 1
    assert faq.get("x").text == "second"


def test_a_bad_record_stops_all_of_them(faq) -> None:
    with pytest.raises(InvalidInput, match="record 'b'"):
        faq.add([{"id": "a", "text": "good"}, {"id": "b", "text": None}])
    assert faq.count() == 3


def test_deleting(faq) -> None:
    assert faq.delete(ids=["1", "nothing"]) == 1
    assert faq.delete(ids="2") == 1
    assert faq.delete(filter={"lang": "zh"}) == 1
    assert faq.count() == 0


@pytest.mark.parametrize("wrong", [{}, {"filter": {}}, {"ids": ["1"], "filter": {"lang": "en"}}, {"ids": [1]}])
def test_deleting_everything_needs_more_than_a_slip(faq, wrong) -> None:
    with pytest.raises(InvalidInput):
        faq.delete(**wrong)
    assert faq.count() == 3


def test_vectors_and_contents_are_in_one_order(faq, model) -> None:
    contents = faq.contents()
    assert list(contents.ids) == faq.ids() == ["1", "2", "3"]
    np.testing.assert_allclose(faq.vectors(), model.encode(list(contents.texts)), atol=1e-3)
    assert faq.vectors().dtype == np.float32
    assert faq.vectors(filter={"lang": "en"}).shape == (2, 64)
    assert contents.metadata[2] == {"lang": "zh"}
    assert [record.id for record in faq.records({"lang": "en"})] == ["1", "2"]
    assert faq.page(2).next == faq.page(2, None).next


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda faq: faq.search(""), "not empty"),
        (lambda faq: faq.search("  \n"), "not empty"),
        (lambda faq: faq.search("x", k=0), "1 or more"),
        (lambda faq: faq.search("x", mode="telepathy"), "no mode 'telepathy'"),
        (lambda faq: faq.search("x", filter={"a": {"$near": 1}}), "not an operator"),
        (lambda faq: faq.search(np.zeros(64, np.float32), mode="semantic"), "not all zero"),
        (lambda faq: faq.search(np.ones(3, np.float32), mode="semantic"), "shape"),
        (lambda faq: faq.search_all([3]), "not 3"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(faq, ask, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(faq)


@pytest.mark.parametrize("mode", MODES)
def test_a_query_of_ten_thousand_characters_is_answered(faq, mode) -> None:
    assert faq.search("parcel " * 1500, k=1, mode=mode)[0].id == "2"
    assert faq.search("包裹到哪儿了" * 1700, k=1, mode="keyword")[0].id == "3"


@pytest.mark.parametrize("query", ["is my the", "的 了 吗", "？", "\0", 'text: "parcel"*', "NEAR(parcel, 3) AND NOT invoice"])
def test_a_query_of_stop_words_or_signs_finds_what_is_near_and_by_words_what_has_them(faq, query) -> None:
    assert len(faq.search(query, k=100)) == 3  # more are asked for than there are
    assert len(faq.search(query, k=100, mode="semantic")) == 3
    assert {hit.id for hit in faq.search(query, k=100, mode="keyword")} == having(query)


BEYOND_WORDS = [*"\"'*^():-+;%_\\\0", "OR", "AND", "NOT", "NEAR", "NEAR/2", "text:", "--", "/*"]
ASKED = st.lists(st.sampled_from([*BEYOND_WORDS, "parcel", "invoice", "包裹", "哪", "the", "😀"]), max_size=8)


@settings(max_examples=150)
@given(ASKED.map("".join) | ASKED.map(" ".join) | st.text(max_size=30))
def test_no_query_is_more_than_its_words(faq, query) -> None:
    """Whatever full text searches have operators for: a record is found by words where it has one of them, and else not."""
    if not query.strip():
        with pytest.raises(InvalidInput, match="not empty"):
            faq.search(query)
        return
    assert {hit.id for hit in faq.search(query, mode="keyword")} == having(query)
    hits = faq.search(query, highlight=True)
    assert len(hits) == 3
    assert {hit.id for hit in hits if hit.keyword_rank} == having(query)
    assert {hit.id for hit in hits if hit.spans} == having(query)


def having(query: str) -> set[str]:
    """The records that have a word of the query."""
    wanted = asked(query)
    own = {record["id"]: terms_of([record["text"]])[0] for record in FAQ}
    return {
        id_
        for id_, terms in own.items()
        if any(((terms >= low) & (terms < high)).any() for low, high in zip(wanted.low, wanted.high, strict=True))
    }


def test_a_filter_on_a_field_that_nobody_has_finds_nothing(faq) -> None:
    assert faq.search("parcel", filter={"colour": "red"}) == []


def test_queries_carry_the_instruction(tmp_path) -> None:
    model = words()
    with huiyi.open("faq", model=model, home=tmp_path, instruction="find") as faq:
        faq.add([{"id": "plain", "text": "parcel"}, {"id": "told", "text": "[find] parcel"}])
        assert faq.search("parcel", k=1)[0].id == "told"
    with huiyi.open("faq", home=tmp_path, model=model) as again:
        assert again.facts.instruction == "find"


# the space law


def test_another_model_is_refused_by_both_names_and_with_the_way_out(faq, tmp_path) -> None:
    for other in (words(32, "other/model"), Model(Turned(), "other/model")):
        with pytest.raises(Conflict) as error:
            huiyi.open("faq", model=other, home=tmp_path)
        for part in (" fake", "other/model", "model='fake'", "huiyi reindex faq --model other/model"):
            assert part in str(error.value)


def test_the_same_weights_elsewhere_are_accepted(faq, tmp_path) -> None:
    with huiyi.open("faq", model=words(space="another server's name for it"), home=tmp_path) as again:
        assert again.search("parcel", k=1)[0].id == "2"


class Turned(FakeEncoder):
    """The same with every vector turned a little; how far, in cosine."""

    def __init__(self, cosine: float = 0.5, precision: str = "bf16") -> None:
        super().__init__()
        self.space, self.cosine, self.precision = "turned", cosine, precision

    def embed(self, *args, **options):
        made = super().embed(*args, **options)
        aside = np.roll(made.vectors, 1, axis=1)
        aside -= (aside * made.vectors).sum(1, keepdims=True) * made.vectors
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        turned = self.cosine * made.vectors + np.sqrt(1 - self.cosine**2) * aside
        return type(made)(turned.astype(np.float32), made.tokens)


@pytest.mark.parametrize(
    ("cosine", "precision", "same"),
    [(0.9995, "bf16", True), (0.997, "bf16", False), (0.997, "int8", True), (0.997, "", True), (0.99, "int8", False)],
)
def test_how_near_the_probes_must_come(tmp_path, cosine, precision, same) -> None:
    first = words()
    first.encoder.precision = "fp32"
    huiyi.open("faq", model=first, home=tmp_path).close()
    other = Model(Turned(cosine, precision), "other")
    if same:
        huiyi.open("faq", model=other, home=tmp_path).close()
    else:
        with pytest.raises(Conflict):
            huiyi.open("faq", model=other, home=tmp_path)


def test_vectors_may_be_cut(tmp_path, model) -> None:
    with huiyi.open("short", model=model, home=tmp_path, dimensions=16) as short:
        short.add(FAQ)
        assert short.vectors().shape == (3, 16)
        assert short.search("where is my parcel", k=1)[0].id == "2"
    with huiyi.open("short", model=model, home=tmp_path) as again:
        assert again.search("where is my parcel", k=1)[0].id == "2"
    with pytest.raises(Conflict, match="of 16 numbers"):
        huiyi.open("short", model=model, home=tmp_path, dimensions=32)


def test_no_model_is_loaded_before_it_is_needed(faq, tmp_path, monkeypatch) -> None:
    from huiyi.workspace import collections

    asked = []
    monkeypatch.setattr(collections, "load_model", lambda name: asked.append(name) or words())
    with huiyi.open("faq", home=tmp_path) as again:
        assert again.count() == 3
        assert again.get("1")
        again.add(FAQ)
        again.delete(ids=["1"])
        assert asked == []
        again.search("parcel")
        assert asked == ["fake"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "-a", "a" * 65, "a.b"])
def test_names_are_letters_digits_and_dashes(tmp_path, name, model) -> None:
    with pytest.raises(InvalidInput, match="cannot be a collection's name"):
        huiyi.open(name, model=model, home=tmp_path)


def test_a_models_folder_is_remembered_whole(tmp_path, monkeypatch) -> None:
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with huiyi.open("faq", model=words(name="my-model"), home=tmp_path) as faq:
        assert faq.facts.model == str(tmp_path / "my-model")


def test_names_may_be_chinese(tmp_path, model) -> None:
    huiyi.open("客服-问答_1", model=model, home=tmp_path).close()


def test_a_store_that_is_not_known_is_refused(tmp_path, model) -> None:
    with pytest.raises(InvalidInput, match="no store 'oracle'"):
        huiyi.open("faq", model=model, home=tmp_path, store="oracle")


def test_a_closed_collection_answers_nothing(faq) -> None:
    faq.close()
    with pytest.raises(Conflict, match="closed"):
        faq.count()


# many at once


def test_two_openings_that_add_the_same_records_agree(tmp_path) -> None:
    one, other = (huiyi.open("faq", model=words(), home=tmp_path) for _ in range(2))
    records = [{"id": str(i), "text": f"text {i}"} for i in range(400)]
    both = [in_thread(each.add, records) for each in (one, other)]
    done = [each.result(30) for each in both]
    assert sum(each.added for each in done) == 400
    assert sum(each.unchanged for each in done) == 400
    assert one.count() == 400
    one.close()
    other.close()


def test_a_text_that_is_too_long_loses_its_end_and_is_counted(tmp_path) -> None:
    with huiyi.open("faq", model=fake_model(max_tokens=20), home=tmp_path) as faq:
        done = faq.add([{"id": "long", "text": "x" * 100}, {"id": "short", "text": "x"}])
        assert (done.added, done.cut) == (2, 1)
        assert faq.get("long").text == "x" * 100


# reindex


def test_a_reindex_swaps_the_model_and_searches_go_on(faq) -> None:
    faq.add([{"id": f"more {i}", "text": f"more number {i}"} for i in range(600)])
    gate = threading.Event()
    other = words(32, "other")
    embed = other.encoder.embed

    def slow(*args, **options):
        made = embed(*args, **options)
        if len(other.encoder.calls) > 2:
            gate.wait(20)
        return made

    other.encoder.embed = slow
    reports = []
    running = in_thread(faq.reindex, lambda: other, lambda *told: reports.append(told))
    until(lambda: len(other.encoder.calls) > 2)
    assert faq.search("where is my parcel", k=1)[0].id == "2"
    faq.add([{"id": "late", "text": "came in late"}])
    faq.delete(ids=["more 0"])
    gate.set()
    done = running.result(30)
    assert (done.before, done.model, done.records) == ("fake", "other", 603)
    assert faq.facts.model == "other"
    assert faq.vectors().shape == (603, 32)
    assert faq.search("came in late", k=1)[0].id == "late"
    assert faq.search("where is my parcel", k=1)[0].id == "2"
    assert reports[-1][0] == reports[-1][1] == 603


def test_who_had_it_open_is_told_of_a_reindex(faq, tmp_path) -> None:
    with huiyi.open("faq", model=words(32, "other"), home=tmp_path / "elsewhere") as elsewhere:
        assert elsewhere.count() == 0
    second = huiyi.open("faq", model=words(), home=tmp_path)
    second.reindex(lambda: words(32, "other"))
    second.close()
    for ask in (faq.count, lambda: faq.search("parcel"), lambda: faq.add([{"id": "9", "text": "nine"}])):
        with pytest.raises(Conflict, match="reindexed with other since it was opened; open it again"):
            ask()
    with huiyi.open("faq", model=words(32, "other"), home=tmp_path) as again:
        assert again.count() == 3


def test_a_collection_that_is_gone_says_so(faq) -> None:
    faq.store.drop()
    with pytest.raises((Conflict, NotFound)):
        faq.search("x")


def test_engine_calls_of_a_sync_are_those_of_the_changes(tmp_path) -> None:
    """10,000 records, 1 % changed."""
    engine = FakeEngine()
    with huiyi.open("big", model=fake_model(engine), home=tmp_path) as big:
        records = [{"id": str(i), "text": f"{i}", "metadata": {"n": i}} for i in range(10_000)]
        big.add(records)
        before = len(engine.seen)
        for i in range(0, 10_000, 100):
            records[i] = {**records[i], "text": f"{i} changed"}
        for i in range(50, 10_000, 100):
            records[i] = {**records[i], "metadata": {"n": -i}}
        done = big.add(records)
        assert (done.added, done.changed, done.unchanged, done.embedded) == (0, 200, 9_800, 100)
        seen = ["".join(map(chr, np.frombuffer(each, np.int32)[:-1])) for each in engine.seen[before:]]
        assert sorted(seen) == sorted(f"{i} changed" for i in range(0, 10_000, 100))


# by meaning, by words, by both


def test_words_alone_load_no_model(faq, tmp_path) -> None:
    def load(name):
        raise AssertionError("a model was loaded")

    with workspace.open_collection("faq", home=tmp_path, load=load) as again:
        hits = again.search("PARCEL?", mode="keyword")
    assert [hit.id for hit in hits] == ["2"]
    assert hits[0].score > 0


def test_both_legs_are_told_apart_in_a_hit(faq) -> None:
    first, second, third = faq.search("where is the invoice", k=3)
    assert {first.id, second.id} == {"1", "2"}
    assert {first.keyword_rank, second.keyword_rank} == {1, 2}
    assert {first.semantic_rank, second.semantic_rank, third.semantic_rank} == {1, 2, 3}
    assert (third.id, third.keyword_rank, third.bm25) == ("3", None, 0)
    cosines = {hit.id: hit.score for hit in faq.search("where is the invoice", 3, "semantic")}
    words = {hit.id: hit.score for hit in faq.search("where is the invoice", 3, "keyword")}
    for hit in (first, second, third):
        assert hit.cosine == pytest.approx(cosines[hit.id], abs=1e-3)
        assert hit.bm25 == pytest.approx(words.get(hit.id, 0), abs=1e-4)
    assert faq.search("parcel", mode="semantic")[0].keyword_rank is None


def test_words_of_the_query_are_marked_when_asked_for(faq) -> None:
    hit = faq.search("Where, parcels?", k=1, highlight=True)[0]
    assert [hit.text[start:end] for start, end in hit.spans] == ["where", "parcel"]
    assert faq.search("Where, parcels?", k=1)[0].spans == ()


def test_hits_below_a_score_are_left_out(faq) -> None:
    for mode in ("hybrid", "semantic", "keyword"):
        hits = faq.search("where is my parcel", mode=mode)
        assert faq.search("where is my parcel", mode=mode, min_score=hits[0].score - 1e-6) == hits[:1]
        assert faq.search("where is my parcel", mode=mode, min_score=1e6) == []
    with pytest.raises(InvalidInput, match="tune"):
        faq.search("parcel", min_score="tuned")
    with pytest.raises(InvalidInput, match="number"):
        faq.search("parcel", min_score="high")


def test_hits_may_differ_from_one_another(faq) -> None:
    faq.add([{"id": f"copy{i}", "text": "where is my parcel"} for i in range(5)])
    assert [hit.text for hit in faq.search("where is my parcel", k=3)] == ["where is my parcel"] * 3
    for mode in ("hybrid", "semantic"):
        hits = faq.search("where is my parcel", k=3, mode=mode, diversity=0.6)
        assert hits[0].text == "where is my parcel"
        assert len({hit.text for hit in hits}) > 1
    assert len(faq.search("where is my parcel", k=3, mode="keyword", diversity=0.6)) == 3


def test_a_vector_that_is_there_already_is_not_made_again(faq, model) -> None:
    vector = model.encode_query("where is my parcel")
    before = len(model.encoder.calls)
    hits = faq.search("where is my parcel", vector=vector)
    assert len(model.encoder.calls) == before
    assert hits == faq.search("where is my parcel")


def test_many_queries_have_each_their_hits(faq) -> None:
    queries = ["parcel", "invoice", "包裹"]
    for mode in ("hybrid", "semantic", "keyword"):
        found = faq.search_all(queries, 2, mode)
        assert [[hit.id for hit in hits] for hits in found] == [[hit.id for hit in faq.search(query, 2, mode)] for query in queries]
    assert faq.search_all([]) == []


ODD_QUERIES = [
    "?",
    '"',
    '" OR 1',
    "parcel* NEAR(a) AND NOT b",
    "the the a of",
    "x" * 10_000,
    "包裹 " * 4000,
    "\x00",
    "'; DROP TABLE records;--",
]


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
@pytest.mark.parametrize("query", ODD_QUERIES)
def test_any_text_may_be_asked(faq, query, mode) -> None:
    hits = faq.search(query, 10, mode)
    assert len(hits) <= 3 if mode == "keyword" else len(hits) == 3
    assert faq.count() == 3


def test_more_hits_than_there_are_and_a_field_that_nobody_has(faq) -> None:
    for mode in ("hybrid", "semantic", "keyword"):
        assert len(faq.search("is my invoice", 1000, mode)) == (2 if mode == "keyword" else 3)
        assert faq.search("parcel", 5, mode, {"colour": "red"}) == []
        assert [hit.id for hit in faq.search("parcel", 5, mode, {"colour": {"$exists": False}})][:1] == ["2"]


def test_what_was_learned_is_used_and_kept(faq, tmp_path, model) -> None:
    space = faq.facts.space
    faq.keep_tuning(Tuning(space, 0.0, 0.01, 0.95, 1.0, 10, 1.0))
    with huiyi.open("faq", model=model, home=tmp_path) as again:
        assert again.tuning == Tuning(space, 0.0, 0.01, 0.95, 1.0, 10, 1.0)
        hits = again.search("my invoice parcel", k=3)
        assert [hit.keyword_rank for hit in hits] == [1, 2, None]
        assert [hit.keyword_rank for hit in again.search("my invoice parcel", k=3, min_score="tuned")] == [1, 2]
        again.keep_tuning(Tuning("another space", 0.0, 0.01, 0.95, 1.0, 10, 1.0))
        assert again.tuning is None
        again.keep_tuning(None)
        assert again.tuning is None


def test_a_text_with_a_vector_for_each_or_none(faq) -> None:
    with pytest.raises(InvalidInput, match="one for each"):
        faq.search_all(["a", "b"], vectors=np.ones((1, 64), np.float32))
    for mode in ("hybrid", "keyword"):
        with pytest.raises(InvalidInput, match="no words"):
            faq.search(np.ones(64, np.float32), mode=mode)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        faq.search("a", diversity=2)


@pytest.mark.parametrize("k", [0, -1, "3", 2.5, None])
def test_a_number_of_hits_that_is_none_is_refused(faq, k) -> None:
    with pytest.raises(InvalidInput, match="k is the number of hits, 1 or more"):
        faq.search("a", k)


@pytest.mark.parametrize("query", [None, 5, ["a"], b"a", [[1.0, 2.0]]])
def test_a_query_that_is_neither_a_text_nor_a_vector_is_refused(faq, query) -> None:
    with pytest.raises(InvalidInput, match="a query is a text that is not empty, or a vector"):
        faq.search(query)


def test_one_id_is_as_good_as_a_list_of_one(faq) -> None:
    faq.add([{"id": "12", "text": "where is my other parcel"}])
    assert faq.recommend(like="12", k=1) == faq.recommend(like=["12"], k=1)
    with pytest.raises(InvalidInput, match="ids are texts"):
        faq.recommend(like=[12])


def test_a_least_score_that_is_no_number_is_refused(faq) -> None:
    with pytest.raises(InvalidInput, match="not NaN"):
        faq.search("a", min_score=float("nan"))


def test_recommendations_are_those_of_a_look_at_everything(tmp_path, monkeypatch) -> None:
    random = np.random.default_rng(0)
    vocabulary = [f"word{i}" for i in range(60)]
    made = [
        {"id": str(i), "text": " ".join(random.choice(vocabulary[i % 3 :: 3], 6)), "metadata": {"even": i % 2 == 0}} for i in range(900)
    ]
    made += [{"id": f"again {i}", "text": made[i]["text"]} for i in range(30)] + [{"id": "empty", "text": " "}]
    with huiyi.open("items", model=words(), home=tmp_path) as items:
        items.add(made)
        held = items.contents()
        asked = [
            {"like": ["0"], "k": 5},
            {"like": ["0", "31"], "dislike": ["3", "4"], "k": 7, "diversity": 0.0},
            {"like": ["1", "2"], "history": ["6", "7", "8"], "k": 3, "diversity": 0.5, "filter": {"even": True}},
            {"history": [str(i) for i in range(7)], "k": 4},
        ]
        meant = []
        for each in asked:
            options = {name: value for name, value in each.items() if name != "filter"}
            allowed = [record.id for record in items.records(each["filter"])] if "filter" in each else None
            meant.append(understanding.recommend(held.ids, held.texts, held.vectors, **options, allowed=allowed))
        monkeypatch.setattr(type(items.store), "scan", None)  # nobody reads all of it
        for each, right in zip(asked, meant, strict=True):
            found = items.recommend(**each)
            assert [(one.text, one.because, one.score) for one in found] == [
                (one.text, one.because, pytest.approx(one.score, abs=2e-4)) for one in right
            ]
        with pytest.raises(NotFound, match="no 'none' here"):
            items.recommend(like=["none"])
        with pytest.raises(InvalidInput, match="nothing is liked"):
            items.recommend()


def test_recommendations_beside_a_thousand_repeats(tmp_path) -> None:
    with huiyi.open("items", model=words(), home=tmp_path) as items:
        items.add([{"id": str(i), "text": "the same thing"} for i in range(1200)] + [{"id": "x", "text": "the same thing twice"}, *FAQ])
        assert items.recommend(like=["5"], k=2)[0].id == "x"
        assert "5" not in [one.id for one in items.recommend(like=["x"], k=10)]
