"""Collections in Python: what changed is embedded and nothing else, the model must be the one, and a reindex goes on beside searches."""

import threading

import numpy as np
import pytest

import huiyi
from fake_encoder import FakeEncoder
from fake_model import fake_model
from fakes import FakeEngine, in_thread, until
from huiyi.collection import Added
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.stores.store import Record

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
    assert faq.search(vector, k=1)[0].id == "2"
    assert faq.search(vector, k=1)[0].score == pytest.approx(1, abs=1e-3)
    assert [hits[0].id for hits in faq.search_all(model.encode([record["text"] for record in FAQ]), k=1)] == ["1", "2", "3"]


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
        (lambda faq: faq.search(np.zeros(64, np.float32)), "not all zero"),
        (lambda faq: faq.search(np.ones(3, np.float32)), "shape"),
        (lambda faq: faq.search_all([3]), "not 3"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(faq, ask, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(faq)


def test_a_query_of_ten_thousand_characters_is_answered(faq) -> None:
    assert faq.search("parcel " * 1500, k=1)[0].id == "2"


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
